//! Where an image differs from its plan, in words: which file, which region.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::base::ReadAt;
use crate::layout::Layout;
use crate::layout::fat::{Entry, Fat};
use crate::output::Expected;

/// What differs between an image and its plan.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Files of the boot partition: `user-data differs`.
    pub(super) files: Vec<String>,
    /// Runs of differing sectors, and the partition they are in.
    pub(super) regions: Vec<Region>,
}

/// A run of sectors that differ.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) range: Range<u64>,
    pub(super) place: String,
}

/// Sectors closer than this count as one region.
const GAP: u64 = 64 << 10;
/// Regions listed one by one; more say nothing new.
pub(super) const MAX_REGIONS: usize = 16;

/// Looks for the differences within the chunks that are known to differ.
pub(super) fn find(
    (path, image): (&Path, &dyn ReadAt),
    planned: &dyn ReadAt,
    layout: &Layout,
    expected: &Expected,
    chunks: &[usize],
) -> Result<Differences> {
    let failed = || format!("reading {}", path.display());
    let mut regions: Vec<Range<u64>> = Vec::new();
    let end = image.len();
    for &index in chunks {
        for piece in expected.pieces(index) {
            // What a short image lacks needs no reading.
            let len = piece.end.min(end).saturating_sub(piece.start);
            if len == 0 {
                break;
            }
            // Pieces are parts of a chunk.
            let len = usize::try_from(len).unwrap_or(0);
            let mut wanted = vec![0; len];
            planned.read_exact_at(&mut wanted, piece.start)?;
            let mut found = vec![0; len];
            image
                .read_exact_at(&mut found, piece.start)
                .with_context(failed)?;
            collect(&mut regions, piece.start, &wanted, &found);
        }
    }
    if end < expected.len() {
        add(&mut regions, end..expected.len());
    } else if end > expected.len() && !expected.is_of_card() {
        regions.push(expected.len()..end);
    }
    let place = |range: &Range<u64>| layout.disk.place_of(range.start);
    let files = compare_files(image, planned, layout);
    let regions = regions
        .into_iter()
        .map(|range| Region {
            place: place(&range),
            range,
        })
        .collect();
    Ok(Differences { files, regions })
}

fn collect(regions: &mut Vec<Range<u64>>, offset: u64, wanted: &[u8], found: &[u8]) {
    const SECTOR: usize = 512;
    let sectors = wanted.chunks(SECTOR).zip(found.chunks(SECTOR));
    for (at, (wanted, found)) in (offset..).step_by(SECTOR).zip(sectors) {
        if wanted != found {
            add(regions, at..at + wanted.len() as u64);
        }
    }
}

/// Adds a range behind the others.
fn add(regions: &mut Vec<Range<u64>>, range: Range<u64>) {
    match regions.last_mut() {
        Some(last) if range.start <= last.end + GAP => last.end = range.end,
        _ => regions.push(range),
    }
}

/// Files of the root directory that differ, are missing or do not belong there.
/// An unreadable boot partition is told as such: its regions are listed anyway.
fn compare_files(image: &dyn ReadAt, planned: &dyn ReadAt, layout: &Layout) -> Vec<String> {
    let partition = &layout.boot.partition;
    let open = |source| Fat::open(source, partition).and_then(|fat| Ok((fat.root()?, fat)));
    let (Ok((wanted, wanted_fat)), Ok((found, found_fat))) = (open(planned), open(image)) else {
        return vec!["the boot partition's file system is unreadable".to_owned()];
    };
    let same = |entry: &Entry, other: &Entry| {
        entry.len == other.len && bytes(&wanted_fat, entry) == bytes(&found_fat, other)
    };
    let mut files = Vec::new();
    for entry in wanted.iter().filter(|entry| !entry.is_dir) {
        match found.iter().find(|other| other.is_named(&entry.name)) {
            None => files.push(format!("{} is missing", entry.name)),
            Some(other) if !same(entry, other) => files.push(format!("{} differs", entry.name)),
            Some(_) => {}
        }
    }
    for other in &found {
        if !wanted.iter().any(|entry| entry.is_named(&other.name)) {
            files.push(format!("{} does not belong there", other.name));
        }
    }
    files
}

/// Contents of a file, however long; `None` where it cannot be read.
fn bytes(fat: &Fat<'_>, entry: &Entry) -> Option<Vec<u8>> {
    fat.read_any(entry).ok()
}
