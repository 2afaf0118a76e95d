//! A card: a block device, or a file that stands in for one.
//!
//! Facts only. [`sysfs`] gathers them, [`device`] is what they look like, and
//! [`content`] tells what is on a card now. Whether a card may be written is
//! decided elsewhere, in [`crate::plan::guard`].

pub mod content;
pub mod device;
pub mod printable;
pub mod size;
pub mod sysfs;
#[cfg(test)]
mod tests;

pub use content::Content;
pub use device::{Bus, Device, DeviceId, HolderKind, Kind, Use};
pub use printable::{printable, printable_path};
pub use size::Size;
pub use sysfs::{DeviceError, System};
