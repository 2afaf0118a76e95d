//! The base's chunks on their way to many cards: decoded once, each card at its
//! own speed within a bounded queue.
//!
//! A card that stalls while others starve is left behind: it goes on by itself
//! from where it is, with its own reading of the base.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::interrupt::{Interrupt, Interrupted};
use crate::output::AlignedBuf;
use crate::report::event::{Event, Sink};

/// Chunks that may wait for one card. Chunks are shared, so this bounds the
/// memory of all cards together.
const QUEUE_LEN: usize = 4;
/// How long, in all, others may starve because of one card.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5000 });
/// How long, in all, others may starve while one card is still being prepared: tested, most
/// of all.
const PREPARATION: Duration = Duration::from_secs(60);
/// How often a full queue is looked at again; a card takes 4 MiB in some 100 ms.
const NAP: Duration = Duration::from_millis(2);

/// A chunk of the base that is needed on at least one card.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) index: usize,
    pub(super) bytes: AlignedBuf,
    /// What the base uses of it.
    pub(super) pieces: Vec<Range<u64>>,
    /// What tells these pieces from any others.
    pub(super) fingerprint: blake3::Hash,
}

/// One card's end of the stream.
#[derive(Debug)]
pub(super) struct Feed {
    chunks: Receiver<Arc<Chunk>>,
    state: Arc<State>,
    busy: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks sent and not yet dealt with.
    pending: AtomicUsize,
    /// Whether it has asked for its first chunk.
    is_ready: AtomicBool,
    left_behind: AtomicBool,
    done: AtomicBool,
}

impl Feed {
    /// The next chunk; `None` at the end, or when this card was left behind.
    pub(super) fn next(&mut self) -> Option<Arc<Chunk>> {
        self.state.is_ready.store(true, Ordering::Relaxed);
        if std::mem::take(&mut self.busy) {
            self.state.pending.fetch_sub(1, Ordering::Relaxed);
        }
        let chunk = self.chunks.recv().ok()?;
        self.busy = true;
        Some(chunk)
    }

    /// Whether the others went on without this card.
    pub(super) fn is_left_behind(&self) -> bool {
        self.state.left_behind.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.state.done.store(true, Ordering::Relaxed);
    }
}

/// The sending end: all cards that keep up.
pub(super) struct Stream<'a> {
    lanes: Vec<Lane<'a>>,
    left_behind: Vec<Arc<State>>,
    sink: &'a dyn Sink,
    interrupt: &'a Interrupt,
}

struct Lane<'a> {
    name: &'a str,
    chunks: SyncSender<Arc<Chunk>>,
    state: Arc<State>,
    /// How long others have starved because of this card, and before that because it was not
    /// ready.
    blame: Duration,
    blame_before: Duration,
}

enum Offer {
    Taken,
    Gone,
    LeftBehind,
}

impl<'a> Stream<'a> {
    pub(super) fn new(sink: &'a dyn Sink, interrupt: &'a Interrupt) -> Self {
        Self {
            lanes: Vec::new(),
            left_behind: Vec::new(),
            sink,
            interrupt,
        }
    }

    /// One more card.
    pub(super) fn subscribe(&mut self, name: &'a str) -> Feed {
        let (sender, chunks) = sync_channel(QUEUE_LEN);
        let state = Arc::<State>::default();
        self.lanes.push(Lane {
            name,
            chunks: sender,
            state: Arc::clone(&state),
            blame: Duration::ZERO,
            blame_before: Duration::ZERO,
        });
        Feed {
            chunks,
            state,
            busy: false,
        }
    }

