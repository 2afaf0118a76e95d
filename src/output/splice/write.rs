//! Lays a spliced image down in a file, and reads it back.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::{PAGE, Segment, Spliced};
use crate::base::ReadAt;
use crate::interrupt::Interrupt;

/// Bytes moved at a time where the kernel cannot do it by itself.
const PIECE: usize = 1 << 20;
/// Bytes that the kernel moves between two looks at whether to stop.
const STRIDE: u64 = 64 << 20;

/// Writes `spliced` to `out`, an empty file. What is copied comes from the base's
/// compressed bytes; where those are a file, blocks are shared if the file system
/// can.
///
/// # Errors
/// What the operating system says; `Interrupted` where the user asks to stop.
pub(crate) fn write(
    spliced: &Spliced,
    base: (&dyn ReadAt, Option<&File>),
    out: &File,
    interrupt: &Interrupt,
) -> io::Result<()> {
    let mut at = 0;
    for segment in &spliced.segments {
        interrupt.check().map_err(|_| io::ErrorKind::Interrupted)?;
        match segment {
            Segment::Copy(range) => {
                // Whole pages can be shared, if nothing else is asked for at once.
                let start = range.start.next_multiple_of(PAGE).min(range.end);
                let end = (range.end / PAGE * PAGE).max(start);
                copy(base, range.start..start, out, at, interrupt)?;
                copy(base, start..end, out, at + (start - range.start), interrupt)?;
                copy(
                    base,
                    end..range.end,
                    out,
                    at + (end - range.start),
                    interrupt,
                )?;
            }
            Segment::New(block) => out.write_all_at(&block.bytes, at)?,
            Segment::Frame(bytes) => out.write_all_at(bytes, at)?,
        }
        at += segment.len();
    }
    Ok(())
}

fn copy(
    (bytes, file): (&dyn ReadAt, Option<&File>),
    range: Range<u64>,
    to: &File,
    mut at: u64,
    interrupt: &Interrupt,
) -> io::Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        interrupt.check().map_err(|_| io::ErrorKind::Interrupted)?;
        let len = (range.end - offset).min(STRIDE);
        let len = usize::try_from(len).unwrap_or(PIECE);
        let (mut source, mut target) = (offset, at);
        let moved = match file {
            Some(from) => copy_file_range(from, Some(&mut source), to, Some(&mut target), len),
            None => Err(Errno::NOSYS),
        };
        match moved {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => {
                offset += done as u64;
                at += done as u64;
            }
            Err(Errno::INTR) => {}
            // Two file systems, or one that cannot do it.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                let mut buf = vec![0; len.min(PIECE)];
                bytes.read_exact_at(&mut buf, offset)?;
                to.write_all_at(&buf, at)?;
                offset += buf.len() as u64;
                at += buf.len() as u64;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads `file` from front to back and compares it with what `spliced` is made of.
/// Hands every piece to `each`; returns the offset of the first byte that differs.
///
/// # Errors
/// Where the file or the base cannot be read; `Interrupted` where `each` says so.
pub(crate) fn check(
    spliced: &Spliced,
    base: &dyn ReadAt,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let mut wanted = Wanted {
        segments: &spliced.segments,
        base,
        within: 0,
    };
    let mut found = super::super::AlignedBuf::new(PIECE);
    let mut expected = vec![0; PIECE];
    let mut different = None;
    let mut at = 0;
    while at < spliced.len {
        let len = usize::try_from(spliced.len - at).map_or(PIECE, |left| left.min(PIECE));
        read(&mut found[..len], at)?;
        wanted.fill(&mut expected[..len])?;
        if different.is_none() && found[..len] != expected[..len] {
            let pairs = found[..len].iter().zip(&expected[..len]);
            let first = pairs
                .into_iter()
                .position(|(found, wanted)| found != wanted);
            different = Some(at + first.unwrap_or(0) as u64);
        }
        each(&found[..len])?;
        at += len as u64;
    }
    Ok(different)
}

/// The bytes of a spliced image, from front to back.
struct Wanted<'a> {
    segments: &'a [Segment],
    base: &'a dyn ReadAt,
    /// How much of the first segment is done.
    within: u64,
}

impl Wanted<'_> {
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let (first, rest) = self
                .segments
                .split_first()
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let left = first.len() - self.within;
            let len = usize::try_from(left).map_or(buf.len() - done, |n| n.min(buf.len() - done));
            let target = &mut buf[done..done + len];
            let slice = |bytes: &[u8], target: &mut [u8]| {
                // Segments in memory are indexed by usize.
                let start = usize::try_from(self.within).unwrap_or(usize::MAX);
                target.copy_from_slice(&bytes[start..start + len]);
            };
            match first {
                Segment::Copy(range) => {
                    self.base.read_exact_at(target, range.start + self.within)?;
                }
                Segment::New(block) => slice(&block.bytes, target),
                Segment::Frame(bytes) => slice(bytes, target),
            }
            done += len;
            self.within += len as u64;
            if self.within == first.len() {
                self.segments = rest;
                self.within = 0;
            }
        }
        Ok(())
    }
}
