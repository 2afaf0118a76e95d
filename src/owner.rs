//! What root makes in somebody's directory belongs to that somebody: after `sudo
//! cardmint flash` the next `cardmint plan` must be able to read and replace it.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;

/// Gives a new file to the owner of the directory that it is in. Where that cannot
/// be done, as on some network file systems, it stays root's.
pub(crate) fn give(file: &File, dir: &Path) {
    if rustix::process::geteuid().is_root()
        && let Ok(metadata) = dir.metadata()
    {
        give_to(file, &metadata);
    }
}

fn give_to(file: &File, owner: &Metadata) {
    if owner.uid() != 0 {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// Writes a file that only its owner reads, as a whole: readers see what was there
/// before, or all of it.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    give(file.as_file(), dir);
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
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
            give(&made, upper);
            Ok(())
        }
    }
}
