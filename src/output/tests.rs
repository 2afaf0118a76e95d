use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::{
    Blocks, Build, Compression, Expected, Job, Outcome, OutputError, Packer, Packing,
    differing_chunks, remove_abandoned,
};
use crate::base::chunk::CHUNK_LEN;
use crate::base::testing::{has_tools, pipe, sample};
use crate::base::{Base, Cache, Digests, MemBase, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::overlay::{Overlay, SECTOR_LEN};
use crate::report::event::Silent;

/// Data, a hole of a chunk, and a last chunk that is not full.
fn base_bytes() -> Vec<u8> {
    let mut bytes = sample(CHUNK_LEN, 1);
    bytes.resize(2 * CHUNK_LEN, 0);
    bytes.extend(sample(40 * SECTOR_LEN, 2));
    bytes
}

fn overlay(seed: u64) -> Overlay {
    let sector = sample(SECTOR_LEN, seed);
    let edge = CHUNK_LEN as u64 - 512;
    Overlay::from_sectors([
        (1024, &sector[..]),
        (edge, &sector),
        (edge + 512, &sector),
        (2 * CHUNK_LEN as u64 + 39 * 512, &sector),
    ])
}

fn minted(base: &[u8], overlay: &Overlay) -> Vec<u8> {
    let mut bytes = base.to_vec();
    overlay.apply(0, &mut bytes);
    bytes
}

fn digest_of(bytes: &[u8]) -> Sha256Digest {
    let digests: Vec<u8> = bytes
        .chunks(CHUNK_LEN)
        .flat_map(|chunk| Sha256Digest::of(chunk).0)
        .collect();
    Sha256Digest::of(&digests)
}

struct Bench {
    dir: TempDir,
    base: Base,
    cache: Cache,
    interrupt: Interrupt,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.img");
        fs::write(&path, base_bytes()).unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let interrupt = Interrupt::default();
        let base = Base::open(&path, &cache, &Silent, &interrupt).unwrap();
        Self {
            dir,
            base,
            cache,
            interrupt,
        }
    }

    fn build(&self, replace: bool) -> Build<'_> {
        Build {
            base: &self.base,
            cache: &self.cache,
            replace,
            sink: &Silent,
            interrupt: &self.interrupt,
        }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("images").join(name)
    }

    fn run(
        &self,
        jobs: &[Job<'_>],
        replace: bool,
    ) -> (Result<Digests, OutputError>, Vec<Option<Outcome>>) {
        let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
        let result = self
            .build(replace)
            .run(jobs, |index, outcome| outcomes[index] = Some(outcome));
        (result, outcomes)
    }

    fn job<'a>(&self, name: &'a str, overlay: &'a Overlay) -> Job<'a> {
        Job {
            name,
            path: self.out(name),
            overlay,
            used: None,
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join("images"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn different(&self, path: &Path, expected: &Expected) -> Vec<usize> {
        differing_chunks(path, expected, "image", &Silent, &self.interrupt).unwrap()
    }
}

#[test]
fn the_digest_of_an_image_is_known_from_base_and_overlay() {
    for len in [
        0,
        512,
        CHUNK_LEN,
        CHUNK_LEN + 512,
        2 * CHUNK_LEN + 40 * SECTOR_LEN,
    ] {
        let bytes = base_bytes()[..len].to_vec();
        let chunks: Vec<_> = bytes.chunks(CHUNK_LEN).map(Sha256Digest::of).collect();
        let base = MemBase(bytes.clone());
        let end = len as u64;
        let inside = |o: &Overlay| {
            let sectors = o.extents().iter().filter(|e| e.end() <= end);
            Overlay::from_sectors(sectors.map(|e| (e.offset, &e.bytes[..])))
        };
        for overlay in [Overlay::default(), inside(&overlay(3)), inside(&overlay(4))] {
            let expected = Expected::new(&base, &chunks.clone().into(), &overlay).unwrap();
            assert_eq!(
                expected.image_digest(),
                digest_of(&minted(&bytes, &overlay))
            );
            assert_eq!(expected.len(), end);
            assert_eq!(expected.is_empty(), len == 0);
            for index in expected.patched() {
                let (offset, len) = expected.range(index);
                assert!(overlay.touches(offset, len as u64));
            }
        }
    }
}

#[test]
fn images_are_base_and_overlay_sparse_and_private() {
    let bench = Bench::new();
    let overlays: Vec<Overlay> = (10..16).map(overlay).collect();
    let names = ["a.img", "b.img", "c.img", "d.img", "e.img", "f.img"];
    let jobs: Vec<Job<'_>> = names
        .iter()
        .zip(&overlays)
        .map(|(n, o)| bench.job(n, o))
        .collect();
    let (result, outcomes) = bench.run(&jobs, false);
    assert_eq!(result.unwrap().raw, Sha256Digest::of(&base_bytes()));
    for (job, outcome) in jobs.iter().zip(outcomes) {
        let bytes = fs::read(&job.path).unwrap();
        assert!(bytes == minted(&base_bytes(), job.overlay), "{}", job.name);
        assert_eq!(outcome.unwrap().unwrap(), digest_of(&bytes));
        let metadata = fs::metadata(&job.path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert!(
            metadata.blocks() * 512 < bytes.len() as u64 - 3_000_000,
            "not sparse"
        );
    }
    assert_eq!(bench.names(), names);
}

#[test]
fn one_image_that_fails_does_not_stop_the_others() {
    let bench = Bench::new();
    let overlay = overlay(20);
    let long = "x".repeat(300);
    fs::create_dir(bench.out("directory")).unwrap();
    let names = ["a.img", &long, "directory", "b.img", "c.img"];
    let jobs: Vec<Job<'_>> = names.iter().map(|name| bench.job(name, &overlay)).collect();
    let (result, outcomes) = bench.run(&jobs, true);
    result.unwrap();
    let good: Vec<bool> = outcomes
        .iter()
        .map(|o| o.as_ref().unwrap().is_ok())
        .collect();
    assert_eq!(good, [true, false, false, true, true]);
    assert_eq!(bench.names(), ["a.img", "b.img", "c.img", "directory"]);
}

#[test]
fn existing_images_are_replaced_only_when_asked() {
    let bench = Bench::new();
    let overlay = overlay(30);
    fs::write(bench.out("a.img"), b"precious").unwrap();
    let jobs = [bench.job("a.img", &overlay)];
    let (_, outcomes) = bench.run(&jobs, false);
    assert!(
        matches!(outcomes[0], Some(Err(OutputError::Appeared(_)))),
        "{outcomes:?}"
    );
    assert_eq!(fs::read(bench.out("a.img")).unwrap(), b"precious");
    assert_eq!(bench.names(), ["a.img"]);
    let (_, outcomes) = bench.run(&jobs, true);
    assert!(matches!(outcomes[0], Some(Ok(_))));
    assert!(fs::read(bench.out("a.img")).unwrap() == minted(&base_bytes(), &overlay));
}

#[test]
fn abandoned_drafts_are_removed_and_those_in_work_are_kept() {
    let bench = Bench::new();
    let overlay = overlay(40);
    let put = |name: &str| File::create(bench.out(name)).unwrap();
    drop(put(".a.img.aaaaa1.partial"));
    drop(put(".base.aaaaa2.partial"));
    let working = put(".a.img.aaaaa3.partial");
    working.lock().unwrap();
    drop(put(".other.img.aaaaa4.partial"));
    drop(put(".a.img.notes"));
    remove_abandoned([bench.out("a.img").as_path()]);
    let (result, _) = bench.run(&[bench.job("a.img", &overlay)], false);
    result.unwrap();
    let kept = [
        ".a.img.aaaaa3.partial",
        ".a.img.notes",
        ".other.img.aaaaa4.partial",
        "a.img",
    ];
    assert_eq!(bench.names(), kept);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let bench = Bench::new();
    let overlay = overlay(50);
    bench.interrupt.flag().store(true, Ordering::Relaxed);
    let (result, outcomes) = bench.run(&[bench.job("a.img", &overlay)], false);
    assert!(matches!(
        result,
        Err(OutputError::Base(_) | OutputError::Interrupted(_))
    ));
    assert!(outcomes[0].is_none());
    assert!(bench.names().is_empty());
}

#[test]
fn a_build_without_jobs_still_digests_the_base() {
    let bench = Bench::new();
    let (result, _) = bench.run(&[], false);
    assert_eq!(result.unwrap().raw, Sha256Digest::of(&base_bytes()));
}

#[test]
fn more_images_than_a_batch_are_made_as_well() {
    let bench = Bench::new();
    let overlay = Overlay::default();
    let names: Vec<String> = (0..34).map(|n| format!("n{n:02}.img")).collect();
    let jobs: Vec<Job<'_>> = names.iter().map(|name| bench.job(name, &overlay)).collect();
    let (result, outcomes) = bench.run(&jobs, false);
    result.unwrap();
    let expected = digest_of(&base_bytes());
    assert!(
        outcomes
            .iter()
            .all(|o| matches!(o, Some(Ok(digest)) if *digest == expected))
    );
    assert_eq!(bench.names(), names);
}

#[test]
fn whatever_differs_in_a_finished_image_is_found() {
    let bench = Bench::new();
    let overlay = overlay(60);
    let (result, _) = bench.run(&[bench.job("a.img", &overlay)], false);
    let chunks = result.unwrap().chunks;
    let path = bench.out("a.img");
    let expected = Expected::new(&bench.base, &chunks, &overlay).unwrap();
    assert!(bench.different(&path, &expected).is_empty());

    let good = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for (at, chunk) in [
        (0, 0),
        (1024, 0),
        (CHUNK_LEN, 1),
        (2 * CHUNK_LEN - 1, 1),
        (good.len() - 1, 2),
    ] {
        file.write_all_at(&[!good[at]], at as u64).unwrap();
        assert_eq!(bench.different(&path, &expected), [chunk], "byte {at}");
        file.write_all_at(&good[at..=at], at as u64).unwrap();
    }
    assert!(bench.different(&path, &expected).is_empty());
    file.set_len(good.len() as u64 + 1).unwrap();
    assert_eq!(bench.different(&path, &expected), [2]);
    file.set_len(good.len() as u64 - 1).unwrap();
    assert_eq!(bench.different(&path, &expected), [2]);
    file.set_len(CHUNK_LEN as u64 + 5).unwrap();
    assert_eq!(bench.different(&path, &expected), [1, 2]);
    file.set_len(0).unwrap();
    assert_eq!(bench.different(&path, &expected), [0, 1, 2]);

    bench.interrupt.flag().store(true, Ordering::Relaxed);
    let result = differing_chunks(&path, &expected, "image", &Silent, &bench.interrupt);
    assert!(matches!(result, Err(OutputError::Interrupted(_))));
    let missing = bench.out("missing");
    assert!(differing_chunks(&missing, &expected, "image", &Silent, &bench.interrupt).is_err());
}

#[test]
fn a_base_that_cannot_be_read_is_told_as_the_base() {
    if !has_tools(&["xz"]) {
        return;
    }
    let mut bench = Bench::new();
    let path = bench.dir.path().join("base.img.xz");
    let args = ["-0", "-T2", "-c", "--block-size=1MiB"];
    fs::write(&path, pipe("xz", &args, &base_bytes())).unwrap();
    bench.base = Base::open(&path, &bench.cache, &Silent, &bench.interrupt).unwrap();
    let packing = Packing {
        format: Compression::Xz,
        level: 1,
        jobs: 1,
    };
    let blocks = Blocks::open(bench.build(false), packing).unwrap();
    let packer = Packer::new(&blocks).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    for overlay in [Overlay::default(), overlay(70)] {
        let job = bench.job("a.img.xz", &overlay);
        packer.run(&[job], |_, outcome| match outcome {
            Err(OutputError::File { verb, .. }) => assert_eq!(verb, "reading the base of"),
            other => panic!("{other:?}"),
        });
    }
}
