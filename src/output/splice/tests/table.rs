//! Seek tables are read from files that anybody may have made.

use proptest::prelude::*;

use super::*;
use crate::base::xz::IndexError;

/// `before`, then a seek table with `body` for entries that claims `count`.
fn file_with(before: &[u8], body: &[u8], count: u32, descriptor: u8) -> MemBase {
    let mut file = before.to_vec();
    file.extend(0x184d_2a5e_u32.to_le_bytes());
    file.extend((body.len() as u32 + 9).to_le_bytes());
    file.extend(body);
    file.extend(count.to_le_bytes());
    file.push(descriptor);
    file.extend(0x8f92_eab1_u32.to_le_bytes());
    MemBase(file)
}

/// Decodes all of it.
fn exhaust(file: &MemBase) {
    if let Ok(frames) = Frames::read_zst(file) {
        for frame in &frames.list {
            drop(frames.container.decode(file, frame));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_error_or_in_frames(
        before in proptest::collection::vec(any::<u8>(), 0..300),
        body in proptest::collection::vec(any::<u8>(), 0..120),
        count in any::<u32>(),
        descriptor: u8,
    ) {
        exhaust(&MemBase(before.clone()));
        exhaust(&file_with(&before, &body, count, descriptor));
        for (entry, descriptor) in [(8, 0), (12, 0x80)] {
            let whole = &body[..body.len() / entry * entry];
            exhaust(&file_with(&before, whole, (whole.len() / entry) as u32, descriptor));
        }
    }

    #[test]
    fn entries_that_fit_their_file_are_read_as_they_were_written(
        lens in proptest::collection::vec((1u32..50, 0u32..1 << 20, any::<u32>()), 0..40),
        checksums: bool,
    ) {
        let records: Vec<Record> = lens
            .iter()
            .map(|&(file_len, len, checksum)| Record {
                file_len: file_len.into(),
                len: len.into(),
                checksum: if checksums { checksum } else { 0 },
            })
            .collect();
        let total: u64 = records.iter().map(|record| record.file_len).sum();
        let mut file = vec![0; total as usize];
        let container = Container::Zst { checksums };
        file.extend(container.trailer(&records).unwrap());
        let file = MemBase(file);
        let frames = Frames::read_zst(&file).unwrap();
        let read: Vec<Record> = frames.list.iter().map(|frame| frame.record).collect();
        prop_assert_eq!(read, records);
        exhaust(&file);
    }
}

#[test]
fn tables_that_lie_are_refused() {
    let entry = |file_len: u32, len: u32| [file_len.to_le_bytes(), len.to_le_bytes()].concat();
    let before = [0; 64];
    let one = entry(64, 1000);
    assert!(Frames::read_zst(&file_with(&before, &one, 1, 0)).is_ok());
    for (what, body, count) in [
        ("frames beyond the file", entry(65, 1000), 1),
        ("frames that end early", entry(63, 1000), 1),
        ("no frames, but bytes", vec![], 0),
        ("more than there are", one.clone(), 2),
        ("fewer than there are", [&one[..], &one].concat(), 1),
        (
            "a frame of nothing",
            [entry(64, 1000), entry(0, 5)].concat(),
            2,
        ),
        ("more than fits the file", vec![], 1000),
    ] {
        let error = Frames::read_zst(&file_with(&before, &body, count, 0)).unwrap_err();
        assert!(matches!(error, IndexError::Damaged(_)), "{what}: {error}");
    }
    for (what, body, count, descriptor) in [
        ("reserved bits", one.clone(), 1, 4),
        ("a huge frame", entry(64, (64 << 20) + 1), 1, 0),
        ("a huge table", one, u32::MAX, 0),
    ] {
        let error = Frames::read_zst(&file_with(&before, &body, count, descriptor)).unwrap_err();
        assert!(matches!(error, IndexError::NotSeekable), "{what}: {error}");
    }
    let none = Frames::read_zst(&MemBase(b"no table at all".to_vec()));
    assert!(matches!(none, Err(IndexError::NotSeekable)));
}

#[test]
fn frames_whose_table_lies_are_refused_when_decoded() {
    let data = image(50_000, 1);
    let good = Container::ZST.encode(&data, 1).unwrap();
    for (file_len, len) in [
        (good.bytes.len(), 49_999),
        (good.bytes.len(), 50_001),
        (good.bytes.len(), 0),
        (good.bytes.len() - 1, 50_000),
    ] {
        let mut file = good.bytes[..file_len].to_vec();
        let record = Record {
            file_len: file_len as u64,
            len,
            checksum: 0,
        };
        file.extend(Container::ZST.trailer(&[record]).unwrap());
        let file = MemBase(file);
        let frames = Frames::read_zst(&file).unwrap();
        let error = frames.container.decode(&file, &frames.list[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_table_that_tells_of_other_frames_is_found_out() {
    let data = image(300_000, 4);
    let good = zst_of(&data, 100_000, true);
    let frames = Frames::read_zst(&MemBase(good.clone())).unwrap();
    frames.check(&MemBase(good.clone())).unwrap();
    let records: Vec<Record> = frames.list.iter().map(|frame| frame.record).collect();
    let table_len = frames.container.trailer(&records).unwrap().len();
    let with = |records: &[Record]| {
        let mut file = good[..good.len() - table_len].to_vec();
        file.extend(frames.container.trailer(records).unwrap());
        MemBase(file)
    };
    let mut checksum = records.clone();
    checksum[1].checksum ^= 1;
    let mut swapped = records.clone();
    swapped.swap(0, 1);
    for records in [checksum, swapped] {
        let file = with(&records);
        let frames = Frames::read_zst(&file).unwrap();
        assert!(matches!(frames.check(&file), Err(IndexError::Damaged(_))));
    }
    let mut shifted = records;
    shifted[0].len -= 512;
    shifted[2].len += 512;
    let file = with(&shifted);
    let frames = Frames::read_zst(&file).unwrap();
    assert!(matches!(frames.check(&file), Err(IndexError::NotSeekable)));
}

#[test]
fn frames_that_do_not_tell_how_long_they_are_are_made_anew() {
    if !crate::base::testing::has_tools(&["zstd"]) {
        return;
    }
    let data = image(50_000, 5);
    for (args, is_told) in [(&["-c", "--stream-size=50000"][..], true), (&["-c"], false)] {
        let mut file = pipe("zstd", args, &data);
        let record = Record {
            file_len: file.len() as u64,
            len: data.len() as u64,
            checksum: 0,
        };
        let container = Container::Zst { checksums: false };
        file.extend(container.trailer(&[record]).unwrap());
        let file = MemBase(file);
        let found = Frames::read_zst(&file).unwrap().check(&file);
        assert_eq!(found.is_ok(), is_told, "{args:?}");
        assert!(is_told || matches!(found, Err(IndexError::NotSeekable)));
    }
}
