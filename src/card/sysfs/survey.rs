//! One look at all block devices, mounts and swap, so that every answer is of
//! the same moment.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::identity::Udev;
use super::tables::{self, MountLine};
use super::{System, attribute};
use crate::card::device::{HolderKind, Use};

/// Whole disks that are no cards: in memory, built on others, or without writing.
const NO_CARDS: [&str; 7] = ["zram", "ram", "dm-", "md", "sr", "fd", "mtdblock"];

/// A whole disk, a partition, or a device that the kernel built on others.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) number: (u32, u32),
    /// Name of the whole disk; a whole disk's own name.
    pub(super) disk: String,
    /// Its directory in sysfs, symlinks resolved: tells the bus.
    pub(super) dir: PathBuf,
    /// The file behind a loop device.
    pub(super) backing: Option<PathBuf>,
}

/// A mount, with the names of the block devices it is on.
#[derive(Debug)]
struct Mount {
    line: MountLine,
    blocks: BTreeSet<String>,
}

#[derive(Debug)]
struct Swap {
    path: PathBuf,
    blocks: BTreeSet<String>,
}

/// Everything that one look found.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    system: &'a System,
    pub(super) blocks: Vec<Block>,
    mounts: Vec<Mount>,
    swaps: Vec<Swap>,
}

impl<'a> Survey<'a> {
    /// Looks. Without the table of mounts nothing is safe, so that is an error;
    /// a device that vanishes meanwhile is not.
    pub(super) fn take(system: &'a System) -> io::Result<Self> {
        let mut survey = Self {
            system,
            blocks: read_blocks(&system.sys.join("block"))?,
            mounts: Vec::new(),
            swaps: Vec::new(),
        };
        let lines = tables::mounts(&fs::read(system.proc.join("self/mountinfo"))?);
        survey.mounts = lines
            .into_iter()
            .map(|line| Mount {
                blocks: survey.blocks_of_mount(&line),
                line,
            })
            .collect();
        let swaps = match fs::read(system.proc.join("swaps")) {
            // A kernel that was built without swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            swaps => swaps?,
        };
        survey.swaps = tables::swaps(&swaps)
            .into_iter()
            .map(|line| Swap {
                blocks: if line.is_file {
                    survey.blocks_below(&line.path)
                } else {
                    survey.block_of_node(&line.path).into_iter().collect()
                },
                path: line.path,
            })
            .collect();
        Ok(survey)
    }

