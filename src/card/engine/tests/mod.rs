//! The engine on cards in memory that are as bad as cards can be.

mod broken_off;
mod card;
mod compared;
mod probed;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use self::card::{Faults, GARBAGE, TestCard};
use super::{Flash, HEAD_END, Job, Outcome};
use crate::base::chunk::CHUNK_LEN;
use crate::base::testing::sample;
use crate::base::{Base, BaseError, Cache, Digests};
use crate::card::error::CardError;
use crate::card::medium::BLOCK_LEN;
use crate::interrupt::Interrupt;
use crate::layout::disk::{Disk, Partition, Scheme};
use crate::layout::used::UsedMap;
use crate::output::AlignedBuf;
use crate::overlay::Overlay;
use crate::report::event::{Silent, Sink};

const CHUNKS: usize = 5;

fn base_bytes() -> Vec<u8> {
    let mut bytes = sample(CHUNKS * CHUNK_LEN - 8192 + 512, 7);
    bytes[..512].fill(0xee);
    bytes
}

pub(super) fn card_len() -> usize {
    CHUNKS * CHUNK_LEN + (1 << 20)
}

/// A free stretch over a chunk's border, and one within a chunk.
fn used(len: u64) -> UsedMap {
    let chunk = CHUNK_LEN as u64;
    let free = [
        chunk + 8192..chunk + 409_600,
        2 * chunk - 300_000 / 4096 * 4096..3 * chunk + 4096,
    ];
    let mut from = 0;
    let mut ranges = Vec::new();
    for hole in free {
        ranges.push(from..hole.start);
        from = hole.end;
    }
    ranges.push(from..len);
    UsedMap::of(len, ranges)
}

/// Sectors that change in a used chunk, in the head, and where nothing is used.
fn overlay(seed: u64) -> Overlay {
    let sector = sample(512, seed);
    let chunk = CHUNK_LEN as u64;
    Overlay::from_sectors([
        (1024, &sector[..]),
        (chunk - 512, &sector),
        (2 * chunk + 512, &sector),
        (3 * chunk + 8192, &sector),
    ])
}

struct Bench {
    _dir: TempDir,
    base: Base,
    disk: Disk,
    cache: Cache,
    interrupt: Interrupt,
    used: UsedMap,
    wipe: bool,
}

impl Bench {
    fn new() -> Self {
        Self::on(&base_bytes())
    }

    fn on(file: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.img");
        std::fs::write(&path, file).unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let interrupt = Interrupt::default();
        let base = Base::open(&path, &cache, &Silent, &interrupt).unwrap();
        let len = base_bytes().len() as u64;
        let partition = Partition {
            number: 1,
            offset: 1 << 20,
            len: len - (1 << 20),
            type_id: "83".to_owned(),
        };
        let disk = Disk {
            len,
            scheme: Scheme::Mbr,
            id: String::new(),
            partitions: vec![partition],
        };
        Self {
            _dir: dir,
            base,
            disk,
            cache,
            interrupt,
            used: used(len),
            wipe: false,
        }
    }

    fn run(&self, jobs: &[Job<'_>]) -> (Result<Digests, BaseError>, Vec<Outcome>) {
        self.run_telling(jobs, &|_, _| {})
    }

    /// The same; `done` is called as each card is.
    fn run_telling(
        &self,
        jobs: &[Job<'_>],
        done: &(dyn Fn(usize, &Outcome) + Sync),
    ) -> (Result<Digests, BaseError>, Vec<Outcome>) {
        self.flash(done, &Silent).run(jobs)
    }

    fn flash<'a>(
        &'a self,
        done: &'a (dyn Fn(usize, &Outcome) + Sync),
        sink: &'a dyn Sink,
    ) -> Flash<'a> {
        Flash {
            base: &self.base,
            disk: &self.disk,
            boot: 1,
            used: &self.used,
            cache: &self.cache,
            verify: true,
            wipe: self.wipe,
            nonce: [3; 16],
            done,
            sink,
            interrupt: &self.interrupt,
        }
    }

