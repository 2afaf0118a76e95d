//! What a card is written through: a trait, so that tests can be bad cards.

use std::io::{self, ErrorKind};

use crate::output::ALIGN;

/// Offsets and lengths of direct I/O are multiples of this; so are the ranges of
/// a used map.
pub use crate::layout::used::BLOCK_LEN;

/// An open card. Writes go past the page cache where that is possible.
pub trait Medium: Send + Sync + std::fmt::Debug {
    /// Length in bytes, as the card claims.
    fn len(&self) -> u64;

    /// Whether the card claims to hold nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes some of `bytes`, from the first on; says how many.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_some_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads some bytes; says how many, 0 behind the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Brings everything written to the card itself.
    ///
    /// # Errors
    /// What the operating system says: of any write since the last time.
    fn flush(&self) -> io::Result<()>;

    /// Tells the card that all it holds is worthless.
    ///
    /// # Errors
    /// `Unsupported` where it cannot be told.
    fn discard(&self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Makes sure that this is still the card that was opened: an open reader
    /// may be given another.
    ///
    /// # Errors
    /// `NotFound` where it is not.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether there is room to run out of, as in a file on a file system.
    fn can_be_full(&self) -> bool {
        false
    }

    /// The same card, opened anew for reading past every cache.
    ///
    /// # Errors
    /// What the operating system says, and `NotFound` where another card is
    /// there now.
    fn reopen(&self) -> io::Result<Box<dyn Medium + '_>>;
}

/// Writes all of `bytes`, however little the medium takes at a time.
///
/// # Errors
/// What [`Medium::write_some_at`] says; `WriteZero` where it takes nothing.
pub fn write_all_at(medium: &dyn Medium, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let taken = match medium.write_some_at(bytes, offset) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?.min(bytes.len()),
        };
        if taken == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        let advance = whole_blocks(taken, bytes.len());
        bytes = &bytes[advance..];
        offset += advance as u64;
    }
    Ok(())
}

/// Fills `buf`, however little the medium gives at a time.
///
/// # Errors
/// What [`Medium::read_some_at`] says; `UnexpectedEof` behind the end.
pub fn read_exact_at(medium: &dyn Medium, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let given = match medium.read_some_at(&mut buf[done..], offset + done as u64) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        };
        if given == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        done += whole_blocks(given, buf.len() - done);
    }
    Ok(())
}

/// How far a transfer of `done` of `wanted` bytes may advance. Direct I/O cannot
/// go on in the middle of a block: its rest is transferred again. A transfer of
/// less than a block counts as it is, for the media that do such.
fn whole_blocks(done: usize, wanted: usize) -> usize {
    if done == wanted || done < ALIGN {
        done
    } else {
        done - done % ALIGN
    }
}
