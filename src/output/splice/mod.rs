//! Compressed images without compressing: a node's file is the base's file with a
//! few blocks replaced.
//!
//! Blocks of the base that a node's overlay leaves alone are copied as they are.
//! The others are cut into [`COARSE`] cells and, where the overlay touches one,
//! into [`FINE`] cells. A cell that is not touched is encoded once for all nodes; a
//! node costs only the cells that it touches. What comes out depends on base,
//! overlay and level alone, not on which nodes are built, where, or how many at a
//! time.
//!
//! A file system that shares blocks can share what is copied, if it lies at the
//! same place within a page as in the base's file. So blocks that hold nothing fill
//! up what is replaced.

mod block;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use self::block::Encoded;
pub(crate) use self::block::Encoder;
pub(crate) use self::write::{check, write};
use crate::base::ReadAt;
use crate::base::xz::{Block, XzBase, trailer};
use crate::interrupt::Interrupt;
use crate::overlay::Overlay;

/// What a node changes is encoded in cells of this many bytes of the image.
const FINE: u64 = 256 << 10;
/// What lies around it in cells of this many: larger ones take less room.
const COARSE: u64 = 4 << 20;
/// What file systems can share lies at multiples of this.
const PAGE: u64 = 4096;
/// Shorter runs are not worth filling up for.
const MIN_SHARED: u64 = 64 << 10;
/// Bytes around what nodes change that are kept as the base has them.
const MAX_KEPT: usize = 96 << 20;

/// A compressed image, as pieces one after another.
#[derive(Debug)]
pub(crate) struct Spliced {
    /// What the file consists of.
    pub(crate) segments: Vec<Segment>,
    /// Length of the file.
    pub(crate) len: u64,
}

/// A piece of a compressed image.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    /// A range of the base's compressed file.
    Copy(Range<u64>),
    /// New bytes.
    New(Arc<Encoded>),
    /// Header or trailer of the file.
    Frame(Vec<u8>),
}

impl Segment {
    /// Length in the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Copy(range) => range.end - range.start,
            Self::New(block) => block.bytes.len() as u64,
            Self::Frame(bytes) => bytes.len() as u64,
        }
    }
}

/// Makes the compressed images of many nodes from one base.
#[derive(Debug)]
pub(crate) struct Splicer<'a> {
    base: &'a XzBase,
    encoder: Encoder,
    interrupt: &'a Interrupt,
    /// Cells as the base has them, encoded.
    encoded: Mutex<HashMap<Cell, Arc<Slot>>>,
    /// Cells as the base has them, for being touched.
    kept: Mutex<HashMap<Cell, Arc<Vec<u8>>>>,
}

/// A cell that is encoded by whoever comes first; others wait for it.
type Slot = Mutex<Option<Arc<Encoded>>>;

/// Hears of bytes done, of bytes to do: of 0 once, at the beginning, then from
/// several threads.
type Step<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// A range of the image that becomes a block: offset and length.
type Cell = (u64, u64);

/// What becomes of a block of the base.
enum Part<'a> {
    /// It is copied.
    Block(&'a Block),
    /// It is cut, and this is one of the cells.
    Cell(Cell, bool),
}

impl<'a> Splicer<'a> {
    /// `None` where the base's blocks have a check that is unknown.
    pub(crate) fn new(base: &'a XzBase, level: u32, interrupt: &'a Interrupt) -> Option<Self> {
        Some(Self {
            base,
            encoder: Encoder::new(base.index().flags, level)?,
            interrupt,
            encoded: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// The file of `base + overlay`; cells are encoded by as many as `threads`.
    /// `step` hears how many bytes of the image are encoded, and how many are to be.
    ///
    /// # Errors
    /// Where the base cannot be read, an encoder fails, or the user asks to stop.
    pub(crate) fn splice(
        &self,
        overlay: &Overlay,
        threads: usize,
        step: &Step<'_>,
    ) -> io::Result<Spliced> {
        let parts = self.parts(overlay);
        let cells: Vec<(Cell, bool)> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Cell(cell, touched) => Some((*cell, *touched)),
                Part::Block(_) => None,
            })
            .collect();
        let mut encoded = self.encode_all(&cells, overlay, threads, step)?.into_iter();
        let index = self.base.index();
        let mut file = Assembly::new(index.flags, self.encoder);
        for part in &parts {
            match part {
                Part::Block(block) => file.copy(block),
                // As many as there are cells.
                Part::Cell(..) => encoded.next().into_iter().for_each(|one| file.add(one)),
            }
        }
        Ok(file.finish())
    }

    /// What becomes of each block, in order.
    fn parts(&self, overlay: &Overlay) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for block in &self.base.index().blocks {
            if !overlay.touches(block.offset, block.len) {
                parts.push(Part::Block(block));
                continue;
            }
            for coarse in cells(block.offset..block.offset + block.len, COARSE) {
                if !overlay.touches(coarse.0, coarse.1) {
                    parts.push(Part::Cell(coarse, false));
                    continue;
                }
                let fine = cells(coarse.0..coarse.0 + coarse.1, FINE);
                parts.extend(fine.map(|cell| Part::Cell(cell, overlay.touches(cell.0, cell.1))));
            }
        }
        parts
    }

