//! Reading a card back, past every cache, against the fingerprints that were taken
//! while it was written.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lane::Lane;
use crate::base::chunk::{CHUNK_LEN, within};
use crate::card::error::{CardError, Doing};
use crate::card::medium::{Medium, read_exact_at};
use crate::output::{AlignedBuf, for_each_chunk};
use crate::report::event::Event;

/// One reads while the other digests.
const READERS: usize = 2;
/// A card with more wrong chunks than this is not worth a second try.
const MAX_REWRITES: usize = 8;

/// Tells the used pieces of a chunk from any others; `chunk` holds the bytes from
/// `offset` on.
pub(super) fn fingerprint(chunk: &[u8], offset: u64, pieces: &[Range<u64>]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(&chunk[within(piece, offset)]);
    }
    hasher.finalize()
}

/// Reads a card back; chunks that are wrong are written once more. Returns how
/// many those were.
///
/// # Errors
/// Where a chunk stays wrong.
pub(super) fn run(lane: &mut Lane<'_>) -> Result<usize, CardError> {
    let flash = &lane.shared.flash;
    let medium = lane.job.medium;
    let card = medium
        .reopen()
        .map_err(|source| lane.failed(Doing::Reading, 0, source))?;
    let task = lane.job.name;
    flash.sink.send(Event::Started {
        task,
        verb: "verifying",
        total: lane.used().used_len(),
    });
    let result = wrong_chunks(lane, &*card).and_then(|wrong| repair(lane, &*card, &wrong));
    flash.sink.send(Event::Ended { task });
    result
}

/// A chunk that is not what it must be, and what kept it from being read.
struct Wrong {
    index: usize,
    error: Option<io::Error>,
}

fn wrong_chunks(lane: &Lane<'_>, card: &dyn Medium) -> Result<Vec<Wrong>, CardError> {
    let indexes: Vec<usize> = lane.fingerprints.keys().copied().collect();
    let wrong = Mutex::new(Vec::new());
    let done = AtomicU64::new(0);
    for_each_chunk(&indexes, READERS, |index, buf| {
        lane.shared.flash.interrupt.check()?;
        let error = match check(lane, card, index, buf) {
            Ok(true) => None,
            Ok(false) => Some(None),
            Err(source) => {
                // Nobody waits for the rest of a card that was pulled.
                if lane.job.medium.check().is_err() {
                    return Err(CardError::Gone);
                }
                Some(Some(source))
            }
        };
        if let Some(error) = error
            && let Ok(mut wrong) = wrong.lock()
        {
            wrong.push(Wrong { index, error });
        }
        let (offset, len) = lane.shared.range(index);
        let pieces = lane.used().within(offset, len as u64);
        let len: u64 = pieces.map(|piece| piece.end - piece.start).sum();
        lane.shared.flash.sink.send(Event::Progressed {
            task: lane.job.name,
            done: done.fetch_add(len, Ordering::Relaxed) + len,
        });
        Ok::<_, CardError>(())
    })?;
    let mut wrong = wrong.into_inner().unwrap_or_default();
    wrong.sort_by_key(|wrong| wrong.index);
    Ok(wrong)
}

/// Whether a chunk's used pieces read back as they must.
fn check(lane: &Lane<'_>, card: &dyn Medium, index: usize, buf: &mut [u8]) -> io::Result<bool> {
    let (offset, len) = lane.shared.range(index);
    let pieces: Vec<_> = lane.used().within(offset, len as u64).collect();
    for piece in &pieces {
        read_exact_at(card, &mut buf[within(piece, offset)], piece.start)?;
    }
    let found = fingerprint(buf, offset, &pieces);
    Ok(lane.fingerprints.get(&index) == Some(&found))
}

fn repair(lane: &mut Lane<'_>, card: &dyn Medium, wrong: &[Wrong]) -> Result<usize, CardError> {
    let Some(first) = wrong.first() else {
        return Ok(0);
    };
    // What reads wrong may be another card.
    let medium = lane.job.medium;
    medium.check().map_err(|_| CardError::Gone)?;
    if wrong.len() > MAX_REWRITES {
        let offset = first_difference(lane, card, first.index)?;
        return Err(CardError::Bad {
            offset,
            place: lane.shared.flash.place_of(offset),
            times: format!("once, and so do {} more places", wrong.len() - 1),
        });
    }
    for chunk in wrong {
        rewrite(lane, card, chunk)?;
    }
    Ok(wrong.len())
}

/// Writes a chunk once more and reads it back.
fn rewrite(lane: &mut Lane<'_>, card: &dyn Medium, wrong: &Wrong) -> Result<(), CardError> {
    let index = wrong.index;
    let (offset, len) = lane.shared.range(index);
    let at = match wrong.error {
        Some(_) => offset,
        None => first_difference(lane, card, index)?,
    };
    let place = lane.shared.flash.place_of(at);
    let message = format!(
        "{}: byte {at} ({place}) read back wrong; written once more",
        lane.job.name
    );
    lane.shared
        .flash
        .sink
        .send(Event::Noticed { message: &message });
    let mut buf = AlignedBuf::new(CHUNK_LEN);
    lane.shared
        .read_minted(lane.job.overlay, &mut buf[..len], offset)?;
    for piece in lane.used().within(offset, len as u64) {
        lane.put(&buf[within(&piece, offset)], piece.start)?;
    }
    lane.flush()?;
    match check(lane, card, index, &mut buf) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let offset = first_difference(lane, card, index)?;
            Err(CardError::Bad {
                offset,
                place: lane.shared.flash.place_of(offset),
                times: "twice".to_owned(),
            })
        }
        Err(source) => Err(lane.failed(Doing::Reading, offset, source)),
    }
}

/// Offset of the first byte of a chunk that is not what it must be.
fn first_difference(lane: &Lane<'_>, card: &dyn Medium, index: usize) -> Result<u64, CardError> {
    let (offset, len) = lane.shared.range(index);
    let mut wanted = AlignedBuf::new(len);
    lane.shared
        .read_minted(lane.job.overlay, &mut wanted, offset)?;
    let mut found = AlignedBuf::new(len);
    for piece in lane.used().within(offset, len as u64) {
        let range = within(&piece, offset);
        read_exact_at(card, &mut found[range.clone()], piece.start)
            .map_err(|source| lane.failed(Doing::Reading, piece.start, source))?;
        let pairs = wanted[range.clone()].iter().zip(&found[range]);
        if let Some(at) = pairs
            .into_iter()
            .position(|(wanted, found)| wanted != found)
        {
            return Ok(piece.start + at as u64);
        }
    }
    Ok(offset)
}
