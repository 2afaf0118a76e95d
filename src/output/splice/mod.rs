//! A node's compressed image without compressing the image: the base's frames
//! are taken over as they are, only those that the overlay touches are decoded,
//! patched and encoded again, and a new index makes one valid file of all.
//!
//! The result is told as segments: ranges of the base's file, which file
//! systems may share, and new bytes.

mod cells;
mod crew;
mod disk;
mod frames;
mod layout;
mod memo;
mod recode;
#[cfg(test)]
mod tests;
mod write;
mod xz;
mod zst;

use std::sync::Arc;
use std::{fmt, io};

pub(crate) use self::{
    frames::{Container, Frames},
    recode::Recode,
    write::{Donor, Origin, Pieces, check, write},
};

use self::cells::Cell;
use self::crew::Crew;
pub(crate) use self::disk::Kept;
use self::frames::{Encoded, Frame};
use self::layout::Layout;
use self::memo::{Memo, Prepared};
use crate::base::ReadAt;
use crate::interrupt::{Interrupt, Interrupted};
use crate::overlay::Overlay;
use crate::report::event::Sink;

/// File systems share what lies at the same offset within a page of this
/// length, in both files.
const PAGE_LEN: u64 = 4096;
/// Shorter runs are not worth moving to where they could be shared.
const MIN_SHARED: u64 = 64 << 10;

/// A piece of a spliced file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A range of the base's file.
    Copy {
        /// Where it begins there.
        offset: u64,
        /// Its length in bytes, never 0.
        len: u64,
    },
    /// Bytes that the base's file has not.
    New(Arc<[u8]>),
}

impl fmt::Debug for Segment {
    /// Leaves the bytes out: they hold a node's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { offset, len } => write!(f, "Copy({offset}..{})", offset + len),
            Self::New(bytes) => write!(f, "New({} bytes)", bytes.len()),
        }
    }
}

impl Segment {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Copy { len, .. } => *len,
            Self::New(bytes) => bytes.len() as u64,
        }
    }
}

/// A node's image, as pieces to be laid one after another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spliced {
    /// The pieces; no two neighbours could be one range of the base's file.
    pub(crate) segments: Vec<Segment>,
    /// Length of all, in bytes.
    pub(crate) len: u64,
}

/// Splices the images of a run. The same file, overlay and level give the same
/// bytes, whatever else was spliced before, and on however many cores.
pub(crate) struct Splicer<'a> {
    /// The compressed base.
    file: &'a dyn ReadAt,
    frames: &'a Frames,
    effort: Effort<'a>,
    memo: Memo<'a>,
    /// Cells that were encoded so far.
    #[cfg(test)]
    encodings: std::sync::atomic::AtomicUsize,
}

/// How much to compress, with how many hands, and who is told.
#[derive(Clone, Copy)]
pub(crate) struct Effort<'a> {
    /// Level of the format's encoder.
    pub(crate) level: u32,
    /// Threads at most.
    pub(crate) jobs: usize,
    /// Whose progress it is: the base's name.
    pub(crate) name: &'a str,
    /// Where progress goes.
    pub(crate) sink: &'a dyn Sink,
    /// Whether to stop. An error then holds [`Interrupted`].
    pub(crate) interrupt: &'a Interrupt,
}

impl Effort<'_> {
    /// Stops where the user asked to.
    fn interrupted(&self) -> io::Result<()> {
        // `ErrorKind::Interrupted` would be taken for a call to try again.
        self.interrupt.check().map_err(io::Error::other)
    }
}

/// Whether the user asked to stop, and that is what `error` is about.
pub(crate) fn is_interrupt(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<Interrupted>())
}

impl<'a> Splicer<'a> {
    /// Splices `frames`, which are those of `file`. What nodes share is kept in
    /// `kept` from one run to the next, where there is such a place.
    ///
    /// # Errors
    /// `InvalidInput` where the format has no such level.
    pub(crate) fn new(
        file: &'a dyn ReadAt,
        frames: &'a Frames,
        effort: Effort<'a>,
        kept: Option<Kept<'a>>,
    ) -> io::Result<Self> {
        frames.container.check_level(effort.level)?;
        Ok(Self {
            file,
            frames,
            effort,
            memo: Memo::new(kept),
            #[cfg(test)]
            encodings: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// What the image with `overlay` consists of; what is the node's own is
    /// encoded by up to `threads`. May be called by several.
    ///
    /// # Errors
    /// `InvalidInput` where the overlay reaches beyond the base or there are
    /// too many frames, `InvalidData` where the base is damaged, otherwise what
    /// reading says.
    pub(crate) fn splice(&self, overlay: &Overlay, threads: usize) -> io::Result<Spliced> {
        let beyond = |last: &crate::overlay::Extent| last.end() > self.frames.len;
        if overlay.extents().last().is_some_and(beyond) {
            let message = "the overlay reaches beyond the base";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let touched = |frame: &Frame| {
            // Where nothing is, nothing is touched, even within an extent.
            frame.record.len > 0 && overlay.touches(frame.offset, frame.record.len)
        };
        let wanted: Vec<(&Frame, Vec<Cell>)> = self
            .frames
            .list
            .iter()
            .filter(|frame| touched(frame))
            .map(|frame| (frame, cells::cells(frame, overlay)))
            .collect();
        let prepared = self.prepare(&wanted)?;
        let own = |cell: &Prepared| matches!(cell, Prepared::Plain(..));
        let mut frames = prepared.iter();
        let encoded = self.patch(&prepared.concat(), overlay, threads)?;
        let mut encoded = encoded.into_iter();

        let mut layout = Layout::new(self.frames.container);
        for run in self.frames.list.chunk_by(|a, b| touched(a) == touched(b)) {
            if !run.first().is_some_and(touched) {
                layout.copy(run);
                continue;
            }
            let cells: Vec<&Prepared> = frames.by_ref().take(run.len()).flatten().collect();
            for alike in cells.chunk_by(|a, b| own(a) == own(b)) {
                let new: Vec<Encoded> = encoded.by_ref().take(alike.len()).collect();
                if alike.first().is_some_and(|cell| own(cell)) {
                    new.into_iter().for_each(|cell| layout.put(cell));
                } else {
                    layout.put_shared(&new);
                }
            }
        }
        layout.finish()
    }

    /// How many images can be made at a time by up to `threads`.
    pub(crate) fn at_a_time(&self, threads: usize) -> usize {
        self.crew(threads).len()
    }

    fn crew(&self, threads: usize) -> Crew {
        Crew::of_nodes(self.frames.container, self.effort.level, threads)
    }

    /// Patches and encodes what is this node's own.
    fn patch(
        &self,
        cells: &[Prepared],
        overlay: &Overlay,
        threads: usize,
    ) -> io::Result<Vec<Encoded>> {
        self.crew(threads).map(cells, |cell| match cell {
            Prepared::Done(encoded) => Ok(encoded.clone()),
            Prepared::Plain(offset, plain) => {
                let mut bytes = plain.to_vec();
                overlay.apply(*offset, &mut bytes);
                self.encode(&bytes)
            }
        })
    }
}
