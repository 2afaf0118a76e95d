//! What a device is and what tells it from others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::survey::Block;
use super::{System, attribute, is_set};
use crate::card::device::{Bus, Kind};
use crate::card::printable::printable;

/// Words in the names of USB devices that take cards.
const READER_WORDS: [&str; 9] = [
    "sd",
    "sdhc",
    "sdxc",
    "microsd",
    "tf",
    "card",
    "cardreader",
    "reader",
    "crw",
];

/// What the device says about itself, or its reader in its stead.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) by_id: Option<PathBuf>,
    pub(super) serial: Option<String>,
    pub(super) model: String,
    pub(super) kind: Kind,
    pub(super) bus: Bus,
    pub(super) reader: Option<String>,
}

pub(super) fn identify(system: &System, block: &Block) -> Identity {
    let udev = Udev::read(&system.run, block);
    let usb = block
        .dir
        .ancestors()
        .take_while(|dir| *dir != system.sys)
        .find(|dir| dir.join("idVendor").exists());
    let bus = bus(block, &udev, usb);
    let product = usb.and_then(|dir| attribute(dir, "product"));
    let model = model(block, &udev);
    let kind = kind(block, &bus, &udev, &[Some(&model), product.as_ref()]);
    Identity {
        by_id: udev.best_link().or_else(|| link_in_dev(system, block)),
        serial: serial(block, &bus, &udev, usb),
        reader: product.filter(|_| kind == Kind::SdInReader),
        model,
        kind,
        bus,
    }
}

fn bus(block: &Block, udev: &Udev, usb: Option<&Path>) -> Bus {
    let name = &block.name;
    let on = |prefix: &str| {
        block
            .dir
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with(prefix))
    };
    if usb.is_some() || udev.get("ID_BUS") == Some("usb") {
        Bus::Usb
    } else if name.starts_with("mmcblk") {
        Bus::Mmc
    } else if name.starts_with("nvme") {
        Bus::Nvme
    } else if name.starts_with("loop") {
        Bus::Loop
    } else if on("virtio") {
        Bus::Virtio
    } else if on("ata") || udev.get("ID_BUS") == Some("ata") {
        Bus::Ata
    } else {
        let subsystem = fs::canonicalize(block.dir.join("device/subsystem"));
        let subsystem = subsystem.ok().and_then(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(printable(&name))
        });
        Bus::Other(subsystem.unwrap_or_else(|| "unknown".to_owned()))
    }
}

fn kind(block: &Block, bus: &Bus, udev: &Udev, names: &[Option<&String>]) -> Kind {
    match bus {
        Bus::Loop => Kind::Loop,
        Bus::Nvme => Kind::Nvme,
        // An unknown type is taken for the one that needs a second word.
        Bus::Mmc => match attribute(&block.dir, "device/type").as_deref() {
            Some("SD" | "SDcombo") => Kind::SdInSlot,
            _ => Kind::Emmc,
        },
        Bus::Usb => {
            let is_reader = udev.get("ID_DRIVE_FLASH_SD") == Some("1")
                || udev.get("ID_DRIVE_MEDIA_FLASH_SD") == Some("1")
                || names.iter().flatten().any(|name| names_a_reader(name));
            match is_set(&block.dir, "removable") {
                true if is_reader => Kind::SdInReader,
                true => Kind::UsbStick,
                false => Kind::UsbDisk,
            }
        }
        _ => Kind::Disk,
    }
}

fn names_a_reader(name: &str) -> bool {
    name.to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .any(|word| READER_WORDS.contains(&word))
}

