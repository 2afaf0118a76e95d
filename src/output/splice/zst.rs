//! zstd frames, and the seek table behind them.
//!
//! The format is "Zstandard Seekable Format", version 0.1.0: ordinary frames,
//! then a skippable frame that tells the lengths of each. Decoders that do not
//! know it skip the table.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use zstd::bulk;
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use super::frames::{Container, Encoded, Frame, Frames, Record};
use crate::base::ReadAt;
use crate::base::xz::{IndexError, MAX_BLOCK_LEN};

/// Levels that need no more memory than the bytes at hand.
pub(super) const LEVELS: RangeInclusive<u32> = 1..=19;
/// Of a skippable frame that holds a seek table.
const TABLE_MAGIC: [u8; 4] = 0x184d_2a5e_u32.to_le_bytes();
/// Of a frame with contents (RFC 8878, 3.1.1).
const FRAME_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Frame header descriptor: the frame ends with a checksum (RFC 8878, 3.1.1.1.1).
const WITH_CHECKSUM: u8 = 0x04;
const CHECKSUM_LEN: usize = 4;
/// Magic, descriptor, window, dictionary and the length of the contents, at their longest.
const MAX_HEADER_LEN: usize = 18;
const NO_FIT: &str = "its seek table does not fit its frames";
/// Of one that fills a gap; all of 0x184d2a50 to 0x184d2a5f are skipped.
const FILLER_MAGIC: [u8; 4] = 0x184d_2a50_u32.to_le_bytes();
/// At the very end of the file.
const FOOTER_MAGIC: [u8; 4] = 0x8f92_eab1_u32.to_le_bytes();
/// Magic and length of a skippable frame.
const SKIPPABLE_HEADER: usize = 8;
/// Number of frames, descriptor, magic.
const FOOTER_LEN: usize = 9;
/// Descriptor: the table has checksums.
const WITH_CHECKSUMS: u8 = 0x80;
/// Descriptor: bits that must be zero.
const RESERVED: u8 = 0x7c;
/// Larger tables would take memory out of proportion; this one describes some
/// hundred thousand frames.
const MAX_TABLE_LEN: u64 = 4 << 20;
/// Lower half of the XXH64 of no bytes.
const NO_BYTES: u32 = 0x51d8_e999;

use IndexError::{Damaged, NotSeekable};

/// Finds the frames of a file.
pub(super) fn read(file: &dyn ReadAt) -> Result<Frames, IndexError> {
    let footer_at = file.len().checked_sub(FOOTER_LEN as u64);
    let footer_at = footer_at.ok_or(NotSeekable)?;
    let mut footer = [0; FOOTER_LEN];
    file.read_exact_at(&mut footer, footer_at)?;
    let [n0, n1, n2, n3, descriptor, magic @ ..] = footer;
    if magic != FOOTER_MAGIC || descriptor & RESERVED != 0 {
        return Err(NotSeekable);
    }
    let checksums = descriptor & WITH_CHECKSUMS != 0;
    let body_len = u64::from(u32::from_le_bytes([n0, n1, n2, n3])) * entry_len(checksums);
    if body_len > MAX_TABLE_LEN {
        return Err(NotSeekable);
    }
    let start = footer_at
        .checked_sub(body_len + SKIPPABLE_HEADER as u64)
        .ok_or(Damaged("its seek table is longer than the file"))?;
    let mut table = vec![0; SKIPPABLE_HEADER + usize::try_from(body_len).map_err(|_| NotSeekable)?];
    file.read_exact_at(&mut table, start)?;
    let (header, body) = table.split_at(SKIPPABLE_HEADER);
    let inner = u32::try_from(body.len() + FOOTER_LEN).map_err(|_| NotSeekable)?;
    if header[..4] != TABLE_MAGIC || header[4..] != inner.to_le_bytes() {
        return Err(Damaged("its seek table has no beginning"));
    }
    let frames = parse(body, checksums)?;
    match frames.list.last() {
        Some(last) if last.file_offset + last.record.file_len == start => {}
        None if start == 0 => {}
        _ => return Err(Damaged(NO_FIT)),
    }
    Ok(frames)
}

/// Makes sure that a frame begins where the table says, holds as many bytes, and has the
/// checksum that it says. Decoders skip the table, so that nothing else would tell.
pub(super) fn check(file: &dyn ReadAt, frame: &Frame, checksums: bool) -> Result<(), IndexError> {
    let record = &frame.record;
    if record.len == 0 {
        // Nothing of the image is in it.
        return Ok(());
    }
    if record.file_len < (FRAME_MAGIC.len() + 1 + CHECKSUM_LEN) as u64 {
        return Err(Damaged(NO_FIT));
    }
    let mut head = [0; MAX_HEADER_LEN];
    let head_len = usize::try_from(record.file_len).map_or(head.len(), |len| len.min(head.len()));
    let head = &mut head[..head_len];
    file.read_exact_at(head, frame.file_offset)?;
    let Some(&[ref magic @ .., descriptor]) = head.first_chunk::<{ FRAME_MAGIC.len() + 1 }>()
    else {
        return Err(Damaged(NO_FIT));
    };
    if *magic != FRAME_MAGIC {
        return Err(Damaged(NO_FIT));
    }
    // What is copied is never decoded: one frame too short would shift all that follow it.
    if get_frame_content_size(head).ok().flatten() != Some(record.len) {
        return Err(NotSeekable);
    }
    if checksums && descriptor & WITH_CHECKSUM != 0 {
        let mut own = [0; CHECKSUM_LEN];
        let end = frame.file_offset + record.file_len;
        file.read_exact_at(&mut own, end - CHECKSUM_LEN as u64)?;
        if u32::from_le_bytes(own) != record.checksum {
            return Err(Damaged(NO_FIT));
        }
    }
    Ok(())
}

