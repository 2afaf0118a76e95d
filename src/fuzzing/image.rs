//! An image told in few bytes: mostly zeros, or a sound image, with pieces of the
//! fuzzer's laid over it. A fuzzer that had to write megabytes would find nothing.

use std::io;

use crate::base::ReadAt;

/// What a fuzzer wrote, taken from the front; what is missing reads as zero.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

/// `under` from `start` on, zeros around it, and pieces over both.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) len: u64,
    under: &'a [u8],
    start: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl<'a> Image<'a> {
    pub(super) fn new(len: u64, under: &'a [u8], start: u64) -> Self {
        Self {
            len,
            under,
            start,
            pieces: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.pieces.push((offset, bytes.to_vec()));
    }

    /// Lays pieces over it. Each names one of `regions`, an offset of 16 bits from
    /// there on, and up to 255 bytes.
    pub(super) fn patch(&mut self, mut input: Input<'_>, regions: &[u64]) {
        while !input.0.is_empty() {
            let region = regions[usize::from(input.u8()) % regions.len()];
            let offset = region + u64::from(input.u16());
            let len = input.u8().into();
            let piece = input.take(len);
            self.put(self.start + offset, piece);
        }
    }
}

/// Copies what `from`, which lies at `at`, has of the bytes from `offset` on.
fn lay(buf: &mut [u8], offset: u64, from: &[u8], at: u64) {
    let end = (offset + buf.len() as u64).min(at + from.len() as u64);
    let start = offset.max(at);
    if start < end {
        let index = |n: u64| usize::try_from(n).expect("within memory that is held");
        let len = index(end - start);
        let (to, from_at) = (index(start - offset), index(start - at));
        buf[to..to + len].copy_from_slice(&from[from_at..from_at + len]);
    }
}

impl ReadAt for Image<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        lay(buf, offset, self.under, self.start);
        for (at, piece) in &self.pieces {
            lay(buf, offset, piece, *at);
        }
        Ok(())
    }
}
