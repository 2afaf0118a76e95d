//! An xz file of many blocks, read in place: only the blocks that hold what is
//! asked for are decoded.

mod block;
mod index;
#[cfg(test)]
mod tests;
pub(crate) mod trailer;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use block::decode as decode_block;
pub(crate) use index::{Block, Index, IndexError, MAX_BLOCK_LEN, MAX_INDEX_LEN, push_number};

use super::ReadAt;
use super::chunk::CHUNK_LEN;

/// Decoded blocks kept, in bytes: four of the usual 24 MiB.
const CACHE_LEN: usize = 96 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct XzBase {
    source: Arc<dyn ReadAt>,
    index: Index,
    /// Most recently used last.
    cache: Mutex<VecDeque<(usize, Arc<Slot>)>>,
}

/// A block, decoded by whoever comes first; others wait for it.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Arc<Vec<u8>>>>);

impl XzBase {
    /// Reads the index of `source`.
    pub(crate) fn open(source: Arc<dyn ReadAt>) -> Result<Self, IndexError> {
        let index = Index::read(&*source)?;
        // One encoder makes all blocks alike, so the first speaks for them.
        if let Some(first) = index.blocks.first()
            && !block::is_affordable(&*source, first, index.flags)?
        {
            return Err(IndexError::NotSeekable);
        }
        Ok(Self {
            source,
            index,
            cache: Mutex::default(),
        })
    }

    /// The compressed file.
    pub(crate) fn source(&self) -> &dyn ReadAt {
        &*self.source
    }

    /// Whether the blocks carry a check that decoding looks at: CRC-32, CRC-64 or
    /// SHA-256 (2.1.1.2).
    pub(crate) fn is_checked(&self) -> bool {
        const CHECKS: [u8; 3] = [0x01, 0x04, 0x0a];
        CHECKS.contains(&self.index.flags[1])
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.index.blocks.len()
    }

    /// Memory that decoding ahead by any one block takes at most, in bytes: the
    /// block, and a dictionary as `xz -6` uses.
    pub(crate) fn decoder_memory(&self) -> u64 {
        const DICTIONARY: u64 = 8 << 20;
        let lens = self.index.blocks.iter().map(|block| block.len);
        lens.max().unwrap_or(0) + DICTIONARY
    }

    /// Pieces that the longest block is passed on in.
    pub(crate) fn pieces(&self) -> usize {
        let lens = self.index.blocks.iter().map(|block| block.len);
        let chunks = lens.max().unwrap_or(0) / CHUNK_LEN as u64;
        usize::try_from(chunks).unwrap_or(0) + 1
    }

    /// Decodes a block past the cache and passes it on in pieces that end where
    /// the base's chunks do, until `each` has enough.
    pub(crate) fn decode_pieces(
        &self,
        number: usize,
        mut each: impl FnMut(Vec<u8>) -> bool,
    ) -> io::Result<()> {
        let block = &self.index.blocks[number];
        let mut decoder = block::Decoder::new(&*self.source, block, self.index.flags)?;
        let (mut offset, end) = (block.offset, block.offset + block.len);
        while offset < end {
            let next = (offset / CHUNK_LEN as u64 + 1) * CHUNK_LEN as u64;
            // At most a chunk.
            let len = usize::try_from(next.min(end) - offset).unwrap_or(CHUNK_LEN);
            if !each(decoder.next(len)?) {
                return Ok(());
            }
            offset += len as u64;
        }
        decoder.finish()
    }

    /// Decodes a block past the cache.
    fn decode(&self, number: usize) -> io::Result<Vec<u8>> {
        block::decode(&*self.source, &self.index.blocks[number], self.index.flags)
    }

    /// Forgets all decoded blocks, for a pass that needs the memory.
    pub(crate) fn forget(&self) {
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn cached(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        let slot = self.slot(number);
        let mut bytes = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*bytes {
            return Ok(Arc::clone(bytes));
        }
        let decoded = Arc::new(self.decode(number)?);
        *bytes = Some(Arc::clone(&decoded));
        Ok(decoded)
    }

    /// The place of a block in the cache; makes room for it first.
    fn slot(&self, number: usize) -> Arc<Slot> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match cache.iter().position(|(cached, _)| *cached == number) {
            Some(at) => cache.remove(at).map(|(_, slot)| slot).unwrap_or_default(),
            None => Arc::default(),
        };
        cache.push_back((number, Arc::clone(&slot)));
        let len = |number: usize| usize::try_from(self.index.blocks[number].len).unwrap_or(0);
        let mut total: usize = cache.iter().map(|(number, _)| len(*number)).sum();
        while total > CACHE_LEN && cache.len() > 1 {
            if let Some((number, _)) = cache.pop_front() {
                total -= len(number);
            }
        }
        slot
    }
}

impl ReadAt for XzBase {
    fn len(&self) -> u64 {
        self.index.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut done, mut offset) = (0, offset);
        while done < buf.len() {
            let number = self
                .index
                .block_at(offset)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes = self.cached(number)?;
            // Within a decoded block, so it fits.
            let within =
                usize::try_from(offset - self.index.blocks[number].offset).unwrap_or(usize::MAX);
            let n = (buf.len() - done).min(bytes.len() - within);
            buf[done..done + n].copy_from_slice(&bytes[within..within + n]);
            done += n;
            offset += n as u64;
        }
        Ok(())
    }
}
