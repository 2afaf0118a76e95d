//! Raspberry Pi boards and what each needs on a boot partition.

use std::fmt;
use std::str::FromStr;

/// A Raspberry Pi board, by the name the manifest uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Board(&'static Row);

#[derive(PartialEq, Eq, Hash)]
struct Row {
    name: &'static str,
    model: &'static str,
    /// Kernels the firmware of this board looks for, best first.
    kernels: &'static [&'static str],
    /// Device trees of which at least one must be there.
    dtbs: &'static [&'static str],
    /// Whether the cores understand the 64-bit instruction set.
    armv8: bool,
    /// Whether the board has Wi-Fi.
    wifi: bool,
}

const ARMV6: &[&str] = &["kernel.img"];
const ARMV7: &[&str] = &["kernel7.img"];
const ARMV8: &[&str] = &["kernel8.img", "kernel7.img"];
const PI4: &[&str] = &["kernel8.img", "kernel7l.img"];
const PI5: &[&str] = &["kernel_2712.img", "kernel8.img"];

macro_rules! board {
    ($name:literal, $model:literal, $kernels:expr, [$($dtb:literal),+], $armv8:literal, $wifi:literal) => {
        Row { name: $name, model: $model, kernels: $kernels, dtbs: &[$($dtb),+], armv8: $armv8, wifi: $wifi }
    };
}

/// Kernel names: Raspberry Pi documentation, "config.txt: kernel"; device
/// trees: `raspberrypi/linux`, `arch/arm{,64}/boot/dts/broadcom`.
static BOARDS: &[Row] = &[
    board!(
        "pi-1a",
        "Raspberry Pi 1 A",
        ARMV6,
        ["bcm2708-rpi-b.dtb", "bcm2708-rpi-b-rev1.dtb"],
        false,
        false
    ),
    board!(
        "pi-1a+",
        "Raspberry Pi 1 A+",
        ARMV6,
        ["bcm2708-rpi-b-plus.dtb"],
        false,
        false
    ),
    board!(
        "pi-1b",
        "Raspberry Pi 1 B",
        ARMV6,
        ["bcm2708-rpi-b.dtb", "bcm2708-rpi-b-rev1.dtb"],
        false,
        false
    ),
    board!(
        "pi-1b+",
        "Raspberry Pi 1 B+",
        ARMV6,
        ["bcm2708-rpi-b-plus.dtb"],
        false,
        false
    ),
    board!(
        "pi-zero",
        "Raspberry Pi Zero",
        ARMV6,
        ["bcm2708-rpi-zero.dtb"],
        false,
        false
    ),
    board!(
        "pi-zero-w",
        "Raspberry Pi Zero W",
        ARMV6,
        ["bcm2708-rpi-zero-w.dtb"],
        false,
        true
    ),
    board!(
        "cm1",
        "Compute Module 1",
        ARMV6,
        ["bcm2708-rpi-cm.dtb"],
        false,
        false
    ),
    board!(
        "pi-2b",
        "Raspberry Pi 2 B",
        ARMV7,
        ["bcm2709-rpi-2-b.dtb"],
        false,
        false
    ),
    board!(
        "pi-2b-v1.2",
        "Raspberry Pi 2 B v1.2",
        ARMV8,
        ["bcm2710-rpi-2-b.dtb"],
        true,
        false
    ),
    board!(
        "pi-zero-2w",
        "Raspberry Pi Zero 2 W",
        ARMV8,
        ["bcm2710-rpi-zero-2-w.dtb", "bcm2710-rpi-zero-2.dtb"],
        true,
        true
    ),
    board!(
        "pi-3a+",
        "Raspberry Pi 3 A+",
        ARMV8,
        ["bcm2710-rpi-3-b-plus.dtb"],
        true,
        true
    ),
    board!(
        "pi-3b",
        "Raspberry Pi 3 B",
        ARMV8,
        ["bcm2710-rpi-3-b.dtb"],
        true,
        true
    ),
    board!(
        "pi-3b+",
        "Raspberry Pi 3 B+",
        ARMV8,
        ["bcm2710-rpi-3-b-plus.dtb"],
        true,
        true
    ),
    board!(
        "cm3",
        "Compute Module 3",
        ARMV8,
        ["bcm2710-rpi-cm3.dtb"],
        true,
        false
    ),
    board!(
        "pi-4b",
        "Raspberry Pi 4 B",
        PI4,
        ["bcm2711-rpi-4-b.dtb"],
        true,
        true
    ),
    board!(
        "pi-400",
        "Raspberry Pi 400",
        PI4,
        ["bcm2711-rpi-400.dtb"],
        true,
        true
    ),
    board!(
        "cm4",
        "Compute Module 4",
        PI4,
        ["bcm2711-rpi-cm4.dtb"],
        true,
        true
    ),
    board!(
        "pi-5",
        "Raspberry Pi 5",
        PI5,
        [
            "bcm2712-rpi-5-b.dtb",
            "bcm2712d0-rpi-5-b.dtb",
            "bcm2712-d-rpi-5-b.dtb"
        ],
        true,
        true
    ),
    board!(
        "pi-500",
        "Raspberry Pi 500",
        PI5,
        ["bcm2712-rpi-500.dtb"],
        true,
        true
    ),
    board!(
        "cm5",
        "Compute Module 5",
        PI5,
        ["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm4io.dtb"],
        true,
        true
    ),
];

/// A board name that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown board `{0}`")]
pub struct UnknownBoard(pub String);

impl Board {
    /// Every board, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        BOARDS.iter().map(Self)
    }

    /// The name the manifest uses: `pi-4b`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The name on the box: `Raspberry Pi 4 B`.
    #[must_use]
    pub fn model(self) -> &'static str {
        self.0.model
    }

    /// Whether the board can run a 64-bit system at all.
    #[must_use]
    pub fn is_armv8(self) -> bool {
        self.0.armv8
    }

    /// Whether the cores understand `ARMv6` only: a Pi 1, a Zero or a CM1.
    #[must_use]
    pub fn is_armv6(self) -> bool {
        self.0.kernels == ARMV6
    }

    /// Whether the board has Wi-Fi.
    #[must_use]
    pub fn has_wifi(self) -> bool {
        self.0.wifi
    }

    /// Whether a boot partition with these files (lower-case names) boots the
    /// board: one of its kernels and one of its device trees is there.
    pub fn boots_from(self, has_file: impl Fn(&str) -> bool) -> bool {
        self.0.kernels.iter().any(|name| has_file(name))
            && self.0.dtbs.iter().any(|name| has_file(name))
    }
}

impl FromStr for Board {
    type Err = UnknownBoard;

    fn from_str(text: &str) -> Result<Self, UnknownBoard> {
        BOARDS
            .iter()
            .find(|row| row.name == text)
            .map(Self)
            .ok_or_else(|| UnknownBoard(text.to_owned()))
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl serde::Serialize for Board {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}
