//! A read-only view of a FAT file system, for bytes nobody vouches for.
//!
//! `fatfs` writes the boot partition; it expects a sound file system and gives
//! no way to ask where a file lies. This room checks the file system first,
//! reads from it, and says which extents a file occupies. Every length is
//! bounded and every chain ends.

mod boot_sector;
mod dir;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

pub use boot_sector::{BootSector, Kind};
pub use dir::Entry;
pub use tree::Placed;

use self::table::Table;
use super::disk::Partition;
use crate::base::ReadAt;

/// Files on a boot partition that we read as a whole are text; none comes near this.
pub const MAX_TEXT_LEN: u64 = 1 << 20;
/// A directory with more entries than this is damaged, or not a Pi's.
const MAX_DIR_LEN: u64 = 2 << 20;

/// Why a FAT file system cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The boot sector is not that of a FAT.
    #[error("no FAT file system: {0}")]
    NotFat(&'static str),
    /// The structures contradict themselves.
    #[error("the FAT file system is damaged: {0}. Download the image again")]
    Damaged(String),
    /// No such file.
    #[error("`{0}` is not there")]
    Missing(String),
    /// A text file of impossible length.
    #[error("`{name}` is {len} bytes long, which is not a text file")]
    TooLong {
        /// Name of the file.
        name: String,
        /// Its length in bytes.
        len: u64,
    },
    /// The base cannot be read there.
    #[error("reading the boot partition")]
    Io(#[from] std::io::Error),
}

/// A FAT file system within a larger source.
#[derive(Debug)]
pub struct Fat<'a> {
    source: &'a dyn ReadAt,
    offset: u64,
    boot: BootSector,
    table: Table,
}

impl<'a> Fat<'a> {
    /// Opens the file system in `partition`, reading its boot sector and table.
    ///
    /// # Errors
    /// Where there is no FAT, or a damaged one.
    pub fn open(source: &'a dyn ReadAt, partition: &Partition) -> Result<Self, FatError> {
        let boot = BootSector::read(source, partition)?;
        let table = Table::read(source, partition.offset, &boot)?;
        Ok(Self {
            source,
            offset: partition.offset,
            boot,
            table,
        })
    }

    /// Geometry, label and kind.
    #[must_use]
    pub fn boot_sector(&self) -> &BootSector {
        &self.boot
    }

    /// Bytes in free clusters, counted in the table itself.
    #[must_use]
    pub fn free_len(&self) -> u64 {
        u64::from(self.table.free_clusters()) * self.boot.cluster_len()
    }

