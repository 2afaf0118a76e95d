//! Which ranges of a base hold data.
//!
//! A stock image is mostly free blocks; what a file system calls free need not
//! be written to a card. Whatever is not understood, or contradicts itself, is
//! used: a map may be too large, never too small.

pub mod bmap;
mod ext4;
mod fat;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;

pub use bmap::{Bmap, BmapError, BmapRange};

use super::disk::{Disk, Partition};
use crate::base::ReadAt;

/// Ranges start and end at multiples of this: the page of the kernel and the
/// alignment direct I/O asks for.
pub const BLOCK_LEN: u64 = 4096;

/// Free gaps shorter than this are written along with their neighbours: cards
/// write one long range faster than two short ones.
pub const MIN_GAP: u64 = 128 << 10;

/// Ranges of a base that hold data; the rest need not be written.
///
/// The ranges are sorted, disjoint, not adjacent and not empty. Their ends are
/// multiples of [`BLOCK_LEN`], or the end of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedMap {
    len: u64,
    ranges: Vec<Range<u64>>,
}

impl UsedMap {
    /// Just these ranges, widened to whole blocks.
    pub(crate) fn of(len: u64, ranges: Vec<Range<u64>>) -> Self {
        Self::from_used(len, ranges, 0)
    }

    /// All of an image of `len` bytes.
    #[must_use]
    pub fn whole(len: u64) -> Self {
        Self::from_used(len, std::iter::once(0..len), 0)
    }

    /// Reads the map off the file systems in the image. What is not understood
    /// is used.
    ///
    /// For a card, read it off the minted bytes ([`Minted`](crate::overlay::Minted))
    /// and not off the base: see [`UsedMap::with`].
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn read(source: &dyn ReadAt, disk: &Disk) -> io::Result<Self> {
        Self::read_with(source, disk, None)
    }

    /// Like [`Self::read`]; of partitions that are not understood, only what the
    /// block map lists is used.
    ///
    /// Of those alone: a block map leaves out blocks of files that hold zeros where
    /// it was made of a sparse copy, and a card would keep its old bytes there.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn read_with(
        source: &dyn ReadAt,
        disk: &Disk,
        block_map: Option<&Self>,
    ) -> io::Result<Self> {
        let mut free = FreeRanges::default();
        for (partition, ranges) in free_ranges(source, disk)? {
            match (ranges, block_map) {
                (Some(ranges), _) => ranges.into_iter().for_each(|range| free.push(range)),
                (None, Some(map)) => map
                    .gaps(partition.offset, partition.len)
                    .for_each(|range| free.push(range)),
                (None, None) => {}
            }
        }
        Ok(Self::from_free(source.len(), free.0))
    }

    /// The map of a card, from that of its base: only partitions that `is_changed`
    /// says differ are read, off the minted bytes.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn read_changed(
        &self,
        minted: &dyn ReadAt,
        disk: &Disk,
        is_changed: impl Fn(&Partition) -> bool,
    ) -> io::Result<Self> {
        let mut free = FreeRanges::default();
        for partition in partitions_within(minted, disk) {
            let ranges = if is_changed(partition) {
                free_of(minted, partition)?
            } else {
                Some(self.gaps(partition.offset, partition.len).collect())
            };
            ranges
                .into_iter()
                .flatten()
                .for_each(|range| free.push(range));
        }
        Ok(Self::from_free(minted.len(), free.0))
    }

    /// Partitions whose file system is not understood.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn not_understood(source: &dyn ReadAt, disk: &Disk) -> io::Result<Vec<Range<u64>>> {
        let unknown = free_ranges(source, disk)?.into_iter();
        Ok(unknown
            .filter(|(_, ranges)| ranges.is_none())
            .map(|(partition, _)| partition.offset..partition.offset + partition.len)
            .collect())
    }

    /// What is not used within the `len` bytes from `offset` on.
    fn gaps(&self, offset: u64, len: u64) -> impl Iterator<Item = Range<u64>> {
        let end = offset.saturating_add(len);
        let mut at = offset;
        let used = self.within(offset, len).chain(std::iter::once(end..end));
        used.map(move |range| std::mem::replace(&mut at, range.end)..range.start)
            .filter(|gap| !gap.is_empty())
    }

    /// The map of a `.bmap` file, for an image of `len` bytes.
    ///
    /// # Errors
    /// See [`BmapError`].
    pub fn parse_bmap(xml: &[u8], len: u64) -> Result<Bmap, BmapError> {
        bmap::parse(xml, len)
    }

    /// The used ranges, in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Bytes in all ranges.
    #[must_use]
    pub fn used_len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// Length of the whole image.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the image has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The used ranges within the `len` bytes from `offset` on, clipped to them.
    pub fn within(&self, offset: u64, len: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ranges.partition_point(|range| range.end <= offset);
        let end = offset.saturating_add(len);
        self.ranges[first..]
            .iter()
            .take_while(move |range| range.start < end)
            .map(move |range| range.start.max(offset)..range.end.min(end))
            .filter(|range| !range.is_empty())
    }

    /// The same with more ranges, which are widened to whole blocks.
    ///
    /// The extents of an overlay are not enough to turn the map of a base into
    /// that of a card: a file in clusters which were free may hold what the base
    /// happens to hold there too, zeros for instance. No extent tells of those
    /// bytes, yet the card needs them.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self::from_used(self.len, self.ranges.iter().cloned().chain(more), MIN_GAP)
    }

    /// Only what is in both maps.
    ///
    /// Mind where a bmap came from: one made of a sparse copy leaves out blocks
    /// of files that hold zeros, and a card would keep its old bytes there.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let ranges = self
            .ranges
            .iter()
            .flat_map(|range| other.within(range.start, range.end - range.start));
        Self::from_used(self.len.min(other.len), ranges, 0)
    }

    /// Widens to blocks, clips to the image, and closes gaps below `min_gap`.
    fn from_used(len: u64, used: impl IntoIterator<Item = Range<u64>>, min_gap: u64) -> Self {
        let mut used: Vec<Range<u64>> = used
            .into_iter()
            .filter(|range| !range.is_empty() && range.start < len)
            .map(|range| {
                let end = range.end.checked_next_multiple_of(BLOCK_LEN);
                range.start - range.start % BLOCK_LEN..end.map_or(len, |end| end.min(len))
            })
            .collect();
        used.sort_by_key(|range| range.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in used {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end || range.start - last.end < min_gap => {
                    last.end = last.end.max(range.end);
                }
                _ => ranges.push(range),
            }
        }
        Self { len, ranges }
    }

    /// What lies between `free`, which is sorted and in whole blocks.
    fn from_free(len: u64, free: Vec<Range<u64>>) -> Self {
        let mut at = 0;
        let mut used = Vec::new();
        for range in free {
            used.push(at..range.start);
            at = range.end;
        }
        used.push(at..len);
        Self::from_used(len, used, MIN_GAP)
    }
}

