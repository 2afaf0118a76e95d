//! Spliced files, judged by the tools that people unpack them with.

#![allow(
    clippy::cast_possible_truncation,
    reason = "tests hold what they look at in memory"
)]

mod kept;
mod recoded;
mod same;
mod table;
mod written;
mod xz;
mod zst;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cells::MIN_CELL;
use super::frames::Record;
use super::*;
use crate::base::MemBase;
use crate::base::testing::{pipe, sample};
use crate::interrupt::Interrupt;
use crate::overlay::SECTOR_LEN;
use crate::report::event::Silent;

const CHECKS: [&str; 4] = ["none", "crc32", "crc64", "sha256"];

/// Where a random overlay changes something: a place, and sectors.
type Changes = Vec<(u32, u8)>;

/// An image: what shrinks, what does not, and zeros.
fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = sample(len, seed);
    let (from, to) = (len / 2, len / 2 + len / 4);
    bytes[from..to].fill(0);
    bytes
}

fn overlay_of(len: usize, changes: &Changes, seed: u64) -> Overlay {
    let sectors = len / SECTOR_LEN;
    let mut changed = BTreeMap::new();
    for (number, &(at, count)) in changes.iter().enumerate() {
        // The first and the last sector now and then, the others at random.
        let first = match at % 8 {
            0 => 0,
            1 => sectors.saturating_sub(1),
            _ => at as usize % sectors.max(1),
        };
        for sector in first..(first + 1 + usize::from(count)).min(sectors) {
            let bytes = sample(SECTOR_LEN, seed ^ (sector * 64 + number) as u64);
            changed.insert((sector * SECTOR_LEN) as u64, bytes);
        }
    }
    Overlay::from_sectors(changed.iter().map(|(at, bytes)| (*at, &bytes[..])))
}

/// Changes every sector.
fn all_of(len: usize, seed: u64) -> Overlay {
    let bytes = sample(len / SECTOR_LEN * SECTOR_LEN, seed);
    let sectors = (0..).step_by(SECTOR_LEN).zip(bytes.chunks(SECTOR_LEN));
    Overlay::from_sectors(sectors)
}

fn minted(base: &[u8], overlay: &Overlay) -> Vec<u8> {
    let mut bytes = base.to_vec();
    overlay.apply(0, &mut bytes);
    bytes
}

fn xz_of(data: &[u8], block_len: usize, check: &str) -> Vec<u8> {
    let (block, check) = (
        format!("--block-size={block_len}"),
        format!("--check={check}"),
    );
    pipe("xz", &["-0", "-T2", "-c", &block, &check], data)
}

fn zst_of(data: &[u8], frame_len: usize, checksums: bool) -> Vec<u8> {
    let container = Container::Zst { checksums };
    let frames = data.chunks(frame_len);
    let frames: Vec<Encoded> = frames
        .map(|frame| container.encode(frame, 1).unwrap())
        .collect();
    file_of(container, &frames)
}

/// A file of these frames.
fn file_of(container: Container, frames: &[Encoded]) -> Vec<u8> {
    let mut file = container.header();
    for frame in frames {
        file.extend_from_slice(&frame.bytes);
    }
    let records: Vec<Record> = frames.iter().map(|frame| frame.record).collect();
    file.extend(container.trailer(&records).unwrap());
    file
}

fn effort(level: u32, jobs: usize, interrupt: &Interrupt) -> Effort<'_> {
    Effort {
        level,
        jobs,
        name: "base",
        sink: &Silent,
        interrupt,
    }
}

/// The bytes of a spliced file.
fn joined(spliced: &Spliced, file: &MemBase) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in &spliced.segments {
        match segment {
            Segment::New(new) => bytes.extend_from_slice(new),
            Segment::Copy { offset, len } => {
                let (from, to) = (*offset as usize, (offset + len) as usize);
                bytes.extend_from_slice(&file.0[from..to]);
            }
        }
    }
    assert_eq!(bytes.len() as u64, spliced.len);
    bytes
}

/// Every run that is worth it lies where file systems can share it, and no two
/// segments could be one.
fn assert_laid_out(spliced: &Spliced) {
    let mut at = 0;
    let mut last = None;
    for segment in &spliced.segments {
        assert_ne!(segment.len(), 0);
        if let Segment::Copy { offset, len } = segment {
            assert!(last != Some(*offset), "two copies could be one");
            assert!(*len < MIN_SHARED || offset % PAGE_LEN == at % PAGE_LEN);
            last = Some(offset + len);
        } else {
            last = None;
        }
        at += segment.len();
    }
}

/// Splices one image, and checks its layout.
fn splice(file: &MemBase, frames: &Frames, overlay: &Overlay, jobs: usize) -> Vec<u8> {
    let interrupt = Interrupt::default();
    let splicer = Splicer::new(file, frames, effort(1, jobs, &interrupt), None).unwrap();
    let spliced = splicer.splice(overlay, 2).unwrap();
    assert_laid_out(&spliced);
    joined(&spliced, file)
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
