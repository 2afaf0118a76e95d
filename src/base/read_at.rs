//! Random access to bytes, whatever they are stored in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a known length that can be read at any offset, by many threads.
pub trait ReadAt: Send + Sync + std::fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the range leaves the source, `InvalidData` where
    /// the source is corrupt, otherwise what the operating system says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

/// Bytes in memory: the base of unit tests.
#[derive(Clone, Debug, Default)]
pub struct MemBase(pub Vec<u8>);

impl ReadAt for MemBase {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = start
            .checked_add(buf.len())
            .and_then(|end| self.0.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// A raw file or block device whose length was taken when it was opened.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    len: u64,
}

impl RawFile {
    /// Takes an open file; its length is found by seeking, which also works
    /// for block devices.
    ///
    /// # Errors
    /// What the operating system says of the seek.
    pub fn new(mut file: File) -> io::Result<Self> {
        let len = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self { file, len })
    }

    /// The file itself, for copies that the kernel does.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for RawFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}
