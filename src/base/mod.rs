//! Where bytes come from: the stock image, read-only, by random access.
//!
//! Raw images and xz files of many blocks are read in place. Everything else is
//! decompressed once into the [`Cache`]. [`Base`] hides the difference.
//!
//! How an image gets here: [`catalogue`] knows names, [`images`] turns a name into
//! verified bytes, [`fetch`] downloads, [`signature`] checks who signed, [`prune`] tidies.

mod cache;
pub mod catalogue;
pub mod chunk;
pub(crate) mod cursor;
pub mod digest;
mod digests;
mod error;
pub mod fetch;
mod format;
pub mod images;
mod pass;
pub mod prune;
pub mod read_at;
pub mod signature;
pub(crate) mod sparse;
pub(crate) mod spool;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod xz;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cache::Cache;
pub use chunk::{CHUNK_LEN, ChunkDigests};
pub use digest::Sha256Digest;
pub use error::BaseError;
pub use format::Format;
pub use read_at::{MemBase, ReadAt};

use self::cache::{Known, Stamp};
use self::read_at::RawFile;
use self::spool::Spooling;
pub(crate) use self::spool::digest_of_file;
use self::xz::{IndexError, XzBase};
use crate::interrupt::Interrupt;
use crate::report::event::Sink;

/// A stock image.
#[derive(Debug)]
pub struct Base {
    name: String,
    format: Format,
    file: Option<BaseFile>,
    published_len: u64,
    store: Store,
}

/// The file that a base was opened from.
#[derive(Debug)]
struct BaseFile {
    path: PathBuf,
    file: Arc<RawFile>,
    /// None for a device, whose contents change without a trace.
    stamp: Option<Stamp>,
}

/// Where the uncompressed bytes are.
#[derive(Debug)]
enum Store {
    Raw(Arc<RawFile>),
    Xz(XzBase),
    Spooled(RawFile),
}

/// All digests of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Of the file as published.
    pub published: Sha256Digest,
    /// Of its uncompressed bytes.
    pub raw: Sha256Digest,
    /// Of each uncompressed chunk.
    pub chunks: ChunkDigests,
}

