//! What is known about a card, as plain data.

use std::fmt;
use std::path::PathBuf;

/// What must not change between asking and writing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceId {
    /// Major and minor number; of a file, those of the file system it is on.
    pub number: (u32, u32),
    /// Inode of a file, so that another file under the same name is noticed.
    pub inode: Option<u64>,
    /// Counts media: another card in the same slot has another number. Kernels
    /// before 5.15 have none.
    pub diskseq: Option<u64>,
    /// Length in bytes.
    pub len: u64,
    /// Serial number, of the reader where [`Device::serial_of_reader`].
    pub serial: Option<String>,
}

/// How a device is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// USB, whatever lies behind it.
    Usb,
    /// A slot for SD cards, or eMMC.
    Mmc,
    /// NVMe.
    Nvme,
    /// SATA or PATA.
    Ata,
    /// A virtual machine's disk.
    Virtio,
    /// A loop device.
    Loop,
    /// None: a file.
    File,
    /// Any other, by the name of its subsystem.
    Other(String),
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usb => "usb",
            Self::Mmc => "mmc",
            Self::Nvme => "nvme",
            Self::Ata => "ata",
            Self::Virtio => "virtio",
            Self::Loop => "loop",
            Self::File => "file",
            Self::Other(name) => name,
        })
    }
}

/// Sort of thing, in words a person uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An SD card in a USB reader.
    SdInReader,
    /// An SD card in a slot of the machine itself.
    SdInSlot,
    /// eMMC: mostly soldered on.
    Emmc,
    /// A USB stick.
    UsbStick,
    /// A disk or SSD behind USB.
    UsbDisk,
    /// An NVMe disk.
    Nvme,
    /// Any other disk.
    Disk,
    /// A loop device.
    Loop,
    /// A plain file.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SdInReader => "SD card in a USB reader",
            Self::SdInSlot => "SD card in the slot",
            Self::Emmc => "eMMC",
            Self::UsbStick => "USB stick",
            Self::UsbDisk => "USB disk",
            Self::Nvme => "NVMe disk",
            Self::Disk => "disk",
            Self::Loop => "loop device",
            Self::File => "file",
        })
    }
}

/// A card, or what may be taken for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it is opened: `/dev/sda`.
    pub path: PathBuf,
    /// The kernel's name, `sda`; of a file, its path.
    pub name: String,
    /// The most telling link in `/dev/disk/by-id`.
    pub by_id: Option<PathBuf>,
    /// What must not change.
    pub id: DeviceId,
    /// Whether the serial number is that of the USB reader: every card in it
    /// has the same.
    pub serial_of_reader: bool,
    /// Vendor and model, empty where nothing tells.
    pub model: String,
    /// Sort of thing.
    pub kind: Kind,
    /// How it is attached.
    pub bus: Bus,
    /// Product name of the USB reader that an SD card is in.
    pub reader: Option<String>,
    /// Whether the kernel says that the medium can be taken out.
    pub removable: bool,
    /// Whether the kernel lets nobody write: a lock switch, mostly.
    pub read_only: bool,
    /// Why it is in use.
    pub uses: Vec<Use>,
    /// The file behind a loop device.
    pub backing: Option<PathBuf>,
}

impl Device {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.id.len
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.id.len == 0
    }

    /// Whether it is more likely somebody's disk than a card: it wants
    /// `--allow-fixed`. A disk behind USB counts as one unless its medium is
    /// removable: that is where backups live.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        match self.kind {
            Kind::SdInReader | Kind::SdInSlot | Kind::UsbStick | Kind::File => false,
            Kind::Emmc | Kind::UsbDisk | Kind::Nvme | Kind::Loop => true,
            Kind::Disk => !self.removable,
        }
    }

    /// Whether it is made to be carried about, so that what is mounted from it
    /// may be unmounted on demand.
    #[must_use]
    pub fn is_portable(&self) -> bool {
        self.removable || self.bus == Bus::Usb || self.kind == Kind::SdInSlot
    }
}

/// What a partition or disk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderKind {
    /// A logical volume.
    Lvm,
    /// An opened encrypted volume.
    Crypt,
    /// A RAID array.
    Raid,
    /// A loop device on top of it.
    Loop,
    /// A ZFS pool, where ZFS is loaded: the kernel does not show its members.
    Zfs,
    /// Anything else that the kernel built on it.
    Other,
}

impl fmt::Display for HolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lvm => "LVM",
            Self::Crypt => "dm-crypt",
            Self::Raid => "RAID",
            Self::Loop => "a loop device",
            Self::Zfs => "ZFS",
            Self::Other => "another device",
        })
    }
}

/// Why a disk is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// The partition, or the volume on top of it.
        source: PathBuf,
        /// The mount point, byte for byte.
        at: PathBuf,
    },
    /// The system swaps to this partition or file on it.
    Swap(PathBuf),
    /// The kernel built another device on it.
    Holder {
        /// The partition or disk that is built upon.
        partition: PathBuf,
        /// Name of the other device: `dm-0`, `md0`.
        holder: String,
        /// Its node, by the name that tools want: `/dev/mapper/vg-root`.
        node: PathBuf,
        /// What the other device is.
        what: HolderKind,
    },
}
