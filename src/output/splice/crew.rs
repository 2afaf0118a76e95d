//! Encoding on several cores.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::cells::MIN_CELL;
use super::frames::Container;

/// What all encoders may take together. A build shall stay below 300 MiB on any
/// machine, however many cores it has.
const MEMORY: usize = 160 << 20;

/// Threads that encode at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew(usize);

impl Crew {
    /// At most `jobs`, each with inputs of up to `len` bytes, of which it holds
    /// `copies` besides what the encoder takes.
    pub(super) fn new(
        container: Container,
        level: u32,
        jobs: usize,
        len: usize,
        copies: usize,
    ) -> Self {
        let each = container.encoder_memory(level, len) + copies * len;
        Self(jobs.min(MEMORY / each.max(1)).max(1))
    }

    /// At most `jobs` that each encode what is one node's own.
    pub(super) fn of_nodes(container: Container, level: u32, jobs: usize) -> Self {
        let len = usize::try_from(MIN_CELL).unwrap_or(usize::MAX);
        Self::new(container, level, jobs, len, 4)
    }

    /// How many there are, at least one.
    pub(super) fn len(self) -> usize {
        self.0
    }

    /// What `body` makes of each item, in the order of the items.
    ///
    /// # Errors
    /// Of those that `body` meets, the one of the first item.
    pub(super) fn map<T: Sync, R: Send>(
        self,
        items: &[T],
        body: impl Fn(&T) -> io::Result<R> + Sync,
    ) -> io::Result<Vec<R>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else {
                    return done;
                };
                let result = body(item);
                if result.is_err() {
                    // Nothing is left to take for the others.
                    next.store(items.len(), Ordering::Relaxed);
                }
                done.push((index, result));
            }
        };
        let mut done = if self.0.min(items.len()) <= 1 {
            work()
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..self.0.min(items.len()))
                    .map(|_| scope.spawn(work))
                    .collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                threads.into_iter().flat_map(join).collect()
            })
        };
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
