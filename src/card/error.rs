//! Why a card was not made.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use super::Size;
use super::medium::Medium;
use crate::base::BaseError;
use crate::interrupt::Interrupted;

/// Why a card was not made. Others made at the same time are not affected.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The card refused a write.
    #[error(
        "writing failed at byte {offset} ({place}). The card, its reader or the cable is \
         failing: try the card in another reader, or another card"
    )]
    Write {
        /// Offset on the card.
        offset: u64,
        /// Which partition that is.
        place: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The card cannot be read.
    #[error(
        "reading back failed at byte {offset} ({place}). The card, its reader or the cable is \
         failing: try the card in another reader, or another card"
    )]
    Read {
        /// Offset on the card.
        offset: u64,
        /// Which partition that is.
        place: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What was written does not stay on the card.
    #[error("syncing failed: the card did not take what was written. Use another card")]
    Sync(#[source] io::Error),
    /// The file that stands in for a card has no room on its file system.
    #[error("its file system is full. Free some space there, then flash again")]
    Full,
    /// The card was pulled out, or its reader dropped off the bus.
    #[error(
        "the card is gone: it was pulled out, or its reader lost it. Insert it and flash again"
    )]
    Gone,
    /// The card holds less than it claims.
    #[error(
        "a counterfeit: it claims {} and holds about {}. Throw it away",
        Size(*claims), Size(*holds)
    )]
    Counterfeit {
        /// Bytes that it says it has.
        claims: u64,
        /// Bytes that stay on it.
        holds: u64,
    },
    /// Written twice, and read back wrong twice.
    #[error(
        "the card is bad: byte {offset} ({place}) reads back wrong although it was written \
         {times}. Use another card"
    )]
    Bad {
        /// Offset of the first byte that differs.
        offset: u64,
        /// Which partition that is.
        place: String,
        /// `twice`, or more than that many places are wrong.
        times: String,
    },
    /// The base failed half-way: no card made from it is good.
    #[error("the base failed, so the card was not finished: {0}")]
    BaseFailed(String),
    /// The base cannot be read.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The user asked to stop.
    #[error("interrupted; the card has no partition table and does not boot: flash it again")]
    Interrupted,
    /// The user asked to stop before anything was written to the card.
    #[error("interrupted; the card is as it was")]
    Untouched,
    /// Something else went wrong before anything was written to the card.
    #[error("nothing was written, and the card is as it was")]
    Unwritten(#[source] Box<CardError>),
}

impl From<Interrupted> for CardError {
    /// Without the source, which says what is left of files.
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// What the engine was doing when the operating system said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Writing,
    Reading,
    /// Bringing what was written to the card itself; of no place in particular.
    Syncing,
}

impl CardError {
    /// What an error of the operating system means for a card.
    pub(super) fn io(
        medium: &dyn Medium,
        doing: Doing,
        offset: u64,
        place: String,
        source: io::Error,
    ) -> Self {
        let is_full = matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        );
        // A card that was pulled shows as whatever its reader makes of that.
        let is_gone = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM]
            .iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()));
        if is_gone || medium.check().is_err() {
            return Self::Gone;
        }
        if is_full && doing != Doing::Reading && medium.can_be_full() {
            return Self::Full;
        }
        match doing {
            Doing::Writing => Self::Write {
                offset,
                place,
                source,
            },
            Doing::Reading => Self::Read {
                offset,
                place,
                source,
            },
            Doing::Syncing => Self::Sync(source),
        }
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Interrupted | Self::Untouched | Self::Base(BaseError::Interrupted(_))
        )
    }

    /// Whether the card holds what it held before.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        matches!(self, Self::Untouched | Self::Unwritten(_))
    }

    /// Whether the card is there and works, but does not hold what was written.
    #[must_use]
    pub fn is_difference(&self) -> bool {
        matches!(self, Self::Bad { .. } | Self::Counterfeit { .. })
    }
}
