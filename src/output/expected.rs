//! What an image must read back as, chunk by chunk.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::base::chunk::{CHUNK_LEN, ChunkDigests};
use crate::base::{ReadAt, Sha256Digest};
use crate::layout::UsedMap;
use crate::overlay::Overlay;

/// Digest of each chunk of `base + overlay`. Chunks that the overlay does not
/// touch keep the base's digest, so one more node costs only its overlay.
#[derive(Clone, Debug)]
pub struct Expected {
    len: u64,
    base: ChunkDigests,
    patched: BTreeMap<usize, Sha256Digest>,
    /// Of a card: what counts; the rest holds whatever was there before.
    used: Option<UsedMap>,
}

impl Expected {
    /// Works out what `base + overlay` must read as; reads only the chunks that
    /// the overlay touches.
    ///
    /// # Errors
    /// Where the base cannot be read.
    pub fn new(base: &dyn ReadAt, chunks: &ChunkDigests, overlay: &Overlay) -> io::Result<Self> {
        let len = base.len();
        let mut expected = Self {
            len,
            base: chunks.clone(),
            patched: BTreeMap::new(),
            used: None,
        };
        let mut chunk = Vec::new();
        for index in 0..expected.chunks() {
            let (offset, chunk_len) = expected.range(index);
            if overlay.touches(offset, chunk_len as u64) {
                chunk.resize(chunk_len, 0);
                base.read_exact_at(&mut chunk, offset)?;
                overlay.apply(offset, &mut chunk);
                expected.patched.insert(index, Sha256Digest::of(&chunk));
            }
        }
        Ok(expected)
    }

    /// The same where the digests of the chunks that the overlay touches are
    /// known already.
    #[must_use]
    pub fn from_patched(
        len: u64,
        chunks: &ChunkDigests,
        patched: BTreeMap<usize, Sha256Digest>,
    ) -> Self {
        Self {
            len,
            base: chunks.clone(),
            patched,
            used: None,
        }
    }

    /// What the used blocks of a card must read as; `digests` has one digest for
    /// each chunk with used pieces, over these alone.
    #[must_use]
    pub fn of_card(digests: BTreeMap<usize, Sha256Digest>, used: UsedMap) -> Self {
        Self {
            len: used.len(),
            base: Vec::new().into(),
            patched: digests,
            used: Some(used),
        }
    }

    /// Whether only used blocks count.
    #[must_use]
    pub fn is_of_card(&self) -> bool {
        self.used.is_some()
    }

    /// Bytes that count.
    #[must_use]
    pub fn compared_len(&self) -> u64 {
        self.used.as_ref().map_or(self.len, UsedMap::used_len)
    }

    /// The ranges of a chunk that count.
    #[must_use]
    pub fn pieces(&self, index: usize) -> Vec<Range<u64>> {
        let (offset, len) = self.range(index);
        match &self.used {
            Some(used) => used.within(offset, len as u64).collect(),
            None => std::iter::once(offset..offset + len as u64).collect(),
        }
    }

    /// Length of the image in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the image has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many chunks the image has.
    #[must_use]
    pub fn chunks(&self) -> usize {
        usize::try_from(self.len.div_ceil(CHUNK_LEN as u64)).unwrap_or(usize::MAX)
    }

    /// Offset and length of a chunk.
    #[must_use]
    pub fn range(&self, index: usize) -> (u64, usize) {
        let offset = index as u64 * CHUNK_LEN as u64;
        let len = self.len.saturating_sub(offset).min(CHUNK_LEN as u64);
        // At most CHUNK_LEN.
        (offset, usize::try_from(len).unwrap_or(CHUNK_LEN))
    }

    /// Digest that a chunk must have.
    #[must_use]
    pub fn digest(&self, index: usize) -> Option<&Sha256Digest> {
        self.patched
            .get(&index)
            .or_else(|| self.base.as_slice().get(index))
    }

    /// The chunks that the overlay touches.
    pub fn patched(&self) -> impl Iterator<Item = usize> + '_ {
        self.patched.keys().copied()
    }

    /// Digest of the whole image: SHA-256 over the digests of its chunks.
    #[must_use]
    pub fn image_digest(&self) -> Sha256Digest {
        let chunks: Vec<Sha256Digest> = (0..self.chunks())
            .filter_map(|index| self.digest(index).copied())
            .collect();
        ChunkDigests::from(chunks).image_digest()
    }
}
