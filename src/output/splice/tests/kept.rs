//! What one run encodes, the next has.

use std::fs;
use std::sync::atomic::Ordering;

use super::*;
use crate::base::Sha256Digest;

struct Bench {
    file: MemBase,
    frames: Frames,
    node: Overlay,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let data = image(3_000_000, 31);
        let file = MemBase(zst_of(&data, 1_000_000, true));
        Self {
            frames: Frames::read_zst(&file).unwrap(),
            file,
            node: overlay_of(data.len(), &vec![(1_002, 3), (4_003, 1)], 1),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The image, and how many cells were encoded for it.
    fn run(&self, level: u32, digest: u8) -> (Vec<u8>, usize) {
        let interrupt = Interrupt::default();
        let kept = Kept {
            dir: self.dir.path(),
            file: Sha256Digest([digest; 32]),
        };
        let effort = effort(level, 2, &interrupt);
        let splicer = Splicer::new(&self.file, &self.frames, effort, Some(kept)).unwrap();
        let spliced = splicer.splice(&self.node, 2).unwrap();
        let bytes = joined(&spliced, &self.file);
        (bytes, splicer.encodings.load(Ordering::Relaxed))
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_second_run_encodes_only_what_is_the_nodes_own() {
    let bench = Bench::new();
    let (first, cost) = bench.run(1, 1);
    let (second, less) = bench.run(1, 1);
    assert!(first == second);
    let own = |frame: &Frame| cells::cells(frame, &bench.node).into_iter();
    let own = bench.frames.list.iter().flat_map(own);
    assert_eq!(less, own.filter(|cell| cell.touched).count());
    assert!(cost > 2 * less, "{cost}, then {less}");
    // Another level, and another file, have cells of their own.
    assert_eq!(bench.run(2, 1).1, cost);
    assert_eq!(bench.run(1, 2).1, cost);
}

#[test]
fn what_rotted_or_was_cut_is_encoded_again() {
    let bench = Bench::new();
    let (whole, cost) = bench.run(1, 1);
    let spoil: [fn(&mut Vec<u8>); 5] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes[0] ^= 1,
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
        |bytes| bytes.resize(9_000_000, 0),
    ];
    for spoil in spoil {
        for path in bench.files() {
            let mut bytes = fs::read(&path).unwrap();
            spoil(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let (again, its_cost) = bench.run(1, 1);
        assert!(again == whole);
        assert_eq!(its_cost, cost);
    }
    assert!(!bench.files().is_empty());
}
