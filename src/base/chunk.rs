//! Chunks: the unit in which a base is passed on and digested.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::thread;

use sha2::Digest as _;

use super::Sha256Digest;
use super::sparse::is_zero;

/// Bytes in a chunk. Large enough for a card's erase blocks, small enough that
/// one more node costs little to digest.
pub const CHUNK_LEN: usize = 4 << 20;

/// Takes a base's bytes: offset of the chunk, and the chunk. All chunks have
/// [`CHUNK_LEN`] bytes but the last.
pub type Each<'a> = &'a mut dyn FnMut(u64, &[u8]) -> io::Result<()>;

/// The same with the digest of each chunk.
pub type EachDigested<'a> = &'a mut dyn FnMut(u64, &[u8], &Sha256Digest) -> io::Result<()>;

/// SHA-256 of every chunk of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkDigests(Arc<[Sha256Digest]>);

impl ChunkDigests {
    /// The digests, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Sha256Digest] {
        &self.0
    }

    /// One digest for the whole: SHA-256 over the binary digests of the chunks.
    ///
    /// Unlike a digest of the bytes, it can be known for a node's image from the
    /// base's chunks and the few that differ. `docs/reference.md` tells how to
    /// recompute it with standard tools.
    #[must_use]
    pub fn image_digest(&self) -> Sha256Digest {
        let bytes: Vec<u8> = self.0.iter().flat_map(|digest| digest.0).collect();
        Sha256Digest::of(&bytes)
    }
}

impl From<Vec<Sha256Digest>> for ChunkDigests {
    fn from(digests: Vec<Sha256Digest>) -> Self {
        Self(digests.into())
    }
}

/// Digest of a whole chunk of zeros; images have many of them.
fn zero_digest() -> &'static Sha256Digest {
    static ZERO: OnceLock<Sha256Digest> = OnceLock::new();
    ZERO.get_or_init(|| Sha256Digest::of(&vec![0; CHUNK_LEN]))
}

/// Digest of a chunk; zeros are recognised, which is cheaper than digesting
/// them.
pub(crate) fn chunk_digest(chunk: &[u8]) -> Sha256Digest {
    if chunk.len() == CHUNK_LEN && is_zero(chunk) {
        *zero_digest()
    } else {
        Sha256Digest::of(chunk)
    }
}

/// Digest of some ranges of a chunk, one after another; `chunk` holds the bytes
/// from `offset` on.
pub(crate) fn digest_pieces(chunk: &[u8], offset: u64, pieces: &[Range<u64>]) -> Sha256Digest {
    let mut hasher = sha2::Sha256::new();
    for piece in pieces {
        hasher.update(&chunk[within(piece, offset)]);
    }
    Sha256Digest(hasher.finalize().into())
}

/// The same where the digest of the `whole` chunk is known: mostly all of it is
/// used.
pub(crate) fn digest_used(
    chunk: &[u8],
    offset: u64,
    pieces: &[Range<u64>],
    whole: &Sha256Digest,
) -> Sha256Digest {
    match pieces {
        [piece] if piece.end - piece.start == chunk.len() as u64 => *whole,
        _ => digest_pieces(chunk, offset, pieces),
    }
}

/// A range of an image as one of a chunk that holds the bytes from `offset` on.
pub(crate) fn within(piece: &Range<u64>, offset: u64) -> Range<usize> {
    // Pieces are cut to chunks, whose lengths fit.
    let at = |position: u64| usize::try_from(position - offset).unwrap_or(usize::MAX);
    at(piece.start)..at(piece.end)
}

/// Cuts a sequence of pieces of any length into chunks.
#[derive(Debug, Default)]
pub(super) struct Chunker {
    offset: u64,
    carry: Vec<u8>,
}

impl Chunker {
    /// Takes the next piece and passes on the chunks it completes. Whole chunks
    /// within a piece are passed on without being copied.
    pub(super) fn push(&mut self, mut piece: &[u8], each: Each<'_>) -> io::Result<()> {
        while !piece.is_empty() {
            if self.carry.is_empty() && piece.len() >= CHUNK_LEN {
                let (chunk, rest) = piece.split_at(CHUNK_LEN);
                self.pass(chunk, each)?;
                piece = rest;
            } else {
                let (head, rest) = piece.split_at(piece.len().min(CHUNK_LEN - self.carry.len()));
                self.carry.extend_from_slice(head);
                piece = rest;
                if self.carry.len() == CHUNK_LEN {
                    self.flush(each)?;
                }
            }
        }
        Ok(())
    }

    /// Passes on what is left, as the last chunk; returns the length of all.
    pub(super) fn finish(mut self, each: Each<'_>) -> io::Result<u64> {
        if !self.carry.is_empty() {
            self.flush(each)?;
        }
        Ok(self.offset)
    }

    fn flush(&mut self, each: Each<'_>) -> io::Result<()> {
        let mut carry = std::mem::take(&mut self.carry);
        self.pass(&carry, each)?;
        carry.clear();
        self.carry = carry;
        Ok(())
    }

    fn pass(&mut self, chunk: &[u8], each: Each<'_>) -> io::Result<()> {
        each(self.offset, chunk)?;
        self.offset += chunk.len() as u64;
        Ok(())
    }
}

/// Digests a base while its chunks go by.
#[derive(Debug)]
pub(super) struct ChunkHasher {
    whole: sha2::Sha256,
    chunks: Vec<Sha256Digest>,
}

impl ChunkHasher {
    pub(super) fn new() -> Self {
        Self {
            whole: sha2::Sha256::new(),
            chunks: Vec::new(),
        }
    }

    /// Takes the next chunk; returns its own digest.
    pub(super) fn update(&mut self, chunk: &[u8]) -> Sha256Digest {
        // Two digests of the same bytes: two threads, or they would take longer than
        // the fast decompressors.
        let digest = thread::scope(|scope| {
            scope.spawn(|| self.whole.update(chunk));
            chunk_digest(chunk)
        });
        self.chunks.push(digest);
        digest
    }

    /// Digest of all bytes, and those of the chunks.
    pub(super) fn finish(self) -> (Sha256Digest, ChunkDigests) {
        (
            Sha256Digest(self.whole.finalize().into()),
            self.chunks.into(),
        )
    }
}
