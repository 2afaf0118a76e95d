//! Reads an image back, past the page cache where that is possible, and tells
//! which chunks differ from what they must be.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::aligned::{ALIGN, AlignedBuf};
use super::draft::open_direct;
use super::error::OutputError;
use super::expected::Expected;
use crate::base::ReadAt;
use crate::base::chunk::{CHUNK_LEN, chunk_digest, digest_pieces, within};
use crate::base::read_at::RawFile;
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

/// More readers than this only take memory: each has a chunk.
const MAX_READERS: usize = 16;

/// An image under examination.
#[derive(Debug)]
pub(super) struct Reader {
    buffered: RawFile,
    direct: Option<File>,
}

/// Past the page cache, where the buffer is aligned.
impl ReadAt for Reader {
    fn len(&self) -> u64 {
        self.buffered.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) => read_at(direct, self.buffered.file(), buf, offset),
            None => self.buffered.read_exact_at(buf, offset),
        }
    }
}

/// Indexes of the chunks of the file at `path` that are not as expected, in
/// ascending order. A file of another length differs in its last chunk; a card may be
/// longer.
///
/// # Errors
/// Where the file cannot be read, and where the user asks to stop.
pub fn differing_chunks(
    path: &Path,
    expected: &Expected,
    task: &str,
    sink: &dyn Sink,
    interrupt: &Interrupt,
) -> Result<Vec<usize>, OutputError> {
    let all: Vec<usize> = (0..expected.chunks()).collect();
    sink.send(Event::Started {
        task,
        verb: "verifying",
        total: expected.compared_len(),
    });
    let result = check(path, expected, &all, &|done| {
        sink.send(Event::Progressed {
            task,
            done: (done as u64 * CHUNK_LEN as u64).min(expected.compared_len()),
        });
        interrupt.check().map_err(OutputError::from)
    });
    sink.send(Event::Ended { task });
    result
}

/// Like [`differing_chunks`], for a clone of a base that has been checked: only
/// the chunks that the overlay touches are read.
pub(crate) fn differing_patched_chunks(
    path: &Path,
    expected: &Expected,
) -> Result<Vec<usize>, OutputError> {
    let patched: Vec<usize> = expected.patched().collect();
    check(path, expected, &patched, &|_| Ok(()))
}

fn check(
    path: &Path,
    expected: &Expected,
    chunks: &[usize],
    progress: &(dyn Fn(usize) -> Result<(), OutputError> + Sync),
) -> Result<Vec<usize>, OutputError> {
    let failed = |source| OutputError::io("reading", path, source);
    let reader = Reader::open(path).map_err(failed)?;
    let len = reader.len();
    let done = AtomicUsize::new(0);
    let different = Mutex::new(Vec::new());
    // Two for each core: one digests while the other waits for the disk.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let readers = (2 * cores).clamp(1, MAX_READERS);
    for_each_chunk(chunks, readers, |index, buf| {
        if !reader.chunk_is(index, expected, buf).map_err(failed)?
            && let Ok(mut different) = different.lock()
        {
            different.push(index);
        }
        progress(done.fetch_add(1, Ordering::Relaxed) + 1)
    })?;
    let mut different = different.into_inner().unwrap_or_default();
    // What lies behind the image is a card's own; blocks that it has not at all are missing,
    // whether the image uses them or not.
    if len < expected.len() || (len > expected.len() && !expected.is_of_card()) {
        different.push(expected.chunks().saturating_sub(1));
    }
    different.sort_unstable();
    different.dedup();
    Ok(different)
}

/// Calls `body` for each of `chunks`, in several threads, with a buffer of
/// [`CHUNK_LEN`] bytes.
///
/// # Errors
/// The first that a thread meets; the others then finish what they are at.
pub(crate) fn for_each_chunk<E: Send>(
    chunks: &[usize],
    threads: usize,
    body: impl Fn(usize, &mut AlignedBuf) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), E> {
        let mut buf = AlignedBuf::new(CHUNK_LEN);
        while let Some(&index) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            body(index, &mut buf).inspect_err(|_| {
                // Nothing is left to take for the others.
                next.store(chunks.len(), Ordering::Relaxed);
            })?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads = threads.min(chunks.len()).max(1);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        handles
            .into_iter()
            .try_for_each(|handle| match handle.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let buffered = RawFile::new(File::open(path)?)?;
        let direct = open_direct(OpenOptions::new().read(true), path).ok();
        Ok(Self { buffered, direct })
    }

    fn chunk_is(
        &self,
        index: usize,
        expected: &Expected,
        buf: &mut AlignedBuf,
    ) -> io::Result<bool> {
        let (offset, len) = expected.range(index);
        let pieces = expected.pieces(index);
        for piece in &pieces {
            match self.read_exact_at(&mut buf[within(piece, offset)], piece.start) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                result => result?,
            }
        }
        let digest = if expected.is_of_card() {
            digest_pieces(buf, offset, &pieces)
        } else {
            chunk_digest(&buf[..len])
        };
        Ok(pieces.is_empty() || expected.digest(index) == Some(&digest))
    }
}

/// Reads past the page cache, as far as whole blocks go.
fn read_at(direct: &File, buffered: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if !buf.len().is_multiple_of(ALIGN) {
        return buffered.read_exact_at(buf, offset);
    }
    match direct.read_exact_at(buf, offset) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            buffered.read_exact_at(buf, offset)
        }
        result => result,
    }
}
