//! Decompressors over a file that is digested while it is read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest as _;

use super::PIECE_LEN;
use crate::base::{Format, Sha256Digest};

/// Memory for a decoder of xz: enough for any dictionary below 256 MiB. The
/// largest that `xz` makes, of 1.5 GiB, would need more; nothing that publishes
/// images uses one.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// A decompressor over a file.
pub(super) enum Decoder<'a> {
    Xz(xz2::bufread::XzDecoder<BufReader<Tee<'a>>>),
    Gzip(flate2::bufread::MultiGzDecoder<BufReader<Tee<'a>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Tee<'a>>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<BufReader<Tee<'a>>>),
}

impl<'a> Decoder<'a> {
    pub(super) fn new(format: Format, input: Tee<'a>) -> io::Result<Self> {
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

    /// The digest of the whole file, after making sure that all of it was used.
    pub(super) fn finish(self) -> io::Result<Sha256Digest> {
        let mut input = match self {
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        };
        if input.read(&mut [0])? != 0 {
            return Err(io::Error::other("something was appended"));
        }
        Ok(input.into_inner().finish())
    }
}

/// Reads a file from its start and digests what is read.
pub(super) struct Tee<'a> {
    file: &'a File,
    offset: u64,
    hasher: sha2::Sha256,
    consumed: Arc<AtomicU64>,
}

impl<'a> Tee<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            offset: 0,
            hasher: sha2::Sha256::new(),
            consumed: Arc::default(),
        }
    }

    /// How many bytes have been read, also once a decoder owns this.
    pub(super) fn consumed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.consumed)
    }

    /// Digest of what was read.
    pub(super) fn finish(self) -> Sha256Digest {
        Sha256Digest(self.hasher.finalize().into())
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.hasher.update(&buf[..n]);
        self.offset += n as u64;
        self.consumed.store(self.offset, Ordering::Relaxed);
        Ok(n)
    }
}

/// Whether a decoder of xz failed for want of memory, which is no damage.
pub(super) fn is_out_of_memory(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(xz2::stream::Error::MemLimit))
}
