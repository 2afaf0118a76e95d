//! Interrupted, failing or pulled at any moment.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::{HEAD_END, HEAD_LEN, Job};
use super::card::{Faults, GARBAGE, TestCard};
use super::{Bench, CHUNKS, card_len, job, overlay};
use crate::base::chunk::CHUNK_LEN;
use crate::card::error::CardError;

#[test]
fn interrupted_at_any_write_no_card_looks_finished() {
    for at in 0..8 {
        let bench = Bench::new();
        let interrupt_at = Some((at, bench.interrupt.clone()));
        let card = TestCard::new(
            card_len(),
            Faults {
                interrupt_at,
                ..Faults::default()
            },
        );
        let error = bench.one(&card, false).unwrap_err();
        assert!(error.is_interrupted(), "{error}");
        let state = card.state();
        let last = state.writes.last().copied();
        drop(state);
        // Once the head is written everything is.
        assert!(card.is_headless() || last == Some((0, HEAD_LEN)), "at {at}");
    }
}

#[test]
fn interrupted_while_it_is_read_back_a_card_does_not_boot() {
    // Two threads read: of the last pieces, no look at the flag may be left.
    for at in 0..3 {
        let bench = Bench::new();
        let interrupt_at_read = Some((at, bench.interrupt.clone()));
        let faults = Faults {
            interrupt_at_read,
            ..Faults::default()
        };
        let card = TestCard::new(card_len(), faults);
        let error = bench.one(&card, false).unwrap_err();
        assert!(error.is_interrupted(), "{error}");
        assert!(card.is_headless(), "at {at}");
    }
}

#[test]
fn interrupted_where_nothing_was_to_be_written_a_card_stays_as_it_is() {
    // Compared in some ten reads, the head last, and then read back.
    for at in (0..20).step_by(2) {
        let bench = Bench::new();
        let card = TestCard::good();
        bench.one(&card, false).unwrap();
        let before = {
            let mut state = card.state();
            state.reads = 0;
            state.writes.clear();
            state.faults.interrupt_at_read = Some((at, bench.interrupt.clone()));
            state.bytes.clone()
        };
        match bench.one(&card, true) {
            Err(CardError::Untouched) => {}
            // It came too late, or once all was read.
            Ok(_) => assert!(at >= 10, "at {at}"),
            Err(error) => panic!("at {at}: {error}"),
        }
        assert!(card.state().bytes == before, "at {at}");
    }
}

