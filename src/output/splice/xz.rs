//! xz blocks, and what surrounds them in a stream.
//!
//! Section numbers are those of "The .xz File Format", version 1.2.1.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use sha2::Digest as _;
use xz2::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use super::frames::{Container, Encoded, Frame, Frames, Record};
use crate::base::xz::{Block, Index, IndexError, MAX_INDEX_LEN, push_number, trailer};
use crate::base::{MemBase, ReadAt};

/// Presets of liblzma.
pub(super) const LEVELS: RangeInclusive<u32> = 0..=9;
/// What their dictionaries are, as powers of two (lzma_encoder_presets.c).
const DICTIONARIES: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];
/// The smallest dictionary of LZMA2.
const MIN_DICTIONARY: usize = 4096;
/// LZMA2 as the one filter, with a byte of properties (5.3.1).
const LZMA2: [u8; 2] = [0x21, 1];
/// Block flags: both lengths are present, and one filter (3.1.2). With them
/// decoders may work on several blocks at a time.
const WITH_LENGTHS: u8 = 0xc0;
/// The longest header of a block (3.1.1).
const MAX_BLOCK_HEADER: u64 = 1024;
/// The shortest that holds both lengths of an empty block.
const MIN_BLOCK_HEADER: u64 = 12;

/// Finds the blocks of a file.
pub(super) fn read(file: &dyn ReadAt) -> Result<Frames, IndexError> {
    let index = Index::read(file)?;
    if check_of(index.flags).is_none() {
        // A check that nobody has defined yet cannot be given to new blocks.
        return Err(IndexError::NotSeekable);
    }
    let frame = |block: &Block| Frame {
        file_offset: block.file_offset,
        offset: block.offset,
        record: Record {
            file_len: block.unpadded_len,
            len: block.len,
            checksum: 0,
        },
    };
    Ok(Frames {
        container: Container::Xz { flags: index.flags },
        list: index.blocks.iter().map(frame).collect(),
        len: index.len,
    })
}

/// The check that stream flags tell, and its length (2.1.1.2).
fn check_of(flags: [u8; 2]) -> Option<(Check, usize)> {
    match flags {
        [0, 0] => Some((Check::None, 0)),
        [0, 1] => Some((Check::Crc32, 4)),
        [0, 4] => Some((Check::Crc64, 8)),
        [0, 10] => Some((Check::Sha256, 32)),
        _ => None,
    }
}

/// Index (4.) and stream footer (2.1.2).
pub(super) fn trailer(flags: [u8; 2], records: &[Record]) -> io::Result<Vec<u8>> {
    let lens: Vec<(u64, u64)> = records
        .iter()
        .map(|record| (record.file_len, record.len))
        .collect();
    let trailer = trailer::index_and_footer(&lens, flags);
    if trailer.len() as u64 <= MAX_INDEX_LEN {
        return Ok(trailer);
    }
    let message = "the image has too many blocks for the index of an xz file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Reads and decodes a block.
pub(super) fn decode(file: &dyn ReadAt, frame: &Frame, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let block = Block {
        file_offset: frame.file_offset,
        unpadded_len: frame.record.file_len,
        offset: frame.offset,
        len: frame.record.len,
    };
    crate::base::xz::decode_block(file, &block, flags)
}

/// Makes a block of `bytes`, which are not empty.
///
/// liblzma's Rust binding encodes whole streams only, so a stream of one block
/// is made and the block cut out of it; its header is replaced by one with
/// lengths.
pub(super) fn encode(bytes: &[u8], level: u32, flags: [u8; 2]) -> io::Result<(Vec<u8>, Record)> {
    let odd = || io::Error::other("the xz encoder made an unexpected block");
    let (check, check_len) = check_of(flags).ok_or_else(odd)?;
    let stream = MemBase(encode_stream(bytes, level, check)?);
    let index = Index::read(&stream).map_err(io::Error::other)?;
    let [block] = index.blocks[..] else {
        return Err(odd());
    };
    let (Ok(start), Ok(unpadded), Ok(padded)) = (
        usize::try_from(block.file_offset),
        usize::try_from(block.unpadded_len),
        usize::try_from(block.file_len()),
    ) else {
        return Err(odd());
    };
    let block = stream.0.get(start..start + padded).ok_or_else(odd)?;
    // Size, flags of one filter without lengths, the filter, its dictionary.
    let &[size, 0, filter, filter_len, dictionary, ..] = block else {
        return Err(odd());
    };
    let header_len = (usize::from(size) + 1) * 4;
    if [filter, filter_len] != LZMA2 || header_len + check_len > unpadded {
        return Err(odd());
    }
    let payload = &block[header_len..unpadded - check_len];
    let lens = [payload.len() as u64, bytes.len() as u64];
    let mut out = block_header(lens, dictionary, 0);
    let header_len = out.len() as u64;
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&block[padded - check_len..]);
    let record = Record {
        file_len: header_len + (payload.len() + check_len) as u64,
        len: bytes.len() as u64,
        checksum: 0,
    };
    Ok((out, record))
}

