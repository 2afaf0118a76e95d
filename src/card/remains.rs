//! Where a card still holds settings: passwords and keys of what it was before.
//!
//! What the new image leaves free is not written, and would keep them. So these
//! places are written, with whatever the image holds there.

use std::ops::Range;

use crate::base::ReadAt;
use crate::layout::Disk;
use crate::layout::disk::Partition;
use crate::layout::fat::{Entry, Fat, FatError, MAX_TEXT_LEN};

/// No boot partition of a Pi is larger; reading the table of a large FAT takes long.
const MAX_BOOT_LEN: u64 = 2 << 30;

/// What the boot partition of a Pi has of others' that is no settings, by how it begins
/// or ends. These are large, and their clusters are mostly written again anyway.
const FIRMWARE: [&str; 9] = [
    "kernel",
    "initramfs",
    "start",
    "fixup",
    "bootcode.bin",
    ".dtb",
    ".elf",
    ".dat",
    ".img",
];

/// Settings on a card, as ranges of it: the files at the top of each FAT that its table
/// lists, and of the one at `boot`, should the table be gone. Not only cardmint's: other
/// tools put their passwords there as well. Large files count only where they are no
/// firmware: settings that carry files have no bound. What is damaged or cannot be read
/// is passed over; the card is about to be overwritten anyway.
#[must_use]
pub fn settings(card: &dyn ReadAt, boot: &Partition) -> Vec<Range<u64>> {
    let mut partitions = Disk::read(card).map_or_else(|_| Vec::new(), |disk| disk.partitions);
    if partitions.iter().all(|listed| listed.offset != boot.offset) {
        partitions.push(boot.clone());
    }
    let mut found = Vec::new();
    for partition in &partitions {
        let end = partition.offset.saturating_add(partition.len);
        if partition.len <= MAX_BOOT_LEN && end <= card.len() {
            found.extend(files(card, partition).unwrap_or_default());
        }
    }
    found
}

fn files(card: &dyn ReadAt, partition: &Partition) -> Result<Vec<Range<u64>>, FatError> {
    let fat = Fat::open(card, partition)?;
    let is_settings = |entry: &Entry| {
        let name = entry.name.to_ascii_lowercase();
        let is_firmware = |part: &str| match part.strip_prefix('.') {
            Some(_) => name.ends_with(part),
            None => name.starts_with(part),
        };
        u64::from(entry.len) <= MAX_TEXT_LEN || !FIRMWARE.iter().any(|part| is_firmware(part))
    };
    let entries = fat.root()?.into_iter().filter(is_settings);
    Ok(entries
        .flat_map(|entry| fat.extents(&entry).unwrap_or_default())
        .collect())
}
