//! A card in memory, as bad as cards can be.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::card_len;
use crate::card::medium::{BLOCK_LEN, Medium};
use crate::interrupt::Interrupt;

pub(super) const GARBAGE: u8 = 0xa5;
/// No other card takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a card misbehaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Writes that reach this byte fail.
    pub(super) write_error: Option<u64>,
    /// Reads of this byte fail.
    pub(super) read_error: Option<u64>,
    /// Until that is written.
    pub(super) heals: bool,
    /// Nothing stays, and this is what the operating system says.
    pub(super) flush_errno: Option<i32>,
    /// Otherwise, whichever way: this is what the operating system says.
    pub(super) errno: Option<i32>,
    /// This byte is flipped by this many of the writes that reach it.
    pub(super) flip: Option<(u64, usize)>,
    /// This byte reads right this many times only.
    pub(super) fades: Option<(u64, usize)>,
    /// The true size, and whether what lies behind it wraps around.
    pub(super) holds: Option<(usize, bool)>,
    /// No transfer moves more than this.
    pub(super) at_most: Option<usize>,
    /// Every other call is interrupted by a signal.
    pub(super) signals: bool,
    /// The write that reaches this byte is held up until this is set.
    pub(super) stall: Option<(u64, Arc<AtomicBool>)>,
    /// Pulled after this many writes.
    pub(super) pulled_after: Option<usize>,
    /// Another card is in the reader after this many writes.
    pub(super) swapped_after: Option<usize>,
    /// There is a file system under it.
    pub(super) is_file: bool,
    /// Sets the flag at this write, as Ctrl-C does.
    pub(super) interrupt_at: Option<(usize, Interrupt)>,
    /// Sets it at this read.
    pub(super) interrupt_at_read: Option<(usize, Interrupt)>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) bytes: Vec<u8>,
    pub(super) faults: Faults,
    pub(super) calls: usize,
    pub(super) writes: Vec<(u64, usize)>,
    pub(super) reads: usize,
    pub(super) is_discarded: bool,
    /// Writes that are not yet flushed.
    pub(super) dirty: usize,
    /// Writes that were on the card for good when the head came.
    pub(super) dirty_at_head: Option<usize>,
}

/// A card in memory.
#[derive(Debug)]
pub(super) struct TestCard(Mutex<State>);

impl TestCard {
    pub(super) fn new(len: usize, faults: Faults) -> Self {
        Self(Mutex::new(State {
            bytes: vec![GARBAGE; len],
            faults,
            calls: 0,
            writes: Vec::new(),
            reads: 0,
            is_discarded: false,
            dirty: 0,
            dirty_at_head: None,
        }))
    }

    pub(super) fn good() -> Self {
        Self::new(card_len(), Faults::default())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether a machine would find a partition table.
    pub(super) fn is_headless(&self) -> bool {
        self.state().bytes[..512].iter().all(|&byte| byte == 0)
    }
}

impl State {
    fn interrupted(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.faults.signals && self.calls.is_multiple_of(2) {
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.faults.errno.unwrap_or(5))
    }

    fn hold(&mut self, offset: u64, bytes: &[u8]) {
        let step = self.step(bytes.len());
        for (offset, piece) in (offset..).step_by(step).zip(bytes.chunks(step)) {
            if let Some(start) = self.place(offset) {
                self.bytes[start..start + piece.len()].copy_from_slice(piece);
            }
        }
    }

    fn give(&self, offset: u64, buf: &mut [u8]) {
        let step = self.step(buf.len());
        for (offset, piece) in (offset..).step_by(step).zip(buf.chunks_mut(step)) {
            match self.place(offset) {
                Some(start) => piece.copy_from_slice(&self.bytes[start..start + piece.len()]),
                None => piece.fill(0),
            }
        }
    }

