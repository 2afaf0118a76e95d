//! The file allocation table: chains of clusters, and which are free.

use std::io;
use std::ops::Range;

use super::{BootSector, FatError, Kind};
use crate::base::ReadAt;

/// Longest table we load: 8 Mi clusters of FAT32. Boot partitions need 4 MiB.
const MAX_TABLE_LEN: u64 = 32 << 20;

/// The first copy of the table, in memory.
#[derive(Debug)]
pub(super) struct Table {
    kind: Kind,
    clusters: u32,
    bytes: Vec<u8>,
}

impl Table {
    pub(super) fn read(
        source: &dyn ReadAt,
        offset: u64,
        boot: &BootSector,
    ) -> Result<Self, FatError> {
        let len = usize::try_from(boot.table_len_needed())
            .ok()
            .filter(|&len| len as u64 <= MAX_TABLE_LEN)
            .ok_or_else(|| {
                FatError::Damaged("its table is too large for a boot partition".to_owned())
            })?;
        let mut bytes = vec![0; len];
        source.read_exact_at(&mut bytes, offset + boot.table_offset())?;
        Ok(Self {
            kind: boot.kind,
            clusters: boot.clusters,
            bytes,
        })
    }

    /// Clusters that nothing uses.
    pub(super) fn free_clusters(&self) -> u32 {
        (2..self.clusters + 2)
            .map(|cluster| u32::from(self.entry(cluster) == 0))
            .sum()
    }

    /// Runs of clusters that nothing uses, in ascending order. Bad clusters are
    /// not among them.
    pub(super) fn free_runs(&self) -> impl Iterator<Item = Range<u32>> {
        let end = self.clusters + 2;
        let mut next = 2;
        std::iter::from_fn(move || {
            let start = (next..end).find(|&cluster| self.entry(cluster) == 0)?;
            next = (start..end)
                .find(|&cluster| self.entry(cluster) != 0)
                .unwrap_or(end);
            Some(start..next)
        })
    }

    /// Whether entry 0 repeats the media byte, and neither entry 1 nor the boot
    /// sector says that the file system was in use or met errors (fatgen103,
    /// "FAT Data Structure"; the byte in the boot sector is Linux', `FAT_STATE_DIRTY`).
    pub(super) fn is_clean(&self, boot: &BootSector) -> bool {
        let (all, clean) = match self.kind {
            // FAT12 has no room for the two bits.
            Kind::Fat12 => (0xfff, 0),
            Kind::Fat16 => (0xffff, 0xc000),
            Kind::Fat32 { .. } => (0x0fff_ffff, 0x0c00_0000),
        };
        let first = (all & !0xff) | u32::from(boot.media);
        self.entry(0) == first && self.entry(1) & clean == clean && !boot.is_dirty
    }

    /// Whether all copies of the table say the same.
    pub(super) fn copies_agree(
        &self,
        source: &dyn ReadAt,
        offset: u64,
        boot: &BootSector,
    ) -> io::Result<bool> {
        let mut buf = vec![0; 64 << 10];
        for copy in 1..u64::from(boot.fats) {
            let mut at = offset + boot.table_offset() + copy * boot.table_len();
            for ours in self.bytes.chunks(buf.len()) {
                let theirs = &mut buf[..ours.len()];
                source.read_exact_at(theirs, at)?;
                if *ours != *theirs {
                    return Ok(false);
                }
                at += ours.len() as u64;
            }
        }
        Ok(true)
    }

    /// The clusters of a chain. Ends with an error where the chain leaves the
    /// file system or returns to itself. Cluster 0 starts an empty chain.
    pub(super) fn chain(&self, first: u32) -> Chain<'_> {
        Chain {
            table: self,
            next: (first != 0).then_some(first),
            left: self.clusters,
        }
    }

    fn entry(&self, cluster: u32) -> u32 {
        let index = cluster as usize;
        let byte = |at: usize| u32::from(self.bytes.get(at).copied().unwrap_or(0));
        match self.kind {
            Kind::Fat12 => {
                let at = index + index / 2;
                let pair = byte(at) | byte(at + 1) << 8;
                if index.is_multiple_of(2) {
                    pair & 0xfff
                } else {
                    pair >> 4
                }
            }
            Kind::Fat16 => byte(index * 2) | byte(index * 2 + 1) << 8,
            Kind::Fat32 { .. } => {
                let at = index * 4;
                // The upper four bits are reserved and must be ignored.
                (byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | byte(at + 3) << 24)
                    & 0x0fff_ffff
            }
        }
    }

    /// From here on an entry marks the end of a chain.
    fn end_mark(&self) -> u32 {
        match self.kind {
            Kind::Fat12 => 0xff8,
            Kind::Fat16 => 0xfff8,
            Kind::Fat32 { .. } => 0x0fff_fff8,
        }
    }
}

/// See [`Table::chain`].
pub(super) struct Chain<'a> {
    table: &'a Table,
    next: Option<u32>,
    /// A chain longer than the file system has clusters is a loop.
    left: u32,
}

impl Iterator for Chain<'_> {
    type Item = Result<u32, FatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cluster = self.next.take()?;
        let nowhere = || {
            let message = format!("a chain of clusters leads nowhere (cluster {cluster})");
            Some(Err(FatError::Damaged(message)))
        };
        if self.left == 0 || !(2..self.table.clusters + 2).contains(&cluster) {
            return nowhere();
        }
        self.left -= 1;
        let entry = self.table.entry(cluster);
        if entry == 0 {
            // It would be given to another file, and is not written to a card.
            return nowhere();
        }
        self.next = (entry < self.table.end_mark()).then_some(entry);
        Some(Ok(cluster))
    }
}
