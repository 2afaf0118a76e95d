//! What root makes in somebody's directory belongs to that somebody: after `sudo
//! cardmint flash` the next `cardmint plan` must be able to read and replace it.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use crate::whole;

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
            // What is brought to the disk within it shall be found again.
            drop(whole::sync_folder(upper));
            Ok(())
        }
    }
}