/// What a file system calls free; `None` where it is not understood.
type Free = Option<Vec<Range<u64>>>;

/// What each partition within the source calls free, in the order of the disk.
fn free_ranges<'a>(source: &dyn ReadAt, disk: &'a Disk) -> io::Result<Vec<(&'a Partition, Free)>> {
    let each = partitions_within(source, disk).into_iter();
    each.map(|partition| Ok((partition, free_of(source, partition)?)))
        .collect()
}

fn partitions_within<'a>(source: &dyn ReadAt, disk: &'a Disk) -> Vec<&'a Partition> {
    let is_within = |partition: &&Partition| {
        let end = partition.offset.checked_add(partition.len);
        end.is_some_and(|end| end <= source.len())
    };
    let mut partitions: Vec<&Partition> = disk.partitions.iter().filter(is_within).collect();
    partitions.sort_by_key(|partition| partition.offset);
    partitions
}

fn free_of(source: &dyn ReadAt, partition: &Partition) -> io::Result<Free> {
    // A file system made over one of another kind may leave the older one's
    // superblock in place, and that would still look sound.
    let is_ext = super::ext4::Ext4::read(source, partition).is_some();
    match (partition.is_fat_type(), is_ext) {
        (true, false) => {
            // Not all of them: a table may list millions.
            let mut ranges = FreeRanges::default();
            fat::each_free(source, partition, |range| ranges.push(range))?;
            Ok(Some(ranges.0))
        }
        (false, true) => ext4::free(source, partition, MIN_GAP),
        _ => Ok(None),
    }
}

/// Free ranges as file systems report them, shrunk to whole blocks; the short
/// ones are not worth their memory.
#[derive(Default)]
struct FreeRanges(Vec<Range<u64>>);

impl FreeRanges {
    fn push(&mut self, range: Range<u64>) {
        let end = range.end - range.end % BLOCK_LEN;
        let Some(start) = range.start.checked_next_multiple_of(BLOCK_LEN) else {
            return;
        };
        let sorted = self.0.last().is_none_or(|last| last.end <= start);
        if sorted && end.saturating_sub(start) >= MIN_GAP {
            self.0.push(start..end);
        }
    }
}
