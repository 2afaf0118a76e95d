//! Cards that are read first, and written only where they differ.

use super::card::{Faults, TestCard};
use super::{Bench, base_bytes, card_len, overlay};
use crate::base::chunk::CHUNK_LEN;
use crate::base::testing::pipe;
use crate::card::error::CardError;
use crate::card::whole_message;

/// A card that holds what it must, and then has these faults.
fn made(bench: &Bench, faults: Faults) -> TestCard {
    let card = TestCard::good();
    bench.one(&card, false).unwrap();
    card.state().writes.clear();
    card.state().faults = faults;
    card
}

#[test]
fn what_fails_before_the_first_difference_leaves_a_card_as_it_was() {
    let card = made(&Bench::new(), Faults::default());
    let before = card.state().bytes.clone();
    let mut xz = pipe("xz", &["-T1", "--block-size=4MiB", "-c"], &base_bytes());
    let late = xz.len() * 9 / 10;
    xz[late] ^= 0xff;
    let error = Bench::on(&xz).one(&card, true).unwrap_err();
    assert!(error.is_untouched() && !error.is_interrupted());
    let told = whole_message(&error);
    let wanted = "nothing was written, and the card is as it was: the base failed, ";
    assert!(told.starts_with(wanted), "{told}");
    assert!(card.state().bytes == before);

    let faults = Faults {
        swapped_after: Some(0),
        ..Faults::default()
    };
    let card = made(&Bench::new(), faults);
    card.state().bytes[3 * CHUNK_LEN + 70_000] ^= 1;
    match Bench::new().one(&card, true) {
        Err(CardError::Unwritten(error)) => assert!(matches!(*error, CardError::Gone)),
        other => panic!("{other:?}"),
    }
    assert!(card.state().writes.is_empty());
}

#[test]
fn what_fails_after_it_leaves_a_card_that_does_not_boot() {
    let card = made(&Bench::new(), Faults::default());
    card.state().bytes[2 << 20] ^= 1;
    let mut xz = pipe("xz", &["-T1", "--block-size=4MiB", "-c"], &base_bytes());
    let late = xz.len() * 9 / 10;
    xz[late] ^= 0xff;
    let error = Bench::on(&xz).one(&card, true).unwrap_err();
    assert!(matches!(error, CardError::BaseFailed(_)), "{error}");
    assert!(card.is_headless());
}

#[test]
fn a_card_that_held_all_and_reads_back_wrong_does_not_boot() {
    let bench = Bench::new();
    let faults = Faults {
        fades: Some((3 * CHUNK_LEN as u64 + 70_000, 1)),
        ..Faults::default()
    };
    let card = made(&bench, faults);
    let error = bench.one(&card, true).unwrap_err();
    assert!(matches!(error, CardError::Bad { .. }), "{error}");
    assert!(card.is_headless());
}

#[test]
fn what_cannot_be_read_is_written() {
    let chunk = CHUNK_LEN as u64;
    // In the head, before anything that differs, and behind it.
    for at in [100, 70_000 + (1 << 20), 3 * chunk + 70_000] {
        for heals in [true, false] {
            let bench = Bench::new();
            let faults = Faults {
                read_error: Some(at),
                heals,
                ..Faults::default()
            };
            let card = made(&bench, faults);
            card.state().bytes[2 * CHUNK_LEN - (1 << 20)] ^= 1;
            match (bench.one(&card, true), heals) {
                (Ok(written), true) => {
                    assert!(written.written > 0);
                    bench.assert_holds(&card, &overlay(1));
                }
                (Err(CardError::Read { .. }), false) => assert!(card.is_headless()),
                (other, _) => panic!("at {at}, heals: {heals}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_does_not_stay_is_told_by_its_cause() {
    for (errno, is_file) in [
        (5, false),
        (19, false),
        (28, false),
        (28, true),
        (122, true),
    ] {
        let faults = Faults {
            flush_errno: Some(errno),
            is_file,
            ..Faults::default()
        };
        let card = TestCard::new(card_len(), faults);
        let error = Bench::new().one(&card, false).unwrap_err();
        let is_told = match (errno, is_file) {
            (19, _) => matches!(error, CardError::Gone),
            (28 | 122, true) => matches!(error, CardError::Full),
            _ => matches!(error, CardError::Sync(_)),
        };
        assert!(is_told, "{errno}: {error}");
    }
}
