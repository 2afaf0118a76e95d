//! What `fuzz/` calls: each target takes any bytes, hands them to the readers of
//! one kind of input that nobody vouches for, and panics where one of them breaks
//! its promise. `cargo test` does the same with the bytes stored in `fuzz/corpus`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken promise has to panic"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths here are bounded before"
)]

mod base;
mod boot;
mod card;
mod cluster;
mod image;
mod layout;
#[cfg(test)]
mod replay;
mod spool;
mod status;

/// Makes [`run`] of targets by the names of their programs in `fuzz/Cargo.toml`.
macro_rules! targets {
    ($($name:literal: $target:path,)*) => {
        /// The names of all targets, in order.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];

        /// Gives `bytes` to the target `name`.
        ///
        /// Inlined, so that the program of one target is linked without the others: a
        /// fuzzer looks through all there is, used or not, after each input.
        ///
        /// # Panics
        /// Where a promise is broken, and where there is no such target.
        #[inline(always)]
        pub fn run(name: &str, bytes: &[u8]) {
            match name {
                $($name => $target(bytes),)*
                _ => panic!("fuzz/Cargo.toml has a target {name}, and this has not"),
            }
        }
    };
}

targets! {
    "bmap": layout::bmap,
    "boot_text": boot::text,
    "card_text": card::text,
    "disk": layout::disk,
    "exporter": cluster::exporter,
    "ext4": layout::ext4,
    "fat": boot::fat,
    "fat32": boot::fat32,
    "manifest": cluster::manifest,
    "os_list": base::os_list,
    "packed": spool::packed,
    "record": cluster::record,
    "signature": base::signature,
    "status": status::answers,
    "xz_block": base::xz_block,
    "xz_index": base::xz_index,
    "zip": spool::zip,
    "zst_table": base::zst_table,
}
