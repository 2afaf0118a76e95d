//! Decodes one block of an xz file.
//!
//! liblzma offers a decoder for whole streams only (through its Rust binding),
//! so a block is handed to it as the one block of a small stream. Its own check
//! is thereby verified, as is its length.

use std::io;

use xz2::stream::{Action, Error, Status, Stream};

use super::index::{Block, FOOTER_MAGIC, HEADER_MAGIC, push_number};
use crate::base::ReadAt;

/// A decoder for a dictionary of 64 MiB (`xz -9`) needs 65 MiB.
const MEMORY_LIMIT: u64 = 96 << 20;
/// A block header is at most this long (3.1.1).
const MAX_BLOCK_HEADER_LEN: u64 = 1024;

/// Whether the memory for decoding `block` is within bounds, going by its
/// header. What is wrong with a header shows when the block is decoded.
///
/// # Errors
/// What reading says.
pub(super) fn is_affordable(
    source: &dyn ReadAt,
    block: &Block,
    flags: [u8; 2],
) -> io::Result<bool> {
    let len = block.file_len().min(MAX_BLOCK_HEADER_LEN);
    let input = begin(source, block, len, flags)?;
    let mut stream = Stream::new_stream_decoder(MEMORY_LIMIT, 0).map_err(io::Error::from)?;
    let mut output = Vec::with_capacity(1);
    let result = stream.process_vec(&input, &mut output, Action::Run);
    Ok(!matches!(result, Err(Error::MemLimit)))
}

/// Reads and decodes `block`.
///
/// # Errors
/// `InvalidData` where it is damaged, otherwise what reading says.
pub(super) fn decode(source: &dyn ReadAt, block: &Block, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    // LZMA2 stores what does not shrink, at three bytes in 64 KiB; the header
    // and check take at most 1 KiB + 64 bytes.
    let bound = block.len + block.len / 4096 + 2048;
    let (Ok(len), true) = (usize::try_from(block.len), block.unpadded_len <= bound) else {
        return Err(damaged(block));
    };
    let input = wrap(source, block, flags)?;
    let mut stream = Stream::new_stream_decoder(MEMORY_LIMIT, 0).map_err(io::Error::from)?;
    // One byte more than it should be shows a block that is longer.
    let mut output = Vec::with_capacity(len + 1);
    loop {
        let from = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let before = (stream.total_in(), output.len());
        let rest = input.get(from..).unwrap_or_default();
        match stream.process_vec(rest, &mut output, Action::Finish) {
            Ok(Status::StreamEnd) if output.len() == len => return Ok(output),
            Ok(Status::Ok) if before != (stream.total_in(), output.len()) => {}
            Err(Error::MemLimit) => return Err(too_large(block)),
            Ok(_) | Err(_) => return Err(damaged(block)),
        }
    }
}

/// The block as a stream of its own: header, block, index of one record, footer.
fn wrap(source: &dyn ReadAt, block: &Block, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let mut stream = begin(source, block, block.file_len(), flags)?;
    let mut index = vec![0, 1];
    push_number(&mut index, block.unpadded_len);
    push_number(&mut index, block.len);
    index.resize(index.len().next_multiple_of(4), 0);
    let crc = crc32fast::hash(&index);
    index.extend_from_slice(&crc.to_le_bytes());
    stream.extend_from_slice(&index);

    // "Backward Size" counts in fours, less one (2.1.2.2); an index of one
    // record takes at most 28 bytes.
    let words = u32::try_from(index.len() / 4 - 1).unwrap_or(0);
    let mut tail = words.to_le_bytes().to_vec();
    tail.extend_from_slice(&flags);
    stream.extend_from_slice(&crc32fast::hash(&tail).to_le_bytes());
    stream.extend_from_slice(&tail);
    stream.extend_from_slice(&FOOTER_MAGIC);
    Ok(stream)
}

/// A stream header and the first `len` bytes of the block.
fn begin(source: &dyn ReadAt, block: &Block, len: u64, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| damaged(block))?;
    // The header, and in the end an index of one record and the footer.
    let mut stream = Vec::with_capacity(len + 64);
    stream.extend_from_slice(&HEADER_MAGIC);
    stream.extend_from_slice(&flags);
    stream.extend_from_slice(&crc32fast::hash(&flags).to_le_bytes());
    let start = stream.len();
    stream.resize(start + len, 0);
    source.read_exact_at(&mut stream[start..], block.file_offset)?;
    Ok(stream)
}

fn too_large(block: &Block) -> io::Error {
    let at = block.file_offset;
    let message = format!("the xz block at byte {at} has a dictionary of more than 64 MiB");
    io::Error::new(io::ErrorKind::OutOfMemory, message)
}

fn damaged(block: &Block) -> io::Error {
    let message = format!("the xz block at byte {} is damaged", block.file_offset);
    io::Error::new(io::ErrorKind::InvalidData, message)
}
