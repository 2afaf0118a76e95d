//! A pass over a whole base: every byte once, in order, decoded in parallel.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::ReadAt;
use super::chunk::{CHUNK_LEN, Chunker, Each};
use super::xz::XzBase;

/// What all decoders may take together. A build shall stay below 300 MiB on any
/// machine, however many cores it has.
const MEMORY: u64 = 200 << 20;

/// Passes on the chunks of an xz file, decoding on all cores. Returns the
/// length.
pub(super) fn pass_xz(base: &XzBase, each: Each<'_>) -> io::Result<u64> {
    base.forget();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let affordable = usize::try_from(MEMORY / base.decoder_memory()).unwrap_or(1);
    let decoders = cores.min(affordable).max(1);
    thread::scope(|scope| {
        // Decoder k takes blocks k, k + n, …: taking from them in turn gives the
        // blocks in order, and nobody runs further ahead than its channel allows:
        // by one block.
        let channels: Vec<Receiver<io::Result<Piece>>> = (0..decoders)
            .map(|first| {
                let (sender, receiver) = sync_channel(base.pieces());
                let numbers = (first..base.blocks()).step_by(decoders);
                scope.spawn(move || decode_blocks(base, numbers, &sender));
                receiver
            })
            .collect();
        let mut chunker = Chunker::default();
        for number in 0..base.blocks() {
            let channel = &channels[number % decoders];
            while let Piece::Bytes(bytes) = channel.recv().map_err(io::Error::other)?? {
                chunker.push(&bytes, each)?;
            }
        }
        chunker.finish(each)
    })
}

/// What a decoder passes on.
enum Piece {
    Bytes(Vec<u8>),
    /// The block is over, and its check agrees.
    End,
}

fn decode_blocks(
    base: &XzBase,
    numbers: impl Iterator<Item = usize>,
    sender: &SyncSender<io::Result<Piece>>,
) {
    for number in numbers {
        let end = base.decode_pieces(number, |bytes| sender.send(Ok(Piece::Bytes(bytes))).is_ok());
        // The receiver is gone when the pass has failed; nothing is left to do.
        if sender.send(end.map(|()| Piece::End)).is_err() {
            return;
        }
    }
}

/// Passes on the chunks of something that is read in place.
pub(super) fn pass_raw(base: &dyn ReadAt, each: Each<'_>) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut offset = 0;
    while offset < base.len() {
        let left = usize::try_from(base.len() - offset).unwrap_or(CHUNK_LEN);
        let chunk = &mut chunk[..left.min(CHUNK_LEN)];
        base.read_exact_at(chunk, offset)?;
        each(offset, chunk)?;
        offset += chunk.len() as u64;
    }
    Ok(offset)
}
