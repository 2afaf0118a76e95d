//! Cards that are tested before they are written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::super::probe::Marks;
use super::card::{Faults, TestCard};
use super::{Bench, Job, job, overlay};
use crate::base::chunk::CHUNK_LEN;
use crate::card::error::CardError;
use crate::layout::UsedMap;
use crate::overlay::Overlay;
use crate::report::event::{Event, Sink};

#[test]
fn counterfeits_are_told_with_their_size() {
    let bench = Bench::new();
    let wrapping = [
        8 << 20,
        16 << 20,
        (9 << 20) + 512,
        15_193 << 11,
        45 << 20,
        (60 << 20) - 1536,
    ];
    let wrapping = wrapping.into_iter().map(|holds| (holds, true));
    let dropping = [9 << 20, 50 << 20].map(|holds| (holds, false));
    // One of their marks reads wrong besides.
    let flip = Marks::of(64 << 20).single[1];
    for (holds, wraps) in wrapping.chain(dropping) {
        let faults = Faults {
            holds: Some((holds, wraps)),
            flip: Some((flip, 1)).filter(|(at, _)| !wraps && *at < holds as u64),
            ..Faults::default()
        };
        let card = TestCard::new(64 << 20, faults);
        let overlay = Overlay::default();
        let probing = Job {
            probe: true,
            ..job(&card, &overlay, &bench.used)
        };
        match bench.run(&[probing]).1.remove(0) {
            Err(CardError::Counterfeit {
                claims,
                holds: told,
            }) => {
                assert_eq!(claims, 64 << 20);
                assert!(told.abs_diff(holds as u64) < 16 << 20, "{told} for {holds}");
                assert!(!wraps || told == holds as u64, "{told} for {holds}");
            }
            other => panic!("{other:?}"),
        }
        assert!(card.is_headless());
    }
    is_made(&bench, Faults::default());
}

/// That a card with these faults is found to hold what it claims, and is written.
fn is_made(bench: &Bench, faults: Faults) {
    let card = TestCard::new(64 << 20, faults);
    let overlay = overlay(1);
    let used = bench.used_with(&overlay);
    let probing = Job {
        probe: true,
        ..job(&card, &overlay, &used)
    };
    bench.run(&[probing]).1.remove(0).unwrap();
    bench.assert_holds(&card, &overlay);
}

#[test]
fn a_mark_that_reads_wrong_makes_no_counterfeit() {
    let marks = Marks::of(64 << 20);
    for &at in &marks.single {
        let bench = Bench::new();
        let faults = Faults {
            flip: Some((at + 7, 1)),
            ..Faults::default()
        };
        is_made(&bench, faults);
    }
}

#[test]
fn a_card_put_in_the_place_of_a_probed_one_is_not_marked() {
    let bench = Bench::new();
    // A head, ten single marks, a run in three writes, and one more mark to find out where a
    // card that drops writes ends.
    for after in [1, 4, 12, 14] {
        let faults = Faults {
            holds: Some((40 << 20, false)),
            swapped_after: Some(after),
            ..Faults::default()
        };
        let card = TestCard::new(128 << 20, faults);
        let overlay = Overlay::default();
        let probing = Job {
            probe: true,
            ..job(&card, &overlay, &bench.used)
        };
        let error = bench.run(&[probing]).1.remove(0).unwrap_err();
        assert!(matches!(error, CardError::Gone), "after {after}: {error}");
        assert_eq!(card.state().writes.len(), after);
    }
}

/// What the user should know.
#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Sink for Notices {
    fn send(&self, event: Event<'_>) {
        if let Event::Noticed { message } = event {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }
}

