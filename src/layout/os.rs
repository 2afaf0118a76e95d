//! What operating system a base holds, as far as provisioning must know.

use std::fmt;
use std::str::FromStr;

/// What holds for every image of a generation. What differs between its releases is told
/// from their files, in [`super::detect`].
#[derive(Debug)]
pub struct Traits {
    /// Debian's name for the release: `Trixie`.
    pub name: &'static str,
    /// Where the running system mounts the boot partition.
    pub boot_mount: &'static str,
    /// Whether cloud-init is installed. It takes the settings then, and must be stopped
    /// where they come by another way.
    pub cloud_init: bool,
    /// Which images make a user of `userconf.txt`.
    pub userconf: Userconf,
    /// Whether dhcpcd sets fixed addresses, unless somebody chose NetworkManager.
    pub dhcpcd: bool,
    /// Whether time zones are known by old names, too: `US/Eastern`. Debian 13 has moved
    /// those to a package of their own, `tzdata-legacy`.
    pub old_zones: bool,
}

/// Which images of a generation make a user of `userconf.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Userconf {
    /// None.
    Never,
    /// Those released on this day, `YYYY-MM-DD`, or later.
    From(&'static str),
    /// All.
    Always,
}

/// One row for a generation, oldest first. So none is without its traits, and none is
/// missing from [`Generation::ALL`], by which tests look for it in all other lists.
macro_rules! generations {
    ($($(#[$doc:meta])* $variant:ident: $traits:expr,)+) => {
        /// A generation of Raspberry Pi OS, by the Debian release it is made from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Generation {
            $($(#[$doc])* $variant,)+
        }

        impl Generation {
            /// Every generation, oldest first.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What holds for every image of it.
            #[must_use]
            pub fn traits(self) -> &'static Traits {
                match self {
                    $(Self::$variant => &const { $traits },)+
                }
            }
        }
    };
}

generations! {
    /// Debian 10: images of 2020-02 to 2021-05, and "legacy" ones to 2023-05.
    Buster: Traits {
        name: "Buster",
        boot_mount: "/boot",
        cloud_init: false,
        userconf: Userconf::Never,
        dhcpcd: true,
        old_zones: true,
    },
    /// Debian 11: images of 2021-10 to 2024-07.
    Bullseye: Traits {
        name: "Bullseye",
        boot_mount: "/boot",
        cloud_init: false,
        userconf: Userconf::From("2022-04-04"),
        dhcpcd: true,
        old_zones: true,
    },
    /// Debian 12: images from 2023-10 on.
    Bookworm: Traits {
        name: "Bookworm",
        boot_mount: "/boot/firmware",
        cloud_init: false,
        userconf: Userconf::Always,
        dhcpcd: false,
        old_zones: true,
    },
    /// Debian 13: images from 2025-10 on.
    Trixie: Traits {
        name: "Trixie",
        boot_mount: "/boot/firmware",
        cloud_init: true,
        userconf: Userconf::Always,
        dhcpcd: false,
        old_zones: false,
    },
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traits().name)
    }
}

/// How a base takes its settings on first boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// NoCloud seed files on the boot partition, where there is cloud-init
    /// ([`Traits::cloud_init`]).
    CloudInit,
    /// `firstrun.sh`, started by `systemd.run=` on the kernel command line.
    Firstrun,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CloudInit => "cloud-init",
            Self::Firstrun => "firstrun",
        })
    }
}

/// Neither `cloud-init` nor `firstrun`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mechanism is `cloud-init` or `firstrun`, not `{0}`")]
pub struct UnknownMechanism(String);

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(text: &str) -> Result<Self, UnknownMechanism> {
        match text {
            "cloud-init" => Ok(Self::CloudInit),
            "firstrun" => Ok(Self::Firstrun),
            other => Err(UnknownMechanism(other.to_owned())),
        }
    }
}

/// Whose userland the image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 32-bit: the image carries `kernel.img` (`ARMv6`).
    Armhf,
    /// 64-bit only.
    Arm64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Armhf => "armhf",
            Self::Arm64 => "arm64",
        })
    }
}

/// The OS facts that provisioning and the plan build on, read from the boot
/// partition alone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Os {
    /// Raspberry Pi OS generation; `None` for third-party systems, whose
    /// mechanism the user named.
    pub generation: Option<Generation>,
    /// How settings are applied on first boot.
    pub mechanism: Mechanism,
    /// Where the running system mounts the boot partition: `/boot` or
    /// `/boot/firmware`.
    pub boot_mount: &'static str,
    /// Release date of the image, `YYYY-MM-DD`, from `issue.txt`.
    pub release: Option<String>,
    /// pi-gen stage: 2 is Lite, 4 and 5 are desktop images.
    pub stage: Option<u8>,
    /// Userland architecture.
    pub arch: Arch,
    /// Whether `userconf.txt` is understood ([`Userconf`]).
    pub userconf: bool,
    /// The tokens of a first boot are gone: the image has booted, or was edited.
    pub booted: bool,
    /// `cmdline.txt` as it stands in the base.
    #[serde(skip)]
    pub cmdline: String,
    /// `config.txt` as it stands in the base.
    #[serde(skip)]
    pub config: String,
}

impl Os {
    /// `Raspberry Pi OS Lite, Trixie of 2026-06-18, arm64`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Some(generation) = self.generation else {
            return format!("not Raspberry Pi OS, {}", self.arch);
        };
        let edition = match self.stage {
            Some(2) => " Lite",
            Some(4..) => " with desktop",
            _ => "",
        };
        let date = self
            .release
            .as_deref()
            .map(|date| format!(" of {date}"))
            .unwrap_or_default();
        format!(
            "Raspberry Pi OS{edition}, {generation}{date}, {}",
            self.arch
        )
    }
}
