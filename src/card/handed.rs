//! A card that somebody else opened for us, who may open what we may not.

use std::fmt::Debug;
use std::fs::File;
use std::os::fd::OwnedFd;

use super::open::OpenError;

/// Whoever opened a card for us can do more with it than we can.
pub trait Keeper: Debug + Send + Sync {
    /// Has the reader let go of the card, with `eject`, or else the kernel see the
    /// new partitions. Says whether it let go.
    fn let_go(&self, eject: bool) -> bool;
}

/// A card, open for reading and writing.
#[derive(Debug)]
pub struct Handed {
    /// Opened for nobody else.
    pub(super) file: File,
    /// The same card past the page cache, where it has that.
    pub(super) direct: Option<File>,
    pub(super) keeper: Box<dyn Keeper>,
}

impl Handed {
    pub(super) fn new(
        file: OwnedFd,
        direct: Option<OwnedFd>,
        keeper: impl Keeper + 'static,
    ) -> Self {
        Self {
            file: file.into(),
            direct: direct.map(File::from),
            keeper: Box::new(keeper),
        }
    }

    /// The card, for looking at it.
    ///
    /// # Errors
    /// Where the process may open no more files.
    pub fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }
}

/// Why nobody opened a card for us.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// Nobody is there to do it, or whoever is does not do it for us.
    #[error("{0}")]
    Unwilling(String),
    /// It was tried.
    #[error(transparent)]
    Open(#[from] OpenError),
}
