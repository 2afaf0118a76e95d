//! The index of an xz file: where each block lies and what it unpacks to.
//!
//! Section numbers are those of "The .xz File Format", version 1.2.1.

use std::io;

use crate::base::ReadAt;

/// Stream header (2.1.1) and stream footer (2.1.2) have this length.
pub(super) const HEADER_LEN: u64 = 12;
pub(super) const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
pub(super) const FOOTER_MAGIC: [u8; 2] = *b"YZ";
/// Larger blocks are not worth decoding for a few bytes, and would break the
/// bound on memory; such files are spooled. `xz -9` makes blocks of 192 MiB,
/// `xz -6`, which Raspberry Pi OS uses, of 24 MiB.
pub(crate) const MAX_BLOCK_LEN: u64 = 64 << 20;
/// An index of this length describes some hundred thousand blocks; larger ones
/// would take memory out of proportion.
pub(crate) const MAX_INDEX_LEN: u64 = 4 << 20;
/// Padding is looked through in pieces of this length, a multiple of four.
const PADDING_PIECE: usize = 64 << 10;

/// A block of an xz file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Offset of its header in the file.
    pub(crate) file_offset: u64,
    /// Length in the file without its padding ("Unpadded Size", 4.3).
    pub(crate) unpadded_len: u64,
    /// Offset of its first byte, uncompressed.
    pub(crate) offset: u64,
    /// Uncompressed length.
    pub(crate) len: u64,
}

impl Block {
    /// Length in the file.
    pub(crate) fn file_len(&self) -> u64 {
        self.unpadded_len.next_multiple_of(4)
    }
}

/// The blocks of a file with one stream.
#[derive(Debug)]
pub(crate) struct Index {
    /// Stream flags (2.1.1.2): which check the blocks carry.
    pub(crate) flags: [u8; 2],
    /// The blocks, in order and without gaps.
    pub(crate) blocks: Vec<Block>,
    /// Uncompressed length of all blocks.
    pub(crate) len: u64,
}

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The file is sound as far as one can see, but random access would be too
    /// costly: several streams, huge blocks, or a huge dictionary.
    #[error("several streams, or very large blocks")]
    NotSeekable,
    /// The file is damaged.
    #[error("{0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

use IndexError::Damaged;

impl Index {
    /// Reads the index at the end of an xz file.
    pub(crate) fn read(source: &dyn ReadAt) -> Result<Self, IndexError> {
        let flags = read_header(source)?;
        let end = end_of_stream(source)?;
        let footer: [u8; 12] = read_array(source, end - HEADER_LEN)?;
        let index_len = parse_footer(&footer, flags)?;
        let start = (end - HEADER_LEN)
            .checked_sub(index_len)
            .filter(|&start| start >= HEADER_LEN)
            .ok_or(Damaged("its index is longer than the file"))?;
        if index_len > MAX_INDEX_LEN {
            return Err(IndexError::NotSeekable);
        }
        let mut raw = vec![0; usize::try_from(index_len).map_err(|_| IndexError::NotSeekable)?];
        source.read_exact_at(&mut raw, start)?;
        let index = Self::parse(&raw, flags)?;
        let blocks_end = index
            .blocks
            .last()
            .map_or(HEADER_LEN, |block| block.file_offset + block.file_len());
        match blocks_end {
            blocks_end if blocks_end == start => {}
            // Another stream precedes this one.
            blocks_end if blocks_end < start => return Err(IndexError::NotSeekable),
            _ => return Err(Damaged("its blocks are longer than the file")),
        }
        if index.blocks.iter().any(|block| block.len > MAX_BLOCK_LEN) {
            return Err(IndexError::NotSeekable);
        }
        Ok(index)
    }

