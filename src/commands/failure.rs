//! What an error means to whoever called the program: its exit code.

use std::error::Error;

use super::{Refused, Usage};
use crate::base::BaseError;
use crate::base::fetch::FetchError;
use crate::base::images::ImageError;
use crate::card::{CardError, DeviceError, OpenError};
use crate::cluster::{KeyError, ManifestErrors};
use crate::exit::ExitCode;
use crate::interrupt::Interrupted;
use crate::output::OutputError;
use crate::plan::PlanError;
use crate::provision::ProvisionError;

type Cause<'a> = &'a (dyn Error + 'static);

/// The exit code that an error stands for.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    error
        .chain()
        .find_map(|cause| {
            if is_interruption(cause) {
                Some(ExitCode::Interrupted)
            } else if is(cause, CardError::is_difference) {
                Some(ExitCode::Different)
            } else if is_refusal(cause) {
                Some(ExitCode::Refused)
            } else if is_usage(cause) {
                Some(ExitCode::Usage)
            } else {
                None
            }
        })
        .unwrap_or(ExitCode::Failed)
}

/// An error and its causes as one line for a person. The operating system's words are
/// there; that it counts them as well helps nobody.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut told = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        told.push_str(before);
        let number = after.find(|c: char| !c.is_ascii_digit());
        rest = match number.map(|end| after.split_at(end)) {
            Some((number, after)) if !number.is_empty() && after.starts_with(')') => &after[1..],
            _ => {
                told.push_str(" (os error ");
                after
            }
        };
    }
    told + rest
}

/// Whether the cause is an error of this type that passes the test.
fn is<E: Error + 'static>(cause: Cause<'_>, test: fn(&E) -> bool) -> bool {
    cause.downcast_ref().is_some_and(test)
}

/// Errors that are shown as their cause hide it from the chain; so they are asked.
fn is_interruption(cause: Cause<'_>) -> bool {
    cause.is::<Interrupted>()
        || is(cause, |error| matches!(error, BaseError::Interrupted(_)))
        || is(cause, |error| matches!(error, FetchError::Interrupted))
        || is(cause, OutputError::is_interrupted)
        || is(cause, CardError::is_interrupted)
        || is(cause, ImageError::is_interrupted)
}

fn is_refusal(cause: Cause<'_>) -> bool {
    let of_open = |error: &OpenError| {
        matches!(
            error,
            OpenError::Busy(_) | OpenError::ReadOnly(_) | OpenError::Changed { .. }
        )
    };
    let of_device = |error: &DeviceError| {
        matches!(
            error,
            DeviceError::Partition { .. } | DeviceError::NotADisk(_) | DeviceError::FileInDev(_)
        )
    };
    cause.is::<Refused>()
        || is(cause, of_open)
        || is(cause, of_device)
        || is(cause, |error| matches!(error, OutputError::Appeared(_)))
        || is(cause, KeyError::is_refusal)
        || is(cause, ImageError::is_refusal)
}

fn is_usage(cause: Cause<'_>) -> bool {
    let of_device = |error: &DeviceError| {
        matches!(
            error,
            DeviceError::Missing(_)
                | DeviceError::NoMedium(_)
                | DeviceError::Directory(_)
                | DeviceError::NotBlock(_)
        )
    };
    cause.is::<Usage>()
        || cause.is::<ManifestErrors>()
        || is(cause, of_device)
        || is(cause, ImageError::is_usage)
        || is(cause, |error| matches!(error, PlanError::Board { .. }))
        || is(cause, |error| matches!(error, ProvisionError::Exporter(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_words_are_told_without_its_numbers() {
        let error = std::io::Error::from_raw_os_error(2);
        let said = told(&anyhow::Error::from(error).context("reading x"));
        assert_eq!(said, "reading x: No such file or directory");
        for (text, wanted) in [
            (
                "x cannot be read (gone (os error 2)) or so",
                "x cannot be read (gone) or so",
            ),
            ("a (os error 1), b (os error 22)", "a, b"),
            ("a (os error ) (os error x", "a (os error ) (os error x"),
        ] {
            assert_eq!(told(&anyhow::anyhow!(text)), wanted);
        }
    }
}
