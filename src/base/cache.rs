//! What is remembered between runs: digests of bases, and decompressed bases.
//!
//! Everything here can be deleted at any time; it is made again when needed.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use super::chunk::{CHUNK_LEN, ChunkDigests};
use super::{BaseError, Digests, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::whole;

/// Changes with the meaning of a note, such as the length of a chunk.
const NOTE_VERSION: u32 = 2;

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// What identifies the state of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    len: u64,
    modified_ns: i128,
    /// A file cannot be changed without a change of this time, short of
    /// turning the clock back.
    changed_ns: i128,
}

impl Stamp {
    /// None for a device: its times and length do not tell of its contents.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        if !metadata.is_file() {
            return None;
        }
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Some(Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            len: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// What is known about a base.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// Digest of the file as published.
    pub(super) published: Option<Sha256Digest>,
    /// Digest of the uncompressed bytes.
    pub(super) raw: Option<Sha256Digest>,
    /// Digests of the uncompressed chunks.
    pub(super) chunks: Vec<Sha256Digest>,
    /// State of the spooled file, where there is one.
    pub(super) spool: Option<Stamp>,
}

impl Known {
    pub(super) fn of(digests: &Digests, spool: Option<Stamp>) -> Self {
        Self {
            published: Some(digests.published),
            raw: Some(digests.raw),
            chunks: digests.chunks.as_slice().to_vec(),
            spool,
        }
    }

    /// All digests of a base of `len` bytes. A note that does not fit it, say of
    /// a version with other chunks, counts for nothing.
    pub(super) fn digests(&self, len: u64) -> Option<Digests> {
        if self.chunks.len() as u64 != len.div_ceil(CHUNK_LEN as u64) {
            return None;
        }
        let (published, raw) = self.published.zip(self.raw)?;
        Some(Digests {
            published,
            raw,
            chunks: ChunkDigests::from(self.chunks.clone()),
        })
    }
}

/// A file's note in the cache.
#[derive(Serialize, Deserialize)]
struct Note {
    /// [`NOTE_VERSION`] when it was written.
    version: u32,
    stamp: Stamp,
    known: Known,
    /// Digest of the rest: one bit that rots would make another base of a good one.
    check: Sha256Digest,
}

impl Note {
    fn new(stamp: Stamp, known: Known) -> io::Result<Self> {
        Ok(Self {
            version: NOTE_VERSION,
            check: Self::check_of(&stamp, &known)?,
            stamp,
            known,
        })
    }

    fn is_sound(&self) -> bool {
        let check = Self::check_of(&self.stamp, &self.known);
        self.version == NOTE_VERSION && check.is_ok_and(|check| check == self.check)
    }

    fn check_of(stamp: &Stamp, known: &Known) -> io::Result<Sha256Digest> {
        Ok(Sha256Digest::of(&serde_json::to_vec(&(stamp, known))?))
    }
}

impl Cache {
    /// The user's cache directory: `$XDG_CACHE_HOME/cardmint`, by default
    /// `~/.cache/cardmint`. Nothing is created yet.
    ///
    /// # Errors
    /// Where the user has no home directory.
    pub fn open_default() -> io::Result<Self> {
        let base = etcetera::choose_base_strategy()
            .map_err(|_| io::Error::other("no home directory; set XDG_CACHE_HOME"))?;
        Ok(Self::at(base.cache_dir().join("cardmint")))
    }

    /// A cache in `dir`. Nothing is created yet.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory for decompressed bases, created and readable by its owner
    /// only.
    pub(super) fn spool_dir(&self) -> io::Result<PathBuf> {
        self.subdir("spool")
    }

    /// The cache directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory for lists of images.
    pub(super) fn lists_dir(&self) -> io::Result<PathBuf> {
        self.subdir("lists")
    }

    /// Digest of a file's uncompressed bytes, where it is known.
    pub(super) fn raw_digest(&self, path: &Path) -> Option<Sha256Digest> {
        let stamp = Stamp::of(&fs::metadata(path).ok()?);
        self.recall(path, stamp.as_ref())?.raw
    }

    /// The directory for images that were downloaded.
    pub(super) fn images_dir(&self) -> io::Result<PathBuf> {
        self.subdir("images")
    }

    /// The directory for bases that were compressed anew, block by block.
    pub(crate) fn blocks_dir(&self) -> io::Result<PathBuf> {
        self.subdir("blocks")
    }

    fn subdir(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(name);
        whole::create_dir_all(&dir, 0o700)?;
        Ok(dir)
    }

    /// What is known about the file, if it has not changed since.
    pub(super) fn recall(&self, path: &Path, stamp: Option<&Stamp>) -> Option<Known> {
        let stamp = stamp?;
        let text = fs::read(self.note_path(path)).ok()?;
        let note: Note = serde_json::from_slice(&text).ok()?;
        (note.is_sound() && note.stamp == *stamp).then_some(note.known)
    }

    /// Remembers what is known about a file. A cache that cannot be written
    /// costs time, never the result, so errors are dropped.
    pub(super) fn remember(&self, path: &Path, stamp: Option<&Stamp>, known: Known) {
        let Some(stamp) = stamp else { return };
        let write = || -> io::Result<()> {
            self.subdir("digests")?;
            let note = Note::new(stamp.clone(), known)?;
            whole::write(&self.note_path(path), &serde_json::to_vec(&note)?, 0o600)
        };
        drop(write());
    }

    /// Keeps what is known about a file as it is now.
    pub(super) fn remember_file(&self, path: &Path, known: Known) {
        let stamp = fs::metadata(path)
            .ok()
            .and_then(|metadata| Stamp::of(&metadata));
        self.remember(path, stamp.as_ref(), known);
    }

    fn note_path(&self, path: &Path) -> PathBuf {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = Sha256Digest::of(canonical.as_os_str().as_bytes());
        self.dir.join("digests").join(format!("{name}.json"))
    }
}

/// Whether what is open is still what is at `path`.
pub(super) fn is_still(open: &File, path: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => id(open) == id(there),
        _ => false,
    }
}

/// How often to look whether another process is done.
const POLL: Duration = Duration::from_millis(100);

/// Holds off other processes that want to spool, until dropped. Polls, because
/// a signal does not end a wait for a lock.
pub(super) fn lock_dir(
    dir: &Path,
    interrupt: &Interrupt,
    waiting: &dyn Fn(),
    failed: &dyn Fn(io::Error) -> BaseError,
) -> Result<File, BaseError> {
    let file = File::open(dir).map_err(failed)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            waiting();
            told = true;
        }
        interrupt.check()?;
        thread::sleep(POLL);
    }
}
