//! A position over a [`ReadAt`], for parsers that want `Read + Seek`.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::ReadAt;

/// Reads a [`ReadAt`] from a moving position. Writes are refused: some parsers
/// ask for `Write` even where they only read.
#[derive(Debug)]
pub(crate) struct ReadCursor<'a> {
    source: &'a dyn ReadAt,
    position: u64,
}

impl<'a> ReadCursor<'a> {
    /// Starts at offset 0.
    #[must_use]
    pub(crate) fn new(source: &'a dyn ReadAt) -> Self {
        Self {
            source,
            position: 0,
        }
    }
}

/// Where a seek leads in something of `len` bytes.
///
/// # Errors
/// `InvalidInput` before the start or past 2^63.
pub(crate) fn seek_target(from: SeekFrom, position: u64, len: u64) -> io::Result<u64> {
    match from {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::Current(delta) => position.checked_add_signed(delta),
        SeekFrom::End(delta) => len.checked_add_signed(delta),
    }
    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))
}

impl Read for ReadCursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.position);
        let n = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.source.read_exact_at(&mut buf[..n], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for ReadCursor<'_> {
    fn seek(&mut self, from: SeekFrom) -> io::Result<u64> {
        self.position = seek_target(from, self.position, self.source.len())?;
        Ok(self.position)
    }
}

impl Write for ReadCursor<'_> {
    fn write(&mut self, _buf: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
