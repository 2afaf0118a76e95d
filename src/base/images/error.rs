//! Why an image is not to be had.

use std::path::PathBuf;

use crate::base::fetch::FetchError;
use crate::base::signature::SignatureError;

/// Why an image is not to be had, or not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No name that is known.
    #[error("{0}")]
    Unknown(String),
    /// The download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Nobody is known to publish an image of that date.
    #[error(
        "no {name} of {date} is to be found: neither here, nor in the list, nor under its usual \
         address. {known}"
    )]
    NoSuchDate {
        /// Name in the catalogue.
        name: String,
        /// The date asked for.
        date: String,
        /// Dates that are known.
        known: String,
    },
    /// It is not here, and the network is not there.
    #[error(
        "{name} is not on this computer, and cannot be fetched; is there a network? (`image` in \
         cluster.toml takes the path of a file, too)"
    )]
    NotHere {
        /// Name as it was given.
        name: String,
        /// Why not.
        #[source]
        source: FetchError,
    },
    /// Its signature is not good, or there is none and one is required.
    #[error("{name} is not used{}", thrown_away(*.removed))]
    Signature {
        /// File name.
        name: String,
        /// What is wrong.
        source: SignatureError,
        /// Whether it was removed.
        removed: bool,
    },
    /// The publisher signs nothing, and a signature is required.
    #[error("{name} bears no signature ({url} is not there), and `require_signature` asks for one")]
    Unsigned {
        /// File name.
        name: String,
        /// Where it was looked for.
        url: String,
    },
    /// A list of images that is none.
    #[error("the list {url}: {what}")]
    List {
        /// Its address.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The list that names are looked up in, which somebody chose, is not to be had. Its
    /// publisher's own is not asked instead: whoever has a mirror has a reason.
    #[error(
        "the list of images that CARDMINT_OS_LIST names is not to be had; correct that address, or \
         unset it"
    )]
    OwnList(#[source] Box<ImageError>),
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(SignatureError),
    /// The store cannot be written.
    #[error("writing to {}", path.display())]
    Store {
        /// What was written to.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl ImageError {
    /// Refused for safety: exit code 3.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Fetch(error) | Self::NotHere { source: error, .. } => error.is_refusal(),
            Self::Signature { .. } | Self::Unsigned { .. } => true,
            _ => false,
        }
    }

    /// A mistake of whoever asked: exit code 2.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::NoSuchDate { .. } => true,
            Self::Fetch(error) | Self::NotHere { source: error, .. } => error.is_usage(),
            _ => false,
        }
    }

    /// The user asked to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Fetch(FetchError::Interrupted)
                | Self::NotHere {
                    source: FetchError::Interrupted,
                    ..
                }
        )
    }
}

fn thrown_away(removed: bool) -> &'static str {
    if removed { ", and was thrown away" } else { "" }
}
