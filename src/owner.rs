//! What root makes in somebody's directory belongs to that somebody: after `sudo
//! cardmint flash` the next `cardmint plan` must be able to read and replace it.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

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
