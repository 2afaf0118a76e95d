//! Files that appear complete or not at all: written beside their place under another
//! name, brought to the disk, and only then renamed.
//!
//! The other name is `.NAME.XXXXXX.partial`, and its file is locked while somebody
//! writes it. What a killed process left is locked by nobody; whoever writes NAME next
//! removes it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::owner;

/// How the temporary files end.
const PARTIAL: &str = ".partial";
/// How many letters and digits make their names different.
const RANDOM_LEN: usize = 6;

/// What becomes of a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It goes when the new one is complete.
    Replace,
    /// It stays, and the new one fails with `AlreadyExists`.
    Keep,
}

/// A file that is not complete. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
}

impl Unfinished {
    /// An empty file that is to become `path`, with these permissions as far as the
    /// umask allows.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let dir = folder_of(path);
        loop {
            let file = tempfile::Builder::new()
                .prefix(&prefix_of(path))
                .suffix(PARTIAL)
                .rand_bytes(RANDOM_LEN)
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(dir)?;
            owner::give(file.as_file(), dir);
            // Waits only while somebody else looks whether it was left behind. A file
            // system without locks has nobody who removes it, either.
            drop(file.as_file().lock());
            // Found before it was locked, it is gone.
            if file.as_file().metadata()?.nlink() > 0 {
                let path = path.to_owned();
                return Ok(Self { file, path });
            }
        }
    }

    /// The same with these bytes, which are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn with_bytes(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let unfinished = Self::create(path, mode)?;
        unfinished.as_file().write_all(bytes)?;
        unfinished.as_file().sync_all()?;
        Ok(unfinished)
    }

    /// What it holds so far.
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Where it lies meanwhile.
    pub(crate) fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// What it is to become.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name; to be called when its bytes are on the disk. The name is
    /// there as well when this returns.
    ///
    /// # Errors
    /// `AlreadyExists` where a file is to be kept, otherwise what the operating
    /// system says.
    pub(crate) fn publish(self, existing: Existing) -> io::Result<()> {
        match existing {
            Existing::Replace => self.file.persist(&self.path),
            Existing::Keep => self.file.persist_noclobber(&self.path),
        }
        .map_err(|error| error.error)?;
        sync_folder(folder_of(&self.path))
    }
}

/// Writes a file as a whole, in place of one that may be there: readers, and whoever
/// comes after a power failure, find the old bytes or the new ones.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    put(path, bytes, mode, Existing::Replace)
}

/// The same where there must be no such file yet.
///
/// # Errors
/// `AlreadyExists` where there is one, otherwise what the operating system says.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    put(path, bytes, mode, Existing::Keep)
}

/// [`write()`] where somebody has tidied the folder already: looking for leftovers
/// takes longer the more files there are.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write_in_tidy_folder(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    create(path, bytes, mode, Existing::Replace)
}

fn put(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> io::Result<()> {
    remove_abandoned(path);
    create(path, bytes, mode, existing)
}

fn create(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> io::Result<()> {
    Unfinished::with_bytes(path, bytes, mode)?.publish(existing)
}

/// Brings the names in a folder to the disk, where the file system can be asked to.
///
/// # Errors
/// What the operating system says.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Makes a directory and those above it that are missing, each its upper one's
/// owner's.
///
/// # Errors
/// What the operating system says.
pub(crate) fn create_dir_all(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let upper = match dir.parent() {
        Some(upper) if upper != Path::new("") => upper,
        _ => Path::new("."),
    };
    create_dir_all(upper, mode)?;
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            // Not through a link that somebody put there meanwhile.
            let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
            let made = File::options()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(dir)?;
            owner::give(&made, upper);
            // What is brought to the disk within it shall be found again.
            drop(sync_folder(upper));
            Ok(())
        }
    }
}

/// Removes what nobody is making of `path` any more: a crash left it.
pub(crate) fn remove_abandoned(path: &Path) {
    tidy(folder_of(path), |name| Some(name) == path.file_name());
}

