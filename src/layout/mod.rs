//! What the bytes of a base mean: partitions, files, OS generation, boards.
//!
//! [`disk`] finds the partitions and [`boot`] reads what counts on the boot partition;
//! from these names and texts [`detect`] tells which system it is ([`os`]), and [`board`]
//! which boards it boots. [`used`] tells which ranges hold data. A new OS generation
//! starts with a row in [`os`] and a sign in [`detect`]; CONTRIBUTING.md has the rest.

pub mod board;
pub mod boot;
pub mod detect;
pub mod disk;
pub mod ext4;
pub mod fat;
pub mod os;
#[cfg(test)]
mod tests;
pub mod used;

pub use board::Board;
pub use boot::BootPartition;
pub use disk::Disk;
pub use os::{Arch, Generation, Mechanism, Os};
pub use used::UsedMap;

use crate::base::ReadAt;

/// Partitions and boot partition of an image or card.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The partition table.
    pub disk: Disk,
    /// The boot partition.
    pub boot: BootPartition,
}

/// Why something is not an image we can work with.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The partition table is missing or damaged.
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    /// There is no boot partition, or a damaged one.
    #[error(transparent)]
    Boot(#[from] boot::BootError),
}

impl Layout {
    /// Reads partition table and boot partition.
    ///
    /// # Errors
    /// Where one of them is missing or damaged.
    pub fn read(source: &dyn ReadAt) -> Result<Self, LayoutError> {
        let disk = Disk::read(source)?;
        let boot = BootPartition::find(source, &disk)?;
        Ok(Self { disk, boot })
    }

    /// The boards that find a kernel and a device tree on the boot partition.
    #[must_use]
    pub fn boards(&self) -> Vec<Board> {
        Board::all()
            .filter(|board| board.boots_from(|name| self.boot.has(name)))
            .collect()
    }
}