    fn used_with(&self, overlay: &Overlay) -> UsedMap {
        let extents = overlay.extents().iter();
        self.used.with(extents.map(|e| e.offset..e.end()))
    }

    fn one(&self, card: &TestCard, delta: bool) -> Outcome {
        let overlay = overlay(1);
        let used = self.used_with(&overlay);
        let job = Job {
            delta,
            ..job(card, &overlay, &used)
        };
        self.run(&[job]).1.remove(0)
    }

    /// The card holds `base + overlay` wherever something is used.
    #[track_caller]
    fn assert_holds(&self, card: &TestCard, overlay: &Overlay) {
        let mut wanted = base_bytes();
        overlay.apply(0, &mut wanted);
        let used = self.used_with(overlay);
        let state = card.state();
        for range in used.ranges() {
            let at = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(state.bytes[at.clone()] == wanted[at.clone()], "{at:?}");
        }
    }
}

fn job<'a>(card: &'a TestCard, overlay: &'a Overlay, used: &'a UsedMap) -> Job<'a> {
    Job {
        name: "pi",
        overlay,
        used,
        medium: card,
        delta: false,
        probe: false,
        scrub: &[],
    }
}

#[test]
fn cards_hold_what_is_used_and_nothing_else_is_touched() {
    let bench = Bench::new();
    let cards = [TestCard::good(), TestCard::good(), TestCard::good()];
    let overlays = [overlay(1), overlay(2), Overlay::default()];
    let used: Vec<_> = overlays.iter().map(|o| bench.used_with(o)).collect();
    let each = cards.iter().zip(&overlays).zip(&used);
    let jobs: Vec<_> = each.map(|((card, o), used)| job(card, o, used)).collect();
    let (digests, outcomes) = bench.run(&jobs);
    let digests = digests.unwrap();
    for ((card, overlay), outcome) in cards.iter().zip(&overlays).zip(outcomes) {
        let written = outcome.unwrap();
        bench.assert_holds(card, overlay);
        assert_eq!(written.rewritten, 0);
        assert_eq!(written.written, written.used + HEAD_END);
        let state = card.state();
        assert_eq!(state.dirty_at_head, Some(0), "the head came too early");
        let hole = CHUNK_LEN + 16384;
        assert_eq!(state.bytes[hole], GARBAGE);
        assert_eq!(*state.bytes.last().unwrap(), GARBAGE);
        let expected = crate::output::Expected::new(&bench.base, &digests.chunks, overlay);
        let patched = expected.unwrap();
        for (index, digest) in &written.patched {
            assert_eq!(patched.digest(*index), Some(digest));
        }
        assert_eq!(
            written.patched.keys().copied().collect::<Vec<_>>(),
            patched.patched().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_byte_that_flips_once_is_written_again() {
    let bench = Bench::new();
    let at = 3 * CHUNK_LEN as u64 + 70_000;
    let flip = Some((at, 1));
    let card = TestCard::new(
        card_len(),
        Faults {
            flip,
            ..Faults::default()
        },
    );
    assert_eq!(bench.one(&card, false).unwrap().rewritten, 1);
    bench.assert_holds(&card, &overlay(1));
}

#[test]
fn a_byte_that_flips_twice_makes_a_bad_card_that_does_not_boot() {
    let bench = Bench::new();
    for at in [0, 3 * CHUNK_LEN as u64 + 70_000] {
        let flip = Some((at, usize::MAX));
        let card = TestCard::new(
            card_len(),
            Faults {
                flip,
                ..Faults::default()
            },
        );
        match bench.one(&card, false) {
            Err(CardError::Bad { offset, .. }) => assert_eq!(offset, at),
            other => panic!("{other:?}"),
        }
        assert!(at == 0 || card.is_headless());
    }
}

#[test]
fn reading_back_may_fail() {
    let bench = Bench::new();
    let read_error = Some(3 * CHUNK_LEN as u64 + 70_000);
    let card = TestCard::new(
        card_len(),
        Faults {
            read_error,
            ..Faults::default()
        },
    );
    let error = bench.one(&card, false).unwrap_err();
    assert!(matches!(error, CardError::Read { .. }), "{error}");
    assert!(card.is_headless());
}

#[test]
fn a_second_time_only_what_differs_is_written() {
    let bench = Bench::new();
    let card = TestCard::good();
    let whole = bench.one(&card, false).unwrap();
    card.state().writes.clear();
    let again = bench.one(&card, true).unwrap();
    assert_eq!((again.written, again.used), (0, whole.used));
    assert!(card.state().writes.is_empty());

    let other = overlay(9);
    let used = bench.used_with(&other);
    let changed = Job {
        delta: true,
        ..job(&card, &other, &used)
    };
    let changed = bench.run(&[changed]).1.remove(0).unwrap();
    bench.assert_holds(&card, &other);
    // Two steps, a block among free ones, and the head taken off and put back.
    assert_eq!(changed.written, 2 * (64 << 10) + BLOCK_LEN + 2 * HEAD_END);
    // Garbage differs everywhere.
    let garbage = TestCard::good();
    bench.one(&garbage, true).unwrap();
    bench.assert_holds(&garbage, &overlay(1));
}

#[test]
fn a_stalled_card_neither_delays_the_others_nor_is_lost() {
    let mut bytes = base_bytes();
    bytes.resize(12 * CHUNK_LEN, 5);
    let mut bench = Bench::on(&bytes);
    bench.used = UsedMap::whole(bytes.len() as u64);
    let quick_is_done = Arc::new(AtomicBool::new(false));
    let stall = Some((CHUNK_LEN as u64, Arc::clone(&quick_is_done)));
    let slow = TestCard::new(
        bytes.len(),
        Faults {
            stall,
            ..Faults::default()
        },
    );
    let quick = TestCard::new(bytes.len(), Faults::default());
    let overlay = overlay(1);
    let used = &bench.used;
    let jobs = [job(&slow, &overlay, used), job(&quick, &overlay, used)];
    let done = |number, _: &Outcome| {
        if number == 1 {
            quick_is_done.store(true, Ordering::Relaxed);
        }
    };
    for outcome in bench.run_telling(&jobs, &done).1 {
        outcome.unwrap();
    }
    let mut wanted = bytes.clone();
    overlay.apply(0, &mut wanted);
    assert!(slow.state().bytes == wanted);
    assert!(quick.state().bytes == wanted);
}

#[test]
fn a_base_that_fails_half_way_leaves_no_card_complete() {
    let raw = base_bytes();
    let mut xz = crate::base::testing::pipe("xz", &["-T1", "--block-size=4MiB", "-c"], &raw);
    let middle = xz.len() * 7 / 10;
    xz[middle] ^= 0xff;
    let bench = Bench::on(&xz);
    let cards = [TestCard::good(), TestCard::good()];
    let overlay = Overlay::default();
    let jobs: Vec<_> = cards
        .iter()
        .map(|card| job(card, &overlay, &bench.used))
        .collect();
    let (digests, outcomes) = bench.run(&jobs);
    assert!(
        matches!(digests, Err(BaseError::Damaged { .. })),
        "{digests:?}"
    );
    for (card, outcome) in cards.iter().zip(outcomes) {
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(card.is_headless());
    }
}

#[test]
fn a_transfer_of_no_bytes_is_an_error_not_a_loop() {
    let card = TestCard::new(
        8192,
        Faults {
            at_most: Some(0),
            ..Faults::default()
        },
    );
    let mut buf = AlignedBuf::new(4096);
    let read = crate::card::medium::read_exact_at(&card, &mut buf, 0).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::UnexpectedEof);
    let write = crate::card::medium::write_all_at(&card, &buf, 0).unwrap_err();
    assert_eq!(write.kind(), ErrorKind::WriteZero);
}
