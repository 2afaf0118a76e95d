//! Lays frames one after another and keeps the account of them.

use std::io;
use std::sync::Arc;

use super::frames::{Container, Encoded, Frame, Record};
use super::{MIN_SHARED, PAGE_LEN, Segment, Spliced};

/// A spliced file in the making.
#[derive(Debug)]
pub(super) struct Layout {
    container: Container,
    segments: Vec<Segment>,
    records: Vec<Record>,
    /// Length so far.
    len: u64,
}

impl Layout {
    /// Begins with the container's header, which every file of its kind has in
    /// common.
    pub(super) fn new(container: Container) -> Self {
        let mut layout = Self {
            container,
            segments: Vec::new(),
            records: Vec::new(),
            len: 0,
        };
        let header = container.header().len() as u64;
        layout.copy_range(0, header);
        layout
    }

    /// Appends a new frame.
    pub(super) fn put(&mut self, frame: Encoded) {
        self.len += frame.bytes.len() as u64;
        self.records.push(frame.record);
        self.segments.push(Segment::New(frame.bytes));
    }

    /// Appends new frames that other nodes have as well: these can share them
    /// with this one, so they begin on a page in all of them.
    pub(super) fn put_shared(&mut self, run: &[Encoded]) {
        let len: usize = run.iter().map(|frame| frame.bytes.len()).sum();
        if len as u64 >= MIN_SHARED {
            self.align(0);
        }
        run.iter().for_each(|frame| self.put(frame.clone()));
    }

    /// Appends frames that follow one another in the base's file.
    pub(super) fn copy(&mut self, run: &[Frame]) {
        let Some(first) = run.first() else { return };
        let stored = |frame: &Frame| self.container.stored_len(&frame.record);
        let len = run.iter().map(stored).sum();
        if len >= MIN_SHARED {
            self.align(first.file_offset);
        }
        self.records.extend(run.iter().map(|frame| frame.record));
        self.copy_range(first.file_offset, len);
    }

    /// Appends what fills the gap to where bytes from `offset` on can be shared.
    fn align(&mut self, offset: u64) {
        // Modulo a page, which divides the range of a u64.
        let gap = offset.wrapping_sub(self.len) % PAGE_LEN;
        for filler in self.container.fill(gap) {
            self.put(filler);
        }
    }

    fn copy_range(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        self.len += len;
        match self.segments.last_mut() {
            Some(Segment::Copy {
                offset: last,
                len: last_len,
            }) if *last + *last_len == offset => *last_len += len,
            _ => self.segments.push(Segment::Copy { offset, len }),
        }
    }

    /// Appends the container's trailer.
    ///
    /// # Errors
    /// As [`Container::trailer`].
    pub(super) fn finish(mut self) -> io::Result<Spliced> {
        let trailer = self.container.trailer(&self.records)?;
        self.len += trailer.len() as u64;
        self.segments.push(Segment::New(Arc::from(trailer)));
        Ok(Spliced {
            segments: self.segments,
            len: self.len,
        })
    }
}
