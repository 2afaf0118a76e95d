//! Partition tables, file systems and block maps.

use std::ops::Range;

use sha1::Digest as _;

use super::image::{Image, Input};
use crate::base::{ReadAt, Sha256Digest};
use crate::card::content::Content;
use crate::layout::disk::{Disk, Partition, SECTOR_LEN, Scheme};
use crate::layout::ext4::Ext4;
use crate::layout::{Layout, UsedMap};

/// Bytes as the sectors of a disk.
///
/// # Panics
/// Where a partition leaves the disk, overlaps another or is none of the table's.
pub(super) fn disk(bytes: &[u8]) {
    let mut input = Input(bytes);
    let seals = input.u8();
    let len = u64::from(input.u32()) * SECTOR_LEN;
    let mut image = Image::new(len, &[], 0);
    // Both ends, where tables are, and places where file systems begin.
    let end = len.saturating_sub(64 << 10);
    image.patch(input, &[0, end, 1 << 20, 4 << 20]);
    if seals & 1 != 0 {
        seal_gpt(&mut image, SECTOR_LEN);
    }
    if seals & 2 != 0 {
        seal_gpt(&mut image, len.saturating_sub(SECTOR_LEN));
    }
    assert!(!Content::of(&image).to_string().contains(char::is_control));
    let Ok(disk) = Disk::read(&image) else {
        return;
    };
    assert!(!disk.partitions.is_empty());
    assert_eq!(disk.len, len);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for partition in &disk.partitions {
        let range = partition.offset..partition.offset + partition.len;
        assert!(!range.is_empty() && range.start >= SECTOR_LEN && range.end <= len);
        let place = disk.place_of(partition.offset, partition.number);
        assert!(place.starts_with(&format!("partition {}", partition.number)));
        assert!(is_in_table(&image, disk.scheme, partition.number, &range));
        ranges.push(range);
    }
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    if let Ok(used) = UsedMap::read(&image, &disk) {
        check_map(&used, len);
    }
    drop(Layout::read(&image));
}

/// Whether the table says so of a partition, read in the plainest way. Of a GPT there
/// are two.
fn is_in_table(image: &Image<'_>, scheme: Scheme, number: u32, range: &Range<u64>) -> bool {
    let word = |at: u64, len: usize| {
        let mut bytes = [0; 8];
        let read = image.read_exact_at(&mut bytes[..len], at);
        read.map(|()| u64::from_le_bytes(bytes)).ok()
    };
    let index = u64::from(number) - 1;
    let found = |first: Option<u64>, sectors: Option<u64>| {
        let start = first?.checked_mul(SECTOR_LEN)?;
        Some(start..start.checked_add(sectors?.checked_mul(SECTOR_LEN)?)?)
    };
    match scheme {
        Scheme::Mbr => {
            let at = 446 + 16 * index;
            found(word(at + 8, 4), word(at + 12, 4)).as_ref() == Some(range)
        }
        Scheme::Gpt => [SECTOR_LEN, image.len - SECTOR_LEN].iter().any(|header| {
            let at = word(header + 72, 8)
                .and_then(|block| block.checked_mul(SECTOR_LEN)?.checked_add(128 * index));
            let first = at.and_then(|at| word(at + 32, 8));
            let last = at.and_then(|at| word(at + 40, 8));
            let sectors = first
                .zip(last)
                .and_then(|(first, last)| last.checked_sub(first)?.checked_add(1));
            found(first, sectors).as_ref() == Some(range)
        }),
    }
}

