//! Made-up trees of `/sys`, `/proc`, `/run` and `/dev`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::card::{Device, DeviceError, System, printable_path};
use crate::plan::guard::{Demands, refusals};

pub(super) const GB: u64 = 1_000_000_000;
const USB: &str = "pci0000:00/usb1/1-2";

pub(super) struct Fake {
    root: TempDir,
    mounts: String,
    swaps: String,
}

impl Fake {
    pub(super) fn new() -> Self {
        let fake = Self {
            root: TempDir::new().unwrap(),
            mounts: String::new(),
            swaps: "Filename\tType\tSize\tUsed\tPriority\n".to_owned(),
        };
        fs::create_dir_all(fake.path("sys/block")).unwrap();
        fs::create_dir_all(fake.path("dev/disk/by-id")).unwrap();
        fake.mount("0:21", "/proc", "proc", "proc")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A whole disk below this directory of `/sys/devices`, with attributes.
    pub(super) fn disk(
        mut self,
        name: &str,
        number: &str,
        len: u64,
        parent: &str,
        attributes: &[(&str, &str)],
    ) -> Self {
        let dir = format!("sys/devices/{parent}/block/{name}");
        let size = (len / 512).to_string();
        let basics = [
            ("dev", number),
            ("size", &size),
            ("ro", "0"),
            ("removable", "0"),
        ];
        for (key, value) in basics.iter().chain(attributes) {
            self = self.file(&format!("{dir}/{key}"), format!("{value}\n"));
        }
        symlink(self.path(&dir), self.path(&format!("sys/block/{name}"))).unwrap();
        self.file(&format!("dev/{name}"), format!("b {number}\n"))
    }

    /// A disk of 32 GB behind USB.
    pub(super) fn usb(self, name: &str, number: &str, attributes: &[(&str, &str)]) -> Self {
        self.file(&format!("sys/devices/{USB}/idVendor"), "05e3\n")
            .disk(name, number, 32 * GB, &format!("{USB}/host0"), attributes)
    }

    pub(super) fn usb_attribute(self, name: &str, value: &str) -> Self {
        self.file(&format!("sys/devices/{USB}/{name}"), value)
    }

    pub(super) fn partition(self, disk: &str, name: &str, number: &str) -> Self {
        self.file(&format!("sys/block/{disk}/{name}/dev"), number)
            .file(&format!("sys/block/{disk}/{name}/partition"), "1\n")
            .file(&format!("dev/{name}"), format!("b {number}\n"))
    }

    /// Builds a device on a block device, given by its path below `/sys/block`.
    pub(super) fn holder(self, on: &str, holder: &str) -> Self {
        let slave = Path::new(on)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        self.file(&format!("sys/block/{on}/holders/{holder}"), "")
            .file(&format!("sys/block/{holder}/slaves/{slave}"), "")
    }

    pub(super) fn mapped(self, name: &str, number: &str, mapped: &str, uuid: &str) -> Self {
        self.disk(
            name,
            number,
            400 * GB,
            "virtual",
            &[("dm/name", mapped), ("dm/uuid", uuid)],
        )
        .file(&format!("dev/mapper/{mapped}"), format!("b {number}\n"))
    }

    pub(super) fn mount(mut self, number: &str, at: &str, fs: &str, source: &str) -> Self {
        let options = "rw,lowerdir=/lower:/lower2,upperdir=/upper";
        writeln!(
            self.mounts,
            "22 1 {number} / {at} rw,relatime shared:1 master:2 - {fs} {source} {options}"
        )
        .unwrap();
        self
    }

    pub(super) fn swap(mut self, path: &str, kind: &str) -> Self {
        writeln!(self.swaps, "{path}   {kind}\t8388604\t0\t-2").unwrap();
        self
    }

    pub(super) fn link(self, link: &str, to: &str) -> Self {
        symlink(self.path(to), self.path(link)).unwrap();
        self
    }

    pub(super) fn system(&self) -> System {
        for (name, text) in [("self/mountinfo", &self.mounts), ("swaps", &self.swaps)] {
            let path = self.path("proc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        System::made_up(self.root.path())
    }

    pub(super) fn device(&self, name: &str) -> Result<Device, DeviceError> {
        self.system().device(&self.path(name))
    }

    /// Every device with what is known of it and what the guard says of it for
    /// an image of 16 GB.
    pub(super) fn told(&self) -> String {
        let system = self.system();
        let demands = Demands {
            len: 16 * GB,
            allow_fixed: false,
            protected: system
                .protected(&[(Path::new("/home/me/base.img.xz"), "the base image")])
                .unwrap(),
        };
        let mut text = String::new();
        for device in system.scan().unwrap() {
            tell(&mut text, &device, &demands).unwrap();
        }
        text
    }
}

fn tell(text: &mut String, device: &Device, demands: &Demands) -> std::fmt::Result {
    writeln!(
        text,
        "{}: {}, `{}`, {}, bus {}",
        printable_path(&device.path),
        device.kind,
        device.model,
        device.len(),
        device.bus
    )?;
    writeln!(
        text,
        "  serial {:?} of reader {}, reader {:?}, diskseq {:?}",
        device.id.serial, device.serial_of_reader, device.reader, device.id.diskseq
    )?;
    writeln!(text, "  by id {:?}", device.by_id)?;
    for one in &device.uses {
        writeln!(text, "  {one:?}")?;
    }
    for refusal in refusals(device, demands) {
        let mark = if refusal.can_unmount() { "~" } else { "!" };
        writeln!(text, "  {mark} {refusal}")?;
    }
    if refusals(device, demands).is_empty() {
        return writeln!(text, "  may be written");
    }
    let dared = Demands {
        allow_fixed: true,
        ..demands.clone()
    };
    if refusals(device, &dared).is_empty() {
        writeln!(text, "  may be written with --allow-fixed")?;
    }
    Ok(())
}
