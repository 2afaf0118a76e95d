//! Facts about block devices from sysfs, `/proc` and udev's database.
//!
//! No libudev and no `lsblk`: cardmint is one static binary. What udev knows is
//! read from the files it keeps; where there is no udev, sysfs alone must do.

mod identity;
mod survey;
mod tables;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use self::survey::{Block, Survey};
use super::device::{Bus, Device, DeviceId, Kind};
use super::printable::{printable, printable_path};
use super::uevents;

/// Paths of the running system. The disks below them are never written.
const SYSTEM_PATHS: [&str; 7] = [
    "/",
    "/boot",
    "/boot/firmware",
    "/boot/efi",
    "/home",
    "/usr",
    "/var",
];

/// Where the facts are.
#[derive(Clone, Debug)]
pub struct System {
    sys: PathBuf,
    proc: PathBuf,
    run: PathBuf,
    dev: PathBuf,
    /// A tree that a test made up. Nobody but root makes device nodes, so a
    /// file that reads `b 8:0` stands in for one.
    made_up: bool,
}

/// Why a path leads to no card.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Nothing there.
    #[error("there is no {}; `cardmint devices` lists the cards", printable_path(.0))]
    Missing(PathBuf),
    /// A part of a disk.
    #[error(
        "{} is a partition of {}; give the whole disk",
        printable_path(partition),
        printable_path(disk)
    )]
    Partition {
        /// What was given.
        partition: PathBuf,
        /// The disk it is part of.
        disk: PathBuf,
    },
    /// A volume, an array, memory: something built on disks or on none.
    #[error(
        "{} is no card but a device that the kernel made of something else; \
         `cardmint devices` lists the cards",
        printable_path(.0)
    )]
    NotADisk(PathBuf),
    /// An empty slot.
    #[error("there is no card in {}; insert one", printable_path(.0))]
    NoMedium(PathBuf),
    /// A directory.
    #[error(
        "{} is a directory; give the disk (`cardmint devices` lists them) or a file",
        printable_path(.0)
    )]
    Directory(PathBuf),
    /// A terminal, a pipe, a socket …
    #[error(
        "{} is neither a disk nor a file; `cardmint devices` lists the cards",
        printable_path(.0)
    )]
    NotBlock(PathBuf),
    /// A plain file among the devices: an earlier slip made it.
    #[error(
        "{} is no device but a plain file, left by a program that wrote to a device that was not \
         there. Remove it (rm {}), then insert the card again",
        printable_path(.0),
        printable_path(.0)
    )]
    FileInDev(PathBuf),
    /// The operating system did not tell.
    #[error("looking at {}", printable_path(path))]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Default for System {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            run: "/run".into(),
            dev: "/dev".into(),
            made_up: false,
        }
    }
}

