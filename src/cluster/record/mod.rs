//! `cluster.lock`: what was made, and in which generation each node's identity
//! is. Written by cardmint; holds no secrets.

mod cards;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key::{ClusterKey, KEY_FILE, KeyError};
use crate::base::Sha256Digest;
use crate::whole;

pub use cards::{CardEntry, CardState, Noted};

/// Name of the record's file.
pub const RECORD_FILE: &str = "cluster.lock";
/// Version of the file's format.
const VERSION: u32 = 1;
const HEADER: &str = "# Written by cardmint; keep it beside cluster.toml, in version control if you like.\n\
                      # It holds no secrets. Without it, nodes fall back to identity generation 0.\n\n";

/// What was made for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Hostname when its image was made.
    pub hostname: String,
    /// Identity generation.
    pub generation: u32,
    /// Digest of the base's uncompressed bytes.
    pub base: Sha256Digest,
    /// Name of the base.
    pub base_name: String,
    /// Digest of the overlay.
    pub overlay: Sha256Digest,
    /// Digest of the image: SHA-256 over the SHA-256 of each 4 MiB.
    pub image: String,
    /// Fingerprint of the SSH host key.
    pub host_key: String,
    /// cloud-init's instance-id.
    pub instance_id: String,
    /// Version of cardmint.
    pub tool: String,
}

/// The contents of `cluster.lock`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    cluster: String,
    key_id: String,
    /// By node number; TOML keys are text.
    #[serde(default, rename = "node", skip_serializing_if = "BTreeMap::is_empty")]
    nodes: BTreeMap<Number, Entry>,
    #[serde(default, rename = "card", skip_serializing_if = "BTreeMap::is_empty")]
    cards: BTreeMap<Number, CardEntry>,
}

