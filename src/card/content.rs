//! What is on a card now, told before it is overwritten.
//!
//! Read from bytes that nobody vouches for: whatever is not understood is
//! called so, and nothing here fails.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use super::printable::printable;
use crate::base::ReadAt;
use crate::base::read_at::RawFile;
use crate::layout::disk::{DiskError, Partition};
use crate::layout::ext4::Ext4;
use crate::layout::fat::BootSector;
use crate::layout::{Disk, Layout, detect};
use crate::provision::marker::Marker;

/// As much as is looked at before a card is called blank.
const LOOK_LEN: u64 = 1 << 20;
/// More partitions than this are not named one by one.
const MAX_NAMED: usize = 4;

/// Signs of what is not looked into any further: offset, bytes, name.
const SIGNS: [(u64, &[u8], &str); 10] = [
    (3, b"EXFAT   ", "exFAT"),
    (3, b"NTFS    ", "NTFS"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (512, b"LABELONE", "an LVM volume"),
    (0, b"XFSB", "XFS"),
    (4086, b"SWAPSPACE2", "swap space"),
    (65_600, b"_BHRfS_M", "btrfs"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (32_769, b"CD001", "a CD image"),
];

/// What is on a card now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A node that cardmint made.
    Node {
        /// Its hostname.
        hostname: String,
        /// Its cluster.
        cluster: String,
        /// cloud-init's instance-id: tells which minting of the node it is.
        instance_id: String,
    },
    /// A system for the Raspberry Pi that is not cardmint's, described.
    System(String),
    /// A partition table, with what is in each partition.
    Partitions(Vec<String>),
    /// No partition table, but something known.
    Whole(String),
    /// Bytes that mean nothing to us.
    Unknown,
    /// Zeros where anything would begin.
    Blank,
    /// It cannot be read, with the reason.
    Unreadable(String),
}

impl Content {
    /// Looks at a device or file.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        match File::open(path).and_then(RawFile::new) {
            Ok(source) => Self::of(&source),
            Err(error) => Self::unreadable(&error),
        }
    }

    /// What cannot be read, and why.
    #[must_use]
    pub fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable(reason(error))
    }

    /// Looks at bytes.
    #[must_use]
    pub fn of(source: &dyn ReadAt) -> Self {
        let whole = Partition {
            number: 0,
            offset: 0,
            len: source.len(),
            type_id: String::new(),
        };
        // A file system without a table ends its first sector like a table.
        if let Some(what) = file_system(source, &whole) {
            return Self::Whole(what);
        }
        match Disk::read(source) {
            Ok(disk) => pi(source).unwrap_or_else(|| partitions(source, &disk)),
            Err(DiskError::Io(error)) => Self::Unreadable(reason(&error)),
            Err(DiskError::Damaged(_) | DiskError::Truncated { .. }) => Self::Unknown,
            Err(DiskError::NoTable | DiskError::Empty) => match is_zero(source) {
                Ok(true) => Self::Blank,
                Ok(false) => Self::Unknown,
                Err(error) => Self::Unreadable(reason(&error)),
            },
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node {
                hostname, cluster, ..
            } => write!(f, "{hostname} of {cluster} (cardmint)"),
            Self::System(what) => write!(f, "{what}, not cardmint's"),
            Self::Partitions(parts) => {
                let plural = if parts.len() == 1 { "" } else { "s" };
                let named = parts[..parts.len().min(MAX_NAMED)].join(", ");
                let more = if parts.len() > MAX_NAMED { ", …" } else { "" };
                write!(f, "{} partition{plural}: {named}{more}", parts.len())
            }
            Self::Whole(what) => write!(f, "{what}, without partitions"),
            Self::Unknown => f.write_str("something unknown"),
            Self::Blank => f.write_str("nothing (blank)"),
            Self::Unreadable(why) => write!(f, "unreadable: {why}"),
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A system that a Raspberry Pi boots, or `None`.
fn pi(source: &dyn ReadAt) -> Option<Content> {
    let layout = Layout::read(source).ok()?;
    let marker = layout.boot.marker.as_deref();
    if let Some(marker) = marker.and_then(|text| Marker::parse(text).ok()) {
        return Some(Content::Node {
            hostname: printable(&marker.hostname),
            cluster: printable(&marker.cluster),
            instance_id: marker.instance_id,
        });
    }
    Some(Content::System(match detect::detect(&layout.boot, None) {
        Ok(os) => printable(&os.describe()),
        Err(_) => format!(
            "a system for the Raspberry Pi ({})",
            labelled(layout.boot.kind, &layout.boot.label)
        ),
    }))
}

fn partitions(source: &dyn ReadAt, disk: &Disk) -> Content {
    let parts = disk.partitions.iter();
    Content::Partitions(
        parts
            .map(|part| file_system(source, part).unwrap_or_else(|| "unknown".to_owned()))
            .collect(),
    )
}

fn file_system(source: &dyn ReadAt, partition: &Partition) -> Option<String> {
    if let Some(ext4) = Ext4::read(source, partition) {
        return Some(labelled("ext4", &ext4.label));
    }
    let sign = SIGNS
        .iter()
        .find(|(offset, sign, _)| has_sign(source, partition, *offset, sign));
    if let Some((_, _, name)) = sign {
        return Some((*name).to_owned());
    }
    // Only the boot sector: the table of a large card takes seconds to read.
    let fat = BootSector::read(source, partition).ok()?;
    Some(labelled(fat.kind_name(), &fat.label))
}

fn has_sign(source: &dyn ReadAt, partition: &Partition, offset: u64, sign: &[u8]) -> bool {
    let mut found = vec![0; sign.len()];
    let start = partition.offset.checked_add(offset);
    let fits = offset + sign.len() as u64 <= partition.len;
    fits && start.is_some_and(|at| source.read_exact_at(&mut found, at).is_ok()) && found == sign
}

fn labelled(kind: &str, label: &str) -> String {
    match printable(label) {
        label if label.is_empty() || label == "NO NAME" => kind.to_owned(),
        label => format!("{kind} `{label}`"),
    }
}

fn is_zero(source: &dyn ReadAt) -> io::Result<bool> {
    let len = usize::try_from(source.len().min(LOOK_LEN)).unwrap_or(0);
    let mut start = vec![0; len];
    source.read_exact_at(&mut start, 0)?;
    Ok(start.iter().all(|&byte| byte == 0))
}
