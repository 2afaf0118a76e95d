//! A card: a block device, or a file that stands in for one.
//!
//! First the facts: [`sysfs`] gathers them, [`device`] is what they look like,
//! and [`content`] and [`remains`] tell what is on a card now. Whether a card may be written is
//! decided elsewhere, in [`crate::plan::guard`]. Then the work: [`open`] has the
//! card for nobody else, with the help of [`udisks`] or a [`broker`] where we may
//! not open it ourselves, and the [`engine`] writes many from one reading of the
//! base and reads each back past every cache.

pub mod broker;
pub mod content;
pub mod device;
pub mod engine;
mod error;
pub mod handed;
mod ioctl;
pub mod medium;
pub mod open;
pub mod printable;
pub mod remains;
pub mod size;
mod sudo;
pub mod sysfs;
#[cfg(test)]
mod tests;
pub mod udisks;
pub mod uevents;

pub use content::Content;
pub use device::{Bus, Device, DeviceId, HolderKind, Kind, Use};
pub use engine::{Flash, Job, Outcome, Written};
pub use error::CardError;
pub use handed::{HandError, Handed};
pub use medium::Medium;
pub use open::{OpenCard, OpenError};
pub use printable::{printable, printable_path, shell_word};
pub use size::Size;
pub(crate) use sudo::{shown_command, sudo_again};
pub use sysfs::{DeviceError, System};

/// An error and what caused it, in one line.
fn whole_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}
