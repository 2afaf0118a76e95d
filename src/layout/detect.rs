//! Which system a boot partition belongs to. Pure: it looks at names and texts.
//!
//! The signs were read from pi-gen's tags and the packages
//! `raspberrypi-sys-mods` and `raspi-config`; `docs/first-boot.md` lists them.
//! Signs tell the generation and which of its releases an image is; what all its
//! releases have in common is in [`Generation::traits`].

use super::boot::BootPartition;
use super::os::{Arch, Generation, Mechanism, Os, Userconf};

/// First Bullseye image.
const FIRST_BULLSEYE: &str = "2021-10-30";
/// The one Trixie release whose cloud-init seeds were left out of the image.
const TRIXIE_WITHOUT_SEEDS: &str = "2025-10-01";
/// `init=` of Buster and early Bullseye.
const INIT_RESIZE: &str = "init=/usr/lib/raspi-config/init_resize.sh";
/// `init=` of later Bullseye and of Bookworm.
const INIT_SYS_MODS: &str = "init=/usr/lib/raspberrypi-sys-mods/firstboot";
/// Trixie's token for its initramfs.
const RESIZE: &str = "resize";
/// What a first boot takes off the kernel command line, whichever the generation.
const FIRST_BOOT_TOKENS: [&str; 3] = [RESIZE, INIT_SYS_MODS, INIT_RESIZE];

/// Why a base cannot be provisioned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// Not made by pi-gen: nothing says which mechanism it understands.
    #[error(
        "this is not Raspberry Pi OS{}, so cardmint cannot tell how it takes its settings. \
         Say so with --mechanism cloud-init or --mechanism firstrun",
        label.as_deref().map(|label| format!(" (label `{label}`)")).unwrap_or_default()
    )]
    ThirdParty {
        /// Label of the boot partition, where it tells something.
        label: Option<String>,
    },
    /// Somebody's settings are already on it.
    #[error("this image is no stock image: {0}. Build from the image as it was published")]
    Customised(String),
}

struct Signs<'a> {
    boot: &'a BootPartition,
    cmdline: &'a str,
    config: &'a str,
    release: Option<String>,
}

/// Tells which system is on a boot partition.
///
/// `forced` overrules the mechanism, and makes third-party images acceptable.
///
/// # Errors
/// [`DetectError::ThirdParty`] without `forced`. A customised image is no error
/// here: see [`customised`].
pub fn detect(boot: &BootPartition, forced: Option<Mechanism>) -> Result<Os, DetectError> {
    let signs = Signs {
        boot,
        cmdline: boot.cmdline.as_deref().unwrap_or_default(),
        config: boot.config.as_deref().unwrap_or_default(),
        release: boot.issue.as_deref().and_then(release_date),
    };
    let is_pi_gen = boot
        .issue
        .as_deref()
        .is_some_and(|issue| issue.contains("pi-gen"));
    let generation = (is_pi_gen && boot.label != "system-boot").then(|| signs.generation());
    let mechanism = match (forced, generation) {
        (Some(forced), _) => forced,
        (None, Some(generation)) => signs.mechanism(generation),
        (None, None) => {
            let label = (!boot.label.is_empty()).then(|| boot.label.clone());
            return Err(DetectError::ThirdParty { label });
        }
    };
    let boot_mount = match generation {
        Some(generation) => generation.traits().boot_mount,
        None if mechanism == Mechanism::CloudInit || signs.has_initramfs() => "/boot/firmware",
        None => "/boot",
    };
    let userconf = match generation.map_or(Userconf::Never, |it| it.traits().userconf) {
        Userconf::Never => false,
        Userconf::From(first) => signs.is_from(first),
        Userconf::Always => true,
    };
    Ok(Os {
        generation,
        mechanism,
        boot_mount,
        stage: boot.issue.as_deref().and_then(stage),
        arch: if boot.has("kernel.img") {
            Arch::Armhf
        } else {
            Arch::Arm64
        },
        userconf,
        booted: !signs.has_first_boot_token(),
        cmdline: signs.cmdline.to_owned(),
        config: signs.config.to_owned(),
        release: signs.release,
    })
}

