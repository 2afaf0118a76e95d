//! The counterfeit guard: whether a card holds what it claims.
//!
//! Counterfeit cards either drop what is written past their true size, or let
//! it wrap around to the start. A few marked blocks spread over the card tell:
//! written in ascending order, flushed, and read back past every cache.

use std::io;

use super::super::error::{CardError, Doing};
use super::super::medium::{BLOCK_LEN, Medium, read_exact_at, write_all_at};
use crate::base::Sha256Digest;
use crate::output::{ALIGN, AlignedBuf};

/// Where the first mark lies. The others lie the true sizes away that a card may
/// have, so that wrapping around hits it.
const FIRST: u64 = 3 << 20;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Marks at whole gibibytes; a larger card has them further apart.
const GIBIBYTE_MARKS: u64 = 128;
/// The true size is told to this precision.
const PRECISION: u64 = 16 * MIB;
const MARK_LEN: usize = ALIGN;

/// Makes sure that `medium` holds what it claims. Overwrites marked blocks.
///
/// # Errors
/// [`CardError::Counterfeit`], and what the operating system says.
pub(super) fn probe(medium: &dyn Medium, nonce: &[u8; 16]) -> Result<(), CardError> {
    let claims = medium.len();
    let positions = positions(claims);
    let mut mark = AlignedBuf::new(MARK_LEN);
    for &position in &positions {
        fill(&mut mark, nonce, position);
        put(medium, &mark, position)?;
    }
    medium.flush().map_err(failed(medium, Doing::Syncing, 0))?;
    let again = medium.reopen().map_err(failed(medium, Doing::Reading, 0))?;
    let mut found = AlignedBuf::new(MARK_LEN);
    let mut wrap = 0;
    let mut first_bad = None;
    for (index, &position) in positions.iter().enumerate() {
        read_exact_at(&*again, &mut found, position).map_err(failed(
            medium,
            Doing::Reading,
            position,
        ))?;
        let holds_mark_of = |other: &u64| {
            let mut mark = [0; MARK_LEN];
            fill(&mut mark, nonce, *other);
            *found == mark
        };
        if holds_mark_of(&position) {
            continue;
        }
        first_bad.get_or_insert(index);
        if let Some(other) = positions.iter().copied().find(holds_mark_of) {
            wrap = greatest_common_divisor(wrap, other.abs_diff(position));
        }
    }
    let holds = match (wrap, first_bad) {
        (0, None) => return Ok(()),
        (0, Some(index)) => {
            let good = index.checked_sub(1).map_or(0, |index| positions[index]);
            search(medium, &*again, nonce, good, positions[index])?
        }
        (wrap, _) => wrap,
    };
    Err(CardError::Counterfeit { claims, holds })
}

/// Of the distances between marks that hit one another: each is a multiple of
/// the true size.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Where on a card of `len` bytes the marks lie, in ascending order.
fn positions(len: u64) -> Vec<u64> {
    let step = len.div_ceil(GIBIBYTE_MARKS * GIB).max(1) * GIB;
    let powers = (2..).map(|exponent| MIB << exponent);
    let doubled = powers.take_while(|&distance| distance < len);
    let even = (1..=GIBIBYTE_MARKS).map(|n| n * step);
    let last = (len / BLOCK_LEN).saturating_sub(1) * BLOCK_LEN;
    let mut positions: Vec<u64> = std::iter::once(0)
        .chain(doubled)
        .chain(even)
        .map(|distance| FIRST + distance)
        .chain([last])
        .filter(|&position| position >= FIRST && position <= last)
        .collect();
    positions.sort_unstable();
    positions.dedup();
    positions
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

/// Each mark is another, and none can be what a card held before.
fn fill(mark: &mut [u8], nonce: &[u8; 16], position: u64) {
    let mut seed = nonce.to_vec();
    seed.extend_from_slice(&position.to_le_bytes());
    let digest = Sha256Digest::of(&seed).0;
    for piece in mark.chunks_mut(digest.len()) {
        piece.copy_from_slice(&digest[..piece.len()]);
    }
}

fn failed(medium: &dyn Medium, doing: Doing, offset: u64) -> impl Fn(io::Error) -> CardError {
    move |source| {
        let place = "while its size was probed".to_owned();
        CardError::io(medium, doing, offset, place, source)
    }
}
