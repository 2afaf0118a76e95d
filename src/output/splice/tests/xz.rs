use proptest::prelude::*;

use super::*;
use crate::base::testing::{has_tools, run};
use crate::base::xz::XzBase;

const PYTHON: &str = "import lzma, sys; sys.stdout.buffer.write(lzma.open(sys.argv[1]).read())";

/// Unpacks an xz file with all there is, and looks at its index.
fn assert_unpacks(file: &[u8], wanted: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "image.xz", file);
    let path = path.to_str().unwrap();
    run(dir.path(), "xz", &["-t", "-T2", path]);
    assert!(pipe("xz", &["-dc", "-T1", path], &[]) == wanted, "xz");
    assert!(
        pipe("python3", &["-c", PYTHON, path], &[]) == wanted,
        "python"
    );
    if has_tools(&["bsdcat"]) {
        assert!(pipe("bsdcat", &[path], &[]) == wanted, "libarchive");
    }

    let base = XzBase::open(Arc::new(MemBase(file.to_vec()))).unwrap();
    let mut ours = Vec::new();
    for number in 0..base.blocks() {
        let keep = |bytes: Vec<u8>| {
            ours.extend(bytes);
            true
        };
        base.decode_pieces(number, keep).unwrap();
    }
    assert!(ours == wanted, "our own passes");
    let mut at_random = vec![0; wanted.len()];
    base.read_exact_at(&mut at_random, 0).unwrap();
    assert!(at_random == wanted, "our own reads");

    let list = run(dir.path(), "xz", &["--robot", "--list", path]);
    let line = list.lines().find(|line| line.starts_with("file")).unwrap();
    let fields: Vec<&str> = line.split('\t').collect();
    let numbers = [1, base.blocks(), file.len(), wanted.len()].map(|n| n.to_string());
    assert_eq!(fields[1..5], numbers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn spliced_files_unpack_to_base_and_overlay(
        len in 1usize..1_500_000,
        seed: u64,
        block_len in 20_000usize..700_000,
        check in 0usize..4,
        changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..8),
    ) {
        if !has_tools(&["xz", "python3"]) {
            return Ok(());
        }
        let data = image(len, seed);
        let file = MemBase(xz_of(&data, block_len, CHECKS[check]));
        let frames = Frames::read_xz(&file).unwrap();
        let overlay = overlay_of(len, &changes, seed);
        let spliced = splice(&file, &frames, &overlay, 2);
        assert_unpacks(&spliced, &minted(&data, &overlay));
    }
}

#[test]
fn nothing_changed_is_the_same_file_and_everything_can_be_changed() {
    if !has_tools(&["xz", "python3"]) {
        return;
    }
    let data = image(900_000, 3);
    for check in CHECKS {
        let file = MemBase(xz_of(&data, 300_000, check));
        let frames = Frames::read_xz(&file).unwrap();
        let same = splice(&file, &frames, &Overlay::default(), 2);
        assert!(same == file.0);
        let overlay = all_of(data.len(), 4);
        let spliced = splice(&file, &frames, &overlay, 2);
        assert_unpacks(&spliced, &minted(&data, &overlay));
    }
}

#[test]
fn spliced_files_can_be_spliced_again() {
    if !has_tools(&["xz", "python3"]) {
        return;
    }
    let mut data = image(900_000, 5);
    let mut file = MemBase(xz_of(&data, 200_000, "crc64"));
    for round in 0..4 {
        let changes = vec![(round * 100_003, 9), (77_777 * round + 2, 200)];
        let overlay = overlay_of(data.len(), &changes, round.into());
        let frames = Frames::read_xz(&file).unwrap();
        file = MemBase(splice(&file, &frames, &overlay, 1));
        data = minted(&data, &overlay);
        assert_unpacks(&file.0, &data);
    }
}

#[test]
fn empty_blocks_fill_any_gap() {
    if !has_tools(&["xz", "python3"]) {
        return;
    }
    for (flags, least) in [([0, 0], 16), ([0, 1], 20), ([0, 4], 24), ([0, 10], 48)] {
        let container = Container::Xz { flags };
        let data = container.encode(b"contents", 6).unwrap();
        for gap in (0..PAGE_LEN).step_by(4) {
            let fillers = container.fill(gap);
            let len: usize = fillers.iter().map(|filler| filler.bytes.len()).sum();
            let more = if gap > 0 && gap < least { PAGE_LEN } else { 0 };
            assert_eq!(len as u64, gap + more);
            for filler in &fillers {
                let stored = container.stored_len(&filler.record);
                assert_eq!(stored, filler.bytes.len() as u64);
            }
            if gap % 1020 == 0 {
                let frames = [vec![data.clone()], fillers, vec![data.clone()]].concat();
                assert_unpacks(&file_of(container, &frames), b"contentscontents");
            }
        }
    }
}

#[test]
fn what_cannot_be_encoded_alike_is_left_to_recoding() {
    // A check with the number 2, of which nobody knows anything but its length.
    let flags = [0, 2];
    let mut file = Container::Xz { flags }.header();
    file.extend(Container::Xz { flags }.trailer(&[]).unwrap());
    assert!(matches!(
        Frames::read_xz(&MemBase(file)),
        Err(crate::base::xz::IndexError::NotSeekable)
    ));
}
