//! Cards that break while they are written: real block devices, made bad by an
//! nbdkit plugin (`bad-card.py`) behind a loop device.
//!
//! `tests/run faults` runs these; they need root, nbdkit and FUSE, so that a
//! plain `cargo test` leaves them out. In each: the right message, the right
//! exit code, no other card harmed, `cluster.lock` true, and no bad card boots.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "shared with tests/it, which uses all of it")]
mod harness;

mod asked;
mod cards;
mod rig;
mod rights;
mod signals;
