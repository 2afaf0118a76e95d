//! The difference between a stock image and a node's card.
//!
//! An [`Overlay`] is a sorted list of non-overlapping extents, in whole
//! sectors. [`edit::edit_boot`] makes one by editing the boot partition through
//! a copy-on-write [`view`]; [`Minted`] reads `base + overlay` as one.

#[cfg(test)]
mod damage_tests;
pub mod edit;
#[cfg(test)]
mod tests;
pub mod view;

use std::io;

use crate::base::{ReadAt, Sha256Digest};

pub use edit::{EditError, edit_boot};

/// Bytes in a sector: offsets and lengths of extents are multiples of it.
pub const SECTOR_LEN: usize = 512;

/// Bytes that replace those of the base from `offset` on.
#[derive(Clone, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the base, in bytes; a multiple of [`SECTOR_LEN`].
    pub offset: u64,
    /// The new bytes; a multiple of [`SECTOR_LEN`] long, never empty.
    pub bytes: Vec<u8>,
}

impl Extent {
    /// Offset of the first byte behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl std::fmt::Debug for Extent {
    /// Leaves the bytes out: they hold a node's secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Extent({}..{})", self.offset, self.end())
    }
}

/// Sorted, non-overlapping extents over a base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    extents: Vec<Extent>,
}

impl Overlay {
    /// Builds an overlay from changed sectors in ascending order; neighbours
    /// become one extent.
    pub(crate) fn from_sectors<'a>(sectors: impl IntoIterator<Item = (u64, &'a [u8])>) -> Self {
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, bytes) in sectors {
            match extents.last_mut() {
                Some(last) if last.end() == offset => last.bytes.extend_from_slice(bytes),
                last => {
                    debug_assert!(last.is_none_or(|last| last.end() < offset));
                    extents.push(Extent {
                        offset,
                        bytes: bytes.to_vec(),
                    });
                }
            }
        }
        Self { extents }
    }

    /// The extents, in ascending order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Bytes in all extents.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.extents
            .iter()
            .map(|extent| extent.bytes.len() as u64)
            .sum()
    }

    /// Whether nothing differs from the base.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Digest of offsets, lengths and bytes: two overlays with one digest make
    /// the same card of the same base.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        for extent in &self.extents {
            hasher.update(extent.offset.to_le_bytes());
            hasher.update((extent.bytes.len() as u64).to_le_bytes());
            hasher.update(&extent.bytes);
        }
        Sha256Digest(hasher.finalize().into())
    }

    /// Whether an extent reaches into the `len` bytes from `offset` on.
    #[must_use]
    pub fn touches(&self, offset: u64, len: u64) -> bool {
        self.within(offset, len).next().is_some()
    }

    /// Lays the overlay over `chunk`, which holds the base's bytes from
    /// `offset` on.
    pub fn apply(&self, offset: u64, chunk: &mut [u8]) {
        for extent in self.within(offset, chunk.len() as u64) {
            // Both ends lie within the chunk, so the differences fit in usize.
            let start = extent.offset.max(offset);
            let end = extent.end().min(offset + chunk.len() as u64);
            let to = index(start - offset)..index(end - offset);
            let from = index(start - extent.offset)..index(end - extent.offset);
            chunk[to].copy_from_slice(&extent.bytes[from]);
        }
    }

    fn within(&self, offset: u64, len: u64) -> impl Iterator<Item = &Extent> {
        let first = self
            .extents
            .partition_point(|extent| extent.end() <= offset);
        let end = offset.saturating_add(len);
        self.extents[first..]
            .iter()
            .take_while(move |extent| extent.offset < end)
    }
}

/// An index into memory that is already held; it cannot exceed `usize`.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// `base + overlay`, read as one: what the finished card will hold.
#[derive(Debug)]
pub struct Minted<'a> {
    /// The stock image.
    pub base: &'a dyn ReadAt,
    /// What differs from it.
    pub overlay: &'a Overlay,
}

impl ReadAt for Minted<'_> {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.base.read_exact_at(buf, offset)?;
        self.overlay.apply(offset, buf);
        Ok(())
    }
}
