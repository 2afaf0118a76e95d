//! Spliced files are judged by other people's decoders.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{COARSE, FINE, PAGE, Segment, Spliced, Splicer, check, write};
use crate::base::testing::{has_tools, pipe, sample};
use crate::base::xz::XzBase;
use crate::base::{MemBase, ReadAt};
use crate::interrupt::Interrupt;
use crate::overlay::{Overlay, SECTOR_LEN};

const CHECKS: [&str; 4] = ["none", "crc32", "crc64", "sha256"];

fn compressed(data: &[u8], block_len: usize, check: &str) -> Vec<u8> {
    let block = format!("--block-size={block_len}");
    let check = format!("--check={check}");
    pipe("xz", &["-0", "-T2", "-c", &block, &check], data)
}

/// Sectors of these numbers, changed.
fn overlay(sectors: &[u64], seed: u64) -> Overlay {
    let mut sectors = sectors.to_vec();
    sectors.sort_unstable();
    sectors.dedup();
    let bytes = sample(SECTOR_LEN * sectors.len(), seed);
    let each = bytes.chunks(SECTOR_LEN);
    let at = sectors.iter().map(|&number| number * SECTOR_LEN as u64);
    Overlay::from_sectors(at.zip(each))
}

/// The file as one piece.
fn file(spliced: &Spliced, base: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for segment in &spliced.segments {
        match segment {
            Segment::Copy(range) => {
                let [start, end] = [range.start, range.end].map(|n| usize::try_from(n).unwrap());
                out.extend_from_slice(&base[start..end]);
            }
            Segment::New(block) => out.extend_from_slice(&block.bytes),
            Segment::Frame(bytes) => out.extend_from_slice(bytes),
        }
    }
    assert_eq!(out.len() as u64, spliced.len);
    out
}

fn minted(data: &[u8], overlay: &Overlay) -> Vec<u8> {
    let mut bytes = data.to_vec();
    overlay.apply(0, &mut bytes);
    bytes
}

fn splice(base: &[u8], overlay: &Overlay, threads: usize) -> Vec<u8> {
    let base_file = XzBase::open(Arc::new(MemBase(base.to_vec()))).unwrap();
    let interrupt = Interrupt::default();
    let splicer = Splicer::new(&base_file, 1, &interrupt).unwrap();
    file(&splicer.splice(overlay, threads, &|_, _| ()).unwrap(), base)
}

/// What `xz` says of a file: streams, blocks, uncompressed length.
fn listed(bytes: &[u8]) -> Vec<u64> {
    let mut file = tempfile::NamedTempFile::with_suffix(".xz").unwrap();
    file.write_all(bytes).unwrap();
    let path = file.path().to_str().unwrap();
    let text = pipe("xz", &["--robot", "--list", path], &[]);
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.starts_with("file")).unwrap();
    let fields: Vec<&str> = line.split('\t').collect();
    [1, 2, 4].map(|at| fields[at].parse().unwrap()).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn others_decode_what_was_spliced(
        sectors in 200usize..6000,
        seed: u64,
        block_len in 4_000usize..3_000_000,
        check in 0usize..4,
        at in proptest::collection::vec(any::<u64>(), 0..12),
        run in 0u64..600,
    ) {
        if !has_tools(&["xz"]) {
            return Ok(());
        }
        let data = sample(sectors * SECTOR_LEN, seed);
        let base = compressed(&data, block_len, CHECKS[check]);
        let mut touched: Vec<u64> = at.iter().map(|at| at % sectors as u64).collect();
        // A run over the borders of cells and blocks.
        let start = at.first().copied().unwrap_or(0) % sectors as u64;
        touched.extend((start..start + run).filter(|&at| at < sectors as u64));
        let overlay = overlay(&touched, seed ^ 1);
        let out = splice(&base, &overlay, 2);
        prop_assert!(pipe("xz", &["-dc"], &out) == minted(&data, &overlay));
        let list = listed(&out);
        prop_assert_eq!((list[0], list[2]), (1, data.len() as u64));
        // And so do we, at random.
        let again = XzBase::open(Arc::new(MemBase(out))).unwrap();
        let mut buf = vec![0; SECTOR_LEN];
        for at in touched {
            again.read_exact_at(&mut buf, at * SECTOR_LEN as u64).unwrap();
            let start = usize::try_from(at).unwrap() * SECTOR_LEN;
            prop_assert!(buf == minted(&data, &overlay)[start..start + SECTOR_LEN]);
        }
    }
}

/// Noise, zeros and text, of three blocks that `xz` makes.
fn large() -> (Vec<u8>, Vec<u8>) {
    let mut data = sample(9 << 20, 3);
    data[2 << 20..5 << 20].fill(0);
    let base = compressed(&data, 3 << 20, "crc64");
    (data, base)
}