fn entry_len(checksums: bool) -> u64 {
    if checksums { 12 } else { 8 }
}

/// Parses the entries of a table.
fn parse(body: &[u8], checksums: bool) -> Result<Frames, IndexError> {
    let mut frames = Frames {
        container: Container::Zst { checksums },
        list: Vec::new(),
        len: 0,
    };
    let mut file_offset = 0u64;
    let entry_len = usize::try_from(entry_len(checksums)).map_err(|_| NotSeekable)?;
    for entry in body.chunks_exact(entry_len) {
        let mut words = entry.chunks_exact(4).map(|word| match *word {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        });
        let mut next = || words.next().unwrap_or(0);
        let record = Record {
            file_len: next().into(),
            len: next().into(),
            checksum: next(),
        };
        if record.file_len == 0 {
            return Err(Damaged("its seek table holds an impossible frame"));
        }
        if record.len > MAX_BLOCK_LEN {
            return Err(NotSeekable);
        }
        frames.list.push(Frame {
            file_offset,
            offset: frames.len,
            record,
        });
        // Some hundred thousand lengths of 32 bits.
        file_offset += record.file_len;
        frames.len += record.len;
    }
    Ok(frames)
}

/// The seek table.
pub(super) fn trailer(checksums: bool, records: &[Record]) -> io::Result<Vec<u8>> {
    let too_many = |_| {
        let message = "the image has too many frames for the seek table of a zstd file";
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    let body_len = records.len() as u64 * entry_len(checksums);
    if body_len > MAX_TABLE_LEN {
        return Err(too_many(()));
    }
    let word = |number: u64| u32::try_from(number).map_err(|_| too_many(()));
    let mut table = TABLE_MAGIC.to_vec();
    table.extend_from_slice(&word(body_len + FOOTER_LEN as u64)?.to_le_bytes());
    for record in records {
        table.extend_from_slice(&word(record.file_len)?.to_le_bytes());
        table.extend_from_slice(&word(record.len)?.to_le_bytes());
        if checksums {
            table.extend_from_slice(&record.checksum.to_le_bytes());
        }
    }
    table.extend_from_slice(&word(records.len() as u64)?.to_le_bytes());
    table.push(if checksums { WITH_CHECKSUMS } else { 0 });
    table.extend_from_slice(&FOOTER_MAGIC);
    Ok(table)
}

/// Reads and decodes a frame.
pub(super) fn decode(file: &dyn ReadAt, frame: &Frame) -> io::Result<Vec<u8>> {
    let damaged = || {
        let message = format!("the zstd frame at byte {} is damaged", frame.file_offset);
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let record = &frame.record;
    // zstd stores what does not shrink, at three bytes in 128 KiB.
    let bound = record.len + record.len / 4096 + 2048;
    let (Ok(file_len), Ok(len), true) = (
        usize::try_from(record.file_len),
        usize::try_from(record.len),
        record.file_len <= bound,
    ) else {
        return Err(damaged());
    };
    let mut bytes = vec![0; file_len];
    file.read_exact_at(&mut bytes, frame.file_offset)?;
    let decoded = bulk::decompress(&bytes, len).map_err(|_| damaged())?;
    if decoded.len() == len {
        Ok(decoded)
    } else {
        Err(damaged())
    }
}

/// Makes a frame of `bytes`, with their length and checksum in it.
pub(super) fn encode(bytes: &[u8], level: u32) -> io::Result<(Vec<u8>, Record)> {
    let level = i32::try_from(level).map_err(io::Error::other)?;
    let mut encoder = bulk::Compressor::new(level)?;
    encoder.set_parameter(CParameter::ChecksumFlag(true))?;
    encoder.set_parameter(CParameter::ContentSizeFlag(true))?;
    let encoded = encoder.compress(bytes)?;
    // The checksum in a frame is the one that seek tables have.
    let odd = || io::Error::other("the zstd encoder made an unexpected frame");
    let checksum = encoded.last_chunk::<4>().ok_or_else(odd)?;
    let record = Record {
        file_len: encoded.len() as u64,
        len: bytes.len() as u64,
        checksum: u32::from_le_bytes(*checksum),
    };
    Ok((encoded, record))
}

/// A skippable frame that takes up `gap` bytes, or a page more.
pub(super) fn fill(gap: u64) -> Vec<Encoded> {
    let least = SKIPPABLE_HEADER as u64;
    let len = match gap {
        0 => return Vec::new(),
        gap if gap < least => gap + super::PAGE_LEN,
        gap => gap,
    };
    // Gaps are shorter than a page.
    let inner = u32::try_from(len - least).unwrap_or(0);
    let mut bytes = FILLER_MAGIC.to_vec();
    bytes.extend_from_slice(&inner.to_le_bytes());
    bytes.resize(bytes.len() + inner as usize, 0);
    vec![Encoded {
        record: Record {
            file_len: bytes.len() as u64,
            len: 0,
            checksum: NO_BYTES,
        },
        bytes: Arc::from(bytes),
    }]
}