    /// Parses an index (4.).
    fn parse(raw: &[u8], flags: [u8; 2]) -> Result<Self, IndexError> {
        let (body, crc) = raw
            .split_last_chunk::<4>()
            .ok_or(Damaged("its index is cut short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(Damaged("the checksum of its index is wrong"));
        }
        let mut rest = body
            .strip_prefix(&[0])
            .ok_or(Damaged("its index has no beginning"))?;
        let count = take_number(&mut rest)?;
        let mut index = Self {
            flags,
            blocks: Vec::new(),
            len: 0,
        };
        let mut file_offset = HEADER_LEN;
        // Each record takes at least two bytes, so the count is bounded by them.
        for _ in 0..count {
            let unpadded_len = take_number(&mut rest)?;
            let len = take_number(&mut rest)?;
            if unpadded_len < 5 {
                return Err(Damaged("its index holds an impossible block"));
            }
            index.blocks.push(Block {
                file_offset,
                unpadded_len,
                offset: index.len,
                len,
            });
            let file_len = unpadded_len.checked_next_multiple_of(4);
            file_offset = file_len
                .and_then(|len| file_offset.checked_add(len))
                .ok_or(Damaged("its index holds an impossible block"))?;
            index.len = index
                .len
                .checked_add(len)
                .ok_or(Damaged("its index holds an impossible block"))?;
        }
        if rest.len() > 3 || rest.iter().any(|&byte| byte != 0) {
            return Err(Damaged("its index has a wrong end"));
        }
        Ok(index)
    }

    /// Number of the block that holds the byte at `offset`, if there is one.
    pub(crate) fn block_at(&self, offset: u64) -> Option<usize> {
        if offset >= self.len {
            return None;
        }
        // Empty blocks share their offset with the next; the last of them has data.
        Some(self.blocks.partition_point(|block| block.offset <= offset) - 1)
    }
}

fn read_header(source: &dyn ReadAt) -> Result<[u8; 2], IndexError> {
    if source.len() < 2 * HEADER_LEN {
        return Err(Damaged("it is cut short"));
    }
    let header: [u8; 12] = read_array(source, 0)?;
    let [m0, m1, m2, m3, m4, m5, f0, f1, c0, c1, c2, c3] = header;
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    if [m0, m1, m2, m3, m4, m5] != HEADER_MAGIC || crc32fast::hash(&[f0, f1]) != crc {
        return Err(Damaged("its header is wrong"));
    }
    Ok([f0, f1])
}

/// Where the last stream ends: before the padding of zeros, which comes in
/// fours (2.2).
fn end_of_stream(source: &dyn ReadAt) -> Result<u64, IndexError> {
    let mut end = source.len();
    if !end.is_multiple_of(4) {
        return Err(Damaged("it is cut short, or something was appended"));
    }
    // In pieces: a download that was cut short may end in gigabytes of zeros.
    let mut piece = vec![0; PADDING_PIECE];
    while end > 2 * HEADER_LEN {
        let left = usize::try_from(end - 2 * HEADER_LEN).unwrap_or(PADDING_PIECE);
        let piece = &mut piece[..left.min(PADDING_PIECE)];
        source.read_exact_at(piece, end - piece.len() as u64)?;
        let words = piece.rchunks_exact(4).take_while(|word| **word == [0; 4]);
        let zeros = 4 * words.count();
        end -= zeros as u64;
        if zeros < piece.len() {
            break;
        }
    }
    Ok(end)
}

/// Length of the index that precedes the footer.
fn parse_footer(footer: &[u8; 12], flags: [u8; 2]) -> Result<u64, IndexError> {
    let [c0, c1, c2, c3, b0, b1, b2, b3, f0, f1, m0, m1] = *footer;
    if [m0, m1] != FOOTER_MAGIC {
        return Err(Damaged("it is cut short, or something was appended"));
    }
    if crc32fast::hash(&[b0, b1, b2, b3, f0, f1]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Damaged("the checksum of its footer is wrong"));
    }
    if [f0, f1] != flags {
        // A file of two streams may mix checks; one stream may not.
        return Err(IndexError::NotSeekable);
    }
    Ok((u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 1) * 4)
}

/// Takes a number of variable length (1.2) off the front.
fn take_number(rest: &mut &[u8]) -> Result<u64, IndexError> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, tail) = rest
            .split_first()
            .ok_or(Damaged("its index is cut short"))?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // A longer encoding than needed is not allowed.
            if byte == 0 && shift > 0 {
                break;
            }
            return Ok(number);
        }
    }
    Err(Damaged("its index holds an impossible number"))
}

/// Appends a number of variable length (1.2).
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The low seven bits, marked as not the last.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn read_array<const N: usize>(source: &dyn ReadAt, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