impl System {
    /// A made-up system below `root`.
    #[cfg(test)]
    pub(crate) fn made_up(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            proc: root.join("proc"),
            run: root.join("run"),
            dev: root.join("dev"),
            made_up: true,
        }
    }

    /// All whole disks with a medium in them, those that may be written and
    /// those that must not.
    ///
    /// # Errors
    /// Where the kernel's tables cannot be read: then nothing may be written.
    pub fn scan(&self) -> io::Result<Vec<Device>> {
        let survey = Survey::take(self)?;
        let disks = survey.blocks.iter().filter(|block| survey.is_disk(block));
        let devices = disks.map(|block| self.block_device(&survey, block));
        Ok(devices.filter(|device| !device.is_empty()).collect())
    }

    /// Has the kernel look into readers that were empty: it does so by itself only
    /// where it is told to, as udev does.
    pub fn wake_empty_readers(&self) {
        let Ok(survey) = Survey::take(self) else {
            return;
        };
        for block in survey.blocks.iter().filter(|block| survey.is_disk(block)) {
            let is_empty = attribute(&block.dir, "size").is_none_or(|size| size == "0");
            if is_empty && is_set(&block.dir, "removable") {
                // Looking is all that opening is for.
                drop(uevents::wake(&survey.node(block)));
            }
        }
    }

    /// The device or file that `path` leads to; symlinks are followed.
    ///
    /// # Errors
    /// Where it leads to nothing that could be written as a card.
    pub fn device(&self, path: &Path) -> Result<Device, DeviceError> {
        let given = || path.to_owned();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DeviceError::Missing(given()),
            _ => DeviceError::Io {
                path: given(),
                source,
            },
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        let metadata = fs::metadata(&real).map_err(failed)?;
        let survey = Survey::take(self).map_err(failed)?;
        if let Some(number) = self.node_number(&real) {
            let block = survey
                .by_number(number)
                .ok_or_else(|| DeviceError::NotADisk(given()))?;
            return self.whole_disk(&survey, block, path);
        }
        if metadata.is_dir() {
            return Err(DeviceError::Directory(given()));
        }
        if !metadata.is_file() {
            return Err(DeviceError::NotBlock(given()));
        }
        if real.starts_with(&self.dev) && !real.starts_with(self.dev.join("shm")) {
            return Err(DeviceError::FileInDev(given()));
        }
        Ok(file(&survey, real, &metadata))
    }

    fn whole_disk(
        &self,
        survey: &Survey<'_>,
        block: &Block,
        given: &Path,
    ) -> Result<Device, DeviceError> {
        if block.disk != block.name {
            return Err(DeviceError::Partition {
                partition: survey.node(block),
                disk: Path::new("/dev").join(block.disk.replace('!', "/")),
            });
        }
        if !survey.is_disk(block) {
            return Err(DeviceError::NotADisk(given.to_owned()));
        }
        let device = self.block_device(survey, block);
        if device.is_empty() {
            return Err(DeviceError::NoMedium(survey.node(block)));
        }
        Ok(device)
    }

    /// The whole disks of the file system that `path` is on; `None` where it is
    /// on none, as in memory or on the network, or where nothing tells.
    #[must_use]
    pub fn disk_of_path(&self, path: &Path) -> Option<Vec<String>> {
        let disks = Survey::take(self).ok()?.disks_of_path(path);
        (!disks.is_empty()).then(|| disks.into_iter().collect())
    }

    /// Disks that hold the running system or one of `files`, by name and with
    /// the reason, as [`crate::plan::guard::Demands`] wants them. Each file, which may
    /// be a partition, comes with what it is: `the base image`.
    ///
    /// # Errors
    /// Where the kernel's tables cannot be read: then nothing may be written.
    pub fn protected(&self, files: &[(&Path, &str)]) -> io::Result<Vec<(String, String)>> {
        let survey = Survey::take(self)?;
        let mut protected = BTreeSet::new();
        let mut reasons = Vec::new();
        let system = SYSTEM_PATHS.map(|path| (Path::new(path), format!("holds {path}")));
        let files = files.iter().map(|&(path, what)| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = printable(&name.to_string_lossy());
            (path, format!("holds {what} {name}"))
        });
        for (path, why) in system.into_iter().chain(files) {
            for disk in survey.disks_of_path(path) {
                // `/usr` and the like are named only where `/` is elsewhere.
                let is_detail =
                    path != Path::new("/") && SYSTEM_PATHS.contains(&&*path.to_string_lossy());
                if is_detail && protected.contains(&disk) {
                    continue;
                }
                protected.insert(disk.clone());
                reasons.push((disk, why.clone()));
            }
        }
        Ok(reasons)
    }

    fn block_device(&self, survey: &Survey<'_>, block: &Block) -> Device {
        let found = identity::identify(self, block);
        Device {
            path: survey.node(block),
            name: block.name.clone(),
            by_id: found.by_id,
            id: DeviceId {
                number: block.number,
                inode: None,
                diskseq: attribute(&block.dir, "diskseq").and_then(|text| text.parse().ok()),
                len: attribute(&block.dir, "size")
                    .and_then(|text| text.parse::<u64>().ok())
                    // sysfs counts in units of 512 bytes whatever the disk does.
                    .and_then(|sectors| sectors.checked_mul(512))
                    .unwrap_or(0),
                serial: found.serial,
            },
            serial_of_reader: found.kind == Kind::SdInReader,
            model: found.model,
            kind: found.kind,
            bus: found.bus,
            reader: found.reader,
            removable: is_set(&block.dir, "removable"),
            read_only: is_set(&block.dir, "ro"),
            uses: survey.uses(&block.name),
            backing: block.backing.clone(),
        }
    }

    /// Number of the block device whose node is at `path`, if it is one.
    fn node_number(&self, path: &Path) -> Option<(u32, u32)> {
        let metadata = fs::metadata(path).ok()?;
        if self.made_up {
            let text = fs::read_to_string(path)
                .ok()
                .filter(|_| metadata.is_file())?;
            return tables::number(text.strip_prefix("b ")?);
        }
        metadata
            .file_type()
            .is_block_device()
            .then(|| split(metadata.rdev()))
    }

    /// Number of the device that the file at `path` is on.
    fn file_system_number(&self, path: &Path) -> Option<(u32, u32)> {
        if self.made_up {
            return None;
        }
        Some(split(fs::metadata(path).ok()?.dev()))
    }
}

fn split(number: u64) -> (u32, u32) {
    (rustix::fs::major(number), rustix::fs::minor(number))
}

fn file(survey: &Survey<'_>, path: PathBuf, metadata: &fs::Metadata) -> Device {
    Device {
        name: path.to_string_lossy().into_owned(),
        by_id: None,
        id: DeviceId {
            number: split(metadata.dev()),
            inode: Some(metadata.ino()),
            diskseq: None,
            len: metadata.len(),
            serial: None,
        },
        serial_of_reader: false,
        model: String::new(),
        kind: Kind::File,
        bus: Bus::File,
        reader: None,
        removable: false,
        read_only: metadata.permissions().readonly(),
        uses: survey.uses_of_file(&path),
        backing: None,
        path,
    }
}

fn is_set(dir: &Path, name: &str) -> bool {
    attribute(dir, name).is_some_and(|value| value != "0")
}

/// A file of sysfs as text fit for showing; `None` where it is missing or empty.
fn attribute(dir: &Path, name: &str) -> Option<String> {
    let bytes = fs::read(dir.join(name)).ok()?;
    let text = printable(&String::from_utf8_lossy(&bytes));
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The file behind a loop device, byte for byte.
fn backing_file(dir: &Path) -> Option<PathBuf> {
    let mut bytes = fs::read(dir.join("loop/backing_file")).ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    (!bytes.is_empty()).then(|| OsString::from_vec(bytes).into())
}
