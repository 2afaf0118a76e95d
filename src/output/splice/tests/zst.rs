use proptest::prelude::*;

use super::*;
use crate::base::testing::{has_tools, run};

/// Unpacks a zstd file with all there is, and frame by frame.
fn assert_unpacks(file: &[u8], wanted: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "image.zst", file);
    let path = path.to_str().unwrap();
    run(dir.path(), "zstd", &["-q", "-t", path]);
    assert!(pipe("zstd", &["-q", "-dc", path], &[]) == wanted, "zstd");
    if has_tools(&["bsdcat"]) && !wanted.is_empty() {
        assert!(pipe("bsdcat", &[path], &[]) == wanted, "libarchive");
    }
    let file = MemBase(file.to_vec());
    let frames = Frames::read_zst(&file).unwrap();
    let mut ours = Vec::new();
    for frame in frames.list.iter().filter(|frame| frame.record.len > 0) {
        assert_eq!(frame.offset, ours.len() as u64);
        ours.extend(frames.container.decode(&file, frame).unwrap());
    }
    assert!(ours == wanted, "frame by frame");
    assert_eq!(frames.len, wanted.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn spliced_files_unpack_to_base_and_overlay(
        len in 1usize..1_500_000,
        seed: u64,
        frame_len in 20_000usize..700_000,
        checksums: bool,
        changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..8),
    ) {
        if !has_tools(&["zstd"]) {
            return Ok(());
        }
        let data = image(len, seed);
        let file = MemBase(zst_of(&data, frame_len, checksums));
        let frames = Frames::read_zst(&file).unwrap();
        prop_assert_eq!(frames.container, Container::Zst { checksums });
        let overlay = overlay_of(len, &changes, seed);
        let spliced = splice(&file, &frames, &overlay, 2);
        assert_unpacks(&spliced, &minted(&data, &overlay));
    }
}

#[test]
fn nothing_changed_is_the_same_file_and_everything_can_be_changed() {
    if !has_tools(&["zstd"]) {
        return;
    }
    let data = image(900_000, 3);
    let file = MemBase(zst_of(&data, 300_000, true));
    let frames = Frames::read_zst(&file).unwrap();
    assert!(splice(&file, &frames, &Overlay::default(), 2) == file.0);
    let overlay = all_of(data.len(), 4);
    let spliced = splice(&file, &frames, &overlay, 2);
    assert_unpacks(&spliced, &minted(&data, &overlay));
    let frames = Frames::read_zst(&MemBase(zst_of(&[], 1, true))).unwrap();
    assert!(frames.list.is_empty());
}

#[test]
fn skippable_frames_fill_any_gap() {
    if !has_tools(&["zstd"]) {
        return;
    }
    let container = Container::ZST;
    let data = container.encode(b"contents", 3).unwrap();
    for gap in 0..PAGE_LEN {
        let fillers = container.fill(gap);
        let len: usize = fillers.iter().map(|filler| filler.bytes.len()).sum();
        let more = if gap > 0 && gap < 8 { PAGE_LEN } else { 0 };
        assert_eq!(len as u64, gap + more);
        if gap % 1023 < 2 {
            let frames = [vec![data.clone()], fillers, vec![data.clone()]].concat();
            assert_unpacks(&file_of(container, &frames), b"contentscontents");
        }
    }
}

#[test]
fn the_checksum_of_no_bytes_is_what_an_empty_frame_carries() {
    let empty = Container::ZST.encode(&[], 3).unwrap();
    let filler = &Container::ZST.fill(100)[0];
    assert_eq!(filler.record.checksum, empty.record.checksum);
}