impl Base {
    /// Opens an image in any known format; decompresses it into the cache if
    /// that is the only way to read it at random.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, or holds no image.
    pub fn open(
        path: &Path,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<Self, BaseError> {
        Self::open_by(path, cache, sink, interrupt, |spooling, file, stamp| {
            spooling.run(file, stamp)
        })
    }

    /// Opens an image and digests all of it: whatever is remembered of it counts for
    /// nothing. What cannot be read at random is decompressed into the cache under no
    /// name, so that nothing is left of it in the end.
    ///
    /// # Errors
    /// As [`Base::open`] and [`Base::digest_while`].
    pub fn open_afresh(
        path: &Path,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<(Self, Digests), BaseError> {
        let mut digests = None;
        let base = Self::open_by(path, cache, sink, interrupt, |spooling, file, stamp| {
            let (unpacked, found) = spooling.run_unnamed(file, stamp)?;
            digests = Some(found);
            Ok(unpacked)
        })?;
        let digests = match digests {
            Some(digests) => digests,
            None => base.digest_anew(sink, interrupt, &mut |_, _, _| Ok(()))?,
        };
        base.check_unchanged()?;
        Ok((base, digests))
    }

    /// Opens an image; what has to be decompressed is by `spool`.
    fn open_by(
        path: &Path,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        spool: impl FnOnce(&Spooling<'_>, &File, Option<&Stamp>) -> Result<RawFile, BaseError>,
    ) -> Result<Self, BaseError> {
        let unreadable = |source| BaseError::Read {
            path: path.to_owned(),
            source,
        };
        let file = open_file(path)?;
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let format = read_format(&file).map_err(unreadable)?;
        let raw = Arc::new(RawFile::new(file).map_err(unreadable)?);
        let spool = || {
            let spooling = Spooling {
                path,
                name: &name,
                format,
                cache,
                sink,
                interrupt,
            };
            spool(&spooling, raw.file(), stamp.as_ref()).map(Store::Spooled)
        };
        let store = match format {
            Format::Raw => Store::Raw(Arc::clone(&raw)),
            Format::Xz => match XzBase::open(Arc::<RawFile>::clone(&raw)) {
                Ok(xz) => Store::Xz(xz),
                Err(IndexError::NotSeekable) => spool()?,
                Err(IndexError::Io(source)) => return Err(unreadable(source)),
                Err(error @ IndexError::Damaged(_)) => {
                    return Err(BaseError::Damaged {
                        name,
                        what: error.to_string(),
                    });
                }
            },
            Format::Gzip | Format::Zstd | Format::Bzip2 | Format::Zip => spool()?,
        };
        let published_len = raw.len();
        let file = Some(BaseFile {
            path: path.to_owned(),
            file: raw,
            stamp,
        });
        Ok(Self {
            name,
            format,
            file,
            published_len,
            store,
        })
    }

    /// An image that is part of the program: an xz file of many blocks.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self, BaseError> {
        let source = Arc::new(MemBase(bytes.to_vec()));
        let xz = XzBase::open(source).map_err(|error| BaseError::Damaged {
            name: name.to_owned(),
            what: error.to_string(),
        })?;
        Ok(Self {
            name: name.to_owned(),
            format: Format::Xz,
            file: None,
            published_len: bytes.len() as u64,
            store: Store::Xz(xz),
        })
    }

    /// File name, or catalogue name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it was opened from; none for what is part of the program.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// How the base is stored.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it was decompressed to be read at random.
    pub(crate) fn is_spooled(&self) -> bool {
        matches!(self.store, Store::Spooled(_))
    }

    /// Length of the file as published, in bytes.
    #[must_use]
    pub fn published_len(&self) -> u64 {
        self.published_len
    }

    /// The uncompressed bytes as a file, where they are one: the kernel can
    /// then copy or share them.
    #[must_use]
    pub fn raw_file(&self) -> Option<&File> {
        match &self.store {
            Store::Raw(raw) => Some(raw.file()),
            Store::Spooled(raw) => Some(raw.file()),
            Store::Xz(_) => None,
        }
    }

    /// The base as it was published, in case it can be taken over piece by piece:
    /// its bytes, and the file that they are, where they are one.
    pub(crate) fn compressed(&self) -> Option<(&dyn ReadAt, Option<&File>)> {
        match (&self.store, &self.file) {
            (Store::Xz(xz), file) => {
                let file = file.as_ref().map(|file| file.file.file());
                Some((xz.source(), file))
            }
            (Store::Spooled(_), Some(BaseFile { file, .. })) => Some((&**file, Some(file.file()))),
            (Store::Raw(_) | Store::Spooled(_), _) => None,
        }
    }

    /// Makes sure that the file is what it was when its digest was taken.
    pub(crate) fn check_published(
        &self,
        digests: &Digests,
        interrupt: &Interrupt,
    ) -> Result<(), BaseError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if self.published_digest(file, interrupt)? == digests.published {
            return self.check_unchanged();
        }
        Err(BaseError::Damaged {
            name: self.name.clone(),
            what: "its bytes are not what they were when it was first read".to_owned(),
        })
    }

    fn failed(&self, source: io::Error) -> BaseError {
        let name = self.name.clone();
        match source.kind() {
            io::ErrorKind::InvalidData => BaseError::Damaged {
                name,
                what: source.to_string(),
            },
            io::ErrorKind::UnexpectedEof => BaseError::Changed(name),
            io::ErrorKind::OutOfMemory => BaseError::Unsuitable {
                name,
                what: format!("{source}; unpack it yourself and give the .img"),
            },
            _ => {
                let path = self
                    .file
                    .as_ref()
                    .map_or_else(PathBuf::new, |file| file.path.clone());
                BaseError::Read { path, source }
            }
        }
    }

    fn published_digest(
        &self,
        file: &BaseFile,
        interrupt: &Interrupt,
    ) -> Result<Sha256Digest, BaseError> {
        digest_of_file(file.file.file(), interrupt, &|source| self.failed(source))
    }

    /// Makes sure that the file is the one that was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), BaseError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let metadata = file
            .file
            .file()
            .metadata()
            .map_err(|source| self.failed(source))?;
        if Stamp::of(&metadata) == file.stamp {
            Ok(())
        } else {
            Err(BaseError::Changed(self.name.clone()))
        }
    }

    fn recall(&self, cache: &Cache) -> Option<Known> {
        let file = self.file.as_ref()?;
        cache.recall(&file.path, file.stamp.as_ref())
    }

    /// Keeps what the cache knows of a spooled file.
    fn remember(&self, cache: &Cache, mut known: Known) {
        let Some(file) = &self.file else { return };
        if known.spool.is_none() {
            known.spool = self.recall(cache).and_then(|old| old.spool);
        }
        cache.remember(&file.path, file.stamp.as_ref(), known);
    }
}

impl ReadAt for Base {
    fn len(&self) -> u64 {
        match &self.store {
            Store::Raw(raw) => raw.len(),
            Store::Xz(xz) => xz.len(),
            Store::Spooled(raw) => raw.len(),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.store {
            Store::Raw(raw) => raw.read_exact_at(buf, offset),
            Store::Xz(xz) => xz.read_exact_at(buf, offset),
            Store::Spooled(raw) => raw.read_exact_at(buf, offset),
        }
    }
}

/// Opens what can be read at random. Looks before it opens: opening a pipe waits
/// for somebody to write to it.
fn open_file(path: &Path) -> Result<File, BaseError> {
    let unreadable = |source| BaseError::Read {
        path: path.to_owned(),
        source,
    };
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(BaseError::Directory(path.to_owned()));
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(BaseError::NotAFile(path.to_owned()));
    }
    File::open(path).map_err(unreadable)
}

/// The format of an open file, going by its first bytes.
pub(crate) fn read_format(file: &File) -> io::Result<Format> {
    let mut head = [0; Format::MAGIC_LEN];
    let mut len = 0;
    while len < head.len() {
        match file.read_at(&mut head[len..], len as u64)? {
            0 => break,
            n => len += n,
        }
    }
    Ok(Format::of(&head[..len]))
}
