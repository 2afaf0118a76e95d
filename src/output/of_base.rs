//! Errors of reading the base, told apart from those of the image that is made of it.

use std::io;

use crate::base::ReadAt;

/// Bytes of the base, in whatever file; errors of reading them hold an [`Unreadable`].
#[derive(Debug)]
pub(super) struct OfBase<T>(pub(super) T);

/// Why the base could not be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Unreadable(pub(super) io::Error);

impl<T: ReadAt> ReadAt for OfBase<T> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let marked = |error: io::Error| io::Error::new(error.kind(), Unreadable(error));
        self.0.read_exact_at(buf, offset).map_err(marked)
    }
}
