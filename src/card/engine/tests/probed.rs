//! Cards that are tested before they are written.

use super::card::{Faults, TestCard};
use super::{Bench, Job, job, overlay};
use crate::card::error::CardError;
use crate::overlay::Overlay;

#[test]
fn counterfeits_are_told_with_their_size() {
    let bench = Bench::new();
    // Marks lie at 3 MiB and at powers of two from there on.
    for (holds, wraps) in [(8 << 20, true), (16 << 20, true), (9 << 20, false)] {
        let faults = Faults {
            holds: Some((holds, wraps)),
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
    let card = TestCard::new(64 << 20, Faults::default());
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
fn a_card_put_in_the_place_of_a_probed_one_is_not_marked() {
    let bench = Bench::new();
    // A head, seven marks, and one more to find out where a card that drops writes ends.
    for after in [1, 4, 8] {
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
