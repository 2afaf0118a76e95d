//! Where an image that is not here comes from.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use super::{ImageError, Images, Request, Source, side_files};
use crate::base::catalogue::{Catalogue, Entry, ImageName, KnownImage, OsList};
use crate::base::fetch::{FetchError, Promise, file_name, password_in};

/// An address, and what is promised of it.
pub(super) struct Found {
    pub(super) url: String,
    pub(super) len: Option<u64>,
    pub(super) promise: Promise,
    /// `2026-06-18`.
    pub(super) released: Option<String>,
    pub(super) origin: Origin,
}

/// Who promised a digest.
pub(super) enum Origin {
    /// The list at this host.
    List(String),
    /// The catalogue within cardmint.
    Catalogue,
    /// A file beside the image.
    SideFile(String),
    /// Nobody.
    Nobody,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(host) => write!(f, "the list of {host}"),
            Self::Catalogue => f.write_str("cardmint's catalogue"),
            Self::SideFile(name) => f.write_str(name),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

impl Images<'_> {
    pub(super) fn resolve(&self, request: &Request) -> Result<Found, ImageError> {
        let found = match &request.source {
            Source::Name(name) => self.resolve_name(name, request)?,
            Source::Listed { list, entry } => {
                let all = self.lists()?.whole(list)?;
                let entry = all
                    .find(entry)
                    .map_err(|error| ImageError::Unknown(format!("{list}: {error}")))?;
                from_entry(entry, list)
            }
            Source::Url(url) => self.resolve_url(url, request)?,
        };
        check_digest(request, &found)?;
        Ok(found)
    }

    fn resolve_name(&self, name: &ImageName, request: &Request) -> Result<Found, ImageError> {
        let known = Catalogue::builtin()
            .find(&name.name)
            .ok_or_else(|| ImageError::Unknown(format!("`{name}` is no name of an image")))?;
        let entry = |list: &OsList| {
            let entry = match name.date {
                Some(date) => known.dated(list, date),
                None => known.current(list),
            };
            entry.map(|entry| from_entry(entry, &self.os_list))
        };
        if let Some(release) = name.date.and_then(|date| known.release(date))
            && let Some(url) = &release.url
        {
            return Ok(Found {
                url: url.clone(),
                len: None,
                promise: release.promise(),
                released: name.date.map(|date| date.to_string()),
                origin: Origin::Catalogue,
            });
        }
        match self.lists()?.top(&self.os_list) {
            Ok(list) => {
                if let Some(found) = entry(&list) {
                    return Ok(found);
                }
            }
            Err(ImageError::Fetch(error)) if error.is_offline() || error.is_refusal() => {
                return Err(error.into());
            }
            Err(error @ ImageError::Fetch(FetchError::Interrupted)) => return Err(error),
            Err(error) if self.has_own_list => {
                return Err(ImageError::OwnList(Box::new(error)));
            }
            // The images themselves may be there all the same.
            Err(error) => self.notice(&format!("Going without a list of images: {error}.")),
        }
        match name.date {
            Some(date) => self.resolve_date(known, date),
            None => self.resolve_url(known.latest(), request),
        }
    }

    /// A release that no list knows any more, under its usual address.
    fn resolve_date(
        &self,
        known: &KnownImage,
        date: jiff::civil::Date,
    ) -> Result<Found, ImageError> {
        let client = self.client()?;
        for url in known.candidates(date) {
            match client.final_url(&url, self.interrupt) {
                Ok(_) => {}
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error.into()),
            }
            let mut found = self.with_side_file(url)?;
            found.released = Some(date.to_string());
            if let Some(release) = known.release(date) {
                found.promise = release.promise();
                found.origin = Origin::Catalogue;
            }
            return Ok(found);
        }
        let dates: Vec<String> = known
            .releases()
            .iter()
            .map(|release| release.date.to_string())
            .collect();
        Err(ImageError::NoSuchDate {
            name: known.name().to_owned(),
            date: date.to_string(),
            known: match dates.is_empty() {
                true => "Leave the date out to take the current one".to_owned(),
                false => format!("Known dates: {}", dates.join(", ")),
            },
        })
    }

    /// An address: where it leads, and what is said of it there.
    fn resolve_url(&self, url: &str, request: &Request) -> Result<Found, ImageError> {
        if !url.starts_with("https://") || password_in(url).is_some() {
            // The client judges it; what lies beside it is no more to be trusted.
            return Ok(Found::unknown(url.to_owned()));
        }
        let found = if names_a_file(url) {
            // It may lead on to an address without a name, or one that soon expires.
            url.to_owned()
        } else {
            match self.client()?.final_url(url, self.interrupt) {
                Ok(found) => found,
                // Not every server answers HEAD.
                Err(FetchError::Refused { .. }) => url.to_owned(),
                Err(error) => return Err(error.into()),
            }
        };
        match request.sha256 {
            Some(_) => Ok(Found::unknown(found)),
            None => self.with_side_file(found),
        }
    }

    fn with_side_file(&self, url: String) -> Result<Found, ImageError> {
        let digest = side_files::published_digest(self.client()?, &url, self.interrupt)?;
        let mut found = Found::unknown(url);
        if digest.is_some() {
            found.promise.published = digest;
            let name = file_name(&found.url);
            found.origin = Origin::SideFile(format!("{name}.sha256"));
        }
        Ok(found)
    }
}

impl Found {
    /// An address of which nobody says anything.
    fn unknown(url: String) -> Self {
        Self {
            released: date_in(&file_name(&url)),
            url,
            len: None,
            promise: Promise::default(),
            origin: Origin::Nobody,
        }
    }
}

fn from_entry(entry: &Entry, list: &str) -> Found {
    let promise = Promise {
        published: entry.download_sha256,
        raw: entry.extract_sha256,
        either: None,
    };
    let host = list.split('/').nth(2).unwrap_or(list);
    Found {
        url: entry.url.clone(),
        len: entry.download_len,
        origin: match promise.is_none() {
            true => Origin::Nobody,
            false => Origin::List(host.to_owned()),
        },
        promise,
        released: date_in(&file_name(&entry.url)).or_else(|| entry.release_date.clone()),
    }
}

/// Whether an address is that of a file, and not one such as `…/latest`.
fn names_a_file(url: &str) -> bool {
    const EXTENSIONS: [&str; 7] = ["img", "raw", "xz", "gz", "zst", "bz2", "zip"];
    let name = file_name(url);
    let extension = Path::new(&name).extension().and_then(OsStr::to_str);
    extension.is_some_and(|own| {
        EXTENSIONS
            .iter()
            .any(|known| own.eq_ignore_ascii_case(known))
    })
}

/// The date that a file name begins with, as those of Raspberry Pi OS do.
fn date_in(name: &str) -> Option<String> {
    let date = name.get(..10)?;
    date.parse::<jiff::civil::Date>().ok()?;
    Some(date.to_owned())
}

/// Refuses at once what would be refused after the download.
fn check_digest(request: &Request, found: &Found) -> Result<(), ImageError> {
    let Some(wanted) = request.sha256 else {
        return Ok(());
    };
    let (published, raw) = (found.promise.published, found.promise.raw);
    if published.is_none() || raw.is_none() || [published, raw].contains(&Some(wanted)) {
        return Ok(());
    }
    let now = match &found.released {
        Some(date) => format!(", which is of {date} now"),
        None => String::new(),
    };
    Err(ImageError::Unknown(format!(
        "the `sha256` that was given is not that of {}{now}. Name the release that it belongs to, \
         such as NAME@DATE, or give the sha256 of the current one",
        request.source
    )))
}
