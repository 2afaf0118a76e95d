//! Blocks of an xz file, made one by one. Section numbers are those of "The .xz
//! File Format", version 1.2.1.

use std::{fmt, io};

use sha2::Digest as _;
use xz2::stream::{Action, Filters, LzmaOptions, Status, Stream};

use crate::base::MemBase;
use crate::base::xz::{Block, decode_block, push_number};

/// LZMA2 (5.3.1): its number, and how long its one property is.
const LZMA2: [u8; 2] = [0x21, 1];
/// The smallest dictionary that LZMA2 takes.
const MIN_DICTIONARY: u32 = 4096;
/// A block header is at most this long (3.1.1).
const MAX_HEADER_LEN: usize = 1024;
/// LZMA2 data that holds nothing: its end.
const NOTHING: [u8; 1] = [0];
/// CRC-64 as xz uses it (6.).
const CRC64: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_XZ);

/// A block as it lies in a file, with its padding.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Length without the padding ("Unpadded Size", 4.3).
    pub(crate) unpadded_len: u64,
    /// Uncompressed length.
    pub(crate) len: u64,
}

impl fmt::Debug for Encoded {
    /// Leaves the bytes out: they hold a node's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.bytes.len())
    }
}

/// Makes blocks that fit into one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    /// Stream flags (2.1.1.2).
    flags: [u8; 2],
    check: Check,
    /// Preset, 0 to 9.
    level: u32,
}

/// Which check a block ends with (2.1.1.2).
#[derive(Clone, Copy, Debug)]
enum Check {
    None,
    Crc32,
    Crc64,
    Sha256,
}

impl Encoder {
    /// For a file with these stream flags; `None` where they ask for a check that
    /// nobody has defined yet.
    pub(crate) fn new(flags: [u8; 2], level: u32) -> Option<Self> {
        let check = match flags {
            [0, 0] => Check::None,
            [0, 1] => Check::Crc32,
            [0, 4] => Check::Crc64,
            [0, 10] => Check::Sha256,
            _ => return None,
        };
        Some(Self {
            flags,
            check,
            level,
        })
    }

    /// Compresses `bytes`, and makes sure that they come out again.
    ///
    /// # Errors
    /// Where the encoder fails, for want of memory for instance.
    pub(crate) fn encode(&self, bytes: &[u8]) -> io::Result<Encoded> {
        let mut options = LzmaOptions::new_preset(self.level).map_err(io::Error::from)?;
        let (dictionary, property) = dictionary_for(bytes.len());
        options.dict_size(dictionary);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_raw_encoder(&filters).map_err(io::Error::from)?;
        // What does not shrink is stored, at three bytes in 64 KiB.
        let mut data = Vec::with_capacity(bytes.len() + bytes.len() / 4096 + 64);
        loop {
            let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
            let status = stream
                .process_vec(&bytes[taken..], &mut data, Action::Finish)
                .map_err(io::Error::from)?;
            if status == Status::StreamEnd {
                break;
            }
            data.reserve(64 << 10);
        }
        let block = self.assemble(&data, bytes, property, 0);
        let found = decode_block(
            &MemBase(block.bytes.clone()),
            &Block {
                file_offset: 0,
                unpadded_len: block.unpadded_len,
                offset: 0,
                len: block.len,
            },
            self.flags,
        )?;
        if found != bytes {
            return Err(io::Error::other("the encoder made something else of it"));
        }
        Ok(block)
    }

    /// Lengths that fillers can have, in bytes.
    fn filler_lens(&self) -> (usize, usize) {
        let rest = NOTHING.len().next_multiple_of(4) + self.check.of(&[]).len();
        let least = header(&NOTHING, 0, 0, 0).len();
        (least + rest, MAX_HEADER_LEN + rest)
    }

    /// Blocks that hold nothing and are at least `len` bytes long in all, as few
    /// bytes more as possible in steps of `step`. Both are multiples of four.
    pub(super) fn filler(&self, len: u64, step: u64) -> Vec<Encoded> {
        let (least, most) = self.filler_lens();
        let (least, most) = (least as u64, most as u64);
        let mut left = len;
        while left > 0 && left < least {
            left += step;
        }
        let mut fillers = Vec::new();
        while left > 0 {
            // What remains must be long enough for a block, too.
            let len = match left {
                left if left <= most => left,
                left if left - most < least => left - least,
                _ => most,
            };
            let pad = usize::try_from(len - least).unwrap_or(0);
            fillers.push(self.assemble(&NOTHING, &[], 0, pad));
            left -= len;
        }
        fillers
    }

    fn assemble(&self, data: &[u8], bytes: &[u8], property: u8, pad: usize) -> Encoded {
        let mut block = header(data, bytes.len(), property, pad);
        block.extend_from_slice(data);
        let check = self.check.of(bytes);
        let unpadded_len = (block.len() + check.len()) as u64;
        block.resize(block.len().next_multiple_of(4), 0);
        block.extend_from_slice(&check);
        Encoded {
            bytes: block,
            unpadded_len,
            len: bytes.len() as u64,
        }
    }
}

impl Check {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32 => crc32fast::hash(bytes).to_le_bytes().to_vec(),
            Self::Crc64 => CRC64.checksum(bytes).to_le_bytes().to_vec(),
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
        }
    }
}

/// A block header (3.1) that tells both lengths, so that decoders can work on
/// several blocks at a time; with `pad` bytes more than it needs, a multiple of
/// four.
fn header(data: &[u8], len: usize, property: u8, pad: usize) -> Vec<u8> {
    // One filter, and both lengths are there (3.1.2).
    let mut header = vec![0, 0b1100_0000];
    push_number(&mut header, data.len() as u64);
    push_number(&mut header, len as u64);
    header.extend_from_slice(&LZMA2);
    header.push(property);
    header.resize((header.len() + 4).next_multiple_of(4) - 4 + pad, 0);
    // "Real size" is four times what is stored, and four more, with the CRC32.
    header[0] = u8::try_from(header.len() / 4).unwrap_or(u8::MAX);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// A dictionary that holds `len` bytes, and how LZMA2 writes its length (5.3.1):
/// two bits of mantissa and an exponent.
fn dictionary_for(len: usize) -> (u32, u8) {
    for property in 0..=40u8 {
        let size = u64::from(2 | property & 1) << (property / 2 + 11);
        if let Ok(size) = u32::try_from(size)
            && size as usize >= len
            && size >= MIN_DICTIONARY
        {
            return (size, property);
        }
    }
    (u32::MAX, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_have_the_length_that_is_asked_for() {
        for flags in [[0, 0], [0, 1], [0, 4], [0, 10]] {
            let encoder = Encoder::new(flags, 0).unwrap();
            let (least, most) = encoder.filler_lens();
            for len in (0..=4096).step_by(4).chain([4 * 4096]) {
                let fillers = encoder.filler(len, 4096);
                let found: u64 = fillers.iter().map(|one| one.bytes.len() as u64).sum();
                assert_eq!(found % 4096, len % 4096, "{flags:?}");
                assert!(found == len || len < least as u64);
                for one in fillers {
                    assert!((least..=most).contains(&one.bytes.len()));
                    assert_eq!(one.unpadded_len.next_multiple_of(4), one.bytes.len() as u64);
                }
            }
        }
    }

    #[test]
    fn dictionaries_are_as_small_as_they_may_be() {
        assert_eq!(dictionary_for(1), (4096, 0));
        assert_eq!(dictionary_for(4097), (6144, 1));
        assert_eq!(dictionary_for(256 << 10), (256 << 10, 12));
        assert_eq!(dictionary_for(4 << 20), (4 << 20, 20));
    }
}