/// The same for all files in a folder whose names `is_ours` knows. What cannot be
/// looked at or removed stays: it is in nobody's way.
pub(crate) fn tidy(dir: &Path, is_ours: impl Fn(&OsStr) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !made_for(&entry.file_name()).is_some_and(&is_ours) {
            continue;
        }
        // Neither through a link nor waiting for whoever may write to a pipe.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(entry.path());
        let Ok(file) = file else { continue };
        if file.try_lock().is_ok() {
            // Finished or removed by another process meanwhile.
            let _ = fs::remove_file(entry.path());
        }
        // The lock is held until the name is gone: whoever made the file and waits for
        // its lock then sees that it has lost it.
        drop(file);
    }
}

/// Which file a temporary one is to become: `x` of `.x.a1B2c3.partial`.
fn made_for(name: &OsStr) -> Option<&OsStr> {
    let bytes = name.as_bytes().strip_prefix(b".")?;
    let bytes = bytes.strip_suffix(PARTIAL.as_bytes())?;
    let (name, random) = bytes.split_at_checked(bytes.len().checked_sub(RANDOM_LEN + 1)?)?;
    let is_ours = random[0] == b'.' && random[1..].iter().all(u8::is_ascii_alphanumeric);
    is_ours.then(|| OsStr::from_bytes(name))
}

/// The folder that a path's file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    // A bare name has the parent "", which is no folder.
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// `.raspberrypi0.img.`: what the temporary names of a file begin with.
fn prefix_of(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_nothing_else_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        for (bytes, mode) in [(&b"one"[..], 0o600), (b"", 0o644), (b"three", 0o600)] {
            write(&path, bytes, mode).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            let found = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(found & !mode, 0);
        }
        assert_eq!(names(dir.path()), ["note"]);
    }

    #[test]
    fn only_names_that_are_made_here_are_taken_for_left_behind() {
        for (name, wanted) in [
            (".note.a1B2c3.partial", Some("note")),
            (".note.img.a1B2c3.partial", Some("note.img")),
            (".note.old.partial", None),
            (".note.a1B2-3.partial", None),
            ("note.a1B2c3.partial", None),
            (".a1B2c3.partial", None),
            (".partial", None),
        ] {
            assert_eq!(made_for(name.as_ref()), wanted.map(OsStr::new), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_tidied_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        fs::create_dir(dir.path().join(".note.aaaaaa.partial")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(".note.bbbbbb.partial")).unwrap();
        let pipe = dir.path().join(".note.cccccc.partial");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        write(&path, b"one", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn what_must_be_new_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_new(&path, b"one", 0o600).unwrap();
        let error = write_new(&path, b"two", 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(dir.path()), ["key"]);
    }

    #[test]
    fn what_a_crash_left_goes_and_what_is_in_the_making_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        let left = dir.path().join(".note.abc123.partial");
        fs::write(&left, b"ha").unwrap();
        let other = dir.path().join(".note2.abc123.partial");
        fs::write(&other, b"of another").unwrap();
        let making = Unfinished::create(&path, 0o600).unwrap();
        write(&path, b"whole", 0o600).unwrap();
        assert!(!left.exists());
        assert!(other.exists());
        assert!(making.temporary_path().exists());
        assert_eq!(making.path(), path);
        making.publish(Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn many_who_write_and_tidy_at_once_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        write(&path, &[0; 5000], 0o600).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (1..4)
                .map(|number: u8| {
                    let path = &path;
                    scope.spawn(move || {
                        for _ in 0..100 {
                            write(path, &[number; 5000], 0o600).unwrap();
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let bytes = fs::read(&path).unwrap();
                    assert_eq!(bytes.len(), 5000);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    remove_abandoned(&path);
                }
            });
            let ends = writers.into_iter().map(thread::ScopedJoinHandle::join);
            let ends: Vec<_> = ends.collect();
            over.store(true, Ordering::Relaxed);
            assert!(ends.iter().all(Result::is_ok));
        });
        assert_eq!(names(dir.path()), ["note"]);
    }
}
