mod bmap;
mod ext4;
mod fat;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::{BLOCK_LEN, MIN_GAP, UsedMap};
use crate::base::read_at::RawFile;
use crate::base::{MemBase, ReadAt};
use crate::layout::disk::{Disk, Partition, Scheme};

/// Bytes that lie further back than where they are stored.
#[derive(Debug)]
struct Shifted<T>(T, u64);

impl<T: ReadAt> ReadAt for Shifted<T> {
    fn len(&self) -> u64 {
        self.0.len() + self.1
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0
            .read_exact_at(buf, offset.checked_sub(self.1).unwrap())
    }
}

/// Bytes some of which are others.
#[derive(Debug)]
struct Patched<'a> {
    base: &'a [u8],
    at: usize,
    bytes: Vec<u8>,
}

impl ReadAt for Patched<'_> {
    fn len(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let source = self.base.get(start..start + buf.len());
        buf.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        for (at, byte) in (self.at..).zip(&self.bytes) {
            if (start..start + buf.len()).contains(&at) {
                buf[at - start] = *byte;
            }
        }
        Ok(())
    }
}

fn partition(offset: u64, len: u64, type_id: &str) -> Partition {
    Partition {
        number: 1,
        offset,
        len,
        type_id: type_id.to_owned(),
    }
}

fn disk(len: u64, partitions: Vec<Partition>) -> Disk {
    Disk {
        len,
        scheme: Scheme::Mbr,
        id: "1a2b3c4d".to_owned(),
        partitions,
    }
}

/// The map of a source that is one partition from `offset` on.
fn read(source: &dyn ReadAt, offset: u64, type_id: &str) -> UsedMap {
    let partition = partition(offset, source.len() - offset, type_id);
    let map = UsedMap::read(source, &disk(source.len(), vec![partition])).unwrap();
    check(&map);
    map
}

fn check(map: &UsedMap) {
    for range in map.ranges() {
        assert!(range.start < range.end && range.end <= map.len());
        assert!(range.start.is_multiple_of(BLOCK_LEN));
        assert!(range.end.is_multiple_of(BLOCK_LEN) || range.end == map.len());
    }
    assert!(
        map.ranges()
            .windows(2)
            .all(|pair| pair[0].end < pair[1].start)
    );
}

fn gaps(map: &UsedMap) -> Vec<Range<u64>> {
    let mut at = 0;
    let mut gaps = Vec::new();
    for range in map.ranges() {
        gaps.push(at..range.start);
        at = range.end;
    }
    gaps.push(at..map.len());
    gaps.retain(|gap| !gap.is_empty());
    gaps
}

fn raw(path: &Path) -> RawFile {
    RawFile::new(File::open(path).unwrap()).unwrap()
}

/// Old bytes of a card where nothing is written; the middle of long gaps stays
/// a hole.
fn spoil(path: &Path, gaps: &[Range<u64>], by: u64) {
    const END: u64 = 4 << 20;
    let file = File::options().write(true).open(path).unwrap();
    let junk = vec![0xa5; usize::try_from(END).unwrap()];
    for gap in gaps {
        let (start, end) = (gap.start.max(by) - by, gap.end - by);
        let len = usize::try_from((end - start).min(END)).unwrap();
        file.write_all_at(&junk[..len], start).unwrap();
        file.write_all_at(&junk[..len], end - len as u64).unwrap();
    }
}

/// Whether all of `free` was free before.
fn only_frees(free: &[Range<u64>], before: &[Range<u64>]) -> bool {
    free.iter()
        .all(|f| before.iter().any(|b| b.start <= f.start && f.end <= b.end))
}

fn map_of(len: u64, ranges: &[(u64, u64)]) -> UsedMap {
    let ranges = ranges.iter().map(|&(start, len)| start..start + len);
    UsedMap::from_used(len, ranges, 0)
}

fn some_ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0u64..1_700_000, 0u64..300_000), 0..6)
}

/// Which blocks a map holds.
fn blocks(map: &UsedMap) -> Vec<bool> {
    let used = |at| map.ranges().iter().any(|range| range.contains(&at));
    (0..map.len().div_ceil(BLOCK_LEN))
        .map(|n| used(n * BLOCK_LEN))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn maps_combine_as_sets_of_blocks_do(
        len in 0u64..1_500_000,
        a in some_ranges(),
        b in some_ranges(),
        window in (0u64..1_600_000, 0u64..400_000),
    ) {
        let (one, two) = (map_of(len, &a), map_of(len, &b));
        let more = one.with(b.iter().map(|&(start, len)| start..start + len));
        let both = one.intersect(&two);
        for map in [&one, &two, &more, &both, &UsedMap::whole(len)] {
            check(map);
        }
        let is_long = |gap: &Range<u64>| {
            gap.end - gap.start >= MIN_GAP || gap.start == 0 || gap.end == len
        };
        prop_assert!(gaps(&more).iter().all(is_long));
        let (first, second) = (blocks(&one), blocks(&two));
        for (n, (used, both)) in blocks(&more).into_iter().zip(blocks(&both)).enumerate() {
            prop_assert_eq!(both, first[n] && second[n]);
            prop_assert!(used || !(first[n] || second[n]));
        }
        prop_assert_eq!(&more.intersect(&one), &one);
        prop_assert_eq!(&one.intersect(&UsedMap::whole(len)), &one);
        let seen: Vec<_> = one.within(window.0, window.1).collect();
        let expected: Vec<_> = one.ranges().iter()
            .map(|range| range.start.max(window.0)..range.end.min(window.0 + window.1))
            .filter(|range| !range.is_empty())
            .collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(one.used_len(), one.within(0, u64::MAX).map(|r| r.end - r.start).sum::<u64>());
    }

    #[test]
    fn arbitrary_bytes_are_used_and_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..6000),
        is_fat: bool,
        dress: bool,
    ) {
        if dress && bytes.len() >= 2048 {
            bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
            bytes[11..17].copy_from_slice(&[0, 2, 1, 1, 0, 1]);
            bytes[1024 + 0x18..1024 + 0x20].fill(0);
            bytes[1024 + 0x38..1024 + 0x3c].copy_from_slice(&[0x53, 0xef, 1, 0]);
            bytes[1024 + 0x4c..1024 + 0x50].copy_from_slice(&[1, 0, 0, 0]);
            bytes[1024 + 0x5c..1024 + 0x68].fill(0);
        }
        let source = MemBase(bytes);
        let map = read(&source, 0, if is_fat { "0c" } else { "83" });
        prop_assert_eq!(map, UsedMap::whole(source.len()));
        drop(UsedMap::parse_bmap(&source.0, source.len()));
    }
}
