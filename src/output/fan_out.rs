//! One pass over the base, written to many drafts: the base is decoded once,
//! however many images come of it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::aligned::AlignedBuf;
use super::draft::Draft;
use super::error::OutputError;
use crate::overlay::Overlay;

/// Chunks that may wait for a writer; bounds the memory of a pass.
const QUEUE_LEN: usize = 3;
/// Writers; more than a few only contend for the same disk.
const MAX_WRITERS: usize = 4;

/// A draft and what is laid over the base on the way to it. A draft that fails
/// is dropped; the others go on.
pub(crate) struct Lane<'a> {
    pub(crate) overlay: &'a Overlay,
    pub(crate) draft: Result<Draft, OutputError>,
}

impl Lane<'_> {
    fn write(&mut self, chunk: &Chunk, scratch: &mut AlignedBuf) {
        let Ok(draft) = &mut self.draft else { return };
        let len = chunk.bytes.len();
        let result = if self.overlay.touches(chunk.offset, len as u64) {
            scratch[..len].copy_from_slice(&chunk.bytes);
            self.overlay.apply(chunk.offset, &mut scratch[..len]);
            draft.write_sparse(chunk.offset, &scratch[..len])
        } else {
            draft.write_sparse(chunk.offset, &chunk.bytes)
        };
        if let Err(error) = result {
            self.draft = Err(error);
        }
    }
}

struct Chunk {
    offset: u64,
    bytes: AlignedBuf,
}

/// Runs `pass`, which feeds the base's chunks in order to the function it is
/// given, and writes each chunk to every lane.
///
/// # Errors
/// Those of `pass`. Errors of single lanes stay in their lanes.
pub(crate) fn fan_out<T, E>(
    lanes: &mut [Lane<'_>],
    chunk_len: usize,
    pass: impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> Result<T, E>,
) -> Result<T, E> {
    let per_writer = lanes.len().div_ceil(MAX_WRITERS).max(1);
    thread::scope(|scope| {
        let senders: Vec<SyncSender<Arc<Chunk>>> = lanes
            .chunks_mut(per_writer)
            .map(|lanes| {
                let (sender, receiver) = sync_channel(QUEUE_LEN);
                scope.spawn(move || write_lanes(lanes, &receiver, chunk_len));
                sender
            })
            .collect();
        // Dropping the senders ends the writers; the scope waits for them.
        pass(&mut |offset, bytes| {
            let chunk = Arc::new(Chunk {
                offset,
                bytes: AlignedBuf::copy_of(bytes),
            });
            for sender in &senders {
                let gone = |_| io::Error::other("a writer has stopped");
                sender.send(Arc::clone(&chunk)).map_err(gone)?;
            }
            Ok(())
        })
    })
}

fn write_lanes(lanes: &mut [Lane<'_>], chunks: &Receiver<Arc<Chunk>>, chunk_len: usize) {
    let mut scratch = AlignedBuf::new(chunk_len);
    for chunk in chunks {
        for lane in &mut *lanes {
            lane.write(&chunk, &mut scratch);
        }
    }
}
