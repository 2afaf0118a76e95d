//! What became of each node's card.

use anyhow::Error;

use crate::card::{Device, Outcome, Written};
use crate::cluster::CardState;
use crate::commands::{exit_code, told};
use crate::exit::ExitCode;
use crate::report::Tone;

/// A node's card, and how it fared.
pub(super) struct Made {
    /// Index into the plan's cards.
    pub(super) card: usize,
    pub(super) device: Device,
    pub(super) result: Result<Written, Error>,
    /// Whether the reader let go of the card.
    pub(super) is_ejected: bool,
}

impl Made {
    pub(super) fn code(&self) -> ExitCode {
        match &self.result {
            Ok(_) => ExitCode::Done,
            Err(error) => exit_code(error),
        }
    }

    /// One word.
    pub(super) fn word(&self) -> &'static str {
        match &self.result {
            Ok(written) if written.verifying.is_some() => "verified",
            Ok(_) => "not verified",
            Err(_) => match self.code() {
                ExitCode::Refused => "refused",
                ExitCode::Different => "bad card",
                ExitCode::Interrupted => "interrupted",
                _ => "failed",
            },
        }
    }

    pub(super) fn tone(&self) -> Tone {
        match self.word() {
            "verified" => Tone::Good,
            "not verified" | "interrupted" => Tone::Waits,
            _ => Tone::Bad,
        }
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.result.as_ref().err().map(told)
    }
}

/// What the record says of a card that ended so.
pub(super) fn state(outcome: &Outcome) -> CardState {
    match outcome {
        Ok(written) if written.verifying.is_some() => CardState::Verified,
        Ok(_) => CardState::Unverified,
        Err(_) => CardState::Failed,
    }
}