    /// How many bytes lie beside each other for sure.
    fn step(&self, len: usize) -> usize {
        if self.faults.holds.is_some() {
            512
        } else {
            len.max(1)
        }
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let offset = usize::try_from(offset).unwrap();
        match self.faults.holds {
            Some((size, true)) => Some(offset % size),
            Some((size, false)) if offset >= size => None,
            _ => Some(offset),
        }
    }
}

fn raise(at: Option<&(usize, Interrupt)>, count: usize) {
    if let Some((_, interrupt)) = at.filter(|(at, _)| *at == count) {
        interrupt.flag().store(true, Ordering::Relaxed);
    }
}

fn reaches(range: (u64, usize), at: u64) -> bool {
    (range.0..range.0 + range.1 as u64).contains(&at)
}

impl Medium for TestCard {
    fn len(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    fn write_some_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        assert!(offset.is_multiple_of(BLOCK_LEN), "offset {offset}");
        assert!(bytes.len().is_multiple_of(512), "length {}", bytes.len());
        assert_eq!(bytes.as_ptr().align_offset(4096), 0, "at {offset}");
        let stall = self.state().faults.stall.clone();
        if let Some((at, is_over)) = stall
            && reaches((offset, bytes.len()), at)
        {
            let start = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                assert!(start.elapsed() < PATIENCE, "nobody ends the stall");
                thread::sleep(Duration::from_millis(5));
            }
        }
        let mut state = self.state();
        state.interrupted()?;
        let n = bytes.len().min(state.faults.at_most.unwrap_or(usize::MAX));
        let range = (offset, n);
        if state
            .faults
            .write_error
            .is_some_and(|at| reaches(range, at))
        {
            return Err(state.error());
        }
        let count = state.writes.len();
        if state
            .faults
            .pulled_after
            .is_some_and(|after| count >= after)
        {
            return Err(io::Error::from_raw_os_error(19));
        }
        raise(state.faults.interrupt_at.as_ref(), count);
        state.hold(offset, &bytes[..n]);
        if let Some((at, times)) = state.faults.flip
            && times > 0
            && reaches(range, at)
        {
            state.faults.flip = Some((at, times - 1));
            state.bytes[usize::try_from(at).unwrap()] ^= 0x10;
        }
        let faults = &mut state.faults;
        faults.read_error = faults
            .read_error
            .filter(|&at| !(faults.heals && reaches(range, at)));
        state.writes.push(range);
        if offset == 0 && bytes[..n].iter().any(|&byte| byte != 0) {
            let dirty = state.dirty;
            state.dirty_at_head.get_or_insert(dirty);
        }
        state.dirty += 1;
        Ok(n)
    }

    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.interrupted()?;
        raise(state.faults.interrupt_at_read.as_ref(), state.reads);
        state.reads += 1;
        let n = buf.len().min(state.faults.at_most.unwrap_or(usize::MAX));
        if state
            .faults
            .read_error
            .is_some_and(|at| reaches((offset, n), at))
        {
            return Err(state.error());
        }
        state.give(offset, &mut buf[..n]);
        if let Some((at, times)) = &mut state.faults.fades
            && reaches((offset, n), *at)
        {
            buf[usize::try_from(*at - offset).unwrap()] ^= u8::from(*times == 0);
            *times = times.saturating_sub(1);
        }
        Ok(n)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(errno) = state.faults.flush_errno {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.dirty = 0;
        Ok(())
    }

    fn discard(&self) -> io::Result<()> {
        self.state().is_discarded = true;
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        let state = self.state();
        match state.faults.swapped_after {
            Some(after) if state.writes.len() >= after => Err(ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }

    fn can_be_full(&self) -> bool {
        self.state().faults.is_file
    }

    fn reopen(&self) -> io::Result<Box<dyn Medium + '_>> {
        Ok(Box::new(Again(self)))
    }
}

#[derive(Debug)]
struct Again<'a>(&'a TestCard);

impl Medium for Again<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn write_some_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_some_at(buf, offset)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn reopen(&self) -> io::Result<Box<dyn Medium + '_>> {
        self.0.reopen()
    }
}
