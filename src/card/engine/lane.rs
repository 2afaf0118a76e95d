//! One card on its way: prepared, written, completed, read back.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::time::Instant;

use super::read_back::fingerprint;
use super::stream::Feed;
use super::{HEAD_END, HEAD_LEN, Job, Outcome, Shared, Written, probe, read_back};
use crate::base::chunk::{CHUNK_LEN, chunk_digest, within};
use crate::base::{ReadAt as _, Sha256Digest};
use crate::card::error::{CardError, Doing};
use crate::card::medium::{read_exact_at, write_all_at};
use crate::layout::UsedMap;
use crate::output::{ALIGN, AlignedBuf};
use crate::report::event::Event;

/// A card that is compared first is written in steps of this many bytes: a
/// changed file costs little, and long runs are still written in one go.
const STEP: usize = 64 << 10;

/// One card and what is known of it so far.
pub(super) struct Lane<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) job: &'a Job<'a>,
    used_len: u64,
    /// What the used pieces of each chunk must read back as.
    pub(super) fingerprints: BTreeMap<usize, blake3::Hash>,
    patched: BTreeMap<usize, Sha256Digest>,
    /// The first [`HEAD_LEN`] bytes, held back.
    head: AlignedBuf,
    /// Whether anything was written to the card.
    is_touched: bool,
    /// Whether the card's old partition table is overwritten.
    is_headless: bool,
    /// Whether the new one, or some of it, may be there.
    has_head: bool,
    /// Whether what the card holds is compared before it is written.
    compares: bool,
    /// What it holds.
    compared: AlignedBuf,
    next_index: usize,
    done: u64,
    written: u64,
}

