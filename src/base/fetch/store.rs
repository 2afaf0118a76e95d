//! Images that were downloaded: a folder each, named by the digest of the file.
//!
//! ```text
//! images/acff736c…/2026-06-18-raspios-trixie-arm64-lite.img.xz
//!                  note.json      where it came from, and what it was checked by
//! images/.partial-5b0c…/          the same of what is still to come, and how far it got
//! ```
//!
//! A folder gets its name by one rename, when the file is complete and is what was
//! promised. Whoever uses one holds a shared lock on it, which [`prune`] respects.
//!
//! [`prune`]: super::super::prune

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FetchError;
use crate::base::cache::{Cache, Stamp, is_still};
use crate::base::signature::Basis;
use crate::base::{BaseError, Sha256Digest, digest_of_file};
use crate::interrupt::Interrupt;
use crate::whole;

/// Changes with the meaning of a note.
const NOTE_VERSION: u32 = 1;
pub(super) const NOTE: &str = "note.json";
/// How the folders of unfinished downloads begin.
pub(in crate::base) const PARTIAL: &str = ".partial-";

/// The images that were downloaded.
#[derive(Clone, Debug)]
pub struct ImageStore {
    dir: PathBuf,
}

/// Where an image came from, and what it was checked by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    /// File name.
    pub name: String,
    /// The address asked.
    pub url: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// Length in bytes.
    pub len: u64,
    /// When it was complete.
    pub arrived: Timestamp,
    /// What it was fetched for: names, or addresses that led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// When it was last found to be what each of these stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answered: BTreeMap<String, Timestamp>,
    /// Release date, where a list or its name tells: `2026-06-18`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// Who promised the digest; `None` where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised_by: Option<String>,
    /// Whose signature it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signed>,
    /// Whether nobody has come to the end of looking for that since it arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unvouched: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// State of the file when its digest was last taken.
    #[serde(default)]
    stamp: Option<Stamp>,
}

/// A signature that was found good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Fingerprint of the key.
    pub fingerprint: String,
    /// Whose key it says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// When it was made.
    pub made: Timestamp,
    /// By what that was judged, where it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
}

/// An image that is there. While this lives, it is not pruned.
#[derive(Debug)]
pub struct Stored {
    dir: PathBuf,
    /// What is known about it.
    pub note: Note,
    in_use: File,
}

impl Note {
    pub(super) fn new(
        name: &str,
        url: &str,
        sha256: Sha256Digest,
        file: &File,
    ) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            version: NOTE_VERSION,
            name: name.to_owned(),
            url: url.to_owned(),
            sha256,
            len: metadata.len(),
            arrived: Timestamp::now(),
            asked: Vec::new(),
            answered: BTreeMap::new(),
            released: None,
            promised_by: None,
            signature: None,
            unvouched: true,
            etag: None,
            stamp: Stamp::of(&metadata),
        })
    }

    /// Notes another address that has it. What the last one called this version says nothing
    /// there.
    pub(in crate::base) fn move_to(&mut self, url: &str) {
        if self.url != url {
            url.clone_into(&mut self.url);
            self.etag = None;
        }
    }

    /// That of the image with this digest, in its folder.
    fn read(dir: &Path, sha256: &Sha256Digest) -> Option<Self> {
        let note: Self = serde_json::from_slice(&fs::read(dir.join(NOTE)).ok()?).ok()?;
        (note.version == NOTE_VERSION && note.sha256 == *sha256).then_some(note)
    }

    /// Writes it into the image's folder, as a whole.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        whole::write(&dir.join(NOTE), &serde_json::to_vec_pretty(self)?, 0o600)
    }
}

/// Whether somebody removes the folder: he alone holds it for longer than a moment.
fn is_being_removed(folder: &File) -> bool {
    const ATTEMPTS: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..ATTEMPTS {
        match folder.try_lock_shared() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            // Held now, or on a file system without locks.
            Ok(()) | Err(TryLockError::Error(_)) => return false,
        }
    }
    true
}

impl Stored {
    /// `in_use` is the folder, locked as one among its users.
    pub(super) fn new(dir: PathBuf, note: Note, in_use: File) -> Self {
        Self { dir, note, in_use }
    }

