//! The boot partition of a base: which one it is, and the texts on it that tell
//! what system this is.

use super::disk::{Disk, Partition};
use super::fat::{Entry, Fat, FatError};
use crate::base::ReadAt;

/// What the boot partition holds, as far as anything later needs it.
#[derive(Clone, Debug)]
pub struct BootPartition {
    /// Where it lies.
    pub partition: Partition,
    /// Volume label: `bootfs`.
    pub label: String,
    /// `FAT32`.
    pub kind: &'static str,
    /// Bytes in a cluster.
    pub cluster_len: u64,
    /// Bytes in free clusters.
    pub free_len: u64,
    /// Entries of the root directory.
    pub entries: Vec<Entry>,
    /// `cmdline.txt`, where it is there.
    pub cmdline: Option<String>,
    /// `config.txt`, where it is there.
    pub config: Option<String>,
    /// `issue.txt`: pi-gen's release date and stage.
    pub issue: Option<String>,
    /// `user-data`: cloud-init's seed.
    pub user_data: Option<String>,
    /// `cardmint.toml`: which node this card is.
    pub marker: Option<String>,
    /// `cardmint-report.txt`: what the first boot reported.
    pub report: Option<String>,
}

/// Why no boot partition was found.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// No partition has a FAT type.
    #[error(
        "no FAT boot partition among its {0} partition(s): this is no Raspberry Pi image. \
         Give a Raspberry Pi OS Lite image"
    )]
    NoFat(usize),
    /// FAT partitions, but without the firmware's files.
    #[error(
        "partition {0} is a FAT without cmdline.txt and config.txt, so no Raspberry Pi boots \
         from it. Give a Raspberry Pi OS Lite image"
    )]
    NotAPi(u32),
    /// The file system in the boot partition is unusable.
    #[error("partition {number}")]
    Fat {
        /// The partition's number.
        number: u32,
        /// What is wrong with it.
        #[source]
        source: FatError,
    },
}

impl BootPartition {
    /// Finds the boot partition by type and contents, never by a fixed offset.
    ///
    /// # Errors
    /// Where there is none that a Pi boots from, or it is damaged.
    pub fn find(source: &dyn ReadAt, disk: &Disk) -> Result<Self, BootError> {
        let mut first_problem = None;
        for partition in disk
            .partitions
            .iter()
            .filter(|partition| partition.is_fat_type())
        {
            let problem = match Self::read(source, partition) {
                Ok(boot) if boot.cmdline.is_some() && boot.config.is_some() => return Ok(boot),
                Ok(_) => BootError::NotAPi(partition.number),
                Err(source) => BootError::Fat {
                    number: partition.number,
                    source,
                },
            };
            first_problem.get_or_insert(problem);
        }
        Err(first_problem.unwrap_or(BootError::NoFat(disk.partitions.len())))
    }

    fn read(source: &dyn ReadAt, partition: &Partition) -> Result<Self, FatError> {
        let fat = Fat::open(source, partition)?;
        let entries = fat.root()?;
        let text = |name: &str| -> Result<Option<String>, FatError> {
            let Some(entry) = entries
                .iter()
                .find(|entry| entry.is_named(name) && !entry.is_dir)
            else {
                return Ok(None);
            };
            fat.read(entry)
                .map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Self {
            partition: partition.clone(),
            label: fat.label()?,
            kind: fat.boot_sector().kind_name(),
            cluster_len: fat.boot_sector().cluster_len(),
            free_len: fat.free_len(),
            cmdline: text("cmdline.txt")?,
            config: text("config.txt")?,
            issue: text("issue.txt")?,
            user_data: text("user-data")?,
            marker: text("cardmint.toml")?,
            report: text("cardmint-report.txt")?,
            entries,
        })
    }

    /// Whether a file of this name, in any case, is in the root directory.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.is_named(name))
    }
}
