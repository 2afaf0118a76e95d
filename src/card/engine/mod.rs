//! The write engine: one reading of the base, many cards, each with its own
//! overlay, its own speed and its own fate.
//!
//! A card without a partition table does not boot. So the table goes first, by
//! being overwritten, and comes last, when everything else is on the card: an
//! interrupted card never looks finished.

mod lane;
mod probe;
mod read_back;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use self::lane::Lane;
use self::stream::{Chunk, Settled, Stream, Turnstile, Verdict};
use super::error::CardError;
use super::medium::Medium;
use crate::base::chunk::CHUNK_LEN;
use crate::base::{Base, BaseError, Cache, Digests, ReadAt as _, Sha256Digest};
use crate::interrupt::{Interrupt, Interrupted};
use crate::layout::{Disk, UsedMap};
use crate::output::AlignedBuf;
use crate::overlay::Overlay;
use crate::report::event::Sink;

/// Bytes at the start of a card that are written last: partition table, and
/// whatever else a boot loader may look for before the first partition.
const HEAD_LEN: usize = 1 << 20;
/// Where the head ends on the card.
const HEAD_END: u64 = HEAD_LEN as u64;
/// Cards that may read the base for themselves at a time; each takes some 40 MiB.
const MAX_ALONE: usize = 3;

/// One card to make.
#[derive(Debug)]
pub struct Job<'a> {
    /// Whose card it is: the hostname.
    pub name: &'a str,
    /// What differs from the base.
    pub overlay: &'a Overlay,
    /// What of base and overlay together holds data.
    pub used: &'a UsedMap,
    /// The card, open.
    pub medium: &'a dyn Medium,
    /// Read the card first and write only what differs.
    pub delta: bool,
    /// Make sure first that the card holds what it claims.
    pub probe: bool,
    /// Ranges that hold somebody's settings: zeros go there as soon as the card is
    /// written at all. What is written later may hide where they were, and then be
    /// interrupted. `used` has these ranges too.
    pub scrub: &'a [Range<u64>],
}

/// What became of a [`Job`].
pub type Outcome = Result<Written, CardError>;

/// A card that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that the card must hold.
    pub used: u64,
    /// Bytes that were written; fewer where the card held the rest already.
    pub written: u64,
    /// How long that took.
    pub writing: Duration,
    /// How long reading back took; `None` where that was not wanted.
    pub verifying: Option<Duration>,
    /// Chunks that had to be written twice.
    pub rewritten: usize,
    /// Digest of each whole chunk that the overlay touches.
    pub patched: BTreeMap<usize, Sha256Digest>,
}

/// What all cards of one base share.
#[derive(Clone, Copy)]
pub struct Flash<'a> {
    /// The stock image.
    pub base: &'a Base,
    /// Its partitions, for naming places.
    pub disk: &'a Disk,
    /// The number of that which a Pi boots from.
    pub boot: u32,
    /// What of it holds data.
    pub used: &'a UsedMap,
    /// Where digests are remembered.
    pub cache: &'a Cache,
    /// Read every card back.
    pub verify: bool,
    /// Tell each card first that all it holds is worthless.
    pub wipe: bool,
    /// Distinguishes the marks of this run from those of any other.
    pub nonce: [u8; 16],
    /// Called with a job's number as soon as its fate is known, which may be long
    /// before that of others.
    pub done: &'a (dyn Fn(usize, &Outcome) + Sync),
    /// Where progress goes.
    pub sink: &'a dyn Sink,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
}

/// What the threads of one run share.
struct Shared<'a> {
    flash: Flash<'a>,
    verdict: Verdict,
    alone: Turnstile,
}

impl Flash<'_> {
    fn place_of(&self, offset: u64) -> String {
        self.disk.place_of(offset, self.boot)
    }

    /// Makes the cards of `jobs`. Returns the digests of the base, or why it
    /// failed, and what became of each card; a base that fails leaves no card
    /// complete.
    pub fn run(&self, jobs: &[Job<'_>]) -> (Result<Digests, BaseError>, Vec<Outcome>) {
        let shared = Shared {
            flash: *self,
            verdict: Verdict::default(),
            alone: Turnstile::new(MAX_ALONE),
        };
        let lanes: Vec<Lane<'_>> = jobs.iter().map(|job| Lane::new(&shared, job)).collect();
        let needed = jobs.iter().fold(self.used.clone(), |map, job| {
            map.with(job.used.ranges().iter().cloned())
        });
        let mut stream = Stream::new(self.sink, self.interrupt);
        let feeds: Vec<_> = jobs.iter().map(|job| stream.subscribe(job.name)).collect();
        thread::scope(|scope| {
            let handles: Vec<_> = lanes
                .into_iter()
                .zip(feeds)
                .enumerate()
                .map(|(number, (lane, feed))| {
                    scope.spawn(move || {
                        let outcome = lane.run(feed);
                        (self.done)(number, &outcome);
                        outcome
                    })
                })
                .collect();
            let settled = Settled(&shared.verdict);
            let digests = self.pass(stream, &needed);
            shared.verdict.settle(match &digests {
                Ok(_) => Ok(()),
                Err(error) => Err(super::whole_message(error)),
            });
            drop(settled);
            let outcomes = handles
                .into_iter()
                .map(|handle| match handle.join() {
                    Ok(outcome) => outcome,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect();
            (digests, outcomes)
        })
    }

    /// Reads the base and feeds it to the cards; the stream ends with it.
    fn pass(&self, mut stream: Stream<'_>, needed: &UsedMap) -> Result<Digests, BaseError> {
        let result = self.base.digest_while(
            self.cache,
            self.sink,
            self.interrupt,
            &mut |offset, bytes, _| {
                let len = bytes.len() as u64;
                if needed.within(offset, len).next().is_none() {
                    return Ok(());
                }
                let pieces: Vec<_> = self.used.within(offset, len).collect();
                let chunk = Chunk {
                    // Chunks of a base that is open can be counted in memory.
                    index: usize::try_from(offset).unwrap_or(usize::MAX) / CHUNK_LEN,
                    bytes: AlignedBuf::copy_of(bytes),
                    fingerprint: read_back::fingerprint(bytes, offset, &pieces),
                    pieces,
                };
                stream.push(&Arc::new(chunk))
            },
        );
        match result {
            Err(_) if self.interrupt.check().is_err() => Err(Interrupted.into()),
            result => result,
        }
    }
}

impl Shared<'_> {
    /// Fills `buf` with `base + overlay` from `offset` on, by random access.
    fn read_minted(&self, overlay: &Overlay, buf: &mut [u8], offset: u64) -> Result<(), CardError> {
        let base = self.flash.base;
        base.read_exact_at(buf, offset)
            .map_err(|source| CardError::BaseFailed(format!("{}: {source}", base.name())))?;
        overlay.apply(offset, buf);
        Ok(())
    }

    /// Offset and length of a chunk of the base.
    fn range(&self, index: usize) -> (u64, usize) {
        let offset = index as u64 * CHUNK_LEN as u64;
        let left = self.flash.base.len().saturating_sub(offset);
        // At most CHUNK_LEN.
        let len = usize::try_from(left.min(CHUNK_LEN as u64)).unwrap_or(CHUNK_LEN);
        (offset, len)
    }
}
