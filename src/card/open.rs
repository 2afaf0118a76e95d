//! A card, opened for nobody else, and surely the one that was asked about.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::Errno;

use super::device::{Device, DeviceId};
use super::handed::{Handed, Keeper};
use super::ioctl;
use super::medium::{BLOCK_LEN, Medium};
use super::sudo::sudo_again;

/// Why a card was not opened. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another program holds it for itself.
    #[error(
        "{} is in use by another program, perhaps another cardmint. Close that first \
         (`fuser -v {}` tells what it is)", .0.display(), .0.display()
    )]
    Busy(PathBuf),
    /// The user may not write to it.
    #[error(
        "you may not write to {}, and nobody opened it for you{}. Run the same once more {}, \
         or join the group that may (`ls -l {}` tells which)",
        path.display(), in_brackets(tried), sudo_again(), path.display()
    )]
    Denied {
        /// Where it is.
        path: PathBuf,
        /// Who was asked to open it, and what they said.
        tried: Vec<String>,
    },
    /// The card or its file system lets nobody write.
    #[error("{} is write-protected", .0.display())]
    ReadOnly(PathBuf),
    /// It is not the card that was confirmed.
    #[error(
        "{} is not the card that it was a moment ago ({what}). Nothing was written; \
         look at `cardmint devices` and start again", path.display()
    )]
    Changed {
        /// Where it was.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// Pulled out.
    #[error("{} is gone: its card was pulled out", .0.display())]
    Gone(PathBuf),
    /// Anything else.
    #[error("opening {}", path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What an error of the operating system means for a card.
    pub(super) fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::BUSY) => Self::Busy(path),
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied {
                path,
                tried: Vec::new(),
            },
            Some(Errno::ROFS) => Self::ReadOnly(path),
            Some(Errno::NOMEDIUM | Errno::NXIO | Errno::NODEV | Errno::NOENT) => Self::Gone(path),
            _ => Self::Io { path, source },
        }
    }
}

fn in_brackets(list: &[String]) -> String {
    if list.is_empty() {
        String::new()
    } else {
        format!(" ({})", list.join("; "))
    }
}

/// An open card. As long as it is open, nobody mounts it.
#[derive(Debug)]
pub struct OpenCard {
    path: PathBuf,
    id: DeviceId,
    file: File,
    /// The same card past the page cache, where it has that.
    direct: Option<File>,
    /// Who opened it for us, where we may not.
    keeper: Option<Box<dyn Keeper>>,
}

impl OpenCard {
    /// Opens the very card that `device` describes, exclusively.
    ///
    /// # Errors
    /// Where it is another card by now, or cannot be had alone.
    pub fn open(device: &Device) -> Result<Self, OpenError> {
        let path = &device.path;
        let failed = |source| OpenError::of(path, source);
        let is_device = device.id.inode.is_none();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if is_device {
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let file = options.open(path).map_err(failed)?;
        if !is_device {
            // What O_EXCL is to a device.
            file.try_lock().map_err(|error| match error {
                std::fs::TryLockError::WouldBlock => OpenError::Busy(path.clone()),
                std::fs::TryLockError::Error(source) => failed(source),
            })?;
        }
        let card = Self {
            path: path.clone(),
            id: device.id.clone(),
            direct: open_same(path, &file, OFlags::RDWR | OFlags::DIRECT).ok(),
            file,
            keeper: None,
        };
        card.check_identity(&card.file)?;
        Ok(card)
    }

    /// Takes the very card that `device` describes from whoever opened it for us.
    ///
    /// # Errors
    /// Where it is another card by now.
    pub fn take(device: &Device, handed: Handed) -> Result<Self, OpenError> {
        let card = Self {
            path: device.path.clone(),
            id: device.id.clone(),
            file: handed.file,
            direct: handed.direct,
            keeper: Some(handed.keeper),
        };
        card.check_identity(&card.file)?;
        if let Some(direct) = &card.direct {
            card.check_identity(direct)?;
        }
        Ok(card)
    }

    /// Makes sure that an open file is what was confirmed.
    fn check_identity(&self, file: &File) -> Result<(), OpenError> {
        let changed = |what| {
            Err(OpenError::Changed {
                path: self.path.clone(),
                what,
            })
        };
        let failed = |source| OpenError::of(&self.path, source);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.file_type().is_block_device() {
            if split(metadata.rdev()) != self.id.number || self.id.inode.is_some() {
                return changed("it is another device");
            }
            // Kernels before 5.15 count no media.
            if let Some(confirmed) = self.id.diskseq
                && ioctl::diskseq(file).map_err(failed)? != confirmed
            {
                return changed("another card was inserted");
            }
        } else if Some(metadata.ino()) != self.id.inode || split(metadata.dev()) != self.id.number {
            return changed("it is another file");
        }
        let len = (&*file).seek(SeekFrom::End(0)).map_err(failed)?;
        if len != self.id.len {
            return changed("its size differs");
        }
        Ok(())
    }

    /// Where the card is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the reader let go of the card, with `eject`, or else the kernel see the
    /// new partitions. Says whether it let go.
    pub fn release(&self, eject: bool) -> bool {
        if self.id.inode.is_some() {
            return false;
        }
        if let Some(keeper) = &self.keeper {
            return keeper.let_go(eject);
        }
        ioctl::let_go(&self.file, eject)
    }

    /// Direct I/O wants whole blocks.
    fn direct_for(&self, offset: u64, len: usize) -> Option<&File> {
        let aligned = offset.is_multiple_of(BLOCK_LEN) && (len as u64).is_multiple_of(BLOCK_LEN);
        self.direct.as_ref().filter(|_| aligned)
    }
}

impl Medium for OpenCard {
    fn len(&self) -> u64 {
        self.id.len
    }

