//! Boots what cardmint makes, under QEMU, as a Pi's firmware would, and logs in.
//!
//! `tests/run boot` runs these; they need root, QEMU and a few minutes each, so
//! that a plain `cargo test` leaves them out. The bases are Debian with
//! stand-ins for what Raspberry Pi's packages do on a first boot (`make-base`,
//! `vendor/`), for amd64, since that is emulated quickest and the scripts and
//! units under test are the same on every processor. `CARDMINT_BOOT_ARCH=arm64`
//! makes them for a Pi's.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say on standard error what they skip"
)]

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "shared with tests/it, which uses all of it")]
mod harness;

mod card;
mod cluster;
#[path = "../it/monitoring/dashboard.rs"]
#[allow(dead_code, reason = "shared with tests/it, which uses all of it")]
mod dashboard;
mod facts;
mod first_boot;
mod lan;
mod machine;
mod power_cut;
mod secrets;
mod side_by_side;
mod used;
mod wire;
