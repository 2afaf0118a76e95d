//! Public keys, as publishers hand them out.

use std::fmt;

use pgp::composed::{PublicOrSecret, SignedPublicKey};
use pgp::ser::Serialize as _;
use pgp::types::KeyDetails as _;

use super::{Basis, SignatureError, policy};
use crate::base::Sha256Digest;

/// A key with all its signatures has some kilobytes.
const MAX_LEN: usize = 1 << 20;
/// Characters of a name that are shown.
const MAX_NAME: usize = 200;

/// An OpenPGP public key with its subkeys and names.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub(super) key: SignedPublicKey,
    fingerprint: String,
}

impl Certificate {
    /// The keys in a file, armoured or not. `name` is for messages.
    ///
    /// # Errors
    /// Where there is none, or a secret one.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Vec<Self>, SignatureError> {
        let no_key = || SignatureError::NotAKey(name.to_owned());
        if bytes.len() > MAX_LEN {
            return Err(no_key());
        }
        // Binary packets have the topmost bit set (RFC 9580, 4.2).
        let is_binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let keys: Vec<PublicOrSecret> = if is_binary {
            let found = PublicOrSecret::from_bytes_many(bytes);
            found.and_then(Iterator::collect).map_err(|_| no_key())?
        } else {
            let found = PublicOrSecret::from_armor_many(bytes);
            let keys = found.and_then(|(keys, _)| keys.collect());
            keys.map_err(|_| no_key())?
        };
        if keys.is_empty() {
            return Err(no_key());
        }
        let public = |key| match key {
            PublicOrSecret::Public(key) => Ok(Self::of(key)),
            PublicOrSecret::Secret(_) => Err(SignatureError::SecretKey(name.to_owned())),
        };
        keys.into_iter().map(public).collect()
    }

    fn of(key: SignedPublicKey) -> Self {
        let fingerprint = key.primary_key.fingerprint().to_string().to_uppercase();
        Self { key, fingerprint }
    }

    /// Fingerprint of the primary key: 40 hex digits, or 64 of a version 6 key.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whose key it says it is, fit for a terminal.
    #[must_use]
    pub fn user_id(&self) -> Option<String> {
        let user = self.key.details.users.first()?;
        let name = String::from_utf8_lossy(user.id.id()).into_owned();
        let plain = name.chars().filter(|c| !c.is_control());
        Some(plain.take(MAX_NAME).collect())
    }

    /// By what its signatures are judged; `None` where that cannot be told.
    pub(in crate::base) fn basis(&self) -> Option<Basis> {
        Some(Basis {
            certificate: Sha256Digest::of(&self.to_bytes()?),
            policy: policy::VERSION,
        })
    }

    /// It as bytes; `None` where the library cannot write what it has read.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        self.key.to_bytes().ok()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}
