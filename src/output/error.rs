//! Why an image was not made.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::BaseError;
use crate::interrupt::Interrupted;
use crate::whole::folder_of;

/// Why an image was not made. Nothing stands under its final name.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// No space left.
    #[error(
        "{} is full. Free some space there, or choose another place with --out; \
         nothing unfinished was kept", .0.display()
    )]
    Full(PathBuf),
    /// The cache cannot hold the base, compressed anew.
    #[error(
        "keeping {name}, compressed anew, in {}. Free some space there, or set XDG_CACHE_HOME to \
         a place with more", dir.display()
    )]
    Cache {
        /// Name of the base.
        name: String,
        /// The directory in the cache.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Something else failed on the image's file.
    #[error("{verb} {}", path.display())]
    File {
        /// What was tried, as a gerund.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The image appeared while it was being made.
    #[error(
        "{} appeared while it was being made; nothing was replaced. \
         Move it away, or use --force", .0.display()
    )]
    Appeared(PathBuf),
    /// What was written does not read back.
    #[error(
        "{} does not read back as written (at byte {offset}). The disk or its connection \
         is failing; nothing unfinished was kept", path.display()
    )]
    ReadBack {
        /// The image.
        path: PathBuf,
        /// Where the first chunk begins that differs.
        offset: u64,
    },
    /// The base failed.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl OutputError {
    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Interrupted(_) | Self::Base(BaseError::Interrupted(_))
        )
    }

    /// Wraps what the operating system said of `path`.
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            let dir = folder_of(path);
            return Self::Full(dir.to_owned());
        }
        Self::File {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}
