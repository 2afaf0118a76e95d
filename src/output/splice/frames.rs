//! A compressed file as frames: pieces that decode on their own, one after
//! another. The blocks of an xz file are such, and those of a zstd file that
//! has a seek table.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::{fmt, io};

use super::{xz, zst};
use crate::base::ReadAt;
use crate::base::xz::{IndexError, trailer};

/// Which file format the frames are in, and what all of them have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// One xz stream.
    Xz {
        /// Stream flags: which check the blocks carry.
        flags: [u8; 2],
    },
    /// The seekable format of zstd.
    Zst {
        /// Whether the seek table tells a checksum of each frame.
        checksums: bool,
    },
}

/// What the end of the file tells of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Length in the file; of an xz block without its padding.
    pub(crate) file_len: u64,
    /// Uncompressed length; 0 for what only fills a gap.
    pub(crate) len: u64,
    /// Lower half of the XXH64 of the uncompressed bytes, where a seek table
    /// tells it; otherwise 0.
    pub(crate) checksum: u32,
}

/// A frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Offset in the file.
    pub(crate) file_offset: u64,
    /// Offset of its first byte, uncompressed.
    pub(crate) offset: u64,
    /// Its lengths.
    pub(crate) record: Record,
}

impl Frame {
    /// Offset of the uncompressed byte behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.record.len
    }
}

/// A frame that was made here.
#[derive(Clone)]
pub(crate) struct Encoded {
    /// As it goes to the file, padded.
    pub(crate) bytes: Arc<[u8]>,
    /// Its lengths.
    pub(crate) record: Record,
}

impl fmt::Debug for Encoded {
    /// Leaves the bytes out: they may hold a node's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

/// All frames of a file.
#[derive(Debug)]
pub(crate) struct Frames {
    /// What they are.
    pub(crate) container: Container,
    /// In order and without gaps, from the container's header to its trailer.
    pub(crate) list: Vec<Frame>,
    /// Uncompressed length of all of them.
    pub(crate) len: u64,
}

impl Frames {
    /// Finds the frames of an xz file.
    ///
    /// # Errors
    /// `NotSeekable` where the file has to be recoded first.
    pub(crate) fn read_xz(file: &dyn ReadAt) -> Result<Self, IndexError> {
        xz::read(file)
    }

    /// Finds the frames of a zstd file with a seek table.
    ///
    /// # Errors
    /// `NotSeekable` where the file has to be recoded first.
    pub(crate) fn read_zst(file: &dyn ReadAt) -> Result<Self, IndexError> {
        zst::read(file)
    }
}

impl Frames {
    /// Makes sure that what the end of the file tells of the frames is true of them, as
    /// far as that shows without decoding.
    ///
    /// # Errors
    /// `Damaged` or `NotSeekable` where it is not, otherwise what reading says.
    pub(crate) fn check(&self, file: &dyn ReadAt) -> Result<(), IndexError> {
        match self.container {
            // The index carries a checksum, and each block tells its lengths.
            Container::Xz { .. } => Ok(()),
            Container::Zst { checksums } => {
                let mut frames = self.list.iter();
                frames.try_for_each(|frame| zst::check(file, frame, checksums))
            }
        }
    }
}

impl Container {
    /// What precedes the first frame.
    pub(crate) fn header(self) -> Vec<u8> {
        match self {
            Self::Xz { flags } => trailer::stream_header(flags),
            Self::Zst { .. } => Vec::new(),
        }
    }

    /// What follows the last frame.
    ///
    /// # Errors
    /// `InvalidInput` where there are more frames than readers, ours included,
    /// would take.
    pub(crate) fn trailer(self, records: &[Record]) -> io::Result<Vec<u8>> {
        match self {
            Self::Xz { flags } => xz::trailer(flags, records),
            Self::Zst { checksums } => zst::trailer(checksums, records),
        }
    }

    /// Length of a frame in the file.
    pub(crate) fn stored_len(self, record: &Record) -> u64 {
        match self {
            Self::Xz { .. } => record.file_len.next_multiple_of(4),
            Self::Zst { .. } => record.file_len,
        }
    }

    /// Reads and decodes a frame.
    ///
    /// # Errors
    /// `InvalidData` where it is damaged, otherwise what reading says.
    pub(crate) fn decode(self, file: &dyn ReadAt, frame: &Frame) -> io::Result<Vec<u8>> {
        match self {
            Self::Xz { flags } => xz::decode(file, frame, flags),
            Self::Zst { .. } => zst::decode(file, frame),
        }
    }

    /// Makes a frame of `bytes`, decodes it and compares: what an encoder got
    /// wrong goes nowhere.
    ///
    /// # Errors
    /// Where the encoder fails.
    pub(crate) fn encode(self, bytes: &[u8], level: u32) -> io::Result<Encoded> {
        let (encoded, record) = match self {
            Self::Xz { flags } => xz::encode(bytes, level, flags)?,
            Self::Zst { .. } => zst::encode(bytes, level)?,
        };
        let frame = Frame {
            file_offset: 0,
            offset: 0,
            record,
        };
        let encoded = crate::base::MemBase(encoded);
        if self.decode(&encoded, &frame)? != bytes {
            let message = "the encoder made something else of the bytes it was given";
            return Err(io::Error::other(message));
        }
        Ok(Encoded {
            bytes: encoded.0.into(),
            record,
        })
    }

    /// Frames without contents that take up `gap` bytes or, where there is no
    /// way to fill so few, `gap` and a page.
    pub(crate) fn fill(self, gap: u64) -> Vec<Encoded> {
        match self {
            Self::Xz { flags } => xz::fill(gap, flags),
            Self::Zst { .. } => zst::fill(gap),
        }
    }

    /// Levels that the encoder knows.
    pub(crate) fn levels(self) -> RangeInclusive<u32> {
        match self {
            Self::Xz { .. } => xz::LEVELS,
            Self::Zst { .. } => zst::LEVELS,
        }
    }

    /// Refuses a level that the encoder does not know.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn check_level(self, level: u32) -> io::Result<()> {
        let levels = self.levels();
        if levels.contains(&level) {
            return Ok(());
        }
        let (first, last) = (levels.start(), levels.end());
        let message = format!("the levels are {first} to {last}, not {level}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// Memory that encoding `len` bytes takes, about, in bytes.
    pub(crate) fn encoder_memory(self, level: u32, len: usize) -> usize {
        match self {
            Self::Xz { .. } => xz::encoder_memory(level, len),
            // Tables of at most 64 MiB at the highest levels, for long inputs.
            Self::Zst { .. } => (8 << 20) + 6 * len,
        }
    }
}
