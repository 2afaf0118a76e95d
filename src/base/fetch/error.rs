//! Why a download failed.

use std::io;
use std::path::PathBuf;

use indicatif::HumanBytes;

use super::room::RESERVE;
use crate::base::{BaseError, Sha256Digest};
use crate::interrupt::Interrupted;

/// Why a download failed. Every message names the address or the file.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an address that can be asked.
    #[error("`{url}` is not an address of an image: {what}")]
    NotAnAddress {
        /// What was given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// What comes by http can be changed on its way, and there is nothing to check it by.
    #[error(
        "{0} is not encrypted, and nothing says what it should hold. Give its sha256 beside it, \
         or an https address"
    )]
    Insecure(String),
    /// The server sends elsewhere, without encryption.
    #[error(
        "{url} leads on to {to}, which is not encrypted. Not followed; if you trust that \
         address, give it yourself together with its sha256"
    )]
    Downgraded {
        /// The address.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// Redirections without an end.
    #[error("{0} leads on and on to other addresses; check the address")]
    Redirected(String),
    /// The server has it not, or not for us.
    #[error("{url}: the server answers {status}{}", advice(*status))]
    Refused {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server does not prove who it is.
    #[error(
        "{url}: the server does not prove who it is ({what}). Is this computer's clock right, \
         and are its CA certificates up to date (package ca-certificates, or SSL_CERT_FILE)?"
    )]
    Untrusted {
        /// The address.
        url: String,
        /// What TLS says.
        what: String,
    },
    /// Too many attempts without a byte.
    #[error(
        "{url}: gave up after {attempts} attempts ({what}){}", going_on(*.kept)
    )]
    Unreachable {
        /// The address.
        url: String,
        /// How often it was tried since the last byte.
        attempts: u32,
        /// What went wrong the last time.
        what: String,
        /// Whether a part has arrived, which is kept.
        kept: bool,
    },
    /// What arrived is not what was promised.
    #[error(
        "{name} is not what was promised: its sha256 is {found}, and {wanted} was expected. It is \
         not used. The download may be damaged or forged, or the digest belongs to another image"
    )]
    Mismatch {
        /// Name of the image.
        name: String,
        /// The digest promised.
        wanted: Sha256Digest,
        /// The digest of what came.
        found: Sha256Digest,
    },
    /// The server has another length than promised.
    #[error("{url} has {found} bytes, and {wanted} were promised; it is another image")]
    WrongLength {
        /// The address.
        url: String,
        /// Bytes promised.
        wanted: u64,
        /// Bytes that the server has.
        found: u64,
    },
    /// A file without a byte.
    #[error("{0} is empty, which no image is; check the address")]
    Empty(String),
    /// What comes may be a part, and there is nothing to check it by.
    #[error(
        "the server does not say how long {0} is, so that nobody could tell if the connection was \
         cut. If it is an image, give its sha256 beside it; or download it by hand"
    )]
    NoLength(String),
    /// More than any image has.
    #[error("{url} goes on after {}; that is no image", HumanBytes(*.limit))]
    TooLong {
        /// The address.
        url: String,
        /// Bytes taken at most.
        limit: u64,
    },
    /// The cache has no room for it.
    #[error(
        "there is no room for {name} in {}: {} still to come, {} are to stay free, and {} are \
         left. Free some space (`cardmint images prune` does), or set XDG_CACHE_HOME to a place \
         with more", dir.display(), to_come(*.needed), HumanBytes(RESERVE), HumanBytes(*.free)
    )]
    NoSpace {
        /// Name of the image.
        name: String,
        /// The cache directory.
        dir: PathBuf,
        /// Bytes still to come, where that is known.
        needed: Option<u64>,
        /// Bytes free.
        free: u64,
    },
    /// The cache cannot be used.
    #[error("keeping images in {}", dir.display())]
    Cache {
        /// The cache directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What came cannot be compared with what was promised.
    #[error("{name} has arrived, and could not be read to be checked; it is kept: run this again")]
    Unread {
        /// Name of the image.
        name: String,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// This computer has no CA certificates, or they cannot be read.
    #[error(
        "no CA certificates are found on this computer, so that no server can prove who it is \
         ({0}). Install the package ca-certificates, or set SSL_CERT_FILE"
    )]
    NoRoots(String),
    /// A proxy in the environment that is none.
    #[error(
        "`{0}` in the environment names no proxy that can be used, such as http://proxy:3128; \
         correct or unset it"
    )]
    Proxy(&'static str),
    /// The user asked to stop.
    #[error("interrupted; what has arrived is kept, and the next run goes on from there")]
    Interrupted,
}

impl From<Interrupted> for FetchError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl FetchError {
    /// Refused for safety: what came, or how, is not to be trusted.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Insecure(_)
                | Self::Downgraded { .. }
                | Self::Untrusted { .. }
                | Self::Mismatch { .. }
                | Self::WrongLength { .. }
        )
    }

    /// The address is not one: a mistake of whoever gave it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotAnAddress { .. } | Self::Proxy(_))
    }

    /// The server says that there is no such thing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 403 | 404 | 410,
                ..
            }
        )
    }

    /// The server was not reached: this computer may be offline.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

fn to_come(needed: Option<u64>) -> String {
    match needed {
        Some(needed) => format!("{} are", HumanBytes(needed)),
        None => "more is".to_owned(),
    }
}

fn going_on(kept: bool) -> &'static str {
    match kept {
        true => ". What has arrived is kept: the next run goes on from there",
        false => "",
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it does not let us have it",
        404 | 410 => ": there is no such file. Check the address",
        407 => ": the proxy wants a password; set it in https_proxy",
        _ => "",
    }
}