#[test]
fn interrupted_a_card_has_lost_the_settings_of_what_it_was_already() {
    let place = 4 * CHUNK_LEN as u64 + 4096..4 * CHUNK_LEN as u64 + 12_288;
    let at = usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
    for delta in [false, true] {
        let bench = Bench::new();
        let overlay = overlay(1);
        let scrub = [place.clone()];
        let used = bench.used_with(&overlay).with(scrub.iter().cloned());
        // The first write is of the head.
        let faults = Faults {
            interrupt_at: Some((1, bench.interrupt.clone())),
            ..Faults::default()
        };
        let card = TestCard::new(card_len(), faults);
        let job = Job {
            delta,
            scrub: &scrub,
            ..job(&card, &overlay, &used)
        };
        let error = bench.run(&[job]).1.remove(0).unwrap_err();
        assert!(error.is_interrupted(), "{error}");
        assert!(card.is_headless());
        assert!(card.state().bytes[at.clone()].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn where_settings_were_a_card_holds_what_it_must() {
    let place = 4 * CHUNK_LEN as u64 + 4096..4 * CHUNK_LEN as u64 + 12_288;
    for delta in [false, true] {
        let bench = Bench::new();
        let overlay = overlay(1);
        let scrub = [place.clone(), 0..4096];
        let used = bench.used_with(&overlay).with(scrub.iter().cloned());
        let card = TestCard::good();
        let job = Job {
            delta,
            scrub: &scrub,
            ..job(&card, &overlay, &used)
        };
        bench.run(&[job]).1.remove(0).unwrap();
        bench.assert_holds(&card, &overlay);
    }
}

#[test]
fn settings_that_stay_are_written_again_beside_one_that_changes() {
    let chunk = 4 * CHUNK_LEN;
    let place = chunk as u64 + 4096..chunk as u64 + 12_288;
    let bench = Bench::new();
    let overlay = overlay(1);
    let scrub = [place];
    let used = bench.used_with(&overlay).with(scrub.iter().cloned());
    let card = TestCard::good();
    bench.one(&card, false).unwrap();
    card.state().bytes[chunk] ^= 1;
    let job = Job {
        delta: true,
        scrub: &scrub,
        ..job(&card, &overlay, &used)
    };
    let written = bench.run(&[job]).1.remove(0).unwrap();
    assert_eq!(written.rewritten, 0);
    bench.assert_holds(&card, &overlay);
}

#[test]
fn interrupted_before_the_first_write_a_card_is_as_it_was() {
    for delta in [false, true] {
        let bench = Bench::new();
        bench.interrupt.flag().store(true, Ordering::Relaxed);
        let card = TestCard::good();
        let error = bench.one(&card, delta).unwrap_err();
        assert!(matches!(error, CardError::Untouched), "{error}");
        assert!(card.state().bytes.iter().all(|&byte| byte == GARBAGE));
    }
}

#[test]
fn only_the_card_that_was_opened_is_discarded() {
    let mut bench = Bench::new();
    bench.wipe = true;
    for (swapped_after, is_discarded) in [(None, true), (Some(0), false)] {
        let faults = Faults {
            swapped_after,
            ..Faults::default()
        };
        let card = TestCard::new(card_len(), faults);
        assert_eq!(bench.one(&card, false).is_ok(), is_discarded);
        assert_eq!(card.state().is_discarded, is_discarded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn short_transfers_and_signals_change_nothing(at_most in 1usize..300, signals: bool) {
        let bench = Bench::new();
        let faults = Faults { at_most: Some(at_most * 4096), signals, ..Faults::default() };
        let card = TestCard::new(card_len(), faults);
        bench.one(&card, false).unwrap();
        bench.assert_holds(&card, &overlay(1));
    }

    #[test]
    fn a_write_error_anywhere_harms_no_other_card(
        at in 0..(CHUNKS * CHUNK_LEN - 8192) as u64,
        errno in prop::sample::select(vec![5, 19, 28, 121]),
        is_file: bool,
    ) {
        let bench = Bench::new();
        let overlays = [overlay(1), overlay(2)];
        let faults = Faults {
            write_error: Some(at), errno: Some(errno), is_file, ..Faults::default()
        };
        let cards = [TestCard::new(card_len(), faults), TestCard::good()];
        let used: Vec<_> = overlays.iter().map(|o| bench.used_with(o)).collect();
        let each = cards.iter().zip(&overlays).zip(&used);
        let jobs: Vec<_> = each.map(|((card, o), used)| job(card, o, used)).collect();
        let mut outcomes = bench.run(&jobs).1;
        outcomes.pop().unwrap().unwrap();
        bench.assert_holds(&cards[1], &overlays[1]);
        match outcomes.pop().unwrap() {
            // Not every byte is used.
            Ok(_) => bench.assert_holds(&cards[0], &overlays[0]),
            Err(error) => {
                let told = match errno {
                    19 => matches!(error, CardError::Gone),
                    28 if is_file => matches!(error, CardError::Full),
                    _ => matches!(error, CardError::Write { .. }),
                };
                prop_assert!(told, "{}", error);
                prop_assert!(at < HEAD_END || cards[0].is_headless());
            }
        }
    }

    #[test]
    fn a_card_pulled_at_any_write_is_told_as_gone(after in 0usize..12) {
        let bench = Bench::new();
        let faults = Faults { pulled_after: Some(after), ..Faults::default() };
        let card = TestCard::new(card_len(), faults);
        match bench.one(&card, false) {
            Ok(_) => prop_assert!(card.state().writes.len() <= after),
            Err(error) => prop_assert!(matches!(error, CardError::Gone), "{}", error),
        }
    }

    #[test]
    fn a_card_put_in_the_place_of_another_is_not_written(after in 0usize..12) {
        let bench = Bench::new();
        let faults = Faults { swapped_after: Some(after), ..Faults::default() };
        let card = TestCard::new(card_len(), faults);
        match bench.one(&card, false) {
            Ok(_) => prop_assert!(card.state().writes.len() <= after),
            Err(error) => {
                let error = match error {
                    CardError::Unwritten(error) if after == 0 => *error,
                    error => error,
                };
                prop_assert!(matches!(error, CardError::Gone), "{}", error);
                prop_assert_eq!(card.state().writes.len(), after);
            }
        }
    }
}
