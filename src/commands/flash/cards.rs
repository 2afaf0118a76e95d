//! Which cards: found, judged, freed of mounts.

use std::cmp::Reverse;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::access::Access;
use crate::base::read_at::RawFile;
use crate::card::{Content, Device, Handed, System, Use, printable_path, remains};
use crate::cli::CardArgs;
use crate::commands::workspace::Workspace;
use crate::commands::{Refused, Usage};
use crate::interrupt::Interrupt;
use crate::layout::disk::Partition;
use crate::plan::Plan;
use crate::plan::guard::{self, Demands, Refusal};
use crate::ui::ask;

const IS_BASE: &str = "it is the base image itself";

/// A card for one node of the plan.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Index into the plan's cards.
    pub(super) card: usize,
    pub(super) device: Device,
    /// What is on it now.
    pub(super) content: Content,
    /// Where it still holds somebody's settings.
    pub(super) settings: Vec<Range<u64>>,
    /// The card, open, where we may not open it.
    pub(super) handed: Option<Handed>,
}

/// Knows which disks must not be written, and why.
pub(super) struct Guard {
    pub(super) system: System,
    demands: Demands,
    /// Device and inode of each base.
    base_files: Vec<(u64, u64)>,
    /// Bytes that each node of the plan needs.
    lens: Vec<u64>,
    /// Where each node's boot partition will be.
    boots: Vec<Partition>,
    unmount: bool,
    asks: bool,
    access: Access,
}

impl Guard {
    pub(super) fn new(
        plan: &Plan<'_>,
        args: &CardArgs,
        workspace: &Workspace,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let system = System::default();
        let asks = !args.yes && ask::can_ask();
        // `.` has no name to show.
        let dir = workspace.dir.canonicalize()?;
        let mut files: Vec<(&Path, &str)> = vec![(&dir, "the cluster's directory")];
        let mut disks = Vec::new();
        let mut base_files = Vec::new();
        for path in plan.bases.iter().filter_map(|on| on.base.path()) {
            let metadata = path.metadata()?;
            base_files.push((metadata.dev(), metadata.ino()));
            // A base may be a disk itself.
            if metadata.file_type().is_block_device()
                && let Ok(disk) = system.device(path)
            {
                disks.push((disk.name, IS_BASE.to_owned()));
            } else {
                files.push((path, "the base image"));
            }
        }
        let mut protected = system
            .protected(&files)
            .context("looking for the disks of this system")?;
        protected.extend(disks);
        let layouts = plan.cards.iter().map(|card| &plan.bases[card.base].layout);
        Ok(Self {
            system,
            demands: Demands {
                len: 0,
                allow_fixed: args.allow_fixed,
                protected,
            },
            base_files,
            lens: layouts.clone().map(|layout| layout.disk.len).collect(),
            boots: layouts
                .map(|layout| layout.boot.partition.clone())
                .collect(),
            unmount: args.unmount,
            asks,
            access: Access::new(asks, interrupt),
        })
    }

    /// Why a device may not be written for a node of the plan.
    pub(super) fn refusals(&self, card: usize, device: &Device) -> Vec<Refusal> {
        let mut demands = Demands {
            len: self.lens[card],
            ..self.demands.clone()
        };
        // Whatever it is called, and also behind a loop device.
        let mut paths = [Some(&device.path), device.backing.as_ref()]
            .into_iter()
            .flatten();
        let is_base = |path: &PathBuf| {
            let metadata = path.metadata();
            metadata.is_ok_and(|file| self.base_files.contains(&(file.dev(), file.ino())))
        };
        if paths.any(is_base) {
            demands
                .protected
                .push((device.name.clone(), IS_BASE.to_owned()));
        }
        guard::refusals(device, &demands)
    }

