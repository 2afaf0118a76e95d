//! Where bytes come from: the stock image, read-only, by random access.
//!
//! Raw images and xz files of many blocks are read in place. Everything else is
//! decompressed once into the [`Cache`]. [`Base`] hides the difference.

mod cache;
pub mod chunk;
pub(crate) mod cursor;
pub mod digest;
mod error;
mod format;
mod pass;
pub mod read_at;
pub(crate) mod sparse;
mod spool;
mod xz;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cache::Cache;
pub use chunk::{CHUNK_LEN, ChunkDigests};
pub use digest::Sha256Digest;
pub use error::BaseError;
pub use format::Format;
pub use read_at::{MemBase, ReadAt};

use self::cache::{Known, Stamp};
use self::chunk::{ChunkHasher, Each};
use self::read_at::RawFile;
use self::spool::Spooling;
use self::xz::{IndexError, XzBase};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

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
    stamp: Stamp,
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
        let unreadable = |source| BaseError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(BaseError::Directory(path.to_owned()));
        }
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let format = read_format(&file).map_err(unreadable)?;
        let raw = Arc::new(RawFile::new(file).map_err(unreadable)?);
        let stamp = Stamp::of(&metadata);
        let spool = |format| {
            let spooling = Spooling {
                path,
                name: &name,
                format,
                cache,
                sink,
                interrupt,
            };
            spooling
                .run(raw.file(), &stamp)
                .map(|(spooled, _)| Store::Spooled(spooled))
        };
        let store = match format {
            Format::Raw => Store::Raw(Arc::clone(&raw)),
            Format::Xz => match XzBase::open(Arc::<RawFile>::clone(&raw)) {
                Ok(xz) => Store::Xz(xz),
                Err(IndexError::NotSeekable) => spool(format)?,
                Err(IndexError::Io(source)) => return Err(unreadable(source)),
                Err(error @ IndexError::Damaged(_)) => {
                    return Err(BaseError::Damaged {
                        name,
                        what: error.to_string(),
                    });
                }
            },
            Format::Gzip | Format::Zstd | Format::Bzip2 | Format::Zip => spool(format)?,
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

    /// How the base is stored.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
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

    /// The digests, where they are known without reading the base.
    #[must_use]
    pub fn known_digests(&self, cache: &Cache) -> Option<Digests> {
        let file = self.file.as_ref()?;
        cache.recall(&file.path, &file.stamp)?.digests()
    }

    /// The digests; reads the base once in its lifetime.
    ///
    /// # Errors
    /// As [`Base::digest_while`].
    pub fn digests(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<Digests, BaseError> {
        match self.known_digests(cache) {
            Some(digests) => Ok(digests),
            None => self.digest_while(cache, sink, interrupt, &mut |_, _| Ok(())),
        }
    }

    /// Passes every chunk on to `each`, in order, and returns the digests of
    /// what went by; digests that are known already are not computed again.
    ///
    /// # Errors
    /// Where the base is damaged, unreadable or changes meanwhile, where `each`
    /// fails, and where the user asks to stop.
    pub fn digest_while(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        each: Each<'_>,
    ) -> Result<Digests, BaseError> {
        let known = self.known_digests(cache);
        let mut hasher = known.is_none().then(ChunkHasher::new);
        self.pass(sink, interrupt, &mut |offset, chunk| {
            if let Some(hasher) = &mut hasher {
                hasher.update(chunk);
            }
            each(offset, chunk)
        })?;
        let digests = match (known, hasher) {
            (Some(known), _) => known,
            (None, hasher) => {
                let (raw, chunks) = hasher.unwrap_or_else(ChunkHasher::new).finish();
                let published = match (&self.store, &self.file) {
                    (Store::Raw(_), _) => raw,
                    (_, Some(file)) => self.published_digest(file)?,
                    // The practice base is known by its contents alone.
                    (_, None) => raw,
                };
                Digests {
                    published,
                    raw,
                    chunks,
                }
            }
        };
        self.check_unchanged()?;
        self.remember(cache, Known::of(&digests, None));
        Ok(digests)
    }

    /// Makes sure that the base is the one a digest was published for, whether
    /// of the file or of its uncompressed bytes.
    ///
    /// # Errors
    /// [`BaseError::Mismatch`] where it is neither.
    pub fn check_sha256(
        &self,
        wanted: Sha256Digest,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<(), BaseError> {
        let file = self.file.as_ref();
        let known = file.and_then(|file| cache.recall(&file.path, &file.stamp));
        let known = known.unwrap_or_default();
        if known.published == Some(wanted) || known.raw == Some(wanted) {
            return Ok(());
        }
        if let (Some(file), None, false) =
            (file, known.published, matches!(self.store, Store::Raw(_)))
        {
            // Cheaper than decoding: the digest of the file is tried first.
            let published = self.published_digest(file)?;
            if published == wanted {
                self.check_unchanged()?;
                self.remember(
                    cache,
                    Known {
                        published: Some(published),
                        ..Known::default()
                    },
                );
                return Ok(());
            }
        }
        let Digests { published, raw, .. } = self.digests(cache, sink, interrupt)?;
        if published == wanted || raw == wanted {
            return Ok(());
        }
        Err(BaseError::Mismatch {
            name: self.name.clone(),
            wanted,
            published,
            raw,
        })
    }

    fn pass(
        &self,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        each: Each<'_>,
    ) -> Result<(), BaseError> {
        let task = self.name.as_str();
        let mut stop = None;
        let mut consumer = None;
        let mut guarded = |offset: u64, chunk: &[u8]| {
            if let Err(interrupted) = interrupt.check() {
                stop = Some(interrupted);
                return Err(io::ErrorKind::Interrupted.into());
            }
            sink.send(Event::Progressed {
                task,
                done: offset + chunk.len() as u64,
            });
            each(offset, chunk).inspect_err(|error| consumer = Some(error.kind()))
        };
        sink.send(Event::Started {
            task,
            verb: "reading",
            total: self.len(),
        });
        let result = match &self.store {
            Store::Xz(xz) => pass::pass_xz(xz, &mut guarded),
            Store::Raw(raw) => pass::pass_raw(&**raw, &mut guarded),
            Store::Spooled(raw) => pass::pass_raw(raw, &mut guarded),
        };
        sink.send(Event::Ended { task });
        match result {
            Ok(_) => Ok(()),
            Err(_) if stop.is_some() => Err(crate::interrupt::Interrupted.into()),
            Err(source) if consumer.is_some() => Err(BaseError::Consumer {
                name: self.name.clone(),
                source,
            }),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> BaseError {
        let name = self.name.clone();
        match source.kind() {
            io::ErrorKind::InvalidData => BaseError::Damaged {
                name,
                what: source.to_string(),
            },
            io::ErrorKind::UnexpectedEof => BaseError::Changed(name),
            _ => {
                let path = self
                    .file
                    .as_ref()
                    .map_or_else(PathBuf::new, |file| file.path.clone());
                BaseError::Read { path, source }
            }
        }
    }

    fn published_digest(&self, file: &BaseFile) -> Result<Sha256Digest, BaseError> {
        spool::digest_of_file(file.file.file()).map_err(|source| self.failed(source))
    }

    fn check_unchanged(&self) -> Result<(), BaseError> {
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

    /// Keeps what the cache knows of a spooled file.
    fn remember(&self, cache: &Cache, mut known: Known) {
        let Some(file) = &self.file else { return };
        if known.spool.is_none() {
            known.spool = cache
                .recall(&file.path, &file.stamp)
                .and_then(|old| old.spool);
        }
        cache.remember(&file.path, &file.stamp, known);
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

fn read_format(file: &File) -> io::Result<Format> {
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
