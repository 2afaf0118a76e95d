//! A spliced image as a file, and whether the file is what it should be.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::{PAGE_LEN, Segment, Spliced};
use crate::base::ReadAt;
use crate::base::read_at::RawFile;
use crate::output::AlignedBuf;

/// Bytes between two steps: what is copied meanwhile, no interrupt stops.
const STEP_LEN: u64 = 32 << 20;
/// Bytes read at a time.
const PIECE_LEN: usize = 1 << 20;
/// Bytes written at a time past the page cache.
const STREAM_LEN: usize = 4 << 20;

/// Takes how many bytes are done; an error stops the work.
pub(crate) type Step<'a> = &'a mut dyn FnMut(u64) -> io::Result<()>;

/// Where bytes are copied from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The bytes.
    pub(crate) bytes: &'a dyn ReadAt,
    /// The same as a file, where they are one, for the kernel to copy.
    file: Option<&'a File>,
}

impl<'a> Origin<'a> {
    /// Bytes, and the file that they are.
    pub(crate) fn new(bytes: &'a dyn ReadAt, file: Option<&'a File>) -> Self {
        Self { bytes, file }
    }

    /// A file.
    pub(crate) fn of(file: &'a RawFile) -> Self {
        Self::new(file, Some(file.file()))
    }

    fn is(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.bytes, other.bytes)
    }
}

/// An image that was written before, from which others can take what they have
/// in common with it.
///
/// The cells of touched frames are in no other file, and the base's file may be
/// on another file system.
#[derive(Debug)]
pub(crate) struct Donor<'a> {
    file: Origin<'a>,
    /// Ranges of the base's file: offset and length there, offset here;
    /// ascending.
    copies: Vec<(u64, u64, u64)>,
    /// Where new bytes lie, by their place in memory. The image that is borrowed
    /// holds them there.
    new: HashMap<usize, u64>,
}

impl<'a> Donor<'a> {
    /// Gives what `spliced` consists of, which was written to `file`.
    pub(crate) fn new(spliced: &'a Spliced, file: &'a RawFile) -> Self {
        let mut donor = Self {
            file: Origin::of(file),
            copies: Vec::new(),
            new: HashMap::new(),
        };
        let mut at = 0;
        for segment in &spliced.segments {
            match segment {
                Segment::Copy { offset, len } => donor.copies.push((*offset, *len, at)),
                Segment::New(bytes) => {
                    donor.new.insert(bytes.as_ptr().addr(), at);
                }
            }
            at += segment.len();
        }
        donor
    }

    /// Where it has what `segment` consists of.
    fn find(&self, segment: &Segment) -> Option<u64> {
        match segment {
            Segment::New(bytes) => self.new.get(&bytes.as_ptr().addr()).copied(),
            Segment::Copy { offset, len } => {
                let next = self.copies.partition_point(|(start, ..)| start <= offset);
                let (start, its_len, at) = self.copies.get(next.checked_sub(1)?)?;
                (offset + len <= start + its_len).then(|| at + (offset - start))
            }
        }
    }
}

/// Writes `spliced` to `out`, from its beginning on.
///
/// The kernel copies what comes from another file, the base's or the donor's:
/// where both are on a file system that shares blocks, whole pages at the same
/// offset within a page are shared, not copied.
///
/// # Errors
/// `UnexpectedEof` where the other file became shorter, those of `step`,
/// otherwise what the operating system says.
pub(crate) fn write(
    spliced: &Spliced,
    base: Origin<'_>,
    donor: Option<&Donor<'_>>,
    out: &File,
    step: Step<'_>,
) -> io::Result<()> {
    let mut at = 0;
    // What lies together in the other file is copied together: pages are shared
    // as a whole or not at all.
    let mut waiting: Option<Run<'_>> = None;
    for segment in &spliced.segments {
        let given = donor.and_then(|donor| Some((donor.file, donor.find(segment)?)));
        let origin = match segment {
            Segment::New(_) => given,
            Segment::Copy { offset, .. } => given.or(Some((base, *offset))),
        };
        waiting = match (waiting, origin) {
            (Some(run), Some((origin, from))) if run.ends_at(origin, from) => Some(Run {
                len: run.len + segment.len(),
                ..run
            }),
            (earlier, origin) => {
                earlier.map_or(Ok(()), |mut run| run.copy(step))?;
                origin.map(|(origin, from)| Run {
                    origin,
                    out,
                    from,
                    to: at,
                    len: segment.len(),
                })
            }
        };
        if let (Segment::New(bytes), None) = (segment, origin) {
            out.write_all_at(bytes, at)?;
        }
        at += segment.len();
    }
    waiting.map_or(Ok(()), |mut run| run.copy(step))?;
    step(at)
}

/// A range on its way from another file.
struct Run<'a> {
    origin: Origin<'a>,
    out: &'a File,
    /// Where in the other file to go on.
    from: u64,
    /// Where in the new file.
    to: u64,
    /// Bytes from the beginning on.
    len: u64,
}

