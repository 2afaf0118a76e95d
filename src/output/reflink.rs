//! Whether a file system lets files share blocks.

use crate::whole::folder_of;
use std::io::Write;
use std::path::Path;

/// Tries it: clones a small file beside `path`. Asking for the file system's
/// name would be wrong for xfs without reflinks and for whatever comes next.
pub(crate) fn works_beside(path: &Path) -> bool {
    let try_it = || -> std::io::Result<()> {
        let dir = folder_of(path);
        let mut source = tempfile::tempfile_in(dir)?;
        source.write_all(&[1; 4096])?;
        let target = tempfile::tempfile_in(dir)?;
        rustix::fs::ioctl_ficlone(&target, &source)?;
        Ok(())
    };
    try_it().is_ok()
}
