//! Cells that an earlier run has encoded, on disk.
//!
//! The cells that nodes leave alone take most of a run's time and are the same in
//! every run. Each frame's are a file of their own, named after all that they
//! depend on.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::cells::Cell;
use super::frames::{Container, Encoded, Record};
use crate::base::Sha256Digest;
use crate::output::OutputError;
use crate::output::draft::Draft;
use crate::whole;

/// Another version may bring another encoder, which makes other bytes of the same
/// cell: all machines of one version shall agree.
const VERSION: &str = concat!("cardmint cells 1 ", env!("CARGO_PKG_VERSION"));
/// Two lengths, a checksum, and how many bytes follow.
const HEADER_LEN: usize = 8 + 8 + 4 + 8;
const DIGEST_LEN: usize = blake3::OUT_LEN;

/// A place for cells, and which file's they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    /// A directory that only its owner reads.
    pub(crate) dir: &'a Path,
    /// Digest of the compressed file.
    pub(crate) file: Sha256Digest,
}

impl Kept<'_> {
    /// What was kept of `cells`, all of one frame; `None` where it was not, or has
    /// rotted.
    pub(super) fn recall(
        &self,
        container: Container,
        level: u32,
        cells: &[Cell],
    ) -> Option<Vec<Encoded>> {
        if cells.is_empty() {
            return None;
        }
        let mut file = File::open(self.path(container, level, cells)).ok()?;
        let most = cells.iter().map(|cell| most_bytes(cell.len)).sum::<u64>() + DIGEST_LEN as u64;
        if file.metadata().ok()?.len() > most {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (bytes, digest) = bytes.split_last_chunk::<DIGEST_LEN>()?;
        if blake3::hash(bytes) != *digest {
            return None;
        }
        let mut rest = bytes;
        let encoded: Option<Vec<Encoded>> = cells.iter().map(|_| take(&mut rest)).collect();
        let of_cell = |(encoded, cell): (&Encoded, &Cell)| encoded.record.len == cell.len;
        encoded.filter(|all| rest.is_empty() && all.iter().zip(cells).all(of_cell))
    }

    /// Keeps what was made of `cells`. A cache that cannot be written costs time,
    /// never the result, so errors are dropped.
    pub(super) fn keep(
        &self,
        container: Container,
        level: u32,
        cells: &[Cell],
        encoded: &[Encoded],
    ) {
        let path = self.path(container, level, cells);
        let write = || -> Result<(), OutputError> {
            // Left behind by a run that was killed, it would stay for ever.
            whole::remove_abandoned(&path);
            let mut draft = Draft::create(&path, 0)?;
            let mut hasher = blake3::Hasher::new();
            let mut at = 0;
            let mut put = |hasher: &mut blake3::Hasher, piece: &[u8]| {
                hasher.update(piece);
                draft.write_at(at, piece)?;
                at += piece.len() as u64;
                Ok::<_, OutputError>(())
            };
            for Encoded { record, bytes } in encoded {
                let mut header = Vec::with_capacity(HEADER_LEN);
                header.extend_from_slice(&record.file_len.to_le_bytes());
                header.extend_from_slice(&record.len.to_le_bytes());
                header.extend_from_slice(&record.checksum.to_le_bytes());
                header.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                put(&mut hasher, &header)?;
                put(&mut hasher, bytes)?;
            }
            let digest = hasher.finalize();
            put(&mut hasher, digest.as_bytes())?;
            draft.publish(true)
        };
        drop(write());
    }

    fn path(&self, container: Container, level: u32, cells: &[Cell]) -> PathBuf {
        let mut about = format!("{VERSION} {} {container:?} {level}", self.file);
        for cell in cells {
            about.push_str(&format!(" {}+{}", cell.offset, cell.len));
        }
        let name = Sha256Digest::of(about.as_bytes());
        self.dir.join(format!("{name}.cells"))
    }
}

/// More than encoders make of `len` bytes, and a header: what does not shrink is
/// stored, at a few bytes in 64 KiB.
fn most_bytes(len: u64) -> u64 {
    len + len / 1024 + 4096
}

/// Takes a cell from the front.
fn take(rest: &mut &[u8]) -> Option<Encoded> {
    let word = |bytes: &mut &[u8]| -> Option<u64> {
        let (word, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*word))
    };
    let (file_len, len) = (word(rest)?, word(rest)?);
    let (checksum, after) = rest.split_first_chunk()?;
    *rest = after;
    let stored_len = usize::try_from(word(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(stored_len)?;
    *rest = after;
    let checksum = u32::from_le_bytes(*checksum);
    Some(Encoded {
        bytes: bytes.into(),
        record: Record {
            file_len,
            len,
            checksum,
        },
    })
}
