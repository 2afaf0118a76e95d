//! Names that a manifest may use instead of a path.

use super::Usage;

/// The practice base: tiny, real, and in the binary. `images/` has its recipe.
pub(super) const PRACTICE: &str = "practice";
/// Its image: MBR, FAT32 and ext4, laid out as Raspberry Pi OS.
pub(super) static PRACTICE_IMAGE: &[u8] = include_bytes!("../../images/practice.img.xz");

/// Name and where Raspberry Pi publishes the newest image of it.
const NAMES: [(&str, &str); 2] = [
    (
        "raspios-lite-arm64",
        "https://downloads.raspberrypi.com/raspios_lite_arm64_latest",
    ),
    (
        "raspios-lite-armhf",
        "https://downloads.raspberrypi.com/raspios_lite_armhf_latest",
    ),
];

/// What to do about an image that is named and not here.
pub(super) fn not_here(name: &str, key: &str) -> Usage {
    let address = NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, address)| address);
    Usage(match address {
        Some(address) => format!(
            "`{name}` is not on this computer, and this version of cardmint does not download. \
             Download it from {address} and set `{key}` in cluster.toml to the file's path, such \
             as `image = \"2026-06-18-raspios-trixie-arm64-lite.img.xz\"`"
        ),
        None => format!(
            "`{name}` is neither a file nor a name that cardmint knows ({}, {PRACTICE}). \
             Set `{key}` in cluster.toml to the path of an image",
            NAMES.map(|(known, _)| known).join(", ")
        ),
    })
}
