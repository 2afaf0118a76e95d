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

/// A target, by the name of its program in `fuzz/Cargo.toml`.
type Target = (&'static str, fn(&[u8]));

/// All targets, in the order of their names.
const TARGETS: &[Target] = &[
    ("bmap", layout::bmap),
    ("boot_text", boot::text),
    ("card_text", card::text),
    ("disk", layout::disk),
    ("exporter", cluster::exporter),
    ("ext4", layout::ext4),
    ("fat", boot::fat),
    ("fat32", boot::fat32),
    ("manifest", cluster::manifest),
    ("os_list", base::os_list),
    ("packed", spool::packed),
    ("record", cluster::record),
    ("signature", base::signature),
    ("status", status::answers),
    ("xz_block", base::xz_block),
    ("xz_index", base::xz_index),
    ("zip", spool::zip),
    ("zst_table", base::zst_table),
];

/// Gives `bytes` to the target `name`.
///
/// # Panics
/// Where a promise is broken, and where there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("fuzz/Cargo.toml and TARGETS have the same names");
    target(bytes);
}
