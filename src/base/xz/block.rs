//! Decodes one block of an xz file.
//!
//! liblzma offers a decoder for whole streams only (through its Rust binding),
//! so a block is handed to it as the one block of a small stream. Its own check
//! is thereby verified, as is its length.

use std::io;

use xz2::stream::{Action, Status, Stream};

use super::index::{Block, FOOTER_MAGIC, HEADER_MAGIC, push_number};
use crate::base::ReadAt;

/// A decoder for a dictionary of 64 MiB (`xz -9`) needs 65 MiB.
const MEMORY_LIMIT: u64 = 96 << 20;

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
            Ok(_) | Err(_) => return Err(damaged(block)),
        }
    }
}

/// The block as a stream of its own: header, block, index of one record, footer.
fn wrap(source: &dyn ReadAt, block: &Block, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let file_len = usize::try_from(block.file_len()).map_err(|_| damaged(block))?;
    let mut stream = Vec::with_capacity(file_len + 64);
    stream.extend_from_slice(&HEADER_MAGIC);
    stream.extend_from_slice(&flags);
    stream.extend_from_slice(&crc32fast::hash(&flags).to_le_bytes());
    let start = stream.len();
    stream.resize(start + file_len, 0);
    source.read_exact_at(&mut stream[start..], block.file_offset)?;

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

fn damaged(block: &Block) -> io::Error {
    let message = format!("the xz block at byte {} is damaged", block.file_offset);
    io::Error::new(io::ErrorKind::InvalidData, message)
}
