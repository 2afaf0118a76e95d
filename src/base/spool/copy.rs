//! Unpacking with open eyes: digested, sparse, and bounded.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::thread;

use super::PIECE_LEN;
use crate::base::chunk::{ChunkHasher, Chunker};
use crate::base::sparse::data_runs;
use crate::base::{ChunkDigests, Sha256Digest};
use crate::interrupt::{Interrupt, Interrupted};

/// No card is larger than this; what unpacks to more is no image.
const MAX_LEN: u64 = 2 << 40;
/// Below this nobody is harmed, however little it was unpacked from.
const TRUSTED_LEN: u64 = 1 << 30;
/// Beyond, what grows more than this is a bomb. A card's image shrinks to a fifth,
/// that of a large card with little on it to a hundredth.
const MAX_RATIO: u64 = 2000;

/// Why nothing was unpacked.
#[derive(Debug)]
pub(super) enum CopyError {
    /// What the decoder says.
    Decoder(io::Error),
    /// It would go on and on.
    Bomb {
        consumed: u64,
        unpacked: u64,
    },
    /// It cannot be written.
    Target(io::Error),
    Interrupted(Interrupted),
}

/// Digests what `decoder` unpacks and writes it into `target`, as sparse as may be.
/// `progressed` is told how much was unpacked, and answers from how many bytes.
pub(super) fn copy(
    decoder: &mut dyn Read,
    target: Option<&File>,
    interrupt: &Interrupt,
    progressed: &mut dyn FnMut(u64) -> u64,
) -> Result<(Sha256Digest, ChunkDigests), CopyError> {
    let mut hasher = ChunkHasher::new();
    let mut write = |offset: u64, chunk: &[u8]| {
        thread::scope(|scope| {
            scope.spawn(|| hasher.update(chunk));
            let Some(target) = target else { return Ok(()) };
            for run in data_runs(chunk) {
                target.write_all_at(&chunk[run.clone()], offset + run.start as u64)?;
            }
            Ok(())
        })
    };
    let mut chunker = Chunker::default();
    let mut piece = vec![0; PIECE_LEN];
    let mut unpacked = 0;
    loop {
        interrupt.check().map_err(CopyError::Interrupted)?;
        let n = match decoder.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Decoder(error)),
        };
        unpacked += n as u64;
        let consumed = progressed(unpacked);
        if is_bomb(unpacked, consumed) {
            return Err(CopyError::Bomb { consumed, unpacked });
        }
        chunker
            .push(&piece[..n], &mut write)
            .map_err(CopyError::Target)?;
    }
    chunker
        .finish(&mut write)
        .and_then(|len| target.map_or(Ok(()), |target| target.set_len(len)))
        .map_err(CopyError::Target)?;
    Ok(hasher.finish())
}

/// Whether `len` bytes from `consumed` ones are more than an image can give.
fn is_bomb(len: u64, consumed: u64) -> bool {
    len > MAX_LEN || (len > TRUSTED_LEN && len / MAX_RATIO > consumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_image_shrinks_to_is_refused() {
        // Raspberry Pi OS Lite: 2.8 GB from 500 MB.
        assert!(!is_bomb(2_800_000_000, 500_000_000));
        // A small file may well be zeros.
        assert!(!is_bomb(TRUSTED_LEN, 1000));
        // A 64 GB card with 2 GB on it.
        assert!(!is_bomb(64_000_000_000, 700_000_000));
        assert!(is_bomb(2 * TRUSTED_LEN, 2000));
        assert!(is_bomb(MAX_LEN + 1, MAX_LEN));
    }
}