impl<'a> Lane<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, job: &'a Job<'a>) -> Self {
        Self {
            shared,
            job,
            used_len: job.used.used_len(),
            fingerprints: BTreeMap::new(),
            patched: BTreeMap::new(),
            head: AlignedBuf::new(HEAD_LEN),
            is_touched: false,
            is_headless: false,
            has_head: false,
            compares: job.delta,
            compared: AlignedBuf::new(0),
            next_index: 0,
            done: 0,
            written: 0,
        }
    }

    /// What the card must hold.
    pub(super) fn used(&self) -> &'a UsedMap {
        self.job.used
    }

    pub(super) fn run(mut self, feed: Feed) -> Outcome {
        let start = Instant::now();
        let task = self.job.name;
        let sink = self.shared.flash.sink;
        self.prepare().map_err(|error| self.abandon(error))?;
        sink.send(Event::Started {
            task,
            verb: if self.job.delta {
                "comparing"
            } else {
                "writing"
            },
            total: self.used_len,
        });
        let result = self.write(feed);
        sink.send(Event::Ended { task });
        result.map_err(|error| self.abandon(error))?;
        let writing = start.elapsed();
        let start = Instant::now();
        let rewritten = if self.shared.flash.verify {
            read_back::run(&mut self).map_err(|error| self.abandon(error))?
        } else {
            0
        };
        Ok(Written {
            used: self.used_len,
            written: self.written,
            writing,
            verifying: self.shared.flash.verify.then(|| start.elapsed()),
            rewritten,
            patched: self.patched,
        })
    }

    fn write(&mut self, mut feed: Feed) -> Result<(), CardError> {
        while let Some(chunk) = feed.next() {
            let shared = (chunk.pieces.as_slice(), chunk.fingerprint);
            self.take(chunk.index, &chunk.bytes, Some(shared))?;
        }
        if feed.is_left_behind() {
            let shared = self.shared;
            shared
                .alone
                .pass(shared.flash.interrupt, || self.go_on_alone())??;
        }
        self.shared
            .verdict
            .wait()
            .map_err(|reason| match self.check_interrupt() {
                Err(interrupted) => interrupted,
                Ok(()) => CardError::BaseFailed(reason),
            })?;
        self.check_interrupt()?;
        self.complete()
    }

    /// Makes sure that a card which is not complete does not look so.
    fn abandon(&self, error: CardError) -> CardError {
        let is_interrupted = error.is_interrupted();
        let is_gone = matches!(error, CardError::Gone);
        // What was read back and is wrong is that whoever wrote it.
        let is_bad = self.has_head && !is_interrupted && !is_gone;
        let error = match (self.is_touched || is_bad, is_interrupted) {
            (false, true) => return CardError::Untouched,
            (false, false) => return CardError::Unwritten(Box::new(error)),
            (true, true) => CardError::Interrupted,
            (true, false) => error,
        };
        if !self.has_head || is_gone {
            return error;
        }
        let medium = self.job.medium;
        if medium.check().is_err() {
            return CardError::Gone;
        }
        let zeros = AlignedBuf::new(self.head_len());
        match write_all_at(medium, &zeros, 0).and_then(|()| medium.flush()) {
            // It would be said to have no partition table.
            Err(source) if is_interrupted => self.failed(Doing::Writing, 0, source),
            // Already lost, which the error says.
            _ => error,
        }
    }

    fn check_interrupt(&self) -> Result<(), CardError> {
        Ok(self.shared.flash.interrupt.check()?)
    }

    /// Makes a card that is written in full unbootable, and finds out whether it
    /// can be what it claims to be.
    fn prepare(&mut self) -> Result<(), CardError> {
        self.check_interrupt()?;
        if self.job.delta {
            return Ok(());
        }
        if self.shared.flash.wipe {
            // As before each write: it is not less than one.
            self.job.medium.check().map_err(|_| CardError::Gone)?;
            let (task, sink) = (self.job.name, self.shared.flash.sink);
            sink.send(Event::Started {
                task,
                verb: "discarding",
                total: 0,
            });
            let discarded = self.job.medium.discard();
            sink.send(Event::Ended { task });
            match discarded {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    let message = format!("{task}: its card cannot be discarded");
                    sink.send(Event::Noticed { message: &message });
                }
                result => {
                    self.is_touched = true;
                    result.map_err(|source| self.failed(Doing::Writing, 0, source))?;
                }
            }
        }
        // Whoever interrupts is told that the card has no partition table: see to it first.
        self.behead(0)?;
        if self.job.probe {
            // On a counterfeit, marks come round to where the table was.
            self.has_head = true;
            probe::run(self.job, &self.shared.flash)?;
            self.has_head = false;
        }
        Ok(())
    }

    /// Overwrites the partition table, once, and then the settings of what the card was
    /// before, from `offset` on: what lies before that is as it shall be.
    fn behead(&mut self, offset: u64) -> Result<(), CardError> {
        if self.is_headless {
            return Ok(());
        }
        self.is_headless = true;
        let zeros = AlignedBuf::new(self.head_len());
        self.put(&zeros, 0)?;
        self.scrub(offset.max(HEAD_END))?;
        self.flush()
    }

    fn scrub(&mut self, from: u64) -> Result<(), CardError> {
        let zeros = AlignedBuf::new(CHUNK_LEN);
        let len = self.job.used.len();
        let places = UsedMap::of(len, self.job.scrub.to_vec());
        for chunk in places.within(from, len - from.min(len)) {
            let mut at = chunk.start;
            while at < chunk.end {
                let end = chunk.end.min(at + CHUNK_LEN as u64);
                self.put(&zeros[within(&(at..end), at)], at)?;
                at = end;
            }
        }
        Ok(())
    }

    /// Length of the head on a card that may be shorter than it.
    fn head_len(&self) -> usize {
        let len = self.shared.flash.base.len();
        usize::try_from(len).map_or(HEAD_LEN, |len| len.min(HEAD_LEN))
    }

    /// Deals with one chunk of the base: `shared` are its used pieces and their
    /// fingerprint, worked out for all cards.
    fn take(
        &mut self,
        index: usize,
        base: &[u8],
        shared: Option<(&[Range<u64>], blake3::Hash)>,
    ) -> Result<(), CardError> {
        self.check_interrupt()?;
        self.next_index = index + 1;
        let (offset, len) = self.shared.range(index);
        let pieces: Vec<_> = self.job.used.within(offset, len as u64).collect();
        if pieces.is_empty() {
            return Ok(());
        }
        let mut patched;
        let is_patched = self.job.overlay.touches(offset, len as u64);
        let bytes = if is_patched {
            patched = AlignedBuf::copy_of(base);
            self.job.overlay.apply(offset, &mut patched);
            self.patched.insert(index, chunk_digest(&patched));
            &*patched
        } else {
            base
        };
        let fingerprint = match shared {
            Some((shared, known)) if !is_patched && shared == pieces => known,
            _ => fingerprint(bytes, offset, &pieces),
        };
        self.fingerprints.insert(index, fingerprint);
        for piece in pieces {
            let held_back = self.hold_back(&piece, bytes, offset);
            self.lay(held_back, bytes, offset)?;
            self.done += piece.end - piece.start;
            self.shared.flash.sink.send(Event::Progressed {
                task: self.job.name,
                done: self.done,
            });
        }
        Ok(())
    }

    /// Keeps what lies in the head; returns the rest of the piece.
    fn hold_back(&mut self, piece: &Range<u64>, bytes: &[u8], offset: u64) -> Range<u64> {
        let end = piece.end.min(HEAD_END);
        if piece.start < end {
            let from = within(&(piece.start..end), offset);
            let to = within(&(piece.start..end), 0);
            self.head[to].copy_from_slice(&bytes[from]);
        }
        piece.start.max(end).min(piece.end)..piece.end
    }

    /// Brings a piece to the card, or what differs of it.
    fn lay(&mut self, piece: Range<u64>, bytes: &[u8], offset: u64) -> Result<(), CardError> {
        if piece.is_empty() {
            return Ok(());
        }
        let bytes = &bytes[within(&piece, offset)];
        if !self.compares {
            return self.put(bytes, piece.start);
        }
        let mut compared = std::mem::replace(&mut self.compared, AlignedBuf::new(0));
        if compared.len() < bytes.len() {
            compared = AlignedBuf::new(CHUNK_LEN);
        }
        let there = &mut compared[..bytes.len()];
        let mut is_known = self.reads(there, piece.start)?;
        if !self.is_headless && (!is_known || bytes != there) {
            self.behead(piece.start)?;
            // Settings within it are gone, those as well that are to stay.
            is_known = is_known && self.reads(there, piece.start)?;
        }
        if !is_known {
            return self.put(bytes, piece.start);
        }
        for run in differing_runs(bytes, there) {
            self.put(&bytes[run.clone()], piece.start + run.start as u64)?;
        }
        self.compared = compared;
        Ok(())
    }

    /// Reads what a card that is compared holds; says whether it could be read. Where it
    /// cannot it may still be written, which often mends it.
    fn reads(&mut self, there: &mut [u8], offset: u64) -> Result<bool, CardError> {
        let Err(source) = read_exact_at(self.job.medium, there, offset) else {
            return Ok(true);
        };
        match self.failed(Doing::Reading, offset, source) {
            CardError::Read { place, .. } => {
                // Where one place is bad more may be, and each is waited for long.
                self.compares = false;
                let message = format!(
                    "{}: its card cannot be read at byte {offset} ({place}); from there on it is \
                     written in full",
                    self.job.name
                );
                let sink = self.shared.flash.sink;
                sink.send(Event::Noticed { message: &message });
                Ok(false)
            }
            error => Err(error),
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8], offset: u64) -> Result<(), CardError> {
        // A reader that is open may have been given another card.
        self.job.medium.check().map_err(|_| CardError::Gone)?;
        // From the first byte on there is no way back.
        self.is_touched = true;
        write_all_at(self.job.medium, bytes, offset)
            .map_err(|source| self.failed(Doing::Writing, offset, source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Reads the rest of the base for this card alone.
    fn go_on_alone(&mut self) -> Result<(), CardError> {
        let chunks = self.shared.flash.base.len().div_ceil(CHUNK_LEN as u64);
        let mut buf = AlignedBuf::new(CHUNK_LEN);
        for index in self.next_index..usize::try_from(chunks).unwrap_or(usize::MAX) {
            self.check_interrupt()?;
            let (offset, len) = self.shared.range(index);
            if self.job.used.within(offset, len as u64).next().is_none() {
                continue;
            }
            let base = self.shared.flash.base;
            base.read_exact_at(&mut buf[..len], offset)
                .map_err(|source| CardError::BaseFailed(format!("{}: {source}", base.name())))?;
            self.take(index, &buf[..len], None)?;
        }
        let base = self.shared.flash.base;
        base.check_unchanged().map_err(CardError::Base)
    }

    /// Writes the head, now that all the rest is on the card for good.
    fn complete(&mut self) -> Result<(), CardError> {
        self.flush()?;
        let len = self.head_len();
        let head = std::mem::replace(&mut self.head, AlignedBuf::new(0));
        let mut there = AlignedBuf::new(len);
        let runs = if !self.is_headless && self.reads(&mut there, 0)? {
            differing_runs(&head[..len], &there)
        } else {
            std::iter::once(0..len).collect()
        };
        self.has_head = true;
        for run in runs {
            self.put(&head[run.clone()], run.start as u64)?;
        }
        self.flush()
    }

    pub(super) fn flush(&self) -> Result<(), CardError> {
        let flushed = self.job.medium.flush();
        flushed.map_err(|source| self.failed(Doing::Syncing, 0, source))
    }

    pub(super) fn failed(&self, doing: Doing, offset: u64, source: io::Error) -> CardError {
        let place = self.shared.flash.place_of(offset);
        CardError::io(self.job.medium, doing, offset, place, source)
    }
}

/// The runs of `wanted` that are not the same in `found`, in whole steps.
fn differing_runs(wanted: &[u8], found: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let steps = wanted.chunks(STEP).zip(found.chunks(STEP));
    for (start, (wanted, found)) in (0..).step_by(STEP).zip(steps) {
        if wanted == found {
            continue;
        }
        let end = start + wanted.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

const _: () = assert!(STEP.is_multiple_of(ALIGN) && HEAD_LEN.is_multiple_of(ALIGN));
