//! Where an image differs from its plan, in words: which file, which region.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::base::{CHUNK_LEN, ReadAt};
use crate::interrupt::Interrupt;
use crate::layout::Layout;
use crate::layout::fat::{Entry, Fat};
use crate::output::Expected;
use crate::report::event::{Event, Sink};

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

/// An image that differs, and its plan.
pub(super) struct Search<'a> {
    /// The image, and its bytes as they are when unpacked.
    pub(super) path: &'a Path,
    pub(super) image: &'a dyn ReadAt,
    /// The base's name, and what is planned on it.
    pub(super) base: &'a str,
    pub(super) planned: &'a dyn ReadAt,
    pub(super) layout: &'a Layout,
    pub(super) expected: &'a Expected,
    /// The node, to show how far this is.
    pub(super) task: &'a str,
    pub(super) sink: &'a dyn Sink,
    pub(super) interrupt: &'a Interrupt,
}

impl Search<'_> {
    /// Looks for the differences within the chunks that are known to differ.
    pub(super) fn run(&self, chunks: &[usize]) -> Result<Differences> {
        let task = self.task;
        self.sink.send(Event::Started {
            task,
            verb: "comparing",
            total: chunks.len() as u64 * CHUNK_LEN as u64,
        });
        let regions = self.regions(chunks);
        let found = regions.and_then(|regions| Ok((regions, self.files()?)));
        self.sink.send(Event::Ended { task });
        let (regions, files) = found?;
        let (disk, boot) = (&self.layout.disk, self.layout.boot.partition.number);
        let regions = regions
            .into_iter()
            .map(|range| Region {
                place: disk.place_of(range.start, boot),
                range,
            })
            .collect();
        Ok(Differences { files, regions })
    }

    fn regions(&self, chunks: &[usize]) -> Result<Vec<Range<u64>>> {
        let reading = || format!("reading {}", self.path.display());
        let mut regions: Vec<Range<u64>> = Vec::new();
        let (end, planned_end) = (self.image.len(), self.expected.len());
        for (done, &index) in (1..).zip(chunks) {
            self.interrupt.check()?;
            for piece in self.expected.pieces(index) {
                // What a short image lacks needs no reading.
                let len = piece.end.min(end).saturating_sub(piece.start);
                if len == 0 {
                    break;
                }
                // Pieces are parts of a chunk.
                let len = usize::try_from(len).unwrap_or(0);
                let (mut wanted, mut found) = (vec![0; len], vec![0; len]);
                self.planned
                    .read_exact_at(&mut wanted, piece.start)
                    .with_context(|| self.base.to_owned())?;
                self.image
                    .read_exact_at(&mut found, piece.start)
                    .with_context(reading)?;
                collect(&mut regions, piece.start, &wanted, &found);
            }
            self.sink.send(Event::Progressed {
                task: self.task,
                done: done * CHUNK_LEN as u64,
            });
        }
        if end < planned_end {
            add(&mut regions, end..planned_end);
        } else if end > planned_end && !self.expected.is_of_card() {
            regions.push(planned_end..end);
        }
        Ok(regions)
    }

    /// Files of the root directory that differ, are missing or do not belong there.
    /// An unreadable boot partition is told as such: its regions are listed anyway.
    fn files(&self) -> Result<Vec<String>> {
        let partition = &self.layout.boot.partition;
        let open = |source| Fat::open(source, partition).and_then(|fat| Ok((fat.root()?, fat)));
        let (Ok((wanted, wanted_fat)), Ok((found, found_fat))) =
            (open(self.planned), open(self.image))
        else {
            return Ok(vec![
                "the boot partition's file system is unreadable".to_owned(),
            ]);
        };
        let same = |entry: &Entry, other: &Entry| {
            entry.len == other.len && bytes(&wanted_fat, entry) == bytes(&found_fat, other)
        };
        let mut files = Vec::new();
        for entry in wanted.iter().filter(|entry| !entry.is_dir) {
            self.interrupt.check()?;
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
        Ok(files)
    }
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

/// Contents of a file, however long; `None` where it cannot be read.
fn bytes(fat: &Fat<'_>, entry: &Entry) -> Option<Vec<u8>> {
    fat.read_any(entry).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::base::{Base, MemBase};
    use crate::commands::practice::PRACTICE_IMAGE;
    use crate::report::event::Silent;

    /// A base that the disk does not give any more.
    #[derive(Debug)]
    struct Unreadable(u64);

    impl ReadAt for Unreadable {
        fn len(&self) -> u64 {
            self.0
        }

        fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::Error::other("the disk fails"))
        }
    }

    fn failure(planned: Option<&dyn ReadAt>, interrupt: &Interrupt) -> anyhow::Error {
        let base = Base::from_static("practice", PRACTICE_IMAGE).unwrap();
        let layout = Layout::read(&base).unwrap();
        let expected = Expected::from_patched(base.len(), &Vec::new().into(), BTreeMap::new());
        let image = MemBase(vec![0; CHUNK_LEN]);
        let search = Search {
            path: Path::new("card"),
            image: &image,
            base: "base.img",
            planned: planned.unwrap_or(&base),
            layout: &layout,
            expected: &expected,
            task: "node",
            sink: &Silent,
            interrupt,
        };
        search.run(&[0]).unwrap_err()
    }

    #[test]
    fn a_base_that_cannot_be_read_is_named() {
        let error = failure(Some(&Unreadable(8 << 20)), &Interrupt::default());
        assert_eq!(format!("{error:#}"), "base.img: the disk fails");
    }

    #[test]
    fn who_asks_to_stop_is_heard() {
        let interrupt = Interrupt::default();
        interrupt.flag().store(true, Ordering::Relaxed);
        let error = failure(None, &interrupt);
        assert!(error.is::<crate::interrupt::Interrupted>(), "{error:#}");
    }
}
