//! A download that is not complete: it survives cuts, kills and power failures.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::FetchError;
use super::store::{ImageStore, Note, Stored};
use crate::base::cache::is_still;
use crate::interrupt::Interrupt;
use crate::owner;
use crate::report::event::{Event, Sink};
use crate::whole;

pub(super) const STATE: &str = "state.json";
/// How often to look whether another process is done.
const POLL: Duration = Duration::from_millis(100);

/// What the server said of the file that is arriving.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Length of the whole, in bytes.
    pub(super) len: Option<u64>,
    /// Boot of this computer in which it began.
    boot: Option<String>,
}

impl Head {
    /// What a server said, in this boot.
    pub(super) fn new(
        etag: Option<String>,
        last_modified: Option<String>,
        len: Option<u64>,
    ) -> Self {
        Self {
            etag,
            last_modified,
            len,
            boot: this_boot(),
        }
    }

    /// What shows that the file is still the same: a strong ETag, or else its date
    /// (RFC 9110, 13.1.5).
    pub(super) fn validator(&self) -> Option<&str> {
        let etag = self.etag.as_deref();
        etag.filter(|etag| etag.starts_with('"'))
            .or(self.last_modified.as_deref())
    }
}

/// An unfinished file, locked for this process.
#[derive(Debug)]
pub(super) struct Partial {
    dir: PathBuf,
    lock: File,
    name: String,
    pub(super) file: Arc<File>,
    /// Bytes that are there.
    pub(super) len: u64,
    pub(super) head: Head,
}

impl Partial {
    /// Opens what is there of `url`, or begins. `None` where another process has
    /// just finished it.
    pub(super) fn open(
        store: &ImageStore,
        url: &str,
        name: &str,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<Option<Self>, FetchError> {
        let failed = |source| store.failed(source);
        let dir = store.partial(url);
        whole::create_dir_all(&dir, 0o700).map_err(failed)?;
        let lock = match open_folder(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let waiting = Waiting {
            lock: &lock,
            dir: &dir,
        };
        if !waiting.run(name, sink, interrupt, &failed)? {
            return Ok(None);
        }
        Self::read(dir, lock, name).map(Some).map_err(failed)
    }

    fn read(dir: PathBuf, lock: File, name: &str) -> io::Result<Self> {
        sweep(&lock, name)?;
        let head = fs::read(dir.join(STATE))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let file = open_file(&lock, &dir, name)?;
        let mut partial = Self {
            len: file.metadata()?.len(),
            dir,
            lock,
            name: name.to_owned(),
            file: Arc::new(file),
            head: Head::default(),
        };
        match head {
            Some(head) => partial.head = head,
            // Nothing tells what the bytes are of.
            None => partial.clear()?,
        }
        Ok(partial)
    }

    /// The file as it is so far.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.len = 0;
        self.head = Head::default();
        self.file.set_len(0)
    }

    /// Begins anew if the computer was booted since: a power failure may have left
    /// zeros in place of bytes, and no digest would tell.
    pub(super) fn distrust_other_boots(&mut self) -> io::Result<()> {
        if self.len > 0 && (self.head.boot.is_none() || self.head.boot != this_boot()) {
            self.clear()?;
        }
        Ok(())
    }

    /// Notes what the server says, before the first byte is written.
    pub(super) fn set_head(&mut self, head: Head) -> io::Result<()> {
        if self.head != head {
            whole::write(&self.dir.join(STATE), &serde_json::to_vec(&head)?, 0o600)?;
            self.head = head;
        }
        Ok(())
    }

    /// Removes all of it: nothing of it is of use.
    pub(super) fn discard(self) {
        // What cannot be removed now is pruned one day.
        drop(fs::remove_dir_all(&self.dir));
    }

    /// Gives it its place among the images; the lock becomes that of a user. Where the
    /// same came from another address meanwhile, that one stays.
    pub(super) fn publish(
        self,
        store: &ImageStore,
        note: Note,
        interrupt: &Interrupt,
    ) -> io::Result<Stored> {
        self.file.sync_all()?;
        // Brings the folder to the disk with it, and with that the file's name.
        note.write(&self.dir)?;
        let entry = store.entry(&note.sha256);
        // Fails where a folder is, whoever has just put it there.
        if let Err(error) = fs::rename(&self.dir, &entry) {
            match store.get(&note.sha256) {
                Some(mut stored) => {
                    if stored.is_intact(interrupt).unwrap_or(false) {
                        self.discard();
                        return Ok(stored);
                    }
                    // The same, but found wanting.
                    stored.remove()?;
                }
                None if entry.exists() => fs::remove_dir_all(&entry)?,
                None => return Err(error),
            }
            fs::rename(&self.dir, &entry)?;
        }
        // At once: what is held by one alone counts as being removed. Not before: while
        // the lock changes, whoever waits may get the folder, and take it for unfinished.
        self.lock.lock_shared()?;
        // Until then it tells the next run that nothing is missing.
        drop(fs::remove_file(entry.join(STATE)));
        whole::sync_folder(store.dir())?;
        Ok(Stored::new(entry, note, self.lock))
    }
}

/// Opens the folder of a download, and none that a link leads to: where root downloads
/// into a user's cache, the user may have put one there, and what is in the folder is
/// removed and overwritten. For the same reason that goes by the open folder, and not by
/// its path.
fn open_folder(dir: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(dir);
    opened.map_err(|error| name_link(error, dir))
}

/// Opens the file that is arriving, which is no link either, or begins it.
fn open_file(folder: &File, dir: &Path, name: &str) -> io::Result<File> {
    let open = |more| {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        openat(folder, name, flags, Mode::from_raw_mode(0o666)).map(File::from)
    };
    match open(OFlags::CREATE | OFlags::EXCL) {
        Ok(file) => {
            owner::give(&file, dir);
            Ok(file)
        }
        // Whose it is, it stays.
        Err(Errno::EXIST) => {
            open(OFlags::empty()).map_err(|error| name_link(error.into(), &dir.join(name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the operating system says of a link that is not followed tells nobody what to do.
fn name_link(error: io::Error, path: &Path) -> io::Error {
    if path.is_symlink() {
        io::Error::other(format!(
            "{} is a link, which is not followed; remove it",
            path.display()
        ))
    } else {
        error
    }
}

/// Removes what a killed process left beside the file called `name`: among it may be
/// gigabytes that it was unpacking.
fn sweep(folder: &File, name: &str) -> io::Result<()> {
    let stays = [".", "..", name, STATE];
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let found = entry.file_name();
        if !stays.iter().any(|own| found.to_bytes() == own.as_bytes()) {
            unlinkat(folder, found, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// What tells one boot of this computer from the next (random(4)).
fn this_boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

/// A folder that another process may hold.
struct Waiting<'a> {
    lock: &'a File,
    dir: &'a Path,
}

impl Waiting<'_> {
    /// Waits until no other process downloads the same; `false` where one has finished
    /// it. Polls, because a signal does not end a wait for a lock, and because whoever
    /// has finished goes on to hold it as a user.
    fn run(
        &self,
        name: &str,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        failed: &dyn Fn(io::Error) -> FetchError,
    ) -> Result<bool, FetchError> {
        let mut told = false;
        while is_still(self.lock, self.dir) {
            match self.lock.try_lock() {
                Ok(()) => return Ok(is_still(self.lock, self.dir)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                let message = format!("Waiting for another cardmint, which is downloading {name}.");
                sink.send(Event::Noticed { message: &message });
                told = true;
            }
            interrupt.check()?;
            thread::sleep(POLL);
        }
        Ok(false)
    }
}
