//! The counterfeit guard: whether a card holds what it claims.
//!
//! Counterfeit cards either drop what is written past their true size, or let
//! it wrap around to the start. Single marks are written over most of the card, and
//! after them a run of marks near its start; then the single ones are read back, past
//! every cache. What was dropped is not there. And where a card wraps around, whatever
//! its true size is, the run was written over some of them.

use std::io;
use std::ops::Range;

use super::super::error::{CardError, Doing};
use super::super::medium::{BLOCK_LEN, Medium, read_exact_at, write_all_at};
use super::{Flash, Job};
use crate::base::Sha256Digest;
use crate::base::chunk::{CHUNK_LEN, within};
use crate::output::{ALIGN, AlignedBuf};
use crate::report::event::Event;

/// Where the run begins.
const FIRST: u64 = 3 << 20;
const MIB: u64 = 1 << 20;
/// The true size of a card that drops is told to this precision.
const PRECISION: u64 = 16 * MIB;
const MARK_LEN: usize = ALIGN;
/// Each sector tells where it was written: a true size is a multiple of this.
const SECTOR_LEN: usize = 512;

/// Where marks lie on a card.
#[derive(Debug)]
pub(super) struct Marks {
    /// A block each, in ascending order.
    pub(super) single: Vec<u64>,
    /// Side by side; none of the single ones is among them.
    pub(super) run: Range<u64>,
}

impl Marks {
    /// The marks of a card that claims `len` bytes; none on one that is hardly larger than
    /// its head.
    pub(super) fn of(len: u64) -> Self {
        let last = (len / BLOCK_LEN).saturating_sub(1) * BLOCK_LEN;
        // What wraps around at more than this has nearly the size that it claims.
        let reach = last.saturating_sub(FIRST);
        // As many single marks as the run has MiB. Either takes a slow card some 30 ms.
        let step = (reach / 3 * 2 / MIB).isqrt().max(1) * MIB;
        // Between a third of `reach` and `reach`, every distance is one of a single mark from
        // a sector of the run. The true size is such a distance, or else two of its multiples
        // are that follow each other: what is common to those is the true size. (One that is
        // smaller than the run may be told as some multiple of it.)
        let first = FIRST + step.max(reach / 3);
        let downwards = std::iter::successors(Some(last), |at| at.checked_sub(step));
        let mut single: Vec<u64> = downwards.take_while(|&at| at >= first).collect();
        single.reverse();
        Self {
            single,
            run: FIRST..FIRST + step,
        }
    }

    /// Bytes that are marked.
    fn len(&self) -> u64 {
        self.single.len() as u64 * BLOCK_LEN + (self.run.end - self.run.start)
    }
}

/// Makes sure that a card holds what it claims. Overwrites marked blocks.
///
/// # Errors
/// [`CardError::Counterfeit`], what the operating system says, and where the user asks to
/// stop.
pub(super) fn run(job: &Job<'_>, flash: &Flash<'_>) -> Result<(), CardError> {
    let marks = Marks::of(job.medium.len());
    if marks.single.is_empty() {
        return Ok(());
    }
    let task = job.name;
    flash.sink.send(Event::Started {
        task,
        verb: "testing",
        total: marks.len(),
    });
    let result = write(&marks, job, flash).and_then(|()| check(&marks, job, flash));
    flash.sink.send(Event::Ended { task });
    result
}

fn write(marks: &Marks, job: &Job<'_>, flash: &Flash<'_>) -> Result<(), CardError> {
    let mut buf = AlignedBuf::new(CHUNK_LEN);
    let single = marks.single.iter().map(|&at| at..at + BLOCK_LEN);
    let run = marks.run.clone().step_by(CHUNK_LEN);
    let run = run.map(|at| at..marks.run.end.min(at + CHUNK_LEN as u64));
    let mut done = 0;
    for range in single.chain(run) {
        flash.interrupt.check()?;
        let bytes = &mut buf[within(&range, range.start)];
        fill(bytes, &flash.nonce, range.start);
        put(job.medium, bytes, range.start)?;
        done += range.end - range.start;
        flash.sink.send(Event::Progressed {
            task: job.name,
            done,
        });
    }
    let flushed = job.medium.flush();
    flushed.map_err(failed(job.medium, Doing::Syncing, 0))
}