    fn write_some_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = self.direct_for(offset, bytes.len()) {
            match direct.write_at(bytes, offset) {
                // Some file systems want more of direct I/O than whole blocks.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        self.file.write_at(bytes, offset)
    }

    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = self.direct_for(offset, buf.len()) {
            match direct.read_at(buf, offset) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        // Only what is clean leaves the cache; everything was flushed before.
        let len = std::num::NonZero::new(buf.len() as u64);
        let _ = fadvise(&self.file, offset, len, Advice::DontNeed);
        self.file.read_at(buf, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn discard(&self) -> io::Result<()> {
        ioctl::discard(&self.file, self.id.len).map_err(|error| {
            match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => {
                    ErrorKind::Unsupported.into()
                }
                _ => error,
            }
        })
    }

    fn check(&self) -> io::Result<()> {
        self.check_identity(&self.file)
            .map_err(|error| io::Error::new(ErrorKind::NotFound, error))
    }

    fn can_be_full(&self) -> bool {
        self.id.inode.is_some()
    }

    fn reopen(&self) -> io::Result<Box<dyn Medium + '_>> {
        // Needs more rights than writing does; direct I/O goes past the cache
        // anyway.
        let _ = ioctl::flush_buffers(&self.file);
        let again = |file, direct| Self {
            path: self.path.clone(),
            id: self.id.clone(),
            file,
            direct,
            keeper: None,
        };
        let card = match open_same(&self.path, &self.file, OFlags::RDONLY) {
            Ok(file) => {
                let direct = open_same(&self.path, &file, OFlags::DIRECT).ok();
                again(file, direct)
            }
            // Who may not open it reads through what was handed over.
            Err(error) if self.keeper.is_some() && error.kind() == ErrorKind::PermissionDenied => {
                let direct = self.direct.as_ref().map(File::try_clone).transpose()?;
                again(self.file.try_clone()?, direct)
            }
            Err(error) => return Err(error),
        };
        card.check_identity(&card.file)
            .map_err(|_| io::Error::from_raw_os_error(Errno::NODEV.raw_os_error()))?;
        Ok(Box::new(card))
    }
}

/// Opens once more what `file` has open.
fn open_same(path: &Path, file: &File, flags: OFlags) -> io::Result<File> {
    let again = OpenOptions::new()
        .read(true)
        .write(flags.contains(OFlags::RDWR))
        .custom_flags((flags & OFlags::DIRECT).bits().cast_signed())
        .open(path)?;
    let (one, other) = (file.metadata()?, again.metadata()?);
    if (one.dev(), one.ino(), one.rdev()) != (other.dev(), other.ino(), other.rdev()) {
        return Err(io::Error::from_raw_os_error(Errno::NODEV.raw_os_error()));
    }
    Ok(again)
}

fn split(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}
