use std::sync::Arc;

use proptest::prelude::*;

use super::index::{FOOTER_MAGIC, HEADER_MAGIC, push_number};
use super::{IndexError, XzBase};
use crate::base::chunk::CHUNK_LEN;
use crate::base::pass::pass_xz;
use crate::base::testing::{has_tools, pipe, sample};
use crate::base::{MemBase, ReadAt};

const CHECKS: [&str; 4] = ["none", "crc32", "crc64", "sha256"];

fn xz(data: &[u8], block_len: usize, check: &str) -> Vec<u8> {
    let (block, check) = (
        format!("--block-size={block_len}"),
        format!("--check={check}"),
    );
    pipe("xz", &["-0", "-T1", "-c", &block, &check], data)
}

fn open(bytes: &[u8]) -> Result<XzBase, IndexError> {
    XzBase::open(Arc::new(MemBase(bytes.to_vec())))
}

fn whole(base: &XzBase) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    pass_xz(base, &mut |offset, chunk| {
        assert_eq!(offset, all.len() as u64);
        all.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_reads_equal_the_reference(
        len in 1usize..200_000,
        seed: u64,
        block_len in 2_000usize..90_000,
        check in 0usize..4,
        reads in proptest::collection::vec((any::<u32>(), 0usize..20_000), 1..20),
    ) {
        if !has_tools(&["xz"]) {
            return Ok(());
        }
        let data = sample(len, seed);
        let base = open(&xz(&data, block_len, CHECKS[check])).unwrap();
        prop_assert_eq!(base.len(), len as u64);
        prop_assert_eq!(base.blocks(), len.div_ceil(block_len));
        for (at, want) in reads {
            let at = at as usize % len;
            let want = want.min(len - at);
            let mut buf = vec![0xaa; want];
            base.read_exact_at(&mut buf, at as u64).unwrap();
            prop_assert!(buf == data[at..at + want]);
        }
        let error = base.read_exact_at(&mut [0; 2], len as u64 - 1).unwrap_err();
        prop_assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        prop_assert!(whole(&base).unwrap() == data);
    }

    #[test]
    fn any_bytes_between_header_and_footer_end_in_an_error_or_an_index(
        middle in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        drop(open(&file_of(&[], &middle)));
        if let Ok(base) = open(&file_with_index(&[0; 64], &middle)) {
            drop(whole(&base));
        }
    }
}

#[test]
fn passes_across_chunks_give_the_bytes_in_order() {
    if !has_tools(&["xz"]) {
        return;
    }
    let data = sample(2 * CHUNK_LEN + 12_345, 7);
    let base = open(&xz(&data, 700_000, "crc64")).unwrap();
    assert!(whole(&base).unwrap() == data);
}

#[test]
fn stream_padding_is_skipped_and_a_single_block_is_enough() {
    if !has_tools(&["xz"]) {
        return;
    }
    let data = sample(30_000, 1);
    let plain = xz(&data, 1 << 20, "crc64");
    for padding in [0, 4, 8, 4096, 1 << 20] {
        let mut padded = plain.clone();
        padded.resize(plain.len() + padding, 0);
        let base = open(&padded).unwrap();
        assert_eq!(base.blocks(), 1);
        assert!(whole(&base).unwrap() == data);
    }
    for padding in [1, 2, 3, 5] {
        let mut padded = plain.clone();
        padded.resize(plain.len() + padding, 0);
        assert!(matches!(open(&padded), Err(IndexError::Damaged(_))));
    }
}

#[test]
fn an_empty_stream_has_no_bytes() {
    if !has_tools(&["xz"]) {
        return;
    }
    let base = open(&xz(&[], 1 << 20, "crc64")).unwrap();
    assert_eq!((base.len(), base.blocks()), (0, 0));
    assert!(whole(&base).unwrap().is_empty());
    assert!(base.read_exact_at(&mut [0], 0).is_err());
}

#[test]
fn several_streams_and_huge_blocks_are_left_to_the_spool() {
    if !has_tools(&["xz"]) {
        return;
    }
    let (a, b) = (
        xz(&sample(9_000, 1), 4_000, "crc64"),
        xz(b"tail", 4_000, "crc64"),
    );
    assert!(matches!(
        open(&[&a[..], &b].concat()),
        Err(IndexError::NotSeekable)
    ));
    let c = xz(b"tail", 4_000, "crc32");
    assert!(matches!(
        open(&[&a[..], &c].concat()),
        Err(IndexError::NotSeekable)
    ));
    let huge = xz(&vec![0; (64 << 20) + 1], 1 << 30, "crc32");
    assert!(matches!(open(&huge), Err(IndexError::NotSeekable)));
}

#[test]
fn no_flipped_or_missing_byte_goes_unnoticed() {
    if !has_tools(&["xz"]) {
        return;
    }
    let data = sample(700, 3);
    let good = xz(&data, 300, "crc32");
    let check = |bytes: &[u8], what: &str| {
        if let Ok(base) = open(bytes)
            && let Ok(read) = whole(&base)
        {
            assert!(read == data, "{what} gave wrong bytes");
        }
    };
    for at in 0..good.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= mask;
            check(&bad, &format!("byte {at} ^ {mask:#x}"));
        }
    }
    for len in 0..good.len() {
        assert!(open(&good[..len]).is_err(), "cut to {len} bytes");
    }
}

