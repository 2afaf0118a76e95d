//! `cluster.toml`: read, checked as a whole, and turned into nodes.
//!
//! Every problem is collected, so that a person mends a manifest in one round.

mod check;
mod files;
mod frame;
mod image;
mod monitoring;
mod nodes;
mod overrides;
mod problem;
mod read;
mod shared;
mod zone;

use std::path::Path;

use secrecy::SecretString;
use toml::de::DeTable;

pub use problem::{ManifestErrors, Problem};

pub(crate) use self::shared::check_passphrase;

use self::files::Files;
use self::read::{Problems, Section};
use super::Cluster;

/// Answers what a manifest leaves open.
pub trait Ask {
    /// The passphrase of a Wi-Fi network; `None` where nobody can be asked.
    fn wifi_passphrase(&mut self, ssid: &str) -> Option<SecretString>;
}

/// Nobody to ask.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Ask for Nobody {
    fn wifi_passphrase(&mut self, _ssid: &str) -> Option<SecretString> {
        None
    }
}

/// Answers with a stand-in: for what needs no secret, such as the hand-over.
#[derive(Clone, Copy, Debug)]
pub struct StandIn;

impl Ask for StandIn {
    fn wifi_passphrase(&mut self, _ssid: &str) -> Option<SecretString> {
        Some("a stand-in".into())
    }
}

/// Takes note that there is a question, and lets the checks go on.
struct Later {
    asked: bool,
}

impl Ask for Later {
    fn wifi_passphrase(&mut self, ssid: &str) -> Option<SecretString> {
        self.asked = true;
        StandIn.wifi_passphrase(ssid)
    }
}

impl Cluster {
    /// Reads and checks a manifest, with the key and secret files that it names.
    ///
    /// # Errors
    /// All problems of the manifest at once.
    pub fn load(manifest: &Path, ask: &mut dyn Ask) -> Result<Self, ManifestErrors> {
        let whole = |message: String, help: &str| ManifestErrors::whole(manifest, message, help);
        let bytes = std::fs::read(manifest).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => whole(
                "there is no manifest here".to_owned(),
                "`cardmint init` makes one; -C DIR names the cluster's directory",
            ),
            _ => whole(
                format!("it cannot be read ({error})"),
                "check its permissions",
            ),
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| whole("it is not UTF-8 text".to_owned(), "save it as UTF-8"))?;
        // A directory of "" is the current one.
        let dir = manifest
            .parent()
            .filter(|dir| *dir != Path::new(""))
            .unwrap_or(Path::new("."));
        let failed = |problems| ManifestErrors {
            path: manifest.to_owned(),
            problems,
        };
        // Nobody is asked anything before the rest of the manifest is right.
        let mut later = Later { asked: false };
        let cluster = Self::parse(&text, dir, &mut later).map_err(failed)?;
        if later.asked {
            Self::parse(&text, dir, ask).map_err(failed)
        } else {
            Ok(cluster)
        }
    }

    /// Reads a manifest's text; files are looked for from `dir` on.
    pub(crate) fn parse(text: &str, dir: &Path, ask: &mut dyn Ask) -> Result<Self, Vec<Problem>> {
        let problems = Problems::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            problems.add(&span, format!("this is no TOML: {}", error.message()), "");
        }
        if problems.any() {
            // What follows from a slip of the pen would only hide it.
            return Err(problems.finish());
        }
        let root = Section::new(&problems, "the manifest", table.get_ref(), table.span());
        let files = Files::new(dir);
        let cluster = nodes::read_cluster(root, &files, ask);
        let problems = problems.finish();
        if problems.is_empty() {
            Ok(cluster)
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests;
