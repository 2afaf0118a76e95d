//! Whether a card may be written. Pure: it judges facts that [`crate::card`]
//! gathered.
//!
//! Nothing that a user may say turns a refusal into leave, but for the two that
//! name their own way out: `--unmount` and `--allow-fixed`.

use std::path::{Path, PathBuf};

use crate::card::{Device, HolderKind, Kind, Size, Use, printable, printable_path, shell_word};

/// More reasons of one kind than this are not named one by one.
const MAX_NAMED: usize = 3;
/// What the running system mounts there is its own, whichever disk it is on.
const SYSTEM_DIRS: [&str; 18] = [
    "boot", "efi", "usr", "var", "etc", "opt", "srv", "root", "nix", "gnu", "lib", "bin", "sbin",
    "sysroot", "ostree", "cdrom", "snap", "dev",
];

/// What is asked of a card, and which disks are none.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Bytes that the image needs.
    pub len: u64,
    /// Whether the user wants fixed disks and loop devices written.
    pub allow_fixed: bool,
    /// Disks that must never be written: name and reason, `holds /`. A file is
    /// named by its path.
    pub protected: Vec<(String, String)>,
}

/// Why a card may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The running system, or what we read from, is on it.
    #[error("{}: cardmint never writes to such a disk. Take another", some(.0))]
    System(
        /// What it holds: `holds /`.
        Vec<String>,
    ),
    /// The kernel built something on it.
    #[error(
        "{} {}. If this is the right disk, first {}",
        printable_path(partition),
        belongs(*what, holder),
        release(*what, node)
    )]
    InUse {
        /// The partition or disk that is built upon.
        partition: PathBuf,
        /// Name of the device on top.
        holder: String,
        /// Its node, by the name that tools want.
        node: PathBuf,
        /// What that device is.
        what: HolderKind,
    },
    /// The system swaps to it.
    #[error(
        "the system swaps to {}. If this is the right disk, first turn that off (swapoff {})",
        printable_path(.0),
        shell_word(.0)
    )]
    Swap(
        /// The partition or file.
        PathBuf,
    ),
    /// A file system on it is mounted.
    #[error(
        "{} is mounted at {}: unmount it (umount {}){}",
        printable_path(source_node),
        printable_path(at),
        mount_argument(source_node, at),
        if *can_unmount { ", or let cardmint do so with --unmount" } else { "" }
    )]
    Mounted {
        /// The partition, or the volume on top of it.
        source_node: PathBuf,
        /// Where.
        at: PathBuf,
        /// Whether we may unmount it.
        can_unmount: bool,
    },
    /// Nobody can write to it.
    #[error("is write-protected: {}", unlock(*.0))]
    ReadOnly(
        /// Sort of thing.
        Kind,
    ),
    /// The image does not fit.
    #[error(
        "too small: {}, the image needs {}, {} more",
        Size(*have),
        Size(*need),
        Size(need.saturating_sub(*have))
    )]
    TooSmall {
        /// Length of the card in bytes.
        have: u64,
        /// Length of the image in bytes.
        need: u64,
    },
    /// More likely somebody's disk than a card.
    #[error("is a fixed disk{}: --allow-fixed if you are sure", bracketed(.0))]
    Fixed(
        /// What it is.
        String,
    ),
}

impl Refusal {
    /// One word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::System(_) => "system",
            Self::InUse { .. } => "in-use",
            Self::Swap(_) => "swap",
            Self::Mounted { .. } => "mounted",
            Self::ReadOnly(_) => "read-only",
            Self::TooSmall { .. } => "too-small",
            Self::Fixed(_) => "fixed",
        }
    }

    /// Whether unmounting, which cardmint may do, takes this reason away.
    #[must_use]
    pub fn can_unmount(&self) -> bool {
        matches!(
            self,
            Self::Mounted {
                can_unmount: true,
                ..
            }
        )
    }
}

/// Every reason why the card may not be written, gravest first. None: it may.
///
/// A disk of the running system gets that one reason alone: every other would
/// be advice on how to get at it.
#[must_use]
pub fn refusals(device: &Device, demands: &Demands) -> Vec<Refusal> {
    if let Some(system) = system(device, demands) {
        return vec![system];
    }
    let mut refusals: Vec<Refusal> = in_use(device).collect();
    // What is built on a partition keeps us from unmounting on our own.
    let is_simple = refusals.is_empty() && device.is_portable();
    refusals.extend(device.uses.iter().filter_map(|one| match one {
        Use::Mounted { source, at } => Some(Refusal::Mounted {
            source_node: source.clone(),
            at: at.clone(),
            can_unmount: is_simple,
        }),
        _ => None,
    }));
    if device.read_only {
        refusals.push(Refusal::ReadOnly(device.kind));
    }
    if device.len() < demands.len {
        refusals.push(Refusal::TooSmall {
            have: device.len(),
            need: demands.len,
        });
    }
    if device.is_fixed() && !demands.allow_fixed {
        refusals.push(Refusal::Fixed(describe(device)));
    }
    refusals
}