    /// The cards that were named, one for each node, or every reason why not.
    pub(super) fn choose(&self, paths: &[Option<PathBuf>]) -> Result<Vec<Chosen>> {
        let mut found: Vec<(usize, &Path, Device)> = Vec::new();
        let mut problems = Vec::new();
        for (card, path) in paths.iter().enumerate() {
            let Some(path) = path else { continue };
            let device = self.system.device(path)?;
            let is_same = |(_, _, other): &(usize, &Path, Device)| {
                (other.id.number, other.id.inode) == (device.id.number, device.id.inode)
            };
            if found.iter().any(is_same) {
                bail!(Usage(format!("{} is named twice", printable_path(path))));
            }
            let refusals = self.refusals(card, &device);
            for refusal in refusals.iter().filter(|one| !one.can_unmount()) {
                problems.push(format!("{}: {refusal}", named(path, &device)));
            }
            found.push((card, path, device));
        }
        if !problems.is_empty() {
            bail!(Refused(problems.join("\n")));
        }
        // No card is unmounted before all may be written.
        let mut chosen = Vec::new();
        for (card, path, device) in found {
            let device = self.free(card, device)?;
            if let Some(refusal) = self.refusals(card, &device).first() {
                bail!(Refused(format!("{}: {refusal}", named(path, &device))));
            }
            chosen.push(self.look(card, device)?);
        }
        Ok(chosen)
    }

    /// What is on a card that may be written.
    pub(super) fn look(&self, card: usize, device: Device) -> Result<Chosen> {
        let handed = self.access.open(&device)?;
        let opened = match handed.as_ref().map(Handed::file) {
            Some(Ok(file)) => Ok(file),
            Some(Err(error)) => return Err(error.into()),
            None => File::open(&device.path),
        };
        let (content, settings) = match opened.and_then(RawFile::new) {
            Ok(now) => {
                let settings = remains::settings(&now, &self.boots[card]);
                (Content::of(&now), settings)
            }
            Err(error) => (Content::unreadable(&error), Vec::new()),
        };
        Ok(Chosen {
            card,
            device,
            content,
            settings,
            handed,
        })
    }

    /// Unmounts what is mounted from a card, where the user wants it and nothing
    /// else stands in the way.
    pub(super) fn free(&self, card: usize, device: Device) -> Result<Device> {
        let refusals = self.refusals(card, &device);
        if refusals.is_empty() || !refusals.iter().all(Refusal::can_unmount) {
            return Ok(device);
        }
        let mut mounts: Vec<(&Path, &Path)> = device
            .uses
            .iter()
            .filter_map(|one| match one {
                Use::Mounted { source, at } => Some((source.as_path(), at.as_path())),
                _ => None,
            })
            .collect();
        let names: Vec<String> = mounts.iter().map(|(_, at)| printable_path(at)).collect();
        let question = format!(
            "{} is mounted at {}\nUnmount it?",
            printable_path(&device.path),
            names.join(", ")
        );
        if !(self.unmount || self.asks && ask::confirm(&question)?) {
            return Ok(device);
        }
        // What was mounted last lies on top, and what lies deeper is in the way of the rest.
        mounts.reverse();
        mounts.sort_by_key(|(_, at)| Reverse(at.components().count()));
        for (source, at) in &mounts {
            unmount(source, at)?;
        }
        Ok(self.system.device(&device.path)?)
    }
}

/// `/dev/disk/by-id/usb-… (/dev/sda)`: what was typed, and where it leads.
fn named(path: &Path, device: &Device) -> String {
    let (typed, found) = (printable_path(path), printable_path(&device.path));
    if typed == found {
        typed
    } else {
        format!("{typed} ({found})")
    }
}

fn unmount(source: &Path, at: &Path) -> Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    let error = match unmount(at, UnmountFlags::NOFOLLOW) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // The desktop mounted it for this user; the desktop may unmount it.
    if error == rustix::io::Errno::PERM
        && let Ok(output) = Command::new("udisksctl")
            .args(["unmount", "--no-user-interaction", "--block-device"])
            .arg(source)
            .output()
        && output.status.success()
    {
        return Ok(());
    }
    bail!(Refused(format!(
        "{} cannot be unmounted: {}. Close what uses it (`fuser -vm {}` tells), then start again",
        printable_path(at),
        std::io::Error::from(error),
        printable_path(at)
    )))
}
