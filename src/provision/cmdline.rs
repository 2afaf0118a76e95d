//! The edit of `cmdline.txt`.
//!
//! The firmware reads the first line only. Everything that stands there stays,
//! in its order: `init=…` and `resize` are the image's own first boot, which
//! still has to happen. Ours is appended, `systemd.run…` last of all, since
//! clean-up scripts in the wild delete from there to the end of the line.

/// A token that must not reach a kernel command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Blanks, quotes or control characters would split the token or the line.
    #[error("kernel token `{}` holds a blank, a quote or a character outside ASCII", .0.escape_debug())]
    NotOneToken(String),
    /// Bookworm's initramfs resizes whenever this text occurs anywhere.
    #[error("kernel token `{0}` contains `firstboot`, which starts the image's own first boot")]
    Firstboot(String),
    /// Trixie's initramfs deletes every ` resize` and would mangle the token.
    #[error("kernel token `{0}` starts with `resize`, which Trixie takes for its own")]
    Resize(String),
}

/// An edited `cmdline.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmdline {
    /// The whole file: one line and a newline.
    pub text: String,
    /// The tokens that were added.
    pub added: Vec<String>,
}

/// Parameters of which the line may carry one only: ours takes the place of
/// what an earlier customisation of the image left.
const SINGLE: &[&str] = &["cfg80211.ieee80211_regdom", "ds"];

/// What starts `firstrun.sh`; an older set must not compete with ours.
const RUN: &[&str] = &[
    "systemd.run",
    "systemd.run_success_action",
    "systemd.run_failure_action",
];

const RUN_UNIT: &str = "systemd.unit=kernel-command-line.target";

/// Appends `tokens` to the first line of `base`, then the tokens that run the
/// script at the path `run`.
pub fn edit(base: &str, tokens: &[String], run: Option<&str>) -> Result<Cmdline, CmdlineError> {
    let mut line: Vec<String> = base
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    let mut added = Vec::new();
    for token in tokens {
        check(token)?;
        append(&mut line, &mut added, token);
    }
    if let Some(path) = run {
        let ours = [
            format!("systemd.run={path}"),
            "systemd.run_success_action=reboot".to_owned(),
            RUN_UNIT.to_owned(),
        ];
        line.retain(|old| !RUN.contains(&key(old)) && old != RUN_UNIT);
        for token in ours {
            check(&token)?;
            append(&mut line, &mut added, &token);
        }
    }
    Ok(Cmdline {
        text: line.join(" ") + "\n",
        added,
    })
}

fn append(line: &mut Vec<String>, added: &mut Vec<String>, token: &str) {
    if line.iter().any(|old| old == token) {
        return;
    }
    added.push(token.to_owned());
    if SINGLE.contains(&key(token))
        && let Some(old) = line.iter_mut().find(|old| key(old) == key(token))
    {
        token.clone_into(old);
        return;
    }
    line.push(token.to_owned());
}

fn key(token: &str) -> &str {
    token.split_once('=').map_or(token, |(key, _)| key)
}

fn check(token: &str) -> Result<(), CmdlineError> {
    let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\'';
    if token.is_empty() || !token.chars().all(legal) {
        return Err(CmdlineError::NotOneToken(token.to_owned()));
    }
    if token.contains("firstboot") {
        return Err(CmdlineError::Firstboot(token.to_owned()));
    }
    if token.starts_with("resize") {
        return Err(CmdlineError::Resize(token.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRIXIE: &str = "console=serial0,115200 console=tty1 root=PARTUUID=0badc0de-02 \
                          rootfstype=ext4 fsck.repair=yes rootwait resize\n";

    fn tokens(list: &[&str]) -> Vec<String> {
        list.iter().map(|&token| token.to_owned()).collect()
    }

    #[test]
    fn keeps_what_is_there_and_runs_last() {
        let edited = edit(TRIXIE, &tokens(&["a=1", "b"]), Some("/boot/firstrun.sh")).unwrap();
        assert_eq!(
            edited.text,
            format!(
                "{} a=1 b systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot \
                 systemd.unit=kernel-command-line.target\n",
                TRIXIE.trim_end()
            )
        );
        assert_eq!(edited.added.len(), 5);
    }

    #[test]
    fn only_the_first_line_counts_and_carriage_returns_go() {
        let edited = edit("a b \r\nc d\r\n", &tokens(&["e"]), None).unwrap();
        assert_eq!(edited.text, "a b e\n");
    }

    #[test]
    fn the_regulatory_domain_stands_once() {
        let gb = tokens(&["cfg80211.ieee80211_regdom=GB"]);
        let once = edit(TRIXIE, &gb, None).unwrap();
        let twice = edit(&once.text, &gb, None).unwrap();
        assert_eq!(once.text, twice.text);
        assert!(twice.added.is_empty());
        let moved = edit(&once.text, &tokens(&["cfg80211.ieee80211_regdom=PT"]), None).unwrap();
        assert_eq!(moved.text, once.text.replace("=GB", "=PT"));
    }

    #[test]
    fn an_older_run_does_not_compete() {
        let base = "a systemd.run=/boot/old.sh systemd.run_success_action=reboot \
                    systemd.unit=kernel-command-line.target b";
        let edited = edit(base, &[], Some("/boot/firstrun.sh")).unwrap();
        assert_eq!(
            edited.text,
            "a b systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot \
             systemd.unit=kernel-command-line.target\n"
        );
    }

    #[test]
    fn traps_are_refused() {
        for bad in [
            "x=firstboot",
            "resize",
            "resize_x=1",
            "a b",
            "",
            "a\nb",
            "é",
            "a=\"b",
        ] {
            assert!(edit(TRIXIE, &tokens(&[bad]), None).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn stays_one_line_that_starts_with_the_base(
            base in prop::collection::vec("[a-z.]{1,8}(=[A-Z0-9,-]{0,8})?", 1..10),
            extra in prop::collection::vec("[a-z.]{1,8}(=[A-Z0-9,-]{0,8})?", 0..6),
        ) {
            prop_assume!(!extra.iter().any(|t| t.starts_with("resize") || t.contains("firstboot")));
            prop_assume!(!base.iter().chain(&extra).any(|t| key(t) == "ds"));
            let edited = edit(&base.join(" "), &extra, None).unwrap();
            prop_assert!(edited.text.starts_with(&base.join(" ")));
            prop_assert_eq!(edited.text.matches('\n').count(), 1);
            prop_assert!(edited.text.ends_with('\n'));
            let again = edit(&edited.text, &extra, None).unwrap();
            prop_assert_eq!(again.text, edited.text);
        }
    }
}
