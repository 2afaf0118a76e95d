//! The boot sector of a FAT (Microsoft FAT specification 1.03, "fatgen103").

use super::FatError;
use crate::base::ReadAt;
use crate::layout::disk::Partition;

/// FAT12, FAT16 or FAT32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 12-bit entries, root directory of fixed length.
    Fat12,
    /// 16-bit entries, root directory of fixed length.
    Fat16,
    /// 28-bit entries, root directory in a chain.
    Fat32 {
        /// First cluster of the root directory.
        root_cluster: u32,
    },
}

impl Kind {
    /// The limits of the specification; a `root_cluster` is FAT32's (`BPB_FATSz16 == 0`).
    fn of(root_cluster: Option<u32>, clusters: u32) -> Self {
        match (root_cluster, clusters) {
            (Some(root_cluster), _) => Self::Fat32 { root_cluster },
            (None, ..4085) => Self::Fat12,
            (None, _) => Self::Fat16,
        }
    }
}

/// Geometry of a FAT file system; everything within the partition's bounds.
#[derive(Clone, Debug)]
pub struct BootSector {
    /// FAT12, FAT16 or FAT32.
    pub kind: Kind,
    /// Bytes in a sector: 512 to 4096.
    pub sector_len: u16,
    /// Sectors in a cluster.
    pub sectors_per_cluster: u8,
    /// Data clusters; they are numbered from 2.
    pub clusters: u32,
    /// Label in the boot sector, padding removed.
    pub label: String,
    /// `BPB_Media`, which entry 0 of the table repeats.
    pub(super) media: u8,
    /// Linux has it mounted, or had when the power went (`fat_set_state`).
    pub(super) is_dirty: bool,
    pub(super) root_entries: u16,
    pub(super) reserved_sectors: u16,
    pub(super) fats: u8,
    pub(super) sectors_per_fat: u32,
}

fn u16_at(raw: &[u8; 512], at: usize) -> u16 {
    u16::from_le_bytes([raw[at], raw[at + 1]])
}

fn u32_at(raw: &[u8; 512], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

/// A label without what could steer a terminal.
fn printable_label(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .trim_end()
        .replace(char::is_control, "\u{fffd}")
}

impl BootSector {
    pub(crate) fn read(source: &dyn ReadAt, partition: &Partition) -> Result<Self, FatError> {
        let mut raw = [0; 512];
        if partition.len < raw.len() as u64 {
            return Err(FatError::NotFat("the partition is smaller than a sector"));
        }
        source.read_exact_at(&mut raw, partition.offset)?;
        Self::parse(&raw, partition.len)
    }

    fn parse(raw: &[u8; 512], partition_len: u64) -> Result<Self, FatError> {
        let u16_at = |at| u16_at(raw, at);
        let u32_at = |at| u32_at(raw, at);
        if raw[510..] != [0x55, 0xaa] {
            return Err(FatError::NotFat("the boot sector has no signature"));
        }
        let sector_len = u16_at(11);
        let sectors_per_cluster = raw[13];
        if !matches!(sector_len, 512 | 1024 | 2048 | 4096) || !sectors_per_cluster.is_power_of_two()
        {
            return Err(FatError::NotFat("sector or cluster size is impossible"));
        }
        let (reserved_sectors, fats, root_entries) = (u16_at(14), raw[16], u16_at(17));
        if reserved_sectors == 0 || !matches!(fats, 1 | 2) {
            return Err(FatError::NotFat("no reserved sectors, or no table"));
        }
        let is_fat32 = u16_at(22) == 0;
        let sectors_per_fat = if is_fat32 {
            u32_at(36)
        } else {
            u32::from(u16_at(22))
        };
        let total = if u16_at(19) == 0 {
            u32_at(32)
        } else {
            u32::from(u16_at(19))
        };
        if u64::from(total) * u64::from(sector_len) > partition_len {
            return Err(FatError::Damaged(
                "it is longer than its partition".to_owned(),
            ));
        }
        let root_sectors = (u64::from(root_entries) * 32).div_ceil(u64::from(sector_len));
        let meta = u64::from(reserved_sectors)
            + u64::from(fats) * u64::from(sectors_per_fat)
            + root_sectors;
        let clusters = u64::from(total)
            .checked_sub(meta)
            .map(|data| data / u64::from(sectors_per_cluster))
            .and_then(|clusters| u32::try_from(clusters).ok())
            .filter(|&clusters| clusters > 0)
            .ok_or_else(|| FatError::Damaged("its table leaves no room for data".to_owned()))?;
        let label = &raw[if is_fat32 { 71..82 } else { 43..54 }];
        let boot = Self {
            kind: Kind::of(is_fat32.then(|| u32_at(44)), clusters),
            sector_len,
            sectors_per_cluster,
            clusters,
            label: printable_label(label),
            media: raw[21],
            is_dirty: raw[if is_fat32 { 65 } else { 37 }] & 1 != 0,
            root_entries,
            reserved_sectors,
            fats,
            sectors_per_fat,
        };
        if boot.table_len() < boot.table_len_needed() {
            return Err(FatError::Damaged("its table is too short".to_owned()));
        }
        Ok(boot)
    }

    /// Bytes in a cluster.
    #[must_use]
    pub fn cluster_len(&self) -> u64 {
        u64::from(self.sector_len) * u64::from(self.sectors_per_cluster)
    }

    /// `FAT12`, `FAT16` or `FAT32`.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Fat12 => "FAT12",
            Kind::Fat16 => "FAT16",
            Kind::Fat32 { .. } => "FAT32",
        }
    }

    pub(in crate::layout) fn table_offset(&self) -> u64 {
        u64::from(self.reserved_sectors) * u64::from(self.sector_len)
    }

    pub(super) fn table_len(&self) -> u64 {
        u64::from(self.sectors_per_fat) * u64::from(self.sector_len)
    }

    /// Bytes of the table that describe clusters which exist.
    pub(super) fn table_len_needed(&self) -> u64 {
        let entries = u64::from(self.clusters) + 2;
        match self.kind {
            Kind::Fat12 => (entries * 3).div_ceil(2),
            Kind::Fat16 => entries * 2,
            Kind::Fat32 { .. } => entries * 4,
        }
    }

    pub(super) fn root_offset(&self) -> u64 {
        self.table_offset() + u64::from(self.fats) * self.table_len()
    }

    pub(super) fn data_offset(&self) -> u64 {
        let root_len = u64::from(self.root_entries) * 32;
        self.root_offset() + root_len.next_multiple_of(u64::from(self.sector_len))
    }
}
