//! What a file is, by its first bytes and never by its name.

use std::fmt;

/// How a base is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes themselves.
    Raw,
    /// xz (`.xz` file format 1.2.1, 2.1.1.1).
    Xz,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
    /// zip (APPNOTE 6.3.10).
    Zip,
}

impl Format {
    /// How many of the first bytes [`Format::of`] looks at.
    pub const MAGIC_LEN: usize = 10;

    /// The format of a file that begins with `head`. What has no known magic is
    /// raw; the partition table then tells whether it is an image.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // Deflate is the only method there is.
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // A frame, or a skippable frame (magic 0x184D2A50 to …5F).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            // The block size digit, then the first block's magic.
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ] => Self::Bzip2,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ => Self::Raw,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Xz => "xz",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Zip => "zip",
        })
    }
}
