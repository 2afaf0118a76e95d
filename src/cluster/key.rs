//! `cluster.key`: the one secret to keep. Everything that makes a node itself is
//! derived from it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::record::RECORD_FILE;
use crate::whole;

/// Name of the key's file.
pub const KEY_FILE: &str = "cluster.key";
/// Separates our derivations from anybody else's; a change makes every cluster
/// a new one.
const SALT: &[u8] = b"cardmint identity v1";
/// Longer than any key file of ours.
const MAX_FILE_LEN: u64 = 4096;

/// 32 random bytes, wiped when dropped; in one place, since what is moved leaves a copy
/// behind.
#[derive(Clone)]
pub struct ClusterKey(Box<Zeroizing<[u8; 32]>>);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey([REDACTED])")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key, and no cards either.
    #[error(
        "there is no {}. A cluster that was copied or cloned needs it from where it was made; \
         `cardmint init` makes a new cluster, with a key, in another directory",
        .0.display()
    )]
    Missing(PathBuf),
    /// No key, but cards were made with it.
    #[error(
        "{} is lost, and {RECORD_FILE} says that cards were made with it. Their host keys and \
         passwords are derived from it: restore it from a copy. Without one, make the cluster \
         anew: `cardmint init` in another directory, and this manifest into it; every card is then \
         a new machine", .0.display()
    )]
    Lost(PathBuf),
    /// Others can read it.
    #[error("{path} can be read by other users (mode {mode:04o}). Close it: chmod 600 '{path}'")]
    Open {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error(
        "{} is damaged: {what}. Restore it from a copy; a new key would give every node a new \
         identity", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The record was written with another key.
    #[error(
        "{} is not the key that the cards in {RECORD_FILE} were made with. Restore the right \
         one, or work in another directory", .0.display()
    )]
    Other(PathBuf),
    /// The record was written for a cluster of another name.
    #[error(
        "this cluster was called `{was}` when its cards were made, and is now called `{is}`. \
         Identities are derived from the name, so every node would become a new machine: set \
         name = \"{was}\" in cluster.toml, or move {RECORD_FILE} away if that is what you want"
    )]
    Renamed {
        /// The name in the record.
        was: String,
        /// The name in the manifest.
        is: String,
    },
    /// The file exists already.
    #[error("{} is there already; it is never replaced", .0.display())]
    Exists(PathBuf),
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

impl KeyError {
    /// Whether going on would be unsafe, rather than merely impossible.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Lost(_)
                | Self::Renamed { .. }
                | Self::Open { .. }
                | Self::Other(_)
                | Self::Exists(_)
        )
    }
}

impl ClusterKey {
    /// Makes a key and its file in `dir`; only its owner can read it. An
    /// existing key is never replaced.
    ///
    /// # Errors
    /// Where there is a file already, or it cannot be written.
    pub fn create(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists(path.clone()),
            _ => KeyError::Io {
                verb: "writing",
                path: path.clone(),
                source,
            },
        };
        let mut bytes = Box::new(Zeroizing::new([0; 32]));
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| failed(io::Error::other(error)))?;
        let text = Zeroizing::new(format!(
            "# The key of a cardmint cluster. Keep it secret, and keep a copy: the identity of\n\
             # every card (host keys, password salts) is derived from it.\n{}\n",
            *Zeroizing::new(hex::encode(bytes.as_slice())),
        ));
        // Half a key would never be replaced.
        whole::write_new(&path, text.as_bytes(), 0o600).map_err(failed)?;
        Ok(Self(bytes))
    }

    /// Reads the key of `dir`.
    ///
    /// # Errors
    /// Where it is missing, damaged, or open to other users.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        let failed = |source| KeyError::Io {
            verb: "reading",
            path: path.clone(),
            source,
        };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let lost = dir.join(RECORD_FILE).exists();
                return Err(if lost {
                    KeyError::Lost(path)
                } else {
                    KeyError::Missing(path)
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open {
                path: path.display().to_string(),
                mode,
            });
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_LEN)
            .read_to_end(&mut text)
            .map_err(failed)?;
        match Self::parse(&text) {
            Ok(key) => Ok(key),
            Err(what) => Err(KeyError::Damaged { path, what }),
        }
    }

    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or("it holds no key")?;
        if lines.next().is_some() {
            return Err("it holds more than a key");
        }
        let mut bytes = Box::new(Zeroizing::new([0; 32]));
        hex::decode_to_slice(line, bytes.as_mut_slice())
            .map_err(|_| "the key is not 64 hex digits")?;
        Ok(Self(bytes))
    }

    /// Derives `N` bytes for a purpose (HKDF-SHA256, RFC 5869). Each part of
    /// `info` is preceded by its length, so that no two lists are alike.
    pub(crate) fn derive<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        const { assert!(N <= 255 * 32, "HKDF-SHA256 yields at most 8160 bytes") };
        let mut encoded = Vec::new();
        for part in info {
            encoded.extend_from_slice(&(part.len() as u64).to_le_bytes());
            encoded.extend_from_slice(part);
        }
        let mut bytes = Zeroizing::new([0; N]);
        let expanded =
            Hkdf::<Sha256>::new(Some(SALT), self.0.as_slice()).expand(&encoded, &mut *bytes);
        // Only the length can be wrong, and it is asserted above.
        debug_assert!(expanded.is_ok());
        bytes
    }

    /// Tells keys apart without revealing anything: 16 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(*self.derive::<8>(&[b"key-id"]))
    }
}
