//! What the superblock of an ext4 says: label and space.

use super::disk::Partition;
use crate::base::ReadAt;

/// The superblock lies here whatever the block size (ext4 on-disk layout,
/// kernel documentation "ext4/globals.rst").
const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// `s_feature_incompat`: block counts have upper halves.
const INCOMPAT_64BIT: u32 = 0x80;

/// Label and space of an ext4 file system.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ext4 {
    /// Volume name: `rootfs`.
    pub label: String,
    /// Length of the file system in bytes; less than the partition before it
    /// has been grown.
    pub len: u64,
    /// Bytes in free blocks.
    pub free_len: u64,
}

impl Ext4 {
    /// Reads the superblock; `None` where the partition holds no ext4.
    #[must_use]
    pub fn read(source: &dyn ReadAt, partition: &Partition) -> Option<Self> {
        let mut raw = [0; 1024];
        if partition.len < 2 * SUPERBLOCK_OFFSET {
            return None;
        }
        source
            .read_exact_at(&mut raw, partition.offset.checked_add(SUPERBLOCK_OFFSET)?)
            .ok()?;
        let u32_at =
            |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        if u16::from_le_bytes([raw[56], raw[57]]) != MAGIC {
            return None;
        }
        let block_len = 1024u64
            .checked_shl(u32_at(24))
            .filter(|len| (1024..=65536).contains(len))?;
        let wide = u32_at(96) & INCOMPAT_64BIT != 0;
        let count = |low: usize, high: usize| {
            u64::from(u32_at(low))
                | if wide {
                    u64::from(u32_at(high)) << 32
                } else {
                    0
                }
        };
        let label = &raw[120..136];
        let end = label
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(label.len());
        Some(Self {
            label: String::from_utf8_lossy(&label[..end]).replace(char::is_control, "\u{fffd}"),
            len: count(4, 0x150).checked_mul(block_len)?,
            free_len: count(12, 0x158).checked_mul(block_len)?,
        })
    }
}