    /// The image file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.note.name)
    }

    /// The folder that is all its own.
    pub(in crate::base) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the server called this version of it.
    pub(in crate::base) fn etag(&self) -> Option<&str> {
        self.note.etag.as_deref()
    }

    /// Changes the note, as it is now on the disk: others may have noted something since
    /// it was read, which may be long ago.
    ///
    /// # Errors
    /// What the operating system says.
    pub(in crate::base) fn change(&mut self, change: impl FnOnce(&mut Note)) -> io::Result<()> {
        let now = Note::read(&self.dir, &self.note.sha256);
        if let Some(now) = &now {
            self.note.clone_from(now);
        }
        change(&mut self.note);
        match now.as_ref() == Some(&self.note) {
            true => Ok(()),
            false => self.note.write(&self.dir),
        }
    }

    /// Whether its bytes are still what arrived. They are not read again while
    /// nothing points to a change.
    ///
    /// # Errors
    /// Where the file cannot be read, and where the user asks to stop.
    pub fn is_intact(&mut self, interrupt: &Interrupt) -> Result<bool, BaseError> {
        let known = self.note.stamp.clone();
        let found = self.read_unless(known.as_ref(), interrupt)?;
        if found.is_some() && found != known {
            // Costs only the time to read it again.
            drop(self.change(|note| note.stamp = found.clone()));
        }
        Ok(found.is_some())
    }

    /// The same, reading all of it in any case. One that is not is read again before its
    /// next use, whatever its times say: a disk that rots changes none.
    ///
    /// # Errors
    /// As [`Stored::is_intact`].
    pub fn is_intact_throughout(&mut self, interrupt: &Interrupt) -> Result<bool, BaseError> {
        let found = self.read_unless(None, interrupt);
        if matches!(found, Err(BaseError::Interrupted(_))) {
            return found.map(|stamp| stamp.is_some());
        }
        let stamp = found.as_ref().ok().cloned().flatten();
        self.change_without_use(|note| note.stamp = stamp);
        found.map(|stamp| stamp.is_some())
    }

    /// The state of a file whose bytes are what arrived. They are not read where that is
    /// the state `known`.
    fn read_unless(
        &self,
        known: Option<&Stamp>,
        interrupt: &Interrupt,
    ) -> Result<Option<Stamp>, BaseError> {
        let path = self.path();
        let unreadable = |source| BaseError::Read {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        if stamp.is_some() && stamp.as_ref() == known {
            return Ok(stamp);
        }
        let is_it = digest_of_file(&file, interrupt, &unreadable)? == self.note.sha256;
        Ok(stamp.filter(|_| is_it))
    }

    /// Changes the note where that is no use of the image: it is pruned no later for it.
    fn change_without_use(&mut self, change: impl FnOnce(&mut Note)) {
        // Others may use it as long as this took until now.
        let last_used = self.last_used();
        drop(self.change(change));
        self.note_use(last_used);
    }

    fn note_use(&self, time: SystemTime) {
        if let Ok(file) = File::options().append(true).open(self.dir.join(NOTE)) {
            drop(file.set_modified(time));
        }
    }

    /// Removes it from the disk; not another that took its place meanwhile.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn remove(&self) -> io::Result<()> {
        if is_still(&self.in_use, &self.dir) {
            fs::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }

    /// When it was last used, as far as the note tells: it is touched by use.
    pub(in crate::base) fn last_used(&self) -> SystemTime {
        let modified = fs::metadata(self.dir.join(NOTE)).and_then(|note| note.modified());
        modified.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl ImageStore {
    /// The store within a cache; made, and readable by its owner only.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn open(cache: &Cache) -> Result<Self, FetchError> {
        let dir = cache.images_dir().map_err(|source| FetchError::Cache {
            dir: cache.dir().to_owned(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Where the images are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All images, newest arrival first. A folder that cannot be read, or that is
    /// being removed, counts as not there.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn all(&self) -> Result<Vec<Stored>, FetchError> {
        let failed = |source| self.failed(source);
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let digest: Option<Sha256Digest> = name.to_str().and_then(|name| name.parse().ok());
            all.extend(digest.and_then(|digest| self.get(&digest)));
        }
        all.sort_by_key(|stored| std::cmp::Reverse(stored.note.arrived));
        Ok(all)
    }

    /// The image with this digest, if it is there.
    #[must_use]
    pub fn get(&self, sha256: &Sha256Digest) -> Option<Stored> {
        let dir = self.entry(sha256);
        let in_use = File::open(&dir).ok()?;
        if is_being_removed(&in_use) {
            return None;
        }
        let note = Note::read(&dir, sha256)?;
        Some(Stored::new(dir, note, in_use))
    }

    /// Notes that an image is used now, which keeps it from being pruned for a while.
    pub fn touch(&self, stored: &Stored) {
        // Whoever downloaded it may have been killed before doing so.
        drop(fs::remove_file(stored.dir.join(super::partial::STATE)));
        // A day more or less is all the same.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        if now.duration_since(stored.last_used()).unwrap_or(DAY) >= DAY {
            stored.note_use(now);
        }
    }

    /// Makes the next use read all images of this name again: one of them turned
    /// out to be damaged.
    pub fn doubt(&self, name: &str) {
        for mut stored in self.all().unwrap_or_default() {
            if stored.note.name == name {
                stored.change_without_use(|note| note.stamp = None);
            }
        }
    }

    pub(super) fn entry(&self, sha256: &Sha256Digest) -> PathBuf {
        self.dir.join(sha256.to_string())
    }

    /// The folder of an unfinished download.
    pub(super) fn partial(&self, url: &str) -> PathBuf {
        let key = Sha256Digest::of(url.as_bytes()).to_string();
        self.dir.join(format!("{PARTIAL}{}", &key[..32]))
    }

    pub(super) fn failed(&self, source: io::Error) -> FetchError {
        FetchError::Cache {
            dir: self.dir.clone(),
            source,
        }
    }
}
