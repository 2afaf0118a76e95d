//! Decompressors over something that is digested while it is read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sha2::Digest as _;

use super::PIECE_LEN;
use crate::base::{Format, Sha256Digest};

/// Memory for a decoder of xz: enough for any dictionary below 256 MiB. The
/// largest that `xz` makes, of 1.5 GiB, would need more; nothing that publishes
/// images uses one.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// What blocks decoded ahead may take; with more, fewer are decoded at a time.
const XZ_AHEAD_LIMIT: u64 = 112 << 20;

/// A decompressor.
pub(super) enum Decoder<R: Read> {
    Xz(xz2::bufread::XzDecoder<BufReader<R>>),
    Gzip(flate2::bufread::MultiGzDecoder<BufReader<R>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<BufReader<R>>),
}

impl<R: Read> Decoder<R> {
    /// The same, though xz on all processors; of several streams of xz it reads
    /// only the first.
    pub(super) fn parallel(format: Format, input: R) -> io::Result<Self> {
        if format != Format::Xz {
            return Self::new(format, input);
        }
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let stream = xz2::stream::MtStreamBuilder::new()
            .threads(u32::try_from(processors).unwrap_or(1))
            .memlimit_threading(XZ_AHEAD_LIMIT)
            .memlimit_stop(XZ_MEMORY_LIMIT)
            .decoder()?;
        let input = BufReader::with_capacity(PIECE_LEN, input);
        Ok(Self::Xz(xz2::bufread::XzDecoder::new_stream(input, stream)))
    }

    pub(super) fn new(format: Format, input: R) -> io::Result<Self> {
        let input = BufReader::with_capacity(PIECE_LEN, input);
        Ok(match format {
            Format::Gzip => Self::Gzip(flate2::bufread::MultiGzDecoder::new(input)),
            Format::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
            Format::Bzip2 => Self::Bzip2(bzip2::bufread::MultiBzDecoder::new(input)),
            Format::Xz | Format::Raw | Format::Zip => {
                let flags = xz2::stream::CONCATENATED;
                let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, flags)?;
                Self::Xz(xz2::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }

    pub(super) fn as_read(&mut self) -> &mut dyn Read {
        match self {
            Self::Xz(decoder) => decoder,
            Self::Gzip(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
            Self::Bzip2(decoder) => decoder,
        }
    }

    /// What it read from, after making sure that all of it was used.
    pub(super) fn finish(self) -> io::Result<R> {
        let mut input = match self {
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        };
        if input.read(&mut [0])? != 0 {
            return Err(io::Error::other("something was appended"));
        }
        Ok(input.into_inner())
    }
}

/// Reads a file from its start, wherever its own position is.
pub(super) struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> FromStart<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Counts what is read.
pub(super) struct Counting<R> {
    input: R,
    consumed: Arc<AtomicU64>,
}

impl<R: Read> Counting<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            consumed: Arc::default(),
        }
    }

    /// How many bytes have been read, also once a decoder owns this.
    pub(super) fn consumed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.consumed)
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.consumed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Digests what is read.
pub(super) struct Tee<R> {
    input: R,
    hasher: sha2::Sha256,
}

impl<R: Read> Tee<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            hasher: sha2::Sha256::new(),
        }
    }

    /// Digest of what was read.
    pub(super) fn finish(self) -> Sha256Digest {
        Sha256Digest(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}

/// Whether a decoder of xz failed for want of memory, which is no damage.
pub(super) fn is_out_of_memory(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(xz2::stream::Error::MemLimit))
}
