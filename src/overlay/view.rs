//! Copy-on-write: a writable view of part of a base that keeps the changes to
//! itself.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Overlay, SECTOR_LEN};
use crate::base::ReadAt;
use crate::base::cursor::seek_target;
use crate::layout::disk::Partition;

/// Bytes that are fetched and kept at once.
const PAGE_LEN: usize = 4096;

/// `Read + Write + Seek` over one partition of a base. Reads see earlier
/// writes; the base never changes.
#[derive(Debug)]
pub struct CowView<'a> {
    base: &'a dyn ReadAt,
    start: u64,
    len: u64,
    position: u64,
    pages: BTreeMap<u64, Page>,
}

struct Page {
    bytes: Box<[u8]>,
    written: bool,
}

impl std::fmt::Debug for Page {
    /// Leaves the bytes out: they may hold a node's secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page(written: {})", self.written)
    }
}

impl<'a> CowView<'a> {
    /// A view of `partition`; position 0 is the partition's first byte.
    #[must_use]
    pub fn new(base: &'a dyn ReadAt, partition: &Partition) -> Self {
        Self {
            base,
            start: partition.offset,
            len: partition.len,
            position: 0,
            pages: BTreeMap::new(),
        }
    }

    /// The sectors that differ from the base. A sector that was written with
    /// what it already held is no difference.
    ///
    /// # Errors
    /// Where the base cannot be read.
    pub fn into_overlay(self) -> io::Result<Overlay> {
        let mut changed = Vec::new();
        for (&index, page) in self.pages.iter().filter(|(_, page)| page.written) {
            let offset = self.start + index * PAGE_LEN as u64;
            let mut original = vec![0; page.bytes.len()];
            self.base.read_exact_at(&mut original, offset)?;
            let sectors = page
                .bytes
                .chunks(SECTOR_LEN)
                .zip(original.chunks(SECTOR_LEN));
            for (at, (new, old)) in (offset..).step_by(SECTOR_LEN).zip(sectors) {
                if new != old {
                    changed.push((at, new));
                }
            }
        }
        Ok(Overlay::from_sectors(changed))
    }

    /// The page at the position, where in it the position is, and how many
    /// bytes of `wanted` it can serve.
    fn page(&mut self, wanted: usize) -> io::Result<(&mut Page, usize, usize)> {
        let index = self.position / PAGE_LEN as u64;
        let page_start = index * PAGE_LEN as u64;
        let page_len = self.len.saturating_sub(page_start).min(PAGE_LEN as u64);
        // Both are below PAGE_LEN.
        let page_len = usize::try_from(page_len).unwrap_or(0);
        let within = usize::try_from(self.position - page_start).unwrap_or(0);
        let n = wanted.min(page_len.saturating_sub(within));
        let page = match self.pages.entry(index) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let mut bytes = vec![0; page_len].into_boxed_slice();
                self.base
                    .read_exact_at(&mut bytes, self.start + page_start)?;
                entry.insert(Page {
                    bytes,
                    written: false,
                })
            }
        };
        Ok((page, within, n))
    }
}

impl Read for CowView<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let (page, at, n) = self.page(buf.len())?;
        buf[..n].copy_from_slice(&page.bytes[at..at + n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for CowView<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.position >= self.len {
            return Ok(0);
        }
        let (page, at, n) = self.page(buf.len())?;
        page.bytes[at..at + n].copy_from_slice(&buf[..n]);
        page.written = true;
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for CowView<'_> {
    fn seek(&mut self, from: SeekFrom) -> io::Result<u64> {
        self.position = seek_target(from, self.position, self.len)?;
        Ok(self.position)
    }
}