impl Signs<'_> {
    fn has_token(&self, token: &str) -> bool {
        self.cmdline.split_whitespace().any(|word| word == token)
    }

    fn has_initramfs(&self) -> bool {
        self.config
            .lines()
            .any(|line| line.trim() == "auto_initramfs=1")
            || self
                .boot
                .entries
                .iter()
                .any(|entry| entry.name.starts_with("initramfs"))
    }

    fn has_seeds(&self) -> bool {
        self.boot.has("user-data") && self.boot.has("meta-data")
    }

    fn has_first_boot_token(&self) -> bool {
        FIRST_BOOT_TOKENS
            .into_iter()
            .any(|token| self.has_token(token))
    }

    /// Whether it was released on this day or later. Not where no date is told.
    fn is_from(&self, day: &str) -> bool {
        self.release.as_deref().is_some_and(|date| date >= day)
    }

    /// Newest first, since a generation keeps signs of those before it: a new one goes on
    /// top, with a sign that the others lack and that a first boot leaves in place. Until
    /// then its images count as the newest generation whose signs they have.
    fn generation(&self) -> Generation {
        let has_init = self
            .cmdline
            .split_whitespace()
            .any(|word| word.starts_with("init="));
        if self.has_seeds() || (self.has_token(RESIZE) && !has_init) {
            Generation::Trixie
        } else if self.has_initramfs() {
            // A booted image without seeds may be a Trixie of 2025-10-01; what
            // we write for Bookworm works there too.
            Generation::Bookworm
        } else if self.has_token(INIT_SYS_MODS)
            || (self.is_from(FIRST_BULLSEYE) && self.config.contains("vc4-kms-v3d"))
        {
            Generation::Bullseye
        } else {
            Generation::Buster
        }
    }

    /// An image with cloud-init takes its settings by it, except for one release.
    fn mechanism(&self, generation: Generation) -> Mechanism {
        let without_seeds =
            !self.has_seeds() && self.release.as_deref() == Some(TRIXIE_WITHOUT_SEEDS);
        if generation.traits().cloud_init && !without_seeds {
            Mechanism::CloudInit
        } else {
            Mechanism::Firstrun
        }
    }
}

/// What shows that somebody has already put settings on this image, if
/// anything does. The message names it.
#[must_use]
pub fn customised(boot: &BootPartition) -> Option<String> {
    let reason = reason(boot)?;
    // It quotes the image, and a terminal would obey.
    Some(reason.replace(char::is_control, "\u{fffd}"))
}

fn reason(boot: &BootPartition) -> Option<String> {
    if let Some(marker) = &boot.marker {
        let node = marker
            .lines()
            .find_map(|line| line.strip_prefix("hostname = "))
            .map_or("a node", |name| name.trim_matches('"'));
        return Some(format!("cardmint has already made it the card of {node}"));
    }
    let cmdline = boot.cmdline.as_deref().unwrap_or_default();
    if let Some(token) = cmdline
        .split_whitespace()
        .find(|word| word.starts_with("systemd.run=") || word.starts_with("ds=nocloud"))
    {
        return Some(format!("its cmdline.txt already has `{token}`"));
    }
    const SETTINGS: [&str; 5] = [
        "firstrun.sh",
        "custom.toml",
        "userconf",
        "userconf.txt",
        "wpa_supplicant.conf",
    ];
    if let Some(name) = SETTINGS.into_iter().find(|name| boot.has(name)) {
        return Some(format!("it already holds `{name}`"));
    }
    let user_data = boot.user_data.as_deref().unwrap_or_default();
    user_data
        .lines()
        .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .then(|| "its user-data is already filled in".to_owned())
}

/// `Raspberry Pi reference 2026-06-18` → `2026-06-18`.
fn release_date(issue: &str) -> Option<String> {
    let is_date = |word: &&str| {
        word.len() == 10
            && word.bytes().enumerate().all(|(i, byte)| match i {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    issue
        .lines()
        .next()?
        .split_whitespace()
        .find(is_date)
        .map(str::to_owned)
}

/// `…, stage2` → 2.
fn stage(issue: &str) -> Option<u8> {
    issue
        .split_whitespace()
        .find_map(|word| word.strip_prefix("stage")?.parse().ok())
}