/// A node's number as a TOML key, in numeric order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not what cardmint wrote.
    #[error(
        "{} is damaged: {what}. Restore it from a copy or from version control. If nodes never \
         got a new identity it can be deleted: it is then written anew", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// Written by a later cardmint.
    #[error("{} was written by a later cardmint; update cardmint", .0.display())]
    Newer(PathBuf),
    /// The file cannot be read or written.
    #[error("{verb} {}", path.display())]
    Io {
        /// What was tried, as a gerund.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Record {
    /// Reads the record of `dir`; a cluster without cards has an empty one.
    ///
    /// # Errors
    /// Where it is damaged or unreadable.
    pub fn load(dir: &Path) -> Result<Self, RecordError> {
        let path = dir.join(RECORD_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(RecordError::Io {
                    verb: "reading",
                    path,
                    source,
                });
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| RecordError::Damaged {
            path: path.clone(),
            what: "it is not text".to_owned(),
        })?;
        Self::parse(&text, &path)
    }

    /// Reads the text of the record at `path`.
    ///
    /// # Errors
    /// Where it is damaged, or of a later version.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, RecordError> {
        let damaged = |what: &str| RecordError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let record: Self = toml::from_str(text).map_err(|error| {
            // The first line names the place; the others quote the file.
            let text = error.to_string();
            let place = text.lines().next().unwrap_or_default();
            damaged(&format!("{place}: {}", error.message()))
        })?;
        if record.version > VERSION {
            return Err(RecordError::Newer(path.to_owned()));
        }
        // Both are counted up.
        let is_last = |number: u32| number == u32::MAX;
        let mut nodes = record.nodes.values();
        let mut cards = record.cards.values();
        if nodes.any(|entry| is_last(entry.generation)) || cards.any(|card| is_last(card.copies)) {
            return Err(damaged("it counts more identities or cards than can be"));
        }
        Ok(record)
    }

    /// The text that [`Self::parse`] reads.
    pub(crate) fn to_text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Changes the record of `dir` as one step: processes that build different
    /// nodes of one cluster do not lose each other's entries. Returns what `change` does.
    ///
    /// # Errors
    /// Where it is damaged, or cannot be read or written.
    pub fn update<T>(dir: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, RecordError> {
        let path = dir.join(RECORD_FILE);
        let failed = |source| RecordError::Io {
            verb: "writing",
            path: path.clone(),
            source,
        };
        // The directory is locked, not the file: the file is replaced each time.
        let lock = File::open(dir).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut record = Self::load(dir)?;
        let result = change(&mut record);
        record.version = VERSION;
        let text = record
            .to_text()
            .map_err(|error| failed(io::Error::other(error)))?;
        whole::write(&path, format!("{HEADER}{text}").as_bytes(), 0o644).map_err(failed)?;
        Ok(result)
    }

    /// Makes sure that the record's cards belong to this cluster: identities are
    /// derived from its name and key.
    ///
    /// # Errors
    /// [`KeyError::Other`] or [`KeyError::Renamed`] where they do not.
    pub fn check_owner(&self, dir: &Path, name: &str, key: &ClusterKey) -> Result<(), KeyError> {
        if self.key_id.is_empty() {
            Ok(())
        } else if self.key_id != key.id() {
            Err(KeyError::Other(dir.join(KEY_FILE)))
        } else if self.cluster != name {
            let (was, is) = (self.cluster.clone(), name.to_owned());
            Err(KeyError::Renamed { was, is })
        } else {
            Ok(())
        }
    }

    /// Says whose cards these are.
    pub fn belongs_to(&mut self, cluster: &str, key: &ClusterKey) {
        cluster.clone_into(&mut self.cluster);
        self.key_id = key.id();
    }

    /// Identity generation of a node; 0 until it is given a new identity.
    #[must_use]
    pub fn generation(&self, number: u32) -> u32 {
        self.nodes
            .get(&Number(number))
            .map_or(0, |entry| entry.generation)
    }

    /// What was made for a node.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.nodes.get(&Number(number))
    }

    /// The card that was last written for a node.
    #[must_use]
    pub fn card(&self, number: u32) -> Option<&CardEntry> {
        self.cards.get(&Number(number))
    }

    /// The instance-ids by which a node is what was made of it last: that of its card, and
    /// that of its image, which somebody may have written with another tool since.
    #[must_use]
    pub fn instance_ids(&self, number: u32) -> Vec<String> {
        let card = self.card(number).map(|card| &card.instance_id);
        let entry = self.entry(number).map(|entry| &entry.instance_id);
        card.into_iter().chain(entry).cloned().collect()
    }

    /// Gives a node its next identity; nothing is kept until an entry of that
    /// generation is [`Self::set`].
    pub fn renew(&mut self, number: u32) {
        if let Some(entry) = self.nodes.get_mut(&Number(number)) {
            entry.generation += 1;
        }
    }

    /// The digest of the base that a node was made on before, if that had the name of
    /// the base of `entry` and other bytes.
    #[must_use]
    pub fn other_base(&self, number: u32, entry: &Entry) -> Option<Sha256Digest> {
        let before = self.entry(number)?;
        let is_other = before.base_name == entry.base_name && before.base != entry.base;
        is_other.then_some(before.base)
    }

    /// Notes what was made for a node; `false` where the node was given a newer identity
    /// meanwhile, which stays: the one before may have been stolen.
    #[must_use]
    pub fn set(&mut self, number: u32, entry: Entry) -> bool {
        let is_current = entry.generation >= self.generation(number);
        if is_current {
            self.nodes.insert(Number(number), entry);
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(generation: u32) -> Result<Record, RecordError> {
        let digest = "00".repeat(32);
        let text = format!(
            "version = 1\ncluster = \"a\"\nkey_id = \"b\"\n[node.1]\nhostname = \"a\"\n\
             generation = {generation}\nbase = \"{digest}\"\nbase_name = \"b\"\n\
             overlay = \"{digest}\"\nimage = \"c\"\nhost_key = \"d\"\ninstance_id = \"e\"\n\
             tool = \"f\"\n"
        );
        Record::parse(&text, Path::new(RECORD_FILE))
    }

    #[test]
    fn an_identity_that_nothing_can_follow_is_damage() {
        let mut last = record(u32::MAX - 1).unwrap();
        last.renew(1);
        assert_eq!(last.generation(1), u32::MAX);
        let error = record(u32::MAX).unwrap_err();
        assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
    }
}