#[test]
fn other_decoders_take_blocks_that_hold_nothing() {
    if !has_tools(&["xz", "python3", "bsdcat"]) {
        return;
    }
    let (data, base) = large();
    // The first block changes, so that the next begins at another place.
    let overlay = overlay(&[3, 700], 9);
    let out = splice(&base, &overlay, 2);
    let blocks = listed(&out)[1];
    let wanted = minted(&data, &overlay);
    let fine = (3 << 20) / FINE;
    assert!(blocks > 2 + fine, "{blocks} blocks: no filler among them");
    let lzma =
        "import lzma, sys; sys.stdout.buffer.write(lzma.decompress(sys.stdin.buffer.read()))";
    assert!(pipe("python3", &["-c", lzma], &out) == wanted);
    assert!(pipe("xz", &["-dc", "-T2"], &out) == wanted);
    assert!(pipe("bsdcat", &[], &out) == wanted);
}

#[test]
fn what_is_copied_can_be_shared() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (_, base) = large();
    let base_file = XzBase::open(Arc::new(MemBase(base))).unwrap();
    let interrupt = Interrupt::default();
    let splicer = Splicer::new(&base_file, 1, &interrupt).unwrap();
    let spliced = splicer.splice(&overlay(&[3], 9), 1, &|_, _| ()).unwrap();
    let mut at = 0;
    let mut copied = 0;
    for segment in &spliced.segments {
        if let Segment::Copy(range) = segment {
            assert_eq!(at % PAGE, range.start % PAGE);
            copied += segment.len();
        }
        at += segment.len();
    }
    assert!(copied > 1 << 20, "{copied} bytes");
}

#[test]
fn the_same_node_is_the_same_file_whatever_was_made_before() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (_, base) = large();
    let base_file = XzBase::open(Arc::new(MemBase(base.clone()))).unwrap();
    let interrupt = Interrupt::default();
    let splicer = Splicer::new(&base_file, 1, &interrupt).unwrap();
    let (one, other) = (overlay(&[3, 9000], 1), overlay(&[4, 5000, 9100], 2));
    let told = Mutex::new(Vec::new());
    let step = |done, total| told.lock().unwrap().push((done, total));
    splicer.splice(&one, 3, &step).unwrap();
    let told = told.into_inner().unwrap();
    let total = told[0].1;
    assert_eq!(told[0].0, 0);
    assert_eq!(told.iter().map(|(done, _)| *done).max(), Some(total));
    assert!(total > COARSE, "{total} bytes");
    let encoded = splicer.encoded.lock().unwrap().len();
    let after = file(&splicer.splice(&other, 2, &|_, _| ()).unwrap(), &base);
    assert!(after == splice(&base, &other, 1));
    // The first block's cells were encoded before: the same are touched in it.
    let more = splicer.encoded.lock().unwrap().len() - encoded;
    assert!(more as u64 <= COARSE / FINE + 2, "{more} more cells");
    assert!(file(&splicer.splice(&one, 1, &|_, _| ()).unwrap(), &base) == splice(&base, &one, 2));
}

#[test]
fn nothing_to_change_is_the_base_again() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (_, base) = large();
    assert!(splice(&base, &Overlay::default(), 2) == base);
}

#[test]
fn a_file_is_written_and_read_back() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (_, base) = large();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.xz");
    std::fs::write(&path, &base).unwrap();
    let base_file = XzBase::open(Arc::new(MemBase(base.clone()))).unwrap();
    let interrupt = Interrupt::default();
    let splicer = Splicer::new(&base_file, 1, &interrupt).unwrap();
    let overlay = overlay(&[3, 7, 8000], 9);
    let spliced = splicer.splice(&overlay, 1, &|_, _| ()).unwrap();
    let target = dir.path().join("out.xz");
    let out = std::fs::File::create(&target).unwrap();
    let source = std::fs::File::open(&path).unwrap();
    let bytes = MemBase(base.clone());
    write(&spliced, (&bytes, Some(&source)), &out, &interrupt).unwrap();
    let mut bytes = std::fs::read(&target).unwrap();
    assert!(bytes == file(&spliced, &base));
    let compare = |bytes: &[u8]| {
        let found = MemBase(bytes.to_vec());
        let mut seen = Vec::new();
        let different = check(
            &spliced,
            &MemBase(base.clone()),
            |buf, at| found.read_exact_at(buf, at),
            |piece| {
                seen.extend_from_slice(piece);
                Ok(())
            },
        );
        assert!(seen == bytes);
        different.unwrap()
    };
    assert_eq!(compare(&bytes), None);
    for at in [0, 30, bytes.len() / 2, bytes.len() - 1] {
        bytes[at] ^= 1;
        assert_eq!(compare(&bytes), Some(at as u64));
        bytes[at] ^= 1;
    }
}