/// Vendor and model as the device spells them; udev replaces their blanks.
fn model(block: &Block, udev: &Udev) -> String {
    let from_udev = |key: &str| udev.get(key).map(|text| text.replace('_', " "));
    let model = attribute(&block.dir, "device/model")
        .or_else(|| attribute(&block.dir, "device/name").filter(|_| block.name.starts_with("mmc")))
        .or_else(|| from_udev("ID_MODEL"))
        .unwrap_or_default();
    // Behind libata every vendor is called ATA; virtio tells a PCI id.
    let vendor = attribute(&block.dir, "device/vendor")
        .or_else(|| from_udev("ID_VENDOR"))
        // Makers of readers pad their names: `Generic-`.
        .map(|vendor| vendor.trim_end_matches('-').to_owned())
        .filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"))
        .filter(|vendor| !model.starts_with(vendor.as_str()));
    match vendor {
        Some(vendor) => format!("{vendor} {model}").trim_end().to_owned(),
        None => model,
    }
}

fn serial(block: &Block, bus: &Bus, udev: &Udev, usb: Option<&Path>) -> Option<String> {
    let of = |name: &str| attribute(&block.dir, name);
    match bus {
        // Cheap cards number themselves zero; the whole register tells more.
        Bus::Mmc => of("device/serial")
            .filter(|serial| serial.bytes().any(|byte| !matches!(byte, b'0' | b'x')))
            .or_else(|| of("device/cid")),
        Bus::Usb => udev
            .serial()
            .or_else(|| usb.and_then(|dir| attribute(dir, "serial"))),
        _ => udev
            .serial()
            .or_else(|| of("device/serial"))
            .or_else(|| of("serial"))
            .or_else(|| vital_product_data(block))
            .or_else(|| of("wwid"))
            .or_else(|| of("device/wwid")),
    }
}

/// Unit serial number as SCSI tells it: four bytes of header before the text.
fn vital_product_data(block: &Block) -> Option<String> {
    let page = fs::read(block.dir.join("device/vpd_pg80")).ok()?;
    let text = printable(&String::from_utf8_lossy(page.get(4..)?));
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What udev's database says of a device: `E:` properties and `S:` links.
#[derive(Debug, Default)]
pub(super) struct Udev {
    properties: BTreeMap<String, String>,
    links: Vec<String>,
}

impl Udev {
    pub(super) fn read(run: &Path, block: &Block) -> Self {
        let (major, minor) = block.number;
        let mut udev = Self::default();
        let Ok(bytes) = fs::read(run.join(format!("udev/data/b{major}:{minor}"))) else {
            return udev;
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((key, value)) = line
                .strip_prefix("E:")
                .and_then(|rest| rest.split_once('='))
            {
                let value = printable(value).trim().to_owned();
                udev.properties.insert(key.to_owned(), value);
            } else if let Some(link) = line.strip_prefix("S:") {
                udev.links.push(link.to_owned());
            }
        }
        udev
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.properties.get(key)?.as_str();
        (!value.is_empty()).then_some(value)
    }

    fn serial(&self) -> Option<String> {
        self.get("ID_SERIAL_SHORT").map(str::to_owned)
    }

    fn best_link(&self) -> Option<PathBuf> {
        let ids = self.links.iter();
        let ids = ids.filter_map(|link| link.strip_prefix("disk/by-id/").map(str::to_owned));
        best(ids.collect())
    }
}

/// Without udev's database the links may be there all the same.
fn link_in_dev(system: &System, block: &Block) -> Option<PathBuf> {
    let dir = fs::read_dir(system.dev.join("disk/by-id")).ok()?;
    let ids = dir.filter_map(|entry| {
        let entry = entry.ok()?;
        let node = fs::canonicalize(entry.path()).ok()?;
        (system.node_number(&node)? == block.number)
            .then(|| entry.file_name().into_string().ok())
            .flatten()
    });
    best(ids.collect())
}

/// The name that tells a person most: not a bare number.
fn best(mut ids: Vec<String>) -> Option<PathBuf> {
    ids.retain(|id| *id == printable(id) && !id.contains('/'));
    ids.sort_by_key(|id| {
        let is_bare = id.starts_with("wwn-") || id.starts_with("nvme-eui.");
        (is_bare, id.clone())
    });
    Some(Path::new("/dev/disk/by-id").join(ids.first()?))
}
