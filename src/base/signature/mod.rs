//! Detached OpenPGP signatures (RFC 9580) of images, by keys that the user trusts.

mod certificate;
mod keyring;
pub(crate) mod policy;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::certificate::Certificate;
pub use self::keyring::Keyring;
use super::Sha256Digest;

/// A signature that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Fingerprint of the key that the user trusts.
    pub fingerprint: String,
    /// Whose key it says it is.
    pub user_id: Option<String>,
    /// When it was made.
    pub made: Timestamp,
    /// By what that was judged, where it can be told.
    pub basis: Option<Basis>,
}

/// By what a signature was judged. The same may be another one tomorrow: a key that is
/// trusted anew may say that it was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// SHA-256 of the key with all that it says of itself.
    certificate: Sha256Digest,
    /// Version of the rules.
    policy: u32,
}

/// Why a signature, or a key, is no good.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// No key is trusted.
    #[error(
        "no key is trusted that could have signed it. `cardmint images trust KEYFILE` trusts a \
         publisher's key"
    )]
    NoKeys,
    /// Another key made it.
    #[error(
        "it is signed by the key {0}, which is not among those you trust. If that is the \
         publisher's, `cardmint images trust KEYFILE` trusts it"
    )]
    Stranger(String),
    /// The data is not what was signed.
    #[error("its signature does not fit: it is damaged, or somebody changed it")]
    Bad,
    /// It could be forged, or its key could.
    #[error("its signature is too weak to prove anything: {0}")]
    Weak(String),
    /// The key was not to be used any more, or not yet, or not for this.
    #[error("its signature does not count: {0}")]
    Void(String),
    /// Not a signature.
    #[error("what lies beside it is no OpenPGP signature")]
    NotASignature,
    /// Not a key.
    #[error("{0} holds no OpenPGP public key")]
    NotAKey(String),
    /// Somebody is about to give a secret away.
    #[error("{0} holds a secret key; export the public one (gpg --export --armor)")]
    SecretKey(String),
    /// A trusted key's file is damaged.
    #[error("the trusted key {} is damaged; delete the file and trust the key again", .0.display())]
    DamagedKey(PathBuf),
    /// The data cannot be read.
    #[error("reading {name}")]
    Read {
        /// Name of the data.
        name: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The keys cannot be read or written.
    #[error("the trusted keys in {}", dir.display())]
    Keys {
        /// Their directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl SignatureError {
    /// Whether it says what a signature is worth, and not that nobody could look.
    pub(in crate::base) fn is_judgement(&self) -> bool {
        match self {
            Self::Stranger(_) | Self::Bad | Self::Weak(_) | Self::Void(_) | Self::NotASignature => {
                true
            }
            Self::NoKeys
            | Self::NotAKey(_)
            | Self::SecretKey(_)
            | Self::DamagedKey(_)
            | Self::Read { .. }
            | Self::Keys { .. } => false,
        }
    }
}