#[test]
fn a_card_that_is_tested_long_is_not_left_behind() {
    // More than may wait for it.
    let bytes = vec![5; 8 * CHUNK_LEN];
    let mut bench = Bench::on(&bytes);
    bench.used = UsedMap::whole(bytes.len() as u64);
    let is_over = Arc::new(AtomicBool::new(false));
    let len = 64 << 20;
    let faults = Faults {
        stall: Some((len as u64 - 1, Arc::clone(&is_over))),
        ..Faults::default()
    };
    let quick = TestCard::new(bytes.len(), Faults::default());
    let cards = [TestCard::new(len, faults), quick];
    let overlay = Overlay::default();
    let jobs = [true, false].map(|probe| Job {
        probe,
        ..job(&cards[usize::from(!probe)], &overlay, &bench.used)
    });
    let notices = Notices::default();
    let flash = bench.flash(&|_, _| {}, &notices);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Others starve for longer than one may let them that is being written.
            thread::sleep(Duration::from_secs(1));
            is_over.store(true, Ordering::Relaxed);
        });
        for outcome in flash.run(&jobs).1 {
            outcome.unwrap();
        }
    });
    assert_eq!(*notices.0.lock().unwrap(), [""; 0]);
}

/// The size at which a card that claims `len` seems to wrap around, going by what its
/// single marks read as; 0 if each is as it was written.
fn told(marks: &Marks, true_size: u64) -> u64 {
    let mut told = 0;
    for (index, &at) in marks.single.iter().enumerate() {
        let is_here = |other: &u64| other.abs_diff(at).is_multiple_of(true_size);
        let last = marks.run.end - 512;
        let back = (true_size - (at - last) % true_size) % true_size;
        let in_run = last.checked_sub(back).filter(|at| *at >= marks.run.start);
        let later = || marks.single[index + 1..].iter().copied().rfind(is_here);
        let found = in_run.or_else(later).unwrap_or(at);
        let (mut a, mut b) = (told, found.abs_diff(at));
        while b != 0 {
            (a, b) = (b, a % b);
        }
        told = a;
    }
    told
}

/// Whether that is the true size. One that is smaller than the run may be told as some
/// multiple of it.
fn is_right(marks: &Marks, true_size: u64) -> bool {
    let run = marks.run.end - marks.run.start;
    let told = told(marks, true_size);
    let is_small = true_size < run && told > 0 && told < 2 * run;
    told == true_size || is_small && told.is_multiple_of(true_size)
}

/// Sizes that cards say they have.
const CLAIMS: [u64; 6] = [
    8 << 20,
    128 << 20,
    31_914_983_424,
    63_864_569_856,
    256_060_514_304,
    1_000_204_886_016,
];

#[test]
fn a_card_of_any_true_size_is_told_that_wraps_around() {
    let marks = Marks::of(CLAIMS[2]);
    for true_size in (1..)
        .map(|n| n << 20)
        .take_while(|size| size + (4 << 20) < CLAIMS[2])
    {
        assert!(is_right(&marks, true_size), "{true_size}");
    }
}

#[test]
fn testing_a_card_takes_some_seconds() {
    let counts = CLAIMS.map(|len| {
        let marks = Marks::of(len);
        (marks.single.len(), (marks.run.end - marks.run.start) >> 20)
    });
    let wanted = [
        (4, 1),
        (10, 9),
        (143, 142),
        (202, 201),
        (404, 403),
        (798, 797),
    ];
    assert_eq!(counts, wanted);
    for len in [0, 4096, 1 << 20, 4 << 20] {
        assert!(Marks::of(len).single.is_empty());
    }
}

proptest! {
    #[test]
    fn whatever_its_true_size_and_its_claim(
        claims in prop::sample::select(CLAIMS.to_vec()),
        seed: u64,
        shift in 0u32..20,
    ) {
        let marks = Marks::of(claims);
        let reach = marks.single.last().unwrap() - marks.run.start;
        let true_size = ((1 << 20) + seed % ((reach >> shift) + 1)) / 512 * 512;
        prop_assume!(true_size <= reach);
        prop_assert!(is_right(&marks, true_size), "{}", true_size);
    }
}