    /// Passes a chunk on to every card, waiting for the slowest that is not too
    /// slow.
    ///
    /// # Errors
    /// Where the user asks to stop, and where no card is left.
    pub(super) fn push(&mut self, chunk: &Arc<Chunk>) -> io::Result<()> {
        let mut at = 0;
        while at < self.lanes.len() {
            match self.offer(at, Arc::clone(chunk))? {
                Offer::Taken => at += 1,
                Offer::Gone => drop(self.lanes.remove(at)),
                Offer::LeftBehind => {
                    let lane = self.lanes.remove(at);
                    lane.state.left_behind.store(true, Ordering::Relaxed);
                    let message = format!(
                        "{}: its card is slow or stalled; the others go on without it",
                        lane.name
                    );
                    self.sink.send(Event::Noticed { message: &message });
                    self.left_behind.push(lane.state);
                }
            }
        }
        let done = |state: &Arc<State>| state.done.load(Ordering::Relaxed);
        if self.lanes.is_empty() && self.left_behind.iter().all(done) {
            return Err(io::Error::other("no card is left to write to"));
        }
        Ok(())
    }

    fn offer(&mut self, at: usize, mut chunk: Arc<Chunk>) -> io::Result<Offer> {
        loop {
            let lane = &self.lanes[at];
            // Counted first: the receiver may be quicker than we are.
            lane.state.pending.fetch_add(1, Ordering::Relaxed);
            chunk = match lane.chunks.try_send(chunk) {
                Ok(()) => return Ok(Offer::Taken),
                Err(TrySendError::Disconnected(_)) => return Ok(Offer::Gone),
                Err(TrySendError::Full(chunk)) => chunk,
            };
            lane.state.pending.fetch_sub(1, Ordering::Relaxed);
            let starving = |other: &Lane<'_>| other.state.pending.load(Ordering::Relaxed) == 0;
            let others_starve = self.lanes.iter().any(starving);
            let start = Instant::now();
            thread::sleep(NAP);
            self.interrupt
                .check()
                .map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
            if others_starve {
                let lane = &mut self.lanes[at];
                let (blame, patience) = if lane.state.is_ready.load(Ordering::Relaxed) {
                    (&mut lane.blame, PATIENCE)
                } else {
                    (&mut lane.blame_before, PREPARATION)
                };
                *blame += start.elapsed();
                if *blame > patience {
                    return Ok(Offer::LeftBehind);
                }
            }
        }
    }
}

/// Whether the whole base went by unharmed: until then no card is complete.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    result: Mutex<Option<Result<(), String>>>,
    settled: Condvar,
}

impl Verdict {
    /// The first word counts.
    pub(super) fn settle(&self, result: Result<(), String>) {
        self.result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(result);
        self.settled.notify_all();
    }

    /// Waits until the pass is over; why the base failed, where it did.
    pub(super) fn wait(&self) -> Result<(), String> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*result {
                return result.clone();
            }
            result = self
                .settled
                .wait(result)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Settles a verdict for the worse where the pass ends in a panic: nobody shall
/// wait for ever.
pub(super) struct Settled<'a>(pub(super) &'a Verdict);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.settle(Err("reading it ended in a bug".to_owned()));
    }
}

/// Lets a few at a time through: cards that were left behind decode for
/// themselves, and each takes memory for that.
#[derive(Debug)]
pub(super) struct Turnstile {
    free: Mutex<usize>,
    left: Condvar,
}

impl Turnstile {
    pub(super) fn new(places: usize) -> Self {
        Self {
            free: Mutex::new(places),
            left: Condvar::new(),
        }
    }

    /// Waits for a place and holds it while `work` runs.
    ///
    /// # Errors
    /// Where the user asks to stop meanwhile.
    pub(super) fn pass<T>(
        &self,
        interrupt: &Interrupt,
        work: impl FnOnce() -> T,
    ) -> Result<T, Interrupted> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            interrupt.check()?;
            let (guard, _) = self
                .left
                .wait_timeout(free, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner);
            free = guard;
        }
        *free -= 1;
        drop(free);
        let _place = Place(self);
        Ok(work())
    }
}

/// A place that is given back, even by a panic.
struct Place<'a>(&'a Turnstile);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}