impl Run<'_> {
    /// Whether `from` in `origin` is where a run ends that was not begun yet.
    fn ends_at(&self, origin: Origin<'_>, from: u64) -> bool {
        self.origin.is(&origin) && self.from + self.len == from
    }

    fn copy(&mut self, step: Step<'_>) -> io::Result<()> {
        let end = self.to + self.len;
        // The kernel shares whole pages only; what precedes the first is copied.
        let page = self.to.next_multiple_of(PAGE_LEN).min(end);
        self.by_hand(page)?;
        while self.to < end {
            // Ends on a page, but for the last.
            let next = ((self.to / STEP_LEN + 1) * STEP_LEN).min(end);
            let whole = (next / PAGE_LEN * PAGE_LEN).max(self.to);
            self.by_kernel(whole)?;
            self.by_hand(next)?;
            step(self.to)?;
        }
        Ok(())
    }

    /// Copies, or shares, up to `end`; goes as far as the kernel will.
    fn by_kernel(&mut self, end: u64) -> io::Result<()> {
        let Some(file) = self.origin.file else {
            return Ok(());
        };
        while self.to < end {
            let len = usize::try_from(end - self.to).unwrap_or(PIECE_LEN);
            let (mut from, mut to) = (self.from, self.to);
            match copy_file_range(file, Some(&mut from), self.out, Some(&mut to), len) {
                // Some file systems end early for reasons of their own; reading
                // tells whether the file does.
                Ok(0) => return Ok(()),
                Ok(n) => self.advance(n),
                Err(Errno::INTR) => {}
                // No such call, another file system, or one that has it not.
                Err(
                    Errno::NOSYS
                    | Errno::XDEV
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::PERM
                    | Errno::BADF
                    // Reading tells whose file it is that fails.
                    | Errno::IO,
                ) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads and writes up to `end`.
    fn by_hand(&mut self, end: u64) -> io::Result<()> {
        if self.to >= end {
            return Ok(());
        }
        let len = usize::try_from(end - self.to).map_or(PIECE_LEN, |len| len.min(PIECE_LEN));
        let mut piece = vec![0; len];
        while self.to < end {
            let left = usize::try_from(end - self.to).map_or(len, |left| left.min(len));
            let piece = &mut piece[..left];
            self.origin.bytes.read_exact_at(piece, self.from)?;
            self.out.write_all_at(piece, self.to)?;
            self.advance(left);
        }
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        self.from += len as u64;
        self.to += len as u64;
    }
}

/// What a spliced file holds, front to back, in pieces that lie in aligned memory
/// and, but for the last, are a whole number of pages: they can be written past the
/// page cache, which is quicker where nothing can be shared.
pub(crate) struct Pieces<'a> {
    wanted: Wanted<'a>,
    piece: AlignedBuf,
    at: u64,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(spliced: &'a Spliced, base: &'a dyn ReadAt) -> Self {
        Self {
            wanted: Wanted::new(spliced, base),
            piece: AlignedBuf::new(STREAM_LEN),
            at: 0,
        }
    }

    /// The next piece and its offset; `None` at the end.
    ///
    /// # Errors
    /// Those of reading the base's file.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let len = self.wanted.fill(&mut self.piece)?;
        let at = self.at;
        self.at += len as u64;
        Ok((len > 0).then(|| (at, &self.piece[..len])))
    }
}

/// Reads `out` from front to back, hands each piece to `each`, and compares it
/// with what `spliced` says. Returns the offset of the first byte that differs;
/// a file of another length differs where the shorter ends.
///
/// Pieces begin on pages and `each` gets them in order, so that `out` may be
/// read past the page cache.
///
/// # Errors
/// Those of `each` and of reading.
pub(crate) fn check(
    spliced: &Spliced,
    base: &dyn ReadAt,
    out: &dyn ReadAt,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let mut found = AlignedBuf::new(PIECE_LEN);
    let mut scratch = vec![0; PIECE_LEN];
    let mut wanted = Wanted::new(spliced, base);
    let end = out.len().min(spliced.len);
    let mut at = 0;
    while at < end {
        let len = usize::try_from(end - at).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
        let found = &mut found[..len];
        out.read_exact_at(found, at)?;
        each(found)?;
        let len = wanted.fill(&mut scratch[..len])?;
        if *found != scratch[..len] {
            let same = found.iter().zip(&scratch[..len]).position(|(a, b)| a != b);
            return Ok(Some(at + same.unwrap_or(len) as u64));
        }
        at += len as u64;
    }
    Ok((out.len() != spliced.len).then_some(end))
}

/// What a spliced file holds, front to back.
struct Wanted<'a> {
    base: &'a dyn ReadAt,
    segments: std::slice::Iter<'a, Segment>,
    /// What is left of the segment at hand: new bytes, or a range of the base's
    /// file.
    new: &'a [u8],
    copy: (u64, u64),
}

impl<'a> Wanted<'a> {
    fn new(spliced: &'a Spliced, base: &'a dyn ReadAt) -> Self {
        Self {
            base,
            segments: spliced.segments.iter(),
            new: &[],
            copy: (0, 0),
        }
    }

    /// Fills `buf` with the next bytes; returns how many there are, fewer only at
    /// the end.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let rest = &mut buf[done..];
            if !self.new.is_empty() {
                let (next, left) = self.new.split_at(rest.len().min(self.new.len()));
                rest[..next.len()].copy_from_slice(next);
                self.new = left;
                done += next.len();
            } else if self.copy.1 > 0 {
                let (offset, left) = self.copy;
                let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                self.base.read_exact_at(&mut rest[..len], offset)?;
                self.copy = (offset + len as u64, left - len as u64);
                done += len;
            } else {
                match self.segments.next() {
                    Some(Segment::New(bytes)) => self.new = bytes,
                    Some(Segment::Copy { offset, len }) => self.copy = (*offset, *len),
                    None => break,
                }
            }
        }
        Ok(done)
    }
}