fn system(device: &Device, demands: &Demands) -> Option<Refusal> {
    let mut mounts: Vec<&Path> = device
        .uses
        .iter()
        .filter_map(|one| match one {
            Use::Mounted { at, .. } if is_system_path(at) => Some(at.as_path()),
            _ => None,
        })
        .collect();
    mounts.sort();
    let mut reasons: Vec<String> = mounts
        .into_iter()
        .map(|at| format!("holds {}", printable_path(at)))
        .collect();
    for (name, why) in &demands.protected {
        if *name == device.name && !reasons.contains(why) {
            reasons.push(why.clone());
        }
    }
    (!reasons.is_empty()).then_some(Refusal::System(reasons))
}

fn in_use(device: &Device) -> impl Iterator<Item = Refusal> {
    device.uses.iter().filter_map(|one| match one {
        Use::Holder {
            partition,
            holder,
            node,
            what,
        } => Some(Refusal::InUse {
            partition: partition.clone(),
            holder: holder.clone(),
            node: node.clone(),
            what: *what,
        }),
        Use::Swap(path) => Some(Refusal::Swap(path.clone())),
        Use::Mounted { .. } => None,
    })
}

/// Whether the running system is what is mounted there. Homes are: `/home` and
/// each directory in it, but not what a user mounts deeper inside.
fn is_system_path(at: &Path) -> bool {
    let parts: Vec<_> = at
        .iter()
        .skip(1)
        .map(|part| part.to_string_lossy())
        .collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match parts.as_slice() {
        [] => true,
        ["home", deeper @ ..] => deeper.len() < 2,
        // What desktops mount for their users; all else there is the system's,
        // such as the medium that a live system runs from.
        ["run", "media", ..] => false,
        ["run", ..] | ["tmp"] => true,
        [first, ..] => SYSTEM_DIRS.contains(first),
    }
}

/// `holds /, /home and 2 more`: what they have in common is said once.
fn some(reasons: &[String]) -> String {
    let mut text = String::new();
    for (index, reason) in reasons.iter().take(MAX_NAMED).enumerate() {
        if index == 0 {
            text.push_str(reason);
        } else {
            text.push_str(", ");
            text.push_str(reason.strip_prefix("holds ").unwrap_or(reason));
        }
    }
    match reasons.len().saturating_sub(MAX_NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn belongs(what: HolderKind, holder: &str) -> String {
    match what {
        HolderKind::Lvm => format!("belongs to LVM ({holder})"),
        HolderKind::Crypt => format!("holds an encrypted volume that is open ({holder})"),
        HolderKind::Raid => format!("is a member of a RAID array ({holder})"),
        HolderKind::Loop => format!("is behind a loop device ({holder})"),
        HolderKind::Zfs => "is a member of a ZFS pool".to_owned(),
        HolderKind::Other => format!("is in use by {holder}"),
    }
}

fn release(what: HolderKind, node: &Path) -> String {
    let name = Path::new(node.file_name().unwrap_or_default());
    match what {
        HolderKind::Lvm => format!("deactivate the volume (lvchange -an {})", shell_word(node)),
        HolderKind::Crypt => format!("close it (cryptsetup close {})", shell_word(name)),
        HolderKind::Raid => format!("stop the array (mdadm --stop {})", shell_word(node)),
        HolderKind::Loop => format!("detach it (losetup -d {})", shell_word(node)),
        HolderKind::Zfs => "export the pool and clear its label (zpool labelclear)".to_owned(),
        HolderKind::Other => format!("stop what uses {}", printable_path(node)),
    }
}

fn unlock(kind: Kind) -> &'static str {
    match kind {
        Kind::SdInReader | Kind::SdInSlot => {
            "slide the lock switch on the card or its adapter the other way and insert it again. \
             If that does not help, the card is worn out"
        }
        Kind::File => "make the file writable (chmod u+w), or give another",
        _ => "look for a switch on it; if there is none, it is worn out or set to read-only",
    }
}

/// What a fixed disk is, beyond being a disk.
fn describe(device: &Device) -> String {
    let kind = match device.kind {
        Kind::Disk => String::new(),
        kind => kind.to_string(),
    };
    let backing = device.backing.as_deref();
    let parts = [
        kind,
        printable(&device.model),
        backing.map_or_else(String::new, |file| format!("of {}", printable_path(file))),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn bracketed(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

/// What to give to `umount`: the mount point, or the node where the mount point
/// cannot be typed.
fn mount_argument(source: &Path, at: &Path) -> String {
    match at.to_str() {
        Some(text) if printable(text) == text => shell_word(at),
        _ => shell_word(source),
    }
}
