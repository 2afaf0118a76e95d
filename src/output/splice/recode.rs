//! Any bytes as a file of frames: what bases become that have none of their
//! own, so that their nodes can be spliced.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::Effort;
use super::crew::Crew;
use super::frames::{Container, Encoded, Frame, Frames, Record};
use crate::report::event::Event;

/// Uncompressed bytes in a frame: what one sector costs a node to decode, and
/// as large as cells get.
const FRAME_LEN: usize = 4 << 20;
/// Frames that a thread may hold: one in work, one that waits.
const QUEUE_LEN: usize = 2;

/// Writes frames, encoding them on several cores.
#[derive(Clone, Copy)]
pub(crate) struct Recode<'a> {
    /// What to make.
    pub(crate) container: Container,
    /// How.
    pub(crate) effort: Effort<'a>,
}

impl Container {
    /// An xz file as `xz` makes it, checked by CRC-64.
    pub(crate) const XZ: Self = Self::Xz { flags: [0, 4] };
    /// A zstd file whose seek table has checksums.
    pub(crate) const ZST: Self = Self::Zst { checksums: true };
}

impl Recode<'_> {
    /// Recodes bytes to `out`, and tells where each frame lies in it. `feed` gives
    /// the bytes, piece by piece, to the function it is given; how many they are,
    /// `total`, is for the progress only.
    ///
    /// # Errors
    /// Those of `feed` and of writing, and where the user asks to stop.
    pub(crate) fn pieces(
        &self,
        total: u64,
        out: &mut dyn Write,
        feed: Feed<'_>,
    ) -> io::Result<Frames> {
        let Effort {
            level, jobs, sink, ..
        } = self.effort;
        self.container.check_level(level)?;
        let task = self.effort.name;
        let verb = "compressing";
        sink.send(Event::Started { task, verb, total });
        // Beside those in the queue, one that is encoded and one for comparing.
        let crew = Crew::new(self.container, level, jobs, FRAME_LEN, QUEUE_LEN + 2);
        let result = thread::scope(|scope| {
            let lanes = (0..crew.len()).map(|_| {
                let (input, frames) = sync_channel::<Vec<u8>>(QUEUE_LEN);
                let (results, output) = sync_channel(QUEUE_LEN);
                scope.spawn(move || self.encode(&frames, &results));
                Lane { input, output }
            });
            let mut line = Line {
                recode: *self,
                lanes: lanes.collect(),
                waiting: VecDeque::new(),
                sent: 0,
                carry: Vec::new(),
                out,
                written: self.container.header().len() as u64,
                frames: Frames {
                    container: self.container,
                    list: Vec::new(),
                    len: 0,
                },
            };
            line.out.write_all(&self.container.header())?;
            feed(&mut |piece| line.push(piece))?;
            line.finish()
        });
        sink.send(Event::Ended { task });
        result
    }

    fn encode(&self, frames: &Receiver<Vec<u8>>, results: &SyncSender<io::Result<Encoded>>) {
        for frame in frames {
            let encoded = self.container.encode(&frame, self.effort.level);
            // The receiver is gone when the work has failed; nothing is left to do.
            if results.send(encoded).is_err() {
                return;
            }
        }
    }
}

/// Calls the function it is given with each piece.
pub(crate) type Feed<'a> =
    &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// A thread that encodes.
struct Lane {
    input: SyncSender<Vec<u8>>,
    output: Receiver<io::Result<Encoded>>,
}

/// Frames in order: lanes are served in turn, and looked to in turn.
struct Line<'a> {
    recode: Recode<'a>,
    lanes: Vec<Lane>,
    /// Lanes that owe a frame, the oldest first.
    waiting: VecDeque<usize>,
    /// Frames that went to the lanes.
    sent: usize,
    /// The beginning of the next frame.
    carry: Vec<u8>,
    out: &'a mut dyn Write,
    written: u64,
    frames: Frames,
}

impl Line<'_> {
    fn push(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            if self.carry.capacity() == 0 {
                self.carry.reserve_exact(FRAME_LEN);
            }
            let room = FRAME_LEN - self.carry.len();
            let (head, rest) = piece.split_at(piece.len().min(room));
            self.carry.extend_from_slice(head);
            piece = rest;
            if self.carry.len() == FRAME_LEN {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        self.recode.effort.interrupted()?;
        if self.waiting.len() == self.lanes.len() * QUEUE_LEN {
            self.receive()?;
        }
        let lane = self.sent % self.lanes.len();
        let frame = std::mem::take(&mut self.carry);
        self.lanes[lane].input.send(frame).map_err(|_| gone())?;
        self.waiting.push_back(lane);
        self.sent += 1;
        Ok(())
    }

    /// Writes the oldest frame that is still to come.
    fn receive(&mut self) -> io::Result<()> {
        let Some(lane) = self.waiting.pop_front() else {
            return Ok(());
        };
        let encoded = self.lanes[lane].output.recv().map_err(|_| gone())??;
        self.out.write_all(&encoded.bytes)?;
        self.frames.list.push(Frame {
            file_offset: self.written,
            offset: self.frames.len,
            record: encoded.record,
        });
        self.written += encoded.bytes.len() as u64;
        self.frames.len += encoded.record.len;
        let Effort { sink, name, .. } = self.recode.effort;
        sink.send(Event::Progressed {
            task: name,
            done: self.frames.len,
        });
        Ok(())
    }

    fn finish(mut self) -> io::Result<Frames> {
        if !self.carry.is_empty() {
            self.send()?;
        }
        while !self.waiting.is_empty() {
            self.recode.effort.interrupted()?;
            self.receive()?;
        }
        let frames = &self.frames.list;
        let records: Vec<Record> = frames.iter().map(|frame| frame.record).collect();
        let trailer = self.recode.container.trailer(&records)?;
        self.out.write_all(&trailer)?;
        Ok(self.frames)
    }
}

fn gone() -> io::Error {
    io::Error::other("an encoder has stopped")
}
