//! An image in the making: a temporary file beside its final place, which
//! vanishes unless it is published.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::aligned::ALIGN;
use super::error::OutputError;
use crate::base::sparse::data_runs;
use crate::whole::{Existing, Unfinished};

/// An image that is not finished. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Unfinished,
    /// The same file, past the page cache: the copies of a cluster would only
    /// drive everything else out of memory.
    direct: Option<File>,
}

impl Draft {
    /// A draft of `len` bytes for `path`, all hole. Only its owner can read it:
    /// images carry host keys.
    pub(crate) fn create(path: &Path, len: u64) -> Result<Self, OutputError> {
        let failed = |source| OutputError::io("creating", path, source);
        let file = Unfinished::create(path, 0o600).map_err(failed)?;
        file.as_file().set_len(len).map_err(failed)?;
        // Not by its name: where root writes into a user's folder, that may be a link by now.
        let itself = format!("/proc/self/fd/{}", file.as_file().as_raw_fd());
        let direct = open_direct(OpenOptions::new().write(true), Path::new(&itself)).ok();
        Ok(Self { file, direct })
    }

    /// Writes the data of an aligned `chunk`, leaving holes where it is zero.
    /// Only for ranges that were not written before.
    pub(crate) fn write_sparse(&mut self, offset: u64, chunk: &[u8]) -> Result<(), OutputError> {
        data_runs(chunk).try_for_each(|run| self.write_at(offset + run.start as u64, &chunk[run]))
    }

    /// Writes `bytes` at `offset`, directly where alignment allows.
    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        let failed = |source| OutputError::io("writing", self.file.path(), source);
        let whole = match &self.direct {
            Some(_) if offset.is_multiple_of(ALIGN as u64) => bytes.len() / ALIGN * ALIGN,
            _ => 0,
        };
        let (aligned, rest) = bytes.split_at(whole);
        if let Some(direct) = &self.direct
            && whole > 0
        {
            match direct.write_all_at(aligned, offset) {
                // The file system wants something else of direct I/O than we give.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.direct = None;
                    return self.write_at(offset, bytes);
                }
                result => result.map_err(failed)?,
            }
        }
        self.file
            .as_file()
            .write_all_at(rest, offset + whole as u64)
            .map_err(failed)
    }

    /// Makes the draft share all blocks of `source`.
    pub(crate) fn clone_from(&mut self, source: &File) -> Result<(), OutputError> {
        rustix::fs::ioctl_ficlone(self.file.as_file(), source)
            .map_err(|error| OutputError::io("cloning the base to", self.file.path(), error.into()))
    }

    /// Brings everything to the disk.
    pub(crate) fn sync(&self) -> Result<(), OutputError> {
        let file = self.file.as_file();
        file.sync_all()
            .map_err(|source| OutputError::io("syncing", self.file.path(), source))
    }

    /// Where the draft lies, for reading it back.
    pub(crate) fn draft_path(&self) -> &Path {
        self.file.temporary_path()
    }

    /// The draft as a source of clones.
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the image its final name; to be called when it is synced and
    /// verified. Without `replace`, an existing file of that name wins.
    pub(crate) fn publish(self, replace: bool) -> Result<(), OutputError> {
        let path = self.file.path().to_owned();
        let existing = if replace {
            Existing::Replace
        } else {
            Existing::Keep
        };
        self.file
            .publish(existing)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => OutputError::Appeared(path),
                _ => OutputError::io("naming", &path, error),
            })
    }
}

/// Opens a file past the page cache.
///
/// # Errors
/// Among others where the file system has no direct I/O.
pub(crate) fn open_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // The flag is the same number in an i32.
    options
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path)
}