    pub(super) fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == name)
    }

    pub(super) fn by_number(&self, number: (u32, u32)) -> Option<&Block> {
        self.blocks.iter().find(|block| block.number == number)
    }

    fn of_disk<'b>(&'b self, disk: &'b str) -> impl Iterator<Item = &'b Block> {
        self.blocks.iter().filter(move |block| block.disk == disk)
    }

    /// The block devices of a mount: by number, by the path of its source where
    /// the number is anonymous, and all members of a btrfs of several devices.
    fn blocks_of_mount(&self, line: &MountLine) -> BTreeSet<String> {
        let mut blocks = BTreeSet::new();
        blocks.extend(self.by_number(line.number).map(|block| block.name.clone()));
        // bcachefs names all its members, with colons between them.
        let source = line.source.to_string_lossy();
        let sources = source.split(':').filter(|source| source.starts_with('/'));
        blocks.extend(sources.filter_map(|source| self.block_of_node(Path::new(source))));
        if line.fs == "btrfs" {
            for members in btrfs_members(&self.system.sys.join("fs/btrfs")) {
                if !members.is_disjoint(&blocks) {
                    blocks.extend(members);
                }
            }
        }
        blocks
    }

    /// The block device whose node this is, no link.
    fn block_at(&self, node: &Path) -> Option<String> {
        let block = self.by_number(self.system.node_number(node)?)?;
        Some(block.name.clone())
    }

    /// The name of the block device that a path such as `/dev/mapper/root` leads to.
    fn block_of_node(&self, path: &Path) -> Option<String> {
        let node = match path.strip_prefix("/dev") {
            Ok(rest) => self.system.dev.join(rest),
            Err(_) => path.to_owned(),
        };
        if let Ok(real) = fs::canonicalize(node) {
            return self.block_at(&real);
        }
        // A node that is not there, as in a container: the name has to do.
        let name = path.file_name()?.to_str()?;
        let found = self.blocks.iter().find(|block| {
            block.name == name || attribute(&block.dir, "dm/name").as_deref() == Some(name)
        });
        Some(found?.name.clone())
    }

    /// The block devices of the file system that a path is on.
    fn blocks_below(&self, path: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([path.to_owned()]);
        while let Some(path) = queue.pop_front() {
            let path = fs::canonicalize(&path).unwrap_or(path);
            if !seen.insert(path.clone()) {
                continue;
            }
            if let Some(block) = self
                .system
                .file_system_number(&path)
                .and_then(|number| self.by_number(number))
            {
                found.insert(block.name.clone());
            }
            // Of several mounts on one point the last is the one that shows.
            let mount = self
                .mounts
                .iter()
                .filter(|mount| path.starts_with(&mount.line.at))
                .max_by_key(|mount| mount.line.at.as_os_str().len());
            let Some(mount) = mount else { continue };
            found.extend(mount.blocks.iter().cloned());
            if mount.line.fs == "overlay" {
                queue.extend(tables::overlay_layers(&mount.line.options));
            }
        }
        found
    }

    /// The whole disks of the file system that `path` is on, whatever lies
    /// between them: volumes, arrays, loop devices and their files.
    pub(super) fn disks_of_path(&self, path: &Path) -> BTreeSet<String> {
        let mut disks = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<String> = self.blocks_below(path).into_iter().collect();
        let real = fs::canonicalize(path).ok();
        queue.extend(real.and_then(|real| self.block_at(&real)));
        while let Some(name) = queue.pop_front() {
            let Some(block) = self.block(&name) else {
                continue;
            };
            if !seen.insert(block.disk.clone()) {
                continue;
            }
            let disk = self.block(&block.disk).unwrap_or(block);
            let slaves = entries(&disk.dir.join("slaves"));
            if slaves.is_empty() {
                disks.insert(disk.name.clone());
            }
            queue.extend(slaves);
            if let Some(backing) = &disk.backing {
                queue.extend(self.blocks_below(backing));
                queue.extend(self.block_of_node(backing));
            }
        }
        disks
    }

    /// Whether a block device is a whole disk as one buys it, or stands in for one. A loop
    /// device on another device does not: whatever keeps that one from being written would
    /// not be seen from here.
    pub(super) fn is_disk(&self, block: &Block) -> bool {
        let name = &block.name;
        let is_hardware_partition = name.starts_with("mmcblk")
            && ["boot", "rpmb", "gp"]
                .iter()
                .any(|part| name.contains(part));
        let backing = block.backing.as_deref();
        block.disk == *name
            && !is_hardware_partition
            && !NO_CARDS.iter().any(|prefix| name.starts_with(prefix))
            && backing.is_none_or(|backing| self.block_of_node(backing).is_none())
    }

    /// Why a whole disk is in use, itself or through what was built on it.
    pub(super) fn uses(&self, disk: &str) -> Vec<Use> {
        let mut uses = Vec::new();
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<&Block> = self.of_disk(disk).collect();
        while let Some(block) = queue.pop_front() {
            if !seen.insert(&block.name) {
                continue;
            }
            let node = self.node(block);
            for mount in &self.mounts {
                if mount.blocks.contains(&block.name) {
                    uses.push(Use::Mounted {
                        source: node.clone(),
                        at: mount.line.at.clone(),
                    });
                }
            }
            let swaps = self.swaps.iter();
            uses.extend(
                swaps
                    .filter(|swap| swap.blocks.contains(&block.name))
                    .map(|swap| Use::Swap(swap.path.clone())),
            );
            if self.is_in_pool(block) {
                uses.push(Use::Holder {
                    partition: node.clone(),
                    holder: "zfs".to_owned(),
                    node: node.clone(),
                    what: HolderKind::Zfs,
                });
            }
            if let Some(backing) = &block.backing {
                // Another loop device on the file; by this one it is not held.
                let others = self.uses_of_file(backing).into_iter();
                uses.extend(others.filter(
                    |one| !matches!(one, Use::Holder { holder, .. } if *holder == block.name),
                ));
            }
            for holder in self.holders(block) {
                uses.push(Use::Holder {
                    partition: node.clone(),
                    what: self.holder_kind(&holder),
                    node: self
                        .block(&holder)
                        .map_or_else(|| Path::new("/dev").join(&holder), |block| self.node(block)),
                    holder: holder.clone(),
                });
                queue.extend(self.blocks.iter().filter(|block| block.disk == holder));
            }
        }
        let mut distinct: Vec<Use> = Vec::new();
        for one in uses {
            if !distinct.contains(&one) {
                distinct.push(one);
            }
        }
        distinct
    }

    /// Why a plain file is in use.
    pub(super) fn uses_of_file(&self, path: &Path) -> Vec<Use> {
        let loops = self.blocks.iter();
        let loops = loops.filter(|block| block.backing.as_deref() == Some(path));
        let held = loops.map(|block| Use::Holder {
            partition: path.to_owned(),
            holder: block.name.clone(),
            node: self.node(block),
            what: HolderKind::Loop,
        });
        let swaps = self.swaps.iter().filter(|swap| swap.path == path);
        held.chain(swaps.map(|swap| Use::Swap(swap.path.clone())))
            .collect()
    }

    fn holders(&self, block: &Block) -> Vec<String> {
        let mut holders = entries(&block.dir.join("holders"));
        // A loop device on a disk is no holder in the kernel's eyes.
        let loops = self.blocks.iter().filter(|other| {
            let backing = other.backing.as_deref();
            backing
                .filter(|backing| backing.starts_with("/dev"))
                .and_then(|backing| self.block_of_node(backing))
                .is_some_and(|name| name == block.name)
        });
        holders.extend(loops.map(|other| other.name.clone()));
        holders
    }

    /// ZFS tells sysfs nothing of its disks, so its label has to do.
    fn is_in_pool(&self, block: &Block) -> bool {
        self.system.proc.join("spl/kstat/zfs").exists()
            && Udev::read(&self.system.run, block).get("ID_FS_TYPE") == Some("zfs_member")
    }

    fn holder_kind(&self, holder: &str) -> HolderKind {
        let uuid = self
            .block(holder)
            .and_then(|block| attribute(&block.dir, "dm/uuid"))
            .unwrap_or_default();
        if holder.starts_with("md") || uuid.starts_with("DMRAID-") {
            HolderKind::Raid
        } else if holder.starts_with("loop") {
            HolderKind::Loop
        } else if uuid.starts_with("LVM-") {
            HolderKind::Lvm
        } else if uuid.starts_with("CRYPT-") {
            HolderKind::Crypt
        } else {
            HolderKind::Other
        }
    }

    /// The node of a block device, by the name a person knows it by.
    pub(super) fn node(&self, block: &Block) -> PathBuf {
        match attribute(&block.dir, "dm/name") {
            Some(name) => Path::new("/dev/mapper").join(name),
            // The kernel writes slashes in names as exclamation marks: cciss!c0d0.
            None => Path::new("/dev").join(block.name.replace('!', "/")),
        }
    }
}