/// Makes the checksums of a header of a GPT right (UEFI 2.10, table 5.5): no fuzzer
/// guesses them.
fn seal_gpt(image: &mut Image<'_>, at: u64) {
    let mut header = [0; 92];
    if image.read_exact_at(&mut header, at).is_err() {
        return;
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let (block, count, len) = (word(72), word(80), word(84));
    let mut entries = vec![0; (count.min(1024) * len.min(128)) as usize];
    if image
        .read_exact_at(&mut entries, u64::from(block) * SECTOR_LEN)
        .is_err()
    {
        return;
    }
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    header[16..20].fill(0);
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    image.put(at, &header);
}

/// What every map promises.
pub(super) fn check_map(map: &UsedMap, len: u64) {
    assert_eq!(map.len(), len);
    for range in map.ranges() {
        assert!(range.start < range.end && range.end <= len);
        assert!(range.start.is_multiple_of(4096));
        assert!(range.end.is_multiple_of(4096) || range.end == len);
    }
    let mut pairs = map.ranges().windows(2);
    assert!(pairs.all(|pair| pair[0].end < pair[1].start));
}

/// Whether `map` holds all of `range`.
pub(super) fn covers(map: &UsedMap, range: &Range<u64>) -> bool {
    let len = range.end - range.start;
    let inside = map.within(range.start, len);
    inside.map(|part| part.end - part.start).sum::<u64>() == len
}

/// Bytes as an ext4, of up to 64 MiB.
///
/// # Panics
/// Where what the file system surely uses, its superblock, its descriptors and its
/// bitmaps, is called free, or a block that its bitmap has as used.
pub(super) fn ext4(bytes: &[u8]) {
    const START: u64 = 1 << 20;
    let mut input = Input(bytes);
    let len = u64::from(input.u16()) << 10;
    let mut image = Image::new(START + len, &[], START);
    let regions: Vec<u64> = (0..16).map(|n| n << 16).chain([2 << 20, 8 << 20]).collect();
    image.patch(input, &regions);
    let partition = Partition {
        number: 1,
        offset: START,
        len,
        type_id: "83".to_owned(),
    };
    drop(Ext4::read(&image, &partition));
    let disk = Disk {
        len: image.len,
        scheme: Scheme::Mbr,
        id: String::new(),
        partitions: vec![partition],
    };
    let used = UsedMap::read(&image, &disk).unwrap();
    check_map(&used, image.len);
    assert!(covers(&used, &(0..(START + 2048).min(image.len))));
    if used.used_len() < image.len {
        check_bitmaps(&image, START, &used);
    }
}

/// Reads the bitmaps once more, in the plainest way, where the descriptors lie in one
/// place.
fn check_bitmaps(image: &Image<'_>, start: u64, used: &UsedMap) {
    const META_BG: u64 = 0x10;
    const UNINIT: u64 = 2;
    let word = |at: u64, len: usize| {
        let mut bytes = [0; 8];
        image.read_exact_at(&mut bytes[..len], start + at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let block_len = 1024_u64 << word(1024 + 0x18, 4);
    let (blocks, first) = (word(1024 + 4, 4), word(1024 + 0x14, 4));
    let per_group = word(1024 + 0x20, 4);
    let incompat = word(1024 + 0x60, 4);
    let desc_len = if incompat & 0x80 != 0 {
        word(1024 + 0xfe, 2)
    } else {
        32
    };
    if incompat & META_BG != 0 {
        return;
    }
    let block = |number: u64| start + number * block_len..start + (number + 1) * block_len;
    for group in 0..(blocks - first).div_ceil(per_group) {
        let desc = (first + 1) * block_len + group * desc_len;
        assert!(covers(used, &(start + desc..start + desc + 1)));
        let bitmap = word(desc, 4);
        assert!(covers(used, &block(bitmap)) && covers(used, &block(word(desc + 4, 4))));
        if word(desc + 0x12, 2) & UNINIT != 0 {
            continue;
        }
        let mut bits = vec![0; block_len as usize];
        let at = start + bitmap * block_len;
        image.read_exact_at(&mut bits, at).unwrap();
        for bit in 0..per_group.min(blocks - first - group * per_group) {
            let is_used = bits[bit as usize / 8] >> (bit % 8) & 1 == 1;
            let number = first + group * per_group + bit;
            assert!(!is_used || covers(used, &block(number)), "block {number}");
        }
    }
}

/// Bytes as a block map, as they are and with a right checksum.
///
/// # Panics
/// Where ranges leave the image or overlap, or what is listed need not be written.
pub(super) fn bmap(bytes: &[u8]) {
    let sealed = seal_bmap(bytes);
    for xml in [Some(bytes), sealed.as_deref()].into_iter().flatten() {
        let text = String::from_utf8_lossy(xml);
        let size = text.split_once("<ImageSize>").map_or("", |(_, rest)| rest);
        let size = size.split_once('<').map_or("", |(size, _)| size);
        let len = size.trim().parse().unwrap_or(1 << 20);
        let Ok(bmap) = UsedMap::parse_bmap(xml, len) else {
            continue;
        };
        check_map(&bmap.used, len);
        let mut at = 0;
        for listed in &bmap.ranges {
            let range = &listed.range;
            assert!(at <= range.start && range.start < range.end && range.end <= len);
            assert!(covers(&bmap.used, range));
            at = range.end;
        }
    }
}

/// The map with the checksum that it should have, where it has room for one.
fn seal_bmap(bytes: &[u8]) -> Option<Vec<u8>> {
    const TAG: &[u8] = b"<BmapFileChecksum>";
    let at = bytes.windows(TAG.len()).position(|piece| piece == TAG)? + TAG.len();
    let mut xml = bytes.to_vec();
    let digits = xml[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let place = at..at + digits;
    xml[place.clone()].fill(b'0');
    let sum = match digits {
        64 => Sha256Digest::of(&xml).to_string(),
        40 => hex::encode(sha1::Sha1::digest(&xml)),
        _ => return None,
    };
    xml[place].copy_from_slice(sum.as_bytes());
    Some(xml)
}
