//! The keys that the user trusts: a file each.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use etcetera::BaseStrategy as _;

use super::certificate::Certificate;
use super::{SignatureError, Verified, policy};
use crate::whole;

const EXTENSION: &str = "pgp";

/// The keys that the user trusts.
#[derive(Clone, Debug)]
pub struct Keyring {
    dir: PathBuf,
}

impl Keyring {
    /// The user's: `$XDG_CONFIG_HOME/cardmint/keys`, by default
    /// `~/.config/cardmint/keys`. Nothing is created yet.
    ///
    /// # Errors
    /// Where the user has no home directory.
    pub fn open_default() -> io::Result<Self> {
        let base = etcetera::choose_base_strategy()
            .map_err(|_| io::Error::other("no home directory; set XDG_CONFIG_HOME"))?;
        Ok(Self::at(base.config_dir().join("cardmint").join("keys")))
    }

    /// Keys in `dir`. Nothing is created yet.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All of them, by fingerprint.
    ///
    /// # Errors
    /// Where the directory or a key in it cannot be read, or is damaged.
    pub fn certificates(&self) -> Result<Vec<Certificate>, SignatureError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| self.failed(source))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| self.failed(source))?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != EXTENSION)
            {
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| self.failed(source))?;
            let found = Certificate::parse(&bytes, "").ok();
            let named = |key: &Certificate| path.file_stem() == Some(key.fingerprint().as_ref());
            match found.as_deref() {
                Some([key]) if named(key) => all.push(key.clone()),
                _ => return Err(SignatureError::DamagedKey(path)),
            }
        }
        all.sort_by(|a, b| a.fingerprint().cmp(b.fingerprint()));
        Ok(all)
    }

    /// Trusts a key from now on.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub fn import(&self, key: &Certificate) -> Result<(), SignatureError> {
        let write = || -> io::Result<()> {
            whole::create_dir_all(&self.dir, 0o700)?;
            let bytes = key
                .to_bytes()
                .ok_or_else(|| io::Error::other("the key cannot be written"))?;
            whole::write(&self.path(key.fingerprint()), &bytes, 0o600)
        };
        write().map_err(|source| self.failed(source))
    }

    /// Trusts a key no longer; whether it was trusted.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn remove(&self, fingerprint: &str) -> Result<bool, SignatureError> {
        match fs::remove_file(self.path(fingerprint)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Checks a detached signature of `data`, which is read to its end and called
    /// `name` in messages.
    ///
    /// # Errors
    /// Where no trusted key made it, or it does not count.
    pub fn verify(
        &self,
        signature: &[u8],
        data: &mut dyn Read,
        name: &str,
        now: SystemTime,
    ) -> Result<Verified, SignatureError> {
        let keys = self.certificates()?;
        if keys.is_empty() {
            return Err(SignatureError::NoKeys);
        }
        policy::verify(&keys, signature, data, name, now)
    }

    fn path(&self, fingerprint: &str) -> PathBuf {
        // A fingerprint that is none leads nowhere.
        let plain: String = fingerprint
            .chars()
            .filter(char::is_ascii_hexdigit)
            .collect();
        let mut path = self.dir.join(plain.to_uppercase());
        path.set_extension(EXTENSION);
        path
    }

    fn failed(&self, source: io::Error) -> SignatureError {
        SignatureError::Keys {
            dir: self.dir.clone(),
            source,
        }
    }
}