fn read_blocks(dir: &Path) -> io::Result<Vec<Block>> {
    let mut disks: Vec<String> = Vec::new();
    for entry in fs::read_dir(dir)? {
        disks.extend(entry?.file_name().into_string());
    }
    disks.sort_by_key(|name| (name.len(), name.clone()));
    let mut blocks = Vec::new();
    for disk in disks {
        let Ok(dir) = fs::canonicalize(dir.join(&disk)) else {
            continue;
        };
        let mut partitions: Vec<String> = entries(&dir)
            .into_iter()
            .filter(|name| dir.join(name).join("partition").exists())
            .collect();
        partitions.sort_by_key(|name| (name.len(), name.clone()));
        blocks.extend(read_block(&disk, &disk, dir.clone()));
        blocks.extend(
            partitions
                .into_iter()
                .filter_map(|name| read_block(&name, &disk, dir.join(&name))),
        );
    }
    Ok(blocks)
}

fn read_block(name: &str, disk: &str, dir: PathBuf) -> Option<Block> {
    Some(Block {
        number: tables::number(&attribute(&dir, "dev")?)?,
        backing: super::backing_file(&dir),
        name: name.to_owned(),
        disk: disk.to_owned(),
        dir,
    })
}

/// Sets of block devices that make up one btrfs each.
fn btrfs_members(dir: &Path) -> Vec<BTreeSet<String>> {
    entries(dir)
        .into_iter()
        .map(|uuid| {
            entries(&dir.join(uuid).join("devices"))
                .into_iter()
                .collect()
        })
        .collect()
}

/// Names in a directory of sysfs, sorted; none where it is not there.
fn entries(dir: &Path) -> Vec<String> {
    let Ok(read) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = read
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
