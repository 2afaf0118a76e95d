//! Where a card still holds settings: passwords and keys of what it was before.
//!
//! What the new image leaves free is not written, and would keep them. So these
//! places are written, with whatever the image holds there.

use std::ops::Range;

use crate::base::ReadAt;
use crate::layout::Disk;
use crate::layout::disk::Partition;
use crate::layout::fat::{Fat, FatError, MAX_TEXT_LEN};

/// No boot partition of a Pi is larger; reading the table of a large FAT takes long.
const MAX_BOOT_LEN: u64 = 2 << 30;

/// Settings on a card, as ranges of it: the small files at the top of each FAT that
/// its table lists, and of the one at `boot`, should the table be gone. Not only
/// cardmint's: other tools put their passwords there as well. What is damaged or
/// cannot be read is passed over; the card is about to be overwritten anyway.
#[must_use]
pub fn settings(card: &dyn ReadAt, boot: &Partition) -> Vec<Range<u64>> {
    let listed = Disk::read(card).map_or_else(|_| Vec::new(), |disk| disk.partitions);
    let mut found = Vec::new();
    for partition in listed.iter().chain([boot]) {
        let end = partition.offset.saturating_add(partition.len);
        if partition.len <= MAX_BOOT_LEN && end <= card.len() {
            found.extend(small_files(card, partition).unwrap_or_default());
        }
    }
    found
}

fn small_files(card: &dyn ReadAt, partition: &Partition) -> Result<Vec<Range<u64>>, FatError> {
    let fat = Fat::open(card, partition)?;
    let entries = fat.root()?.into_iter();
    let small = entries.filter(|entry| u64::from(entry.len) <= MAX_TEXT_LEN);
    Ok(small
        .flat_map(|entry| fat.extents(&entry).unwrap_or_default())
        .collect())
}