    fn encode_all(
        &self,
        cells: &[(Cell, bool)],
        overlay: &Overlay,
        threads: usize,
        step: &Step<'_>,
    ) -> io::Result<Vec<Arc<Encoded>>> {
        let next = AtomicUsize::new(0);
        let total = cells.iter().map(|((_, len), _)| len).sum();
        let behind = AtomicU64::new(0);
        step(0, total);
        let worker = || -> io::Result<Vec<(usize, Arc<Encoded>)>> {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(cell, touched)) = cells.get(number) else {
                    return Ok(done);
                };
                let stop = |_| io::Error::from(io::ErrorKind::Interrupted);
                self.interrupt.check().map_err(stop)?;
                let encoded = if touched {
                    let mut bytes = self.kept(cell)?.to_vec();
                    overlay.apply(cell.0, &mut bytes);
                    Arc::new(self.encoder.encode(&bytes)?)
                } else {
                    self.untouched(cell)?
                };
                done.push((number, encoded));
                step(behind.fetch_add(cell.1, Ordering::Relaxed) + cell.1, total);
            }
        };
        let mut all = thread::scope(|scope| {
            let threads = threads.clamp(1, cells.len().max(1));
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let mut all = Vec::new();
            for handle in handles {
                match handle.join() {
                    Ok(done) => all.extend(done?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok::<_, io::Error>(all)
        })?;
        all.sort_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, encoded)| encoded).collect())
    }

    /// A cell as the base has it, encoded once.
    fn untouched(&self, cell: Cell) -> io::Result<Arc<Encoded>> {
        let mut slots = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(slots.entry(cell).or_default());
        drop(slots);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoded) = &*slot {
            return Ok(Arc::clone(encoded));
        }
        let encoded = Arc::new(self.encoder.encode(&self.read(cell)?)?);
        *slot = Some(Arc::clone(&encoded));
        Ok(encoded)
    }

    /// A cell as the base has it, decoded no more often than memory asks for.
    fn kept(&self, cell: Cell) -> io::Result<Arc<Vec<u8>>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().get(&cell) {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(self.read(cell)?);
        let mut kept = lock();
        let len: usize = kept.values().map(|bytes| bytes.len()).sum();
        if len + bytes.len() <= MAX_KEPT {
            kept.insert(cell, Arc::clone(&bytes));
        }
        Ok(bytes)
    }

    fn read(&self, (offset, len): Cell) -> io::Result<Vec<u8>> {
        // At most COARSE.
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.base.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// The base's bytes, where nodes change them decoded once for all.
impl ReadAt for Splicer<'_> {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|&end| end <= self.base.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let grid = offset / FINE * FINE..end.next_multiple_of(FINE).min(self.base.len());
        for cell in cells(grid, FINE) {
            let bytes = self.kept(cell)?;
            let from = cell.0.max(offset);
            let to = (cell.0 + cell.1).min(end);
            let place = |at: u64, start: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            buf[place(from, offset)..place(to, offset)]
                .copy_from_slice(&bytes[place(from, cell.0)..place(to, cell.0)]);
        }
        Ok(())
    }
}

/// Cuts a range at the multiples of `grid`.
fn cells(range: Range<u64>, grid: u64) -> impl Iterator<Item = Cell> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = (at / grid + 1).saturating_mul(grid).min(range.end);
        let cell = (at < end).then_some((at, end - at));
        at = end;
        cell
    })
}

/// Blocks of the base one behind the other: where they are in its file, and their
/// records.
type Run = (Range<u64>, Vec<(u64, u64)>);

/// A file in the making.
struct Assembly {
    flags: [u8; 2],
    encoder: Encoder,
    segments: Vec<Segment>,
    len: u64,
    /// Unpadded and uncompressed length of each block (4.3).
    records: Vec<(u64, u64)>,
    /// Blocks that are to be copied, one behind the other.
    pending: Option<Run>,
}

impl Assembly {
    fn new(flags: [u8; 2], encoder: Encoder) -> Self {
        let mut file = Self {
            flags,
            encoder,
            segments: Vec::new(),
            len: 0,
            records: Vec::new(),
            pending: None,
        };
        file.push(Segment::Frame(trailer::stream_header(flags)));
        file
    }

    fn push(&mut self, segment: Segment) {
        self.len += segment.len();
        self.segments.push(segment);
    }

    fn copy(&mut self, block: &Block) {
        let record = (block.unpadded_len, block.len);
        let (run, records) = self
            .pending
            .get_or_insert_with(|| (block.file_offset..block.file_offset, Vec::new()));
        run.end += block.file_len();
        records.push(record);
    }

    fn add(&mut self, block: Arc<Encoded>) {
        self.end_run();
        self.records.push((block.unpadded_len, block.len));
        self.push(Segment::New(block));
    }

    /// Lays down what was to be copied, at the same place within a page.
    fn end_run(&mut self) {
        let Some((run, records)) = self.pending.take() else {
            return;
        };
        if run.end - run.start >= MIN_SHARED {
            let gap = (run.start % PAGE + PAGE - self.len % PAGE) % PAGE;
            for filler in self.encoder.filler(gap, PAGE) {
                self.records.push((filler.unpadded_len, filler.len));
                self.push(Segment::New(Arc::new(filler)));
            }
        }
        self.records.extend(records);
        self.push(Segment::Copy(run));
    }

    fn finish(mut self) -> Spliced {
        self.end_run();
        let end = trailer::index_and_footer(&self.records, self.flags);
        self.push(Segment::Frame(end));
        Spliced {
            segments: self.segments,
            len: self.len,
        }
    }
}