fn encode_stream(bytes: &[u8], level: u32, check: Check) -> io::Result<Vec<u8>> {
    let mut options = LzmaOptions::new_preset(level)?;
    // A dictionary beyond what there is would only take memory, in decoders too.
    options.dict_size(dictionary(level, bytes.len()));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, check)?;
    // LZMA2 stores what does not shrink, at three bytes in 64 KiB.
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4096 + 1024);
    loop {
        let taken = usize::try_from(stream.total_in()).unwrap_or(bytes.len());
        match stream.process_vec(&bytes[taken..], &mut out, Action::Finish)? {
            Status::StreamEnd => return Ok(out),
            _ => out.reserve(64 << 10),
        }
    }
}

/// Dictionary for `len` bytes, in bytes.
fn dictionary(level: u32, len: usize) -> u32 {
    let preset = usize::try_from(level)
        .ok()
        .and_then(|n| DICTIONARIES.get(n));
    let preset = 1 << preset.unwrap_or(&18);
    let len = u32::try_from(len.max(MIN_DICTIONARY)).unwrap_or(u32::MAX);
    len.min(preset)
}

/// Memory that encoding `len` bytes takes, about: the hash chains or trees of
/// the match finder are up to ten times as large as the dictionary.
pub(super) fn encoder_memory(level: u32, len: usize) -> usize {
    let dictionary = usize::try_from(dictionary(level, len)).unwrap_or(len);
    12 * dictionary + (4 << 20)
}

/// Block header (3.1) with compressed and uncompressed length, zero-padded to
/// `len` bytes at least.
fn block_header(lens: [u64; 2], dictionary: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0, WITH_LENGTHS];
    for len in lens {
        push_number(&mut header, len);
    }
    header.extend_from_slice(&LZMA2);
    header.push(dictionary);
    // Four more for the checksum.
    let len = header.len().next_multiple_of(4).max(len.saturating_sub(4));
    header.resize(len, 0);
    // "Real Block Header Size" counts in fours, less one (3.1.1), and the
    // checksum is a fourth of its own; at most 255.
    header[0] = u8::try_from(len / 4).unwrap_or(u8::MAX);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Empty blocks that take up `gap` bytes, a multiple of four, or a page more:
/// their headers may be padded.
pub(super) fn fill(gap: u64, flags: [u8; 2]) -> Vec<Encoded> {
    let Some((check, check_len)) = check_of(flags) else {
        return Vec::new();
    };
    let tail_len = 4 + check_len as u64;
    let (least, most) = (MIN_BLOCK_HEADER + tail_len, MAX_BLOCK_HEADER + tail_len);
    let mut left = if gap > 0 && gap < least {
        gap + super::PAGE_LEN
    } else {
        gap
    };
    let mut blocks = Vec::new();
    while left > 0 {
        // What is left behind must be enough for a block, or nothing.
        let len = match left {
            left if left <= most => left,
            left => most.min(left - least),
        };
        left -= len;
        let header_len = usize::try_from(len - tail_len).unwrap_or(0);
        // The least dictionary; the one byte that ends LZMA2, padded.
        let mut bytes = block_header([1, 0], 0, header_len);
        bytes.extend_from_slice(&[0; 4]);
        match check {
            Check::Sha256 => bytes.extend_from_slice(&sha2::Sha256::digest([])),
            // The CRC of nothing is zero.
            _ => bytes.resize(bytes.len() + check_len, 0),
        }
        blocks.push(Encoded {
            record: Record {
                file_len: bytes.len() as u64 - 3,
                len: 0,
                checksum: 0,
            },
            bytes: Arc::from(bytes),
        });
    }
    blocks
}
