//! Free blocks of an ext2, ext3 or ext4, read off its block bitmaps.
//!
//! Everything the file system says twice is compared, and every checksum it
//! has is verified. One contradiction, and all of the partition is in use.

mod checksum;
mod group;
mod superblock;

use std::io;
use std::ops::Range;

use self::group::Group;
use self::superblock::{Protection, Superblock};
use crate::base::ReadAt;
use crate::layout::disk::Partition;

/// Ranges of free blocks that are at least `min_len` bytes long, as ranges of
/// the whole source, in ascending order. `None` where the partition holds no
/// file system of the family, or one that is not understood in full.
///
/// # Errors
/// Where the source cannot be read.
pub(super) fn free(
    source: &dyn ReadAt,
    partition: &Partition,
    min_len: u64,
) -> io::Result<Option<Vec<Range<u64>>>> {
    if partition.len < superblock::OFFSET + superblock::LEN as u64 {
        return Ok(None);
    }
    let mut raw = [0; superblock::LEN];
    source.read_exact_at(&mut raw, partition.offset + superblock::OFFSET)?;
    let Some(fs) = Superblock::parse(&raw, partition.len) else {
        return Ok(None);
    };
    let Some(groups) = Group::read_all(source, partition.offset, &fs)? else {
        return Ok(None);
    };
    let Some(metadata) = metadata(&fs, &groups) else {
        return Ok(None);
    };
    let mut runs = Runs::new(partition.offset, fs.block_len, min_len);
    let mut free = 0;
    let mut bitmap = vec![0; usize::try_from(fs.block_len).unwrap_or(0)];
    for (number, group) in (0..).zip(&groups) {
        if !group.is_uninit {
            let at = partition.offset + group.block_bitmap * fs.block_len;
            source.read_exact_at(&mut bitmap, at)?;
        }
        if !settle(&fs, number, group, &metadata, &mut bitmap) {
            return Ok(None);
        }
        free += group.free_blocks;
        runs.add(fs.group_start(number), fs.group_len(number), &bitmap);
    }
    Ok((free == fs.free_blocks).then(|| runs.finish()))
}

/// Blocks that hold the file system's own structures, sorted; `None` where two
/// of them claim the same block.
fn metadata(fs: &Superblock, groups: &[Group]) -> Option<Vec<Range<u64>>> {
    let mut ranges = Vec::with_capacity(groups.len() * 4);
    for (number, group) in (0..).zip(groups) {
        let start = fs.group_start(number);
        let base = start..start + fs.base_blocks(number).min(fs.group_len(number));
        ranges.extend(group.metadata());
        ranges.push(base);
    }
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    ranges
        .windows(2)
        .all(|pair| pair[0].end <= pair[1].start)
        .then_some(ranges)
}

/// Fills in the bitmap of a group that has none, and checks that of one that
/// has. Whether everything agrees.
fn settle(
    fs: &Superblock,
    number: u64,
    group: &Group,
    metadata: &[Range<u64>],
    bitmap: &mut [u8],
) -> bool {
    if group.is_uninit {
        bitmap.fill(0);
    } else if !matches_checksum(fs, group, bitmap) {
        return false;
    }
    let (start, len) = (fs.group_start(number), fs.group_len(number));
    let end = start + len;
    let first = metadata.partition_point(|range| range.end <= start);
    for range in metadata[first..].iter().take_while(|r| r.start < end) {
        for block in range.start.max(start)..range.end.min(end) {
            // The bitmap's length is that of a block, which has a bit for each
            // block of a group.
            let bit = block - start;
            let byte = &mut bitmap[index(bit / 8)];
            let mask = 1 << (bit % 8);
            if !group.is_uninit && *byte & mask == 0 {
                return false;
            }
            *byte |= mask;
        }
    }
    let free = (0..len).filter(|&bit| is_free(bitmap, bit)).count() as u64;
    free == group.free_blocks
}

/// `ext4_block_bitmap_csum_verify` in the kernel's fs/ext4/bitmap.c.
fn matches_checksum(fs: &Superblock, group: &Group, bitmap: &[u8]) -> bool {
    let Protection::Metadata { seed } = fs.protection else {
        return true;
    };
    let sum = checksum::crc32c(seed, &[&bitmap[..index(fs.blocks_per_group / 8)]]);
    let mask = if group.is_wide { u32::MAX } else { 0xffff };
    sum & mask == group.bitmap_checksum
}

fn is_free(bitmap: &[u8], bit: u64) -> bool {
    bitmap[index(bit / 8)] & 1 << (bit % 8) == 0
}

/// An index into a bitmap, which has at most 64 KiB.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Runs of free blocks, across the borders of groups.
struct Runs {
    offset: u64,
    block_len: u64,
    min_len: u64,
    open: Option<Range<u64>>,
    done: Vec<Range<u64>>,
}

impl Runs {
    fn new(offset: u64, block_len: u64, min_len: u64) -> Self {
        Self {
            offset,
            block_len,
            min_len,
            open: None,
            done: Vec::new(),
        }
    }

    /// The groups come in order and leave no gap between them.
    fn add(&mut self, start: u64, len: u64, bitmap: &[u8]) {
        for bit in 0..len {
            let block = start + bit;
            match (&mut self.open, is_free(bitmap, bit)) {
                (Some(open), true) => open.end = block + 1,
                (None, true) => self.open = Some(block..block + 1),
                (Some(_), false) => self.close(),
                (None, false) => {}
            }
        }
    }

    fn close(&mut self) {
        let Some(blocks) = self.open.take() else {
            return;
        };
        // Short runs are dropped here, where a hostile bitmap cannot make many.
        if (blocks.end - blocks.start) * self.block_len >= self.min_len {
            let at = |block: u64| self.offset + block * self.block_len;
            self.done.push(at(blocks.start)..at(blocks.end));
        }
    }

    fn finish(mut self) -> Vec<Range<u64>> {
        self.close();
        self.done
    }
}
