//! Why a base cannot be used.

use std::io;
use std::path::PathBuf;

use super::Sha256Digest;
use crate::interrupt::Interrupted;

/// Why a base cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The file cannot be opened or read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The path leads to no file.
    #[error("{} is a directory; give an image file", .0.display())]
    Directory(PathBuf),
    /// The path leads to something without a length.
    #[error("{} is neither a file nor a block device; give an image file", .0.display())]
    NotAFile(PathBuf),
    /// The contents are damaged.
    #[error(
        "{name} is damaged: {what}. Download it again, or build it again if it is one of yours"
    )]
    Damaged {
        /// Name of the base.
        name: String,
        /// What is wrong, and where.
        what: String,
    },
    /// What was unpacked into the cache is no longer what it was. It was removed.
    #[error(
        "{name} was unpacked into the cache, and what lies there is damaged at byte {offset}; the \
         disk may be failing. It was removed: run this again, and it is unpacked anew"
    )]
    Rotten {
        /// Name of the base.
        name: String,
        /// Where the first chunk begins that differs, in the unpacked bytes.
        offset: u64,
    },
    /// Not an image that cardmint reads.
    #[error("{name}: {what}")]
    Unsuitable {
        /// Name of the base.
        name: String,
        /// Why it is not, and what to do.
        what: String,
    },
    /// The digest is not the one asked for.
    #[error(
        "{name} is not the image that the manifest asks for: its sha256 is {published} as \
         published and {raw} uncompressed, wanted is {wanted}. Download it again, or correct \
         `sha256` in cluster.toml"
    )]
    Mismatch {
        /// Name of the base.
        name: String,
        /// Digest in the manifest.
        wanted: Sha256Digest,
        /// Digest of the file.
        published: Sha256Digest,
        /// Digest of its uncompressed bytes.
        raw: Sha256Digest,
    },
    /// Somebody wrote to the file while it was read.
    #[error("{0} changed while it was read; start again when nothing writes to it")]
    Changed(String),
    /// The cache cannot hold a decompressed base.
    #[error(
        "keeping the decompressed {name} in {}. Free some space there, or set XDG_CACHE_HOME to \
         a place with more", dir.display()
    )]
    Cache {
        /// Name of the base.
        name: String,
        /// The cache directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Whoever takes the bytes failed.
    #[error("passing on the bytes of {name}")]
    Consumer {
        /// Name of the base.
        name: String,
        /// What the consumer said.
        #[source]
        source: io::Error,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
