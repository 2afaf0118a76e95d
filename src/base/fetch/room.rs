//! Room on the disk: looked for before a download, and while it goes on.

use std::path::Path;

/// Bytes that a download leaves free on the disk, and what is unpacked on the way as well.
pub(super) const RESERVE: u64 = 64 << 20;
/// Bytes of it that may go before a download that is under way is given up: what is
/// unpacked meanwhile takes of them before it sees that it must stop.
pub(super) const SPARE: u64 = RESERVE / 2;
/// Bytes that arrive between two looks.
pub(super) const STEP: u64 = 8 << 20;

/// Bytes that may be written to the file system of `dir`; `None` where it does not tell,
/// and is asked by writing.
pub(super) fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