/// Reads the single marks back.
fn check(marks: &Marks, job: &Job<'_>, flash: &Flash<'_>) -> Result<(), CardError> {
    let (medium, nonce) = (job.medium, &flash.nonce);
    let again = medium.reopen().map_err(failed(medium, Doing::Reading, 0))?;
    let mut found = AlignedBuf::new(MARK_LEN);
    let mut mark = AlignedBuf::new(MARK_LEN);
    let mut wrap = 0;
    let mut bad = Vec::new();
    for (index, &position) in marks.single.iter().enumerate() {
        flash.interrupt.check()?;
        read_exact_at(&*again, &mut found, position).map_err(failed(
            medium,
            Doing::Reading,
            position,
        ))?;
        fill(&mut mark, nonce, position);
        if *found == *mark {
            continue;
        }
        bad.push(index);
        if let Some(other) = written_for(&found[..SECTOR_LEN], nonce) {
            wrap = greatest_common_divisor(wrap, other.abs_diff(position));
        }
    }
    let holds = match (wrap, first_dropped(&bad, marks.single.len())) {
        (0, None) => return Ok(()),
        (0, Some(index)) => {
            let good = index.checked_sub(1).map_or(0, |index| marks.single[index]);
            search(medium, &*again, nonce, good, marks.single[index])?
        }
        (wrap, _) => wrap,
    };
    let claims = medium.len();
    Err(CardError::Counterfeit { claims, holds })
}

/// The first of `count` marks that lies behind the true size of a card that drops what is
/// written there, going by those that read wrong: from there on they prevail most. One that
/// reads wrong here and there is of a bad place, which reading back is there to find.
fn first_dropped(bad: &[usize], count: usize) -> Option<usize> {
    let behind = (1..=bad.len()).rev();
    let prevail = bad.iter().zip(behind).filter_map(|(&first, behind)| {
        let wrong_over_right = (2 * behind).checked_sub(count - first)?;
        (behind > 1 && wrong_over_right > 0).then_some((wrong_over_right, first))
    });
    Some(prevail.max()?.1)
}

/// Of the distances between where marks were written and where they lie: each is a multiple
/// of the true size.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// The true size of a card that drops what is written behind it: somewhere
/// between a mark that stayed and one that did not.
fn search(
    medium: &dyn Medium,
    again: &dyn Medium,
    nonce: &[u8; 16],
    mut good: u64,
    mut bad: u64,
) -> Result<u64, CardError> {
    let mut mark = AlignedBuf::new(MARK_LEN);
    let mut found = AlignedBuf::new(MARK_LEN);
    while bad - good > PRECISION {
        let middle = (good + (bad - good) / 2) / BLOCK_LEN * BLOCK_LEN;
        fill(&mut mark, nonce, middle);
        put(medium, &mark, middle)?;
        medium.flush().map_err(failed(medium, Doing::Syncing, 0))?;
        read_exact_at(again, &mut found, middle).map_err(failed(medium, Doing::Reading, middle))?;
        if *found == *mark {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

fn put(medium: &dyn Medium, mark: &[u8], position: u64) -> Result<(), CardError> {
    // A reader that is open may have been given another card.
    medium.check().map_err(|_| CardError::Gone)?;
    write_all_at(medium, mark, position).map_err(failed(medium, Doing::Writing, position))
}

/// Each sector is another, and none can be what a card held before.
fn fill(marks: &mut [u8], nonce: &[u8; 16], position: u64) {
    let positions = (position..).step_by(SECTOR_LEN);
    for (sector, position) in marks.chunks_mut(SECTOR_LEN).zip(positions) {
        let position = position.to_le_bytes();
        let digest = Sha256Digest::of(&[&nonce[..], &position].concat()).0;
        for piece in sector.chunks_mut(digest.len()) {
            piece.copy_from_slice(&digest[..piece.len()]);
        }
        sector[..position.len()].copy_from_slice(&position);
    }
}

/// Where this sector was written, if it is of a mark.
fn written_for(sector: &[u8], nonce: &[u8; 16]) -> Option<u64> {
    let position = u64::from_le_bytes(*sector.first_chunk()?);
    let mut mark = [0; SECTOR_LEN];
    fill(&mut mark, nonce, position);
    (sector == mark).then_some(position)
}

fn failed(medium: &dyn Medium, doing: Doing, offset: u64) -> impl Fn(io::Error) -> CardError {
    move |source| {
        let place = "while its size was probed".to_owned();
        CardError::io(medium, doing, offset, place, source)
    }
}
