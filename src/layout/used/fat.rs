//! Free clusters of a FAT.

use std::io;
use std::ops::Range;

use crate::base::ReadAt;
use crate::layout::disk::Partition;
use crate::layout::fat::{Fat, FatError};

/// Hands out the runs of free clusters as ranges of the whole source, in
/// ascending order; none where the FAT is not understood.
pub(super) fn each_free(
    source: &dyn ReadAt,
    partition: &Partition,
    mut found: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let fat = match Fat::open(source, partition) {
        Err(FatError::Io(error)) => return Err(error),
        Err(_) => return Ok(()),
        Ok(fat) => fat,
    };
    match fat.free_extents() {
        Err(FatError::Io(error)) => Err(error),
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(extents)) => {
            extents.for_each(&mut found);
            Ok(())
        }
    }
}