/// Header, `blocks`, and `index` as it is, with a footer that fits it.
fn file_of(blocks: &[u8], index: &[u8]) -> Vec<u8> {
    let flags = [0, 1];
    let mut file = HEADER_MAGIC.to_vec();
    file.extend(flags);
    file.extend(crc32fast::hash(&flags).to_le_bytes());
    file.extend(blocks);
    file.extend(index);
    let words = u32::try_from(index.len() / 4).unwrap().wrapping_sub(1);
    let mut tail = words.to_le_bytes().to_vec();
    tail.extend(flags);
    file.extend(crc32fast::hash(&tail).to_le_bytes());
    file.extend(tail);
    file.extend(FOOTER_MAGIC);
    file
}

/// The same with an index made of `body`, padded and with its checksum.
fn file_with_index(blocks: &[u8], body: &[u8]) -> Vec<u8> {
    let mut index = vec![0];
    index.extend(body);
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32fast::hash(&index).to_le_bytes());
    file_of(blocks, &index)
}

fn numbers(list: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in list {
        push_number(&mut out, *number);
    }
    out
}

#[test]
fn hostile_indexes_are_refused() {
    const HUGE: u64 = (1 << 63) - 1;
    let blocks = [0; 64];
    let bodies = [
        ("huge count", numbers(&[HUGE])),
        ("count above records", numbers(&[3, 32, 10])),
        ("huge unpadded length", numbers(&[1, HUGE, 10])),
        (
            "lengths that overflow",
            numbers(&[3, HUGE - 8, 1, HUGE - 8, 1, HUGE, 1]),
        ),
        (
            "contents that overflow",
            numbers(&[4, 16, HUGE, 16, HUGE, 16, HUGE, 16, HUGE]),
        ),
        ("blocks beyond the file", numbers(&[2, 64, 10, 64, 10])),
        ("impossible block", numbers(&[1, 4, 10])),
        ("number without end", vec![0xff; 40]),
        ("number longer than needed", vec![0x81, 0x00, 0x40, 0x0a]),
        ("more than its count", numbers(&[1, 32, 10, 32, 10, 32, 10])),
    ];
    for (what, body) in bodies {
        let error = open(&file_with_index(&blocks, &body)).expect_err(what);
        assert!(matches!(error, IndexError::Damaged(_)), "{what}: {error}");
    }
    // An index that tells of no blocks may belong to the last of several streams.
    let none = open(&file_with_index(&blocks, &[]));
    assert!(matches!(none, Err(IndexError::NotSeekable)));
    assert!(open(&file_of(&[], &[])).is_err());
}

#[test]
fn blocks_whose_index_lies_are_refused_when_decoded() {
    // A block that claims 64 MiB of contents but holds nothing of the kind, one
    // that claims more bytes than such contents could take, and an empty one.
    for (unpadded, len) in [(64, 64 << 20), (64, 1), (64, 0)] {
        let file = file_with_index(&[0; 64], &numbers(&[1, unpadded, len]));
        let base = open(&file).unwrap();
        assert!(base.decode(0).is_err(), "{unpadded} bytes for {len}");
        assert!(whole(&base).is_err());
    }
    let blocks = vec![0; 1 << 20];
    let file = file_with_index(&blocks, &numbers(&[1, 1 << 20, 1]));
    assert!(open(&file).unwrap().decode(0).is_err());
}
