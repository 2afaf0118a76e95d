//! Decodes one block of an xz file.
//!
//! liblzma offers a decoder for whole streams only (through its Rust binding),
//! so a block is handed to it as the one block of a small stream. Its own check
//! is thereby verified, as is its length.

use std::io;

use xz2::stream::{Action, Error, Status, Stream};

use super::index::Block;
use super::trailer::{index_and_footer, stream_header};
use crate::base::ReadAt;

/// A decoder for a dictionary of 64 MiB (`xz -9`) needs 65 MiB.
const MEMORY_LIMIT: u64 = 96 << 20;
/// Compressed bytes read at a time.
const READ_LEN: usize = 256 << 10;
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
pub(crate) fn decode(source: &dyn ReadAt, block: &Block, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(source, block, flags)?;
    let bytes = decoder.next(decoder.left)?;
    decoder.finish()?;
    Ok(bytes)
}

/// Decodes a block piece by piece.
pub(super) struct Decoder<'a> {
    source: &'a dyn ReadAt,
    block: &'a Block,
    stream: Stream,
    /// What the stream has not taken yet, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// Bytes of the block that were read.
    read: u64,
    /// What ends the stream, until it has gone to `input`.
    tail: Option<Vec<u8>>,
    /// Bytes that are still to be decoded.
    left: usize,
    is_over: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        source: &'a dyn ReadAt,
        block: &'a Block,
        flags: [u8; 2],
    ) -> io::Result<Self> {
        // LZMA2 stores what does not shrink, at three bytes in 64 KiB; the header
        // and check take at most 1 KiB + 64 bytes.
        let bound = block.len + block.len / 4096 + 2048;
        let (Ok(left), true) = (usize::try_from(block.len), block.unpadded_len <= bound) else {
            return Err(damaged(block));
        };
        Ok(Self {
            source,
            block,
            stream: Stream::new_stream_decoder(MEMORY_LIMIT, 0).map_err(io::Error::from)?,
            input: begin(source, block, 0, flags)?,
            taken: 0,
            read: 0,
            tail: Some(index_and_footer(&[(block.unpadded_len, block.len)], flags)),
            left,
            is_over: false,
        })
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `InvalidData` where the block is damaged or shorter, otherwise what
    /// reading says.
    pub(super) fn next(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut output = Vec::with_capacity(len);
        while output.len() < len && !self.is_over {
            self.step(&mut output)?;
        }
        if output.len() != len {
            return Err(damaged(self.block));
        }
        self.left = self.left.saturating_sub(len);
        Ok(output)
    }

    /// Makes sure that the block ends here, and that its check agrees.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let mut more = Vec::with_capacity(1);
        while !self.is_over {
            self.step(&mut more)?;
            if !more.is_empty() {
                return Err(damaged(self.block));
            }
        }
        Ok(())
    }

    fn step(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if self.taken == self.input.len() {
            self.refill()?;
        }
        let before = (self.stream.total_in(), output.len());
        let action = match self.tail {
            Some(_) => Action::Run,
            None => Action::Finish,
        };
        let result = self
            .stream
            .process_vec(&self.input[self.taken..], output, action);
        let taken = self.stream.total_in() - before.0;
        self.taken += usize::try_from(taken).unwrap_or(usize::MAX);
        match result {
            Ok(Status::StreamEnd) => self.is_over = true,
            Ok(Status::Ok) if before != (self.stream.total_in(), output.len()) => {}
            Err(Error::MemLimit) => return Err(too_large(self.block)),
            Ok(_) | Err(_) => return Err(damaged(self.block)),
        }
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        self.taken = 0;
        let left = self.block.file_len() - self.read;
        if left > 0 {
            let len = usize::try_from(left).map_or(READ_LEN, |left| left.min(READ_LEN));
            self.input.resize(len, 0);
            let offset = self.block.file_offset + self.read;
            self.source.read_exact_at(&mut self.input, offset)?;
            self.read += len as u64;
        } else {
            self.input = self.tail.take().unwrap_or_default();
        }
        Ok(())
    }
}

/// A stream header and the first `len` bytes of the block.
fn begin(source: &dyn ReadAt, block: &Block, len: u64, flags: [u8; 2]) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| damaged(block))?;
    let mut stream = stream_header(flags);
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
