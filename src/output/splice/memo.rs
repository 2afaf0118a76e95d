//! What the nodes of a run share: cells of the base that none has to encode
//! again, and the base's bytes under those that each node patches.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cells::Cell;
use super::crew::Crew;
use super::disk::Kept;
use super::frames::{Encoded, Frame};
use super::{Effort, Splicer};
use crate::report::event::Event;

/// Cells by offset and length.
pub(super) struct Memo<'a> {
    cells: Mutex<Cells>,
    /// Where cells of earlier runs are.
    kept: Option<Kept<'a>>,
}

#[derive(Default)]
struct Cells {
    encoded: HashMap<Key, Encoded>,
    plain: HashMap<Key, Arc<[u8]>>,
}

type Key = (u64, u64);

/// A cell, as far as it can be without knowing a node.
#[derive(Clone)]
pub(super) enum Prepared {
    /// The overlay leaves it alone.
    Done(Encoded),
    /// The base's bytes from an offset on, to be patched and encoded.
    Plain(u64, Arc<[u8]>),
}

impl Cells {
    fn get(&self, cell: &Cell) -> Option<Prepared> {
        let key = (cell.offset, cell.len);
        if cell.touched {
            let plain = self.plain.get(&key)?;
            Some(Prepared::Plain(cell.offset, Arc::clone(plain)))
        } else {
            Some(Prepared::Done(self.encoded.get(&key)?.clone()))
        }
    }
}

impl<'a> Memo<'a> {
    pub(super) fn new(kept: Option<Kept<'a>>) -> Self {
        Self {
            cells: Mutex::default(),
            kept,
        }
    }
}

impl Splicer<'_> {
    /// What there is of the cells of each frame. Whoever asks first does the
    /// work; others wait, because one frame's bytes and one crew of encoders
    /// are what the memory is planned for.
    pub(super) fn prepare(&self, wanted: &[(&Frame, Vec<Cell>)]) -> io::Result<Vec<Vec<Prepared>>> {
        let lock = self.memo.cells.lock();
        let mut memo = lock.unwrap_or_else(PoisonError::into_inner);
        let mut missing = Vec::new();
        for (frame, cells) in wanted {
            let mut cells: Vec<Cell> = cells
                .iter()
                .filter(|cell| memo.get(cell).is_none())
                .copied()
                .collect();
            self.recall(&mut memo, &mut cells);
            if !cells.is_empty() {
                missing.push((*frame, cells));
            }
        }
        if !missing.is_empty() {
            self.add_all(&mut memo, &missing)?;
        }
        let gone = || io::Error::other("a cell was lost");
        let get = |cell: &Cell| memo.get(cell).ok_or_else(gone);
        let all = wanted
            .iter()
            .map(|(_, cells)| cells.iter().map(get).collect());
        all.collect()
    }

    /// Takes what an earlier run has kept of `cells` out of them.
    fn recall(&self, memo: &mut Cells, cells: &mut Vec<Cell>) {
        let Some(kept) = self.memo.kept else { return };
        let untouched: Vec<Cell> = cells.iter().filter(|cell| !cell.touched).copied().collect();
        let Some(encoded) = kept.recall(self.frames.container, self.effort.level, &untouched)
        else {
            return;
        };
        for (cell, encoded) in untouched.iter().zip(encoded) {
            memo.encoded.insert((cell.offset, cell.len), encoded);
        }
        cells.retain(|cell| cell.touched);
    }

    fn add_all(&self, memo: &mut Cells, missing: &[(&Frame, Vec<Cell>)]) -> io::Result<()> {
        // Else every image that still waits would tell of a beginning.
        self.effort.interrupted()?;
        let Effort { name, sink, .. } = self.effort;
        let untouched = missing.iter().flat_map(|(_, cells)| cells);
        let total: u64 = untouched
            .filter(|cell| !cell.touched)
            .map(|cell| cell.len)
            .sum();
        // What is only decoded takes no time worth telling.
        let bar = (total > 0).then_some(name);
        if let Some(task) = bar {
            let verb = "encoding";
            sink.send(Event::Started { task, verb, total });
        }
        let done = AtomicU64::new(0);
        let added = missing.iter().try_for_each(|(frame, cells)| {
            self.effort.interrupted()?;
            self.add(memo, frame, cells, &done)
        });
        if let Some(task) = bar {
            sink.send(Event::Ended { task });
        }
        added
    }

    fn add(
        &self,
        memo: &mut Cells,
        frame: &Frame,
        cells: &[Cell],
        done: &AtomicU64,
    ) -> io::Result<()> {
        let container = self.frames.container;
        let bytes = container.decode(self.file, frame)?;
        let of = |cell: &Cell| {
            // Cells lie within the frame, which is held in memory.
            let start = usize::try_from(cell.offset - frame.offset).unwrap_or(usize::MAX);
            let len = usize::try_from(cell.len).unwrap_or(usize::MAX);
            &bytes[start..start + len]
        };
        let (touched, rest): (Vec<Cell>, Vec<Cell>) = cells.iter().partition(|cell| cell.touched);
        for cell in touched {
            let key = (cell.offset, cell.len);
            memo.plain.insert(key, Arc::from(of(&cell)));
        }
        if rest.is_empty() {
            return Ok(());
        }
        let Effort {
            level,
            jobs,
            name: task,
            sink,
            ..
        } = self.effort;
        let longest = rest.iter().map(|cell| of(cell).len()).max().unwrap_or(0);
        let crew = Crew::new(container, level, jobs, longest, 2);
        let encoded = crew.map(&rest, |cell| {
            let encoded = self.encode(of(cell))?;
            let done = done.fetch_add(cell.len, Ordering::Relaxed) + cell.len;
            sink.send(Event::Progressed { task, done });
            Ok(encoded)
        })?;
        if let Some(kept) = self.memo.kept {
            kept.keep(container, level, &rest, &encoded);
        }
        for (cell, encoded) in rest.iter().zip(encoded) {
            memo.encoded.insert((cell.offset, cell.len), encoded);
        }
        Ok(())
    }

    /// Encodes a cell.
    pub(super) fn encode(&self, bytes: &[u8]) -> io::Result<Encoded> {
        self.effort.interrupted()?;
        #[cfg(test)]
        self.encodings.fetch_add(1, Ordering::Relaxed);
        self.frames.container.encode(bytes, self.effort.level)
    }
}
