//! What is served.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes at any offset.
pub enum Content {
    Bytes(Vec<u8>),
    File(File, u64),
    /// Noise that is the same every time, without being anywhere.
    Noise {
        seed: u64,
        len: u64,
    },
}

impl Content {
    pub fn file(path: &Path) -> Self {
        let file = File::open(path).expect("a file");
        let len = file.metadata().expect("metadata").len();
        Self::File(file, len)
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, len) | Self::Noise { len, .. } => *len,
        }
    }

    /// Fills `buf` from `offset` on; it is within the length.
    pub fn read(&self, buf: &mut [u8], offset: u64) {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).expect("an index");
                buf.copy_from_slice(&bytes[start..start + buf.len()]);
            }
            Self::File(file, _) => file.read_exact_at(buf, offset).expect("bytes"),
            Self::Noise { seed, .. } => {
                let mut at = offset;
                let mut rest = buf;
                while !rest.is_empty() {
                    let word = noise(seed ^ (at / 8)).to_le_bytes();
                    let word = &word[usize::try_from(at % 8).expect("small")..];
                    let n = word.len().min(rest.len());
                    let (head, tail) = rest.split_at_mut(n);
                    head.copy_from_slice(&word[..n]);
                    (rest, at) = (tail, at + n as u64);
                }
            }
        }
    }
}

/// splitmix64 (Steele, Lea, Flood 2014).
pub fn noise(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
