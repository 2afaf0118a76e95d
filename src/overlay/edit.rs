//! Boot files → overlay: `fatfs` writes through the copy-on-write view, and our
//! own reader then checks what came of it.

use std::io::{self, Write};
use std::ops::Range;

use super::view::CowView;
use super::{Minted, Overlay, SECTOR_LEN};
use crate::base::ReadAt;
use crate::layout::BootPartition;
use crate::layout::fat::{Entry, Fat, FatError, Placed};
use crate::provision::BootFile;

/// Why boot files cannot be put on a boot partition.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The files do not fit.
    #[error(
        "the boot partition is full: {needed} bytes are needed and {free} are free, \
         {} too few. Use a stock image, or put less into [first_boot] files", needed - free
    )]
    Full {
        /// Bytes needed, in whole clusters.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A directory has the name of a file we must write.
    #[error("`{0}` on the boot partition is a directory; it must be a file, or not be there")]
    IsDirectory(String),
    /// `fatfs` refused.
    #[error("writing `{name}` to the boot partition")]
    Write {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The edited file system does not read back as planned.
    #[error("the edited boot partition does not read back as planned: {0}. Please report this")]
    ReadBack(String),
    /// The base's file system is damaged.
    #[error(transparent)]
    Fat(#[from] FatError),
    /// The base cannot be read.
    #[error("reading the base")]
    Base(#[source] io::Error),
}

/// Stamps every file with one fixed date, so that the same inputs give the same
/// bytes. 1980-01-01 is the zero of FAT's calendar.
#[derive(Debug)]
struct NoClock;

impl fatfs::TimeProvider for NoClock {
    fn get_current_date(&self) -> fatfs::Date {
        fatfs::Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        let time = fatfs::Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        fatfs::DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

static NO_CLOCK: NoClock = NoClock;

/// Puts `files` on the boot partition of `base` and returns what then differs.
///
/// # Errors
/// Where they do not fit, where the file system is damaged, and where it does
/// not read back as planned. The base is never changed.
pub fn edit_boot(
    base: &dyn ReadAt,
    boot: &BootPartition,
    files: &[BootFile],
) -> Result<Overlay, EditError> {
    check_fits(boot, files)?;
    let mut view = CowView::new(base, &boot.partition);
    write_files(&mut view, files)?;
    let overlay = view.into_overlay().map_err(EditError::Base)?;
    check_edited(base, boot, files, &overlay)?;
    Ok(overlay)
}

fn check_fits(boot: &BootPartition, files: &[BootFile]) -> Result<(), EditError> {
    let clusters = |len: u64| len.div_ceil(boot.cluster_len);
    let (mut needed, mut freed, mut dir_len) = (0, 0, 0);
    for file in files {
        needed += clusters(file.bytes.len() as u64);
        match boot.entries.iter().find(|entry| entry.is_named(&file.name)) {
            Some(entry) if entry.is_dir => {
                return Err(EditError::IsDirectory(file.name.clone()));
            }
            Some(entry) => freed += clusters(u64::from(entry.len)),
            // One short entry, and one for every 13 characters of the long name.
            None => dir_len += 32 * (1 + file.name.len().div_ceil(13) as u64),
        }
    }
    if boot.kind == "FAT32" && dir_len > 0 {
        needed += clusters(dir_len);
    }
    let needed = needed * boot.cluster_len;
    let free = boot.free_len + freed * boot.cluster_len;
    if needed > free {
        Err(EditError::Full { needed, free })
    } else {
        Ok(())
    }
}

fn write_files(view: &mut CowView<'_>, files: &[BootFile]) -> Result<(), EditError> {
    let options = fatfs::FsOptions::new()
        .time_provider(&NO_CLOCK)
        .update_accessed_date(false);
    let volume = |source| EditError::Write {
        name: "the volume".to_owned(),
        source,
    };
    let fs = fatfs::FileSystem::new(view, options).map_err(volume)?;
    for file in files {
        let write = || -> io::Result<()> {
            let mut target = fs.root_dir().create_file(&file.name)?;
            target.truncate()?;
            target.write_all(&file.bytes)?;
            target.flush()
        };
        write().map_err(|source| EditError::Write {
            name: file.name.clone(),
            source,
        })?;
    }
    fs.unmount().map_err(volume)
}

/// Reads the edited file system with other code than wrote it: our files hold
/// what they should, and nothing else has changed.
fn check_edited(
    base: &dyn ReadAt,
    boot: &BootPartition,
    files: &[BootFile],
    overlay: &Overlay,
) -> Result<(), EditError> {
    let minted = Minted { base, overlay };
    let before = Fat::open(base, &boot.partition)?;
    let after = Fat::open(&minted, &boot.partition)?;
    let entries = after.root()?;
    let mut ours = after.metadata_extents()?;
    for file in files {
        let entry = entries
            .iter()
            .find(|entry| entry.is_named(&file.name))
            .ok_or_else(|| EditError::ReadBack(format!("`{}` is missing", file.name)))?;
        // Ours may be longer than the texts of a stock image.
        let len_differs = u64::from(entry.len) != file.bytes.len() as u64;
        if len_differs || after.read_any(entry)? != file.bytes {
            return Err(EditError::ReadBack(format!("`{}` differs", file.name)));
        }
        ours.extend(after.extents(entry)?);
    }
    let is_ours = |entry: &Entry| files.iter().any(|file| entry.is_named(&file.name));
    let theirs = after.tree(is_ours)?;
    check_same(&before.tree(is_ours)?, &theirs)?;
    check_apart(&ours, &theirs)?;
    check_confined(overlay, ours)
}

/// What is not ours is still there, and where it was.
fn check_same(before: &[Placed], after: &[Placed]) -> Result<(), EditError> {
    // Ours are left out, so the order of the others is what it was.
    let is_other = |pair: &(&Placed, &Placed)| pair.0 != pair.1;
    let other = before.iter().zip(after).find(is_other);
    let missing = || before.get(after.len()).or_else(|| after.get(before.len()));
    match other.map(|pair| pair.0).or_else(missing) {
        Some(other) => Err(EditError::ReadBack(format!("`{}` has changed", other.path))),
        None => Ok(()),
    }
}

/// Nothing of ours lies where something else does: on a damaged file system two files
/// may share clusters, and what was written to one would show in the other.
fn check_apart(ours: &[Range<u64>], theirs: &[Placed]) -> Result<(), EditError> {
    let mut ours: Vec<&Range<u64>> = ours.iter().filter(|range| !range.is_empty()).collect();
    ours.sort_by_key(|range| range.start);
    // How far those that begin no later reach.
    let reach = ours.iter().scan(0, |reach, range| {
        *reach = range.end.max(*reach);
        Some(*reach)
    });
    let reach: Vec<u64> = reach.collect();
    for other in theirs {
        for range in other.extents.iter().filter(|range| !range.is_empty()) {
            let before_end = ours.partition_point(|our| our.start < range.end);
            if before_end > 0 && reach[before_end - 1] > range.start {
                let message = format!("`{}` shares clusters with another file", other.path);
                return Err(FatError::Damaged(message).into());
            }
        }
    }
    Ok(())
}

/// Every changed sector lies in the tables, the root directory or our files.
fn check_confined(overlay: &Overlay, mut allowed: Vec<Range<u64>>) -> Result<(), EditError> {
    allowed.sort_by_key(|range| range.start);
    for extent in overlay.extents() {
        let mut at = extent.offset;
        for range in &allowed {
            // The last sector of a file belongs to it as a whole.
            let end = range.end.next_multiple_of(SECTOR_LEN as u64);
            if range.start <= at && at < end {
                at = end;
            }
        }
        if at < extent.end() {
            return Err(EditError::ReadBack(format!("byte {at} has changed")));
        }
    }
    Ok(())
}
