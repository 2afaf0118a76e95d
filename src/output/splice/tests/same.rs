//! The same bytes whoever asks and when, and nothing encoded twice.

use std::sync::atomic::Ordering;
use std::thread;

use super::*;
use crate::base::testing::has_tools;

/// Three nodes: two that touch the same places, one that touches more.
fn nodes(len: usize) -> [Overlay; 3] {
    let usual: Changes = vec![(70_002, 3), (1_000_003, 9), (8, 1)];
    let mut more = usual.clone();
    more.push((1_900_004, 40));
    [
        overlay_of(len, &usual, 1),
        overlay_of(len, &usual, 2),
        overlay_of(len, &more, 3),
    ]
}

fn bases() -> (Vec<u8>, [(MemBase, Frames); 2]) {
    let data = image(3_000_000, 11);
    let xz = MemBase(xz_of(&data, 1_000_000, "crc64"));
    let zst = MemBase(zst_of(&data, 1_000_000, true));
    let frames = [
        Frames::read_xz(&xz).unwrap(),
        Frames::read_zst(&zst).unwrap(),
    ];
    let [a, b] = frames;
    (data, [(xz, a), (zst, b)])
}

#[test]
fn neither_threads_nor_other_nodes_change_a_file() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (data, bases) = bases();
    let nodes = nodes(data.len());
    for (file, frames) in &bases {
        let alone = nodes.each_ref().map(|node| splice(file, frames, node, 1));
        for (node, alone) in nodes.iter().zip(&alone) {
            assert!(splice(file, frames, node, 3) == *alone);
        }
        let interrupt = Interrupt::default();
        let splicer = Splicer::new(file, frames, effort(1, 3, &interrupt), None).unwrap();
        thread::scope(|scope| {
            for (node, alone) in nodes.iter().zip(&alone).cycle().take(9) {
                let splicer = &splicer;
                scope.spawn(move || {
                    let spliced = splicer.splice(node, 2).unwrap();
                    assert!(joined(&spliced, file) == *alone);
                });
            }
        });
    }
}

#[test]
fn what_a_node_does_not_touch_is_encoded_once() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (data, bases) = bases();
    let [a, b, c] = nodes(data.len());
    for (file, frames) in &bases {
        let interrupt = Interrupt::default();
        let splicer = Splicer::new(file, frames, effort(1, 2, &interrupt), None).unwrap();
        let cost = |overlay: &Overlay| {
            let before = splicer.encodings.load(Ordering::Relaxed);
            splicer.splice(overlay, 2).unwrap();
            splicer.encodings.load(Ordering::Relaxed) - before
        };
        let cells = |overlay: &Overlay, touched: bool| {
            let frames = frames
                .list
                .iter()
                .filter(|frame| overlay.touches(frame.offset, frame.record.len));
            let cells = frames.flat_map(|frame| cells::cells(frame, overlay));
            cells.filter(|cell| cell.touched == touched).count()
        };
        assert_eq!(cost(&a), cells(&a, true) + cells(&a, false));
        assert!(cells(&a, false) > 5, "{}", cells(&a, false));
        assert_eq!(cost(&b), cells(&b, true));
        assert_eq!(cost(&a), cells(&a, true));
        // One that touches more encodes what lies around that, no more.
        let more = cost(&c) - cells(&c, true);
        assert!(more > 0 && more < cells(&c, false), "{more}");
        assert_eq!(cost(&c), cells(&c, true));
        assert_eq!(cost(&Overlay::default()), 0);
    }
}

#[test]
fn what_is_asked_wrongly_or_damaged_is_refused() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (data, [(xz, frames), (zst, zst_frames)]) = bases();
    let interrupt = Interrupt::default();
    for (file, frames, level) in [(&xz, &frames, 10), (&zst, &zst_frames, 0)] {
        let error = Splicer::new(file, frames, effort(level, 1, &interrupt), None).err();
        assert_eq!(error.unwrap().kind(), io::ErrorKind::InvalidInput);
    }
    let [node, ..] = nodes(data.len());
    for (file, frames) in [(&xz, &frames), (&zst, &zst_frames)] {
        let beyond = all_of(data.len() / 512 * 512 + 512, 1);
        let splicer = Splicer::new(file, frames, effort(1, 1, &interrupt), None).unwrap();
        let error = splicer.splice(&beyond, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        let mut bad = file.clone();
        let touched = |frame: &&Frame| node.touches(frame.offset, frame.record.len);
        let touched = frames.list.iter().rfind(touched).unwrap();
        bad.0[touched.file_offset as usize + 1000] ^= 1;
        let splicer = Splicer::new(&bad, frames, effort(1, 1, &interrupt), None).unwrap();
        let error = splicer.splice(&node, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn an_interrupt_stops_the_work() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (data, bases) = bases();
    let interrupt = Interrupt::default();
    interrupt.flag().store(true, Ordering::Relaxed);
    for (file, frames) in &bases {
        let splicer = Splicer::new(file, frames, effort(1, 2, &interrupt), None).unwrap();
        let error = splicer.splice(&nodes(data.len())[0], 2).unwrap_err();
        let inner = error.into_inner().unwrap();
        assert!(inner.is::<Interrupted>());
    }
}

#[test]
fn cells_are_no_larger_than_a_frame_that_was_made_here() {
    assert_eq!(cells::MAX_CELL % MIN_CELL, 0);
    assert!((cells::MAX_CELL / MIN_CELL).is_power_of_two());
}
