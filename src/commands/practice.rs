//! The practice base: tiny, real, and in the binary. `images/` has its recipe.

/// Its image: MBR, FAT32 and ext4, laid out as Raspberry Pi OS.
pub(super) static PRACTICE_IMAGE: &[u8] = include_bytes!("../../images/practice.img.xz");
