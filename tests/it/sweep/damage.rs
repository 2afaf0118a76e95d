//! What can happen to the bytes of a file.

use std::fmt;

use super::Dice;

/// Longest run of bytes that is lost, zero or misplaced.
const MAX_RUN: usize = 64 << 10;

/// What happened to a file.
#[derive(Debug)]
pub(super) enum Damage {
    Bit { at: usize, bit: u8 },
    Byte { at: usize, is: u8 },
    Zeros { at: usize, len: usize },
    Swapped { at: usize, with: usize, len: usize },
    Inserted { at: usize, bytes: Vec<u8> },
    Deleted { at: usize, len: usize },
    Cut { at: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Damage {
    pub(super) fn of(case: u64, bytes: &[u8]) -> Self {
        let mut dice = Dice::of(case);
        let at = place(&mut dice, bytes);
        let most = (bytes.len() - at).min(MAX_RUN);
        // As likely one byte as thousands.
        let len = (1 + dice.below(most)) >> dice.below(17);
        let len = len.max(1);
        match dice.below(7) {
            0 => Self::Bit {
                at,
                bit: 1 << dice.below(8),
            },
            1 => Self::Byte {
                at,
                is: dice.roll().to_le_bytes()[0],
            },
            2 => Self::Zeros { at, len },
            3 => Self::Swapped {
                at,
                with: dice.below(bytes.len() - len + 1),
                len,
            },
            4 => Self::Inserted {
                at,
                bytes: (0..len).map(|_| dice.roll().to_le_bytes()[0]).collect(),
            },
            5 => Self::Deleted { at, len },
            _ => Self::Cut { at },
        }
    }

    pub(super) fn done_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Bit { at, bit } => bytes[*at] ^= bit,
            Self::Byte { at, is } => bytes[*at] = *is,
            Self::Zeros { at, len } => bytes[*at..at + len].fill(0),
            Self::Swapped { at, with, len } => {
                let (one, other) = (
                    bytes[*at..at + len].to_vec(),
                    bytes[*with..with + len].to_vec(),
                );
                bytes[*at..at + len].copy_from_slice(&other);
                bytes[*with..with + len].copy_from_slice(&one);
            }
            Self::Inserted { at, bytes: more } => {
                drop(bytes.splice(*at..*at, more.iter().copied()));
            }
            Self::Deleted { at, len } => drop(bytes.drain(*at..at + len)),
            Self::Cut { at } => bytes.truncate(*at),
        }
        bytes
    }
}

/// Headers and trailers are small, and count for most.
fn place(dice: &mut Dice, bytes: &[u8]) -> usize {
    const EDGE: usize = 512;
    let len = bytes.len();
    match dice.below(4) {
        0 => dice.below(len.min(EDGE)),
        1 => len - 1 - dice.below(len.min(EDGE)),
        _ => {
            // Where there is something: most of a small base is zeros.
            let at = dice.below(len);
            let next = bytes[at..].iter().position(|&byte| byte != 0);
            at + next.unwrap_or(0)
        }
    }
}
