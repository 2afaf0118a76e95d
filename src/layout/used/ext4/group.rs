//! Group descriptors (kernel documentation, "filesystems/ext4/group_descr.rst").

use std::io;
use std::ops::Range;

use super::checksum;
use super::superblock::{Fields, Protection, Superblock};
use crate::base::ReadAt;

/// `bg_flags`: the block bitmap was never written.
const BLOCK_UNINIT: u16 = 0x2;
/// Offset of `bg_checksum` in a descriptor.
const CHECKSUM: usize = 0x1e;

/// What a group descriptor says.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: Range<u64>,
    pub(super) free_blocks: u64,
    /// Whether the bitmap says nothing, and only metadata is in use.
    pub(super) is_uninit: bool,
    /// Of the block bitmap; 16 bits where descriptors are short.
    pub(super) bitmap_checksum: u32,
    pub(super) is_wide: bool,
}

impl Group {
    /// Reads all descriptors; `None` for anything not understood.
    pub(super) fn read_all(
        source: &dyn ReadAt,
        offset: u64,
        fs: &Superblock,
    ) -> io::Result<Option<Vec<Self>>> {
        let mut groups = Vec::new();
        let mut block = vec![0; usize::try_from(fs.block_len).unwrap_or(0)];
        for index in 0..fs.groups.div_ceil(fs.descs_per_block()) {
            let at = fs.desc_block(index);
            if at >= fs.blocks {
                return Ok(None);
            }
            source.read_exact_at(&mut block, offset + at * fs.block_len)?;
            let first = index * fs.descs_per_block();
            for (group, raw) in (first..fs.groups).zip(block.chunks_exact(fs.desc_len)) {
                match Self::parse(raw, group, fs) {
                    Some(group) => groups.push(group),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(groups))
    }

    fn parse(raw: &[u8], group: u64, fs: &Superblock) -> Option<Self> {
        if !is_sound(raw, u32::try_from(group).ok()?, fs) {
            return None;
        }
        let fields = Fields(raw);
        let is_wide = raw.len() >= 64;
        let number = |low: usize, high: usize| {
            let high = if is_wide { fields.u32(high) } else { 0 };
            u64::from(fields.u32(low)) | u64::from(high) << 32
        };
        let half = |low: usize, high: usize| {
            let high = if is_wide { fields.u16(high) } else { 0 };
            u32::from(fields.u16(low)) | u32::from(high) << 16
        };
        let inode_table = number(8, 0x28);
        let parsed = Self {
            block_bitmap: number(0, 0x20),
            inode_bitmap: number(4, 0x24),
            inode_table: inode_table..inode_table.checked_add(fs.inode_table_blocks)?,
            free_blocks: half(0xc, 0x2c).into(),
            // Without checksums the flag means nothing (`ext4_read_block_bitmap_nowait`).
            is_uninit: fs.protection != Protection::None && fields.u16(0x12) & BLOCK_UNINIT != 0,
            bitmap_checksum: half(0x18, 0x38),
            is_wide,
        };
        let bounds = if fs.flex_bg {
            fs.first_data_block..fs.blocks
        } else {
            let start = fs.group_start(group);
            start..start + fs.group_len(group)
        };
        parsed
            .metadata()
            .iter()
            .all(|range| bounds.start <= range.start && range.end <= bounds.end)
            .then_some(parsed)
    }

    /// Blocks that hold the group's bitmaps and inodes, wherever they lie.
    pub(super) fn metadata(&self) -> [Range<u64>; 3] {
        let single = |block: u64| block..block.saturating_add(1);
        [
            single(self.block_bitmap),
            single(self.inode_bitmap),
            self.inode_table.clone(),
        ]
    }
}

/// Whether a descriptor matches its checksum (`ext4_group_desc_csum`).
fn is_sound(raw: &[u8], group: u32, fs: &Superblock) -> bool {
    let stored = Fields(raw).u16(CHECKSUM);
    let group = group.to_le_bytes();
    let (head, tail) = (&raw[..CHECKSUM], &raw[CHECKSUM + 2..]);
    match fs.protection {
        Protection::None => true,
        Protection::Gdt => checksum::crc16(&[&fs.uuid, &group, head, tail]) == stored,
        Protection::Metadata { seed } => {
            // It is the checksum of a descriptor without one.
            let sum = checksum::crc32c(seed, &[&group, head, &[0, 0], tail]);
            sum & 0xffff == u32::from(stored)
        }
    }
}