    /// Bytes in all clusters.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        u64::from(self.boot.clusters) * self.boot.cluster_len()
    }

    /// Entries of the root directory, without the volume label.
    ///
    /// # Errors
    /// Where the directory is damaged or unreadable.
    pub fn root(&self) -> Result<Vec<Entry>, FatError> {
        Ok(self
            .raw_root()?
            .into_iter()
            .filter(|entry| !entry.is_label)
            .collect())
    }

    /// Volume label: of the root directory, else of the boot sector.
    ///
    /// # Errors
    /// Where the root directory is damaged or unreadable.
    pub fn label(&self) -> Result<String, FatError> {
        let entry = self.raw_root()?.into_iter().find(|entry| entry.is_label);
        Ok(entry.map_or_else(|| self.boot.label.clone(), |entry| entry.name))
    }

    /// Entries of a directory other than the root.
    ///
    /// # Errors
    /// Where the directory is damaged or unreadable.
    pub fn list(&self, dir: &Entry) -> Result<Vec<Entry>, FatError> {
        let bytes = self.read_chain(dir.first_cluster, MAX_DIR_LEN, &dir.name)?;
        dir::parse(&bytes)
    }

    /// An entry of the root directory, by name in any case.
    ///
    /// # Errors
    /// [`FatError::Missing`] where there is none.
    pub fn find(&self, name: &str) -> Result<Entry, FatError> {
        self.root()?
            .into_iter()
            .find(|entry| entry.is_named(name))
            .ok_or_else(|| FatError::Missing(name.to_owned()))
    }

    /// The contents of a file of at most [`MAX_TEXT_LEN`] bytes.
    ///
    /// # Errors
    /// Where the file is longer, or its chain shorter than its length.
    pub fn read(&self, file: &Entry) -> Result<Vec<u8>, FatError> {
        let len = u64::from(file.len);
        if len > MAX_TEXT_LEN {
            return Err(FatError::TooLong {
                name: file.name.clone(),
                len,
            });
        }
        self.read_any(file)
    }

    /// The contents of a file, however long; never more than the file system
    /// has room for.
    ///
    /// # Errors
    /// Where its chain is damaged or shorter than its length.
    pub fn read_any(&self, file: &Entry) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        for extent in self.extents(file)? {
            let start = bytes.len();
            bytes.resize(
                start + usize::try_from(extent.end - extent.start).unwrap_or(0),
                0,
            );
            self.source
                .read_exact_at(&mut bytes[start..], extent.start)?;
        }
        Ok(bytes)
    }

    /// Where a file lies, as ranges of the whole source, in the file's order.
    ///
    /// # Errors
    /// Where the chain is damaged, returns to itself or is shorter than the file.
    pub fn extents(&self, file: &Entry) -> Result<Vec<Range<u64>>, FatError> {
        let mut left = u64::from(file.len);
        // A file that the clusters have no room for costs no memory.
        if left > self.data_len() {
            return Err(short(&file.name));
        }
        let mut extents: Vec<Range<u64>> = Vec::new();
        let mut clusters = self.table.chain(file.first_cluster);
        while left > 0 {
            let cluster = clusters.next().ok_or_else(|| short(&file.name))??;
            let start = self.cluster_offset(cluster);
            let len = left.min(self.boot.cluster_len());
            left -= len;
            match extents.last_mut() {
                Some(last) if last.end == start => last.end += len,
                _ => extents.push(start..start + len),
            }
        }
        let mut sorted: Vec<&Range<u64>> = extents.iter().collect();
        sorted.sort_by_key(|extent| extent.start);
        if sorted.windows(2).any(|pair| pair[0].end > pair[1].start) {
            let message = format!("the clusters of `{}` go in circles", file.name);
            return Err(FatError::Damaged(message));
        }
        Ok(extents)
    }

    /// Where boot sector, tables and root directory lie, as ranges of the whole
    /// source.
    ///
    /// # Errors
    /// Where the chain of the root directory is damaged.
    pub fn metadata_extents(&self) -> Result<Vec<Range<u64>>, FatError> {
        let head = self.offset..self.offset + self.boot.data_offset();
        let mut extents = vec![head];
        if let Kind::Fat32 { root_cluster } = self.boot.kind {
            extents.extend(self.chain_extents(root_cluster)?);
        }
        Ok(extents)
    }

    /// Runs of free clusters, as ranges of the whole source, in ascending order.
    ///
    /// `None` where the file system was not unmounted cleanly or its tables do
    /// not vouch for each other: what they call free may then be in use.
    ///
    /// # Errors
    /// Where the root directory is damaged or something is unreadable.
    pub fn free_extents(&self) -> Result<Option<impl Iterator<Item = Range<u64>>>, FatError> {
        self.metadata_extents()?;
        if !self.table.is_clean(&self.boot)
            || !self
                .table
                .copies_agree(self.source, self.offset, &self.boot)?
        {
            return Ok(None);
        }
        let len = self.boot.cluster_len();
        Ok(Some(self.table.free_runs().map(move |run| {
            let start = self.cluster_offset(run.start);
            start..start + u64::from(run.end - run.start) * len
        })))
    }

    fn raw_root(&self) -> Result<Vec<Entry>, FatError> {
        let bytes = match self.boot.kind {
            Kind::Fat32 { root_cluster } => self.read_chain(root_cluster, MAX_DIR_LEN, "/")?,
            Kind::Fat12 | Kind::Fat16 => {
                let mut bytes = vec![0; usize::from(self.boot.root_entries) * dir::ENTRY_LEN];
                let offset = self.offset + self.boot.root_offset();
                self.source.read_exact_at(&mut bytes, offset)?;
                bytes
            }
        };
        dir::parse(&bytes)
    }

    fn read_chain(&self, first: u32, max_len: u64, name: &str) -> Result<Vec<u8>, FatError> {
        let cluster_len = usize::try_from(self.boot.cluster_len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        for cluster in self.table.chain(first) {
            let start = bytes.len();
            if (start + cluster_len) as u64 > max_len {
                return Err(FatError::Damaged(format!("directory `{name}` has no end")));
            }
            bytes.resize(start + cluster_len, 0);
            self.source
                .read_exact_at(&mut bytes[start..], self.cluster_offset(cluster?))?;
        }
        Ok(bytes)
    }

    /// The table only yields clusters within the file system.
    fn cluster_offset(&self, cluster: u32) -> u64 {
        self.offset + self.boot.data_offset() + u64::from(cluster - 2) * self.boot.cluster_len()
    }
}

fn short(name: &str) -> FatError {
    FatError::Damaged(format!("`{name}` is shorter than its directory entry says"))
}
