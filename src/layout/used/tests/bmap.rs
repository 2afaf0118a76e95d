use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{check, gaps};
use crate::base::testing::{has_tools, run};
use crate::base::{MemBase, ReadAt as _, Sha256Digest};
use crate::layout::used::{Bmap, BmapError, BmapRange, UsedMap};

/// An image with holes and what bmaptool says of it.
fn bmap(dir: &Path) -> (PathBuf, String) {
    let path = dir.join("disk.img");
    let file = File::create(&path).unwrap();
    file.set_len((3 << 20) + 512).unwrap();
    for (at, len) in [
        (0, 4096),
        (400_000, 70_000),
        (2 << 20, 4096),
        ((3 << 20) + 10, 502),
    ] {
        file.write_all_at(&vec![7; len], at).unwrap();
    }
    file.sync_all().unwrap();
    run(dir, "bmaptool", &["create", "disk.img", "-o", "disk.bmap"]);
    (path, fs::read_to_string(dir.join("disk.bmap")).unwrap())
}

#[test]
fn block_maps_are_read_as_bmaptool_wrote_them() {
    if !has_tools(&["bmaptool"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, text) = bmap(dir.path());
    let image = fs::read(path).unwrap();
    let parsed = UsedMap::parse_bmap(text.as_bytes(), image.len() as u64).unwrap();
    check(&parsed.used);
    let listed = text.matches("<Range").count();
    assert_eq!(parsed.ranges.len(), listed);
    assert!(listed >= 4, "{text}");
    for range in &parsed.ranges {
        let at = |n: u64| usize::try_from(n).unwrap();
        let bytes = &image[at(range.range.start)..at(range.range.end)];
        assert_eq!(range.sha256, Some(Sha256Digest::of(bytes)));
        let (start, len) = (range.range.start, bytes.len() as u64);
        assert!(
            parsed
                .used
                .within(start, len)
                .eq(std::iter::once(range.range.clone()))
        );
    }
    let holes: Vec<_> = gaps(&parsed.used);
    assert!(!holes.is_empty());
    for hole in holes {
        let at = |n: u64| usize::try_from(n).unwrap();
        assert!(
            image[at(hole.start)..at(hole.end)]
                .iter()
                .all(|&byte| byte == 0)
        );
    }
}

#[test]
fn block_maps_that_were_tampered_with_are_refused() {
    if !has_tools(&["bmaptool"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, text) = bmap(dir.path());
    let len = fs::metadata(path).unwrap().len();
    let parse = |text: &str| UsedMap::parse_bmap(text.as_bytes(), len).unwrap_err();
    assert_eq!(
        parse(&text.replacen("chksum=\"", "chksum=\"0", 1)),
        BmapError::Tampered
    );
    assert_eq!(
        parse(&text.replace("Image size", "Image  size")),
        BmapError::Tampered
    );
    let kind = text.replace("> sha256 <", "> md5 <");
    assert_eq!(parse(&kind), BmapError::ChecksumType("md5".to_owned()));
    let newer = text.replace("version=\"2.0\"", "version=\"3.0\"");
    assert_eq!(parse(&newer), BmapError::Version("3.0".to_owned()));
    let other = UsedMap::parse_bmap(text.as_bytes(), len + 1).unwrap_err();
    assert!(matches!(other, BmapError::OtherImage { map, .. } if map == len));
    let step = text.len() / 150;
    for cut in (0..text.len() - 10).step_by(step.max(1)) {
        assert!(UsedMap::parse_bmap(&text.as_bytes()[..cut], len).is_err());
        let mut flipped = text.clone().into_bytes();
        flipped[cut] ^= 1;
        assert!(UsedMap::parse_bmap(&flipped, len).is_err(), "{cut}");
    }
}

/// A block map from before files had checksums.
fn old_bmap(blocks: u64, ranges: &str) -> Result<Bmap, BmapError> {
    let xml = format!(
        "<?xml version=\"1.0\" ?><bmap version=\"1.2\"><ImageSize>{}</ImageSize>\
         <BlockSize> 4096 </BlockSize><BlocksCount>{blocks}</BlocksCount>\
         <BlockMap>{ranges}</BlockMap></bmap>",
        blocks * 4096
    );
    UsedMap::parse_bmap(xml.as_bytes(), blocks * 4096)
}

#[test]
fn block_maps_that_contradict_themselves_are_refused() {
    let good = old_bmap(100, "<Range sha1=\"00\"> 0-5 </Range><Range>99</Range>").unwrap();
    assert_eq!(good.used.ranges(), [0..6 * 4096, 99 * 4096..100 * 4096]);
    for ranges in [
        "5-4",
        "0-100",
        "100",
        "-1",
        "1-",
        "x",
        "",
        "0-5-6",
        "18446744073709551615",
    ] {
        let error = old_bmap(100, &format!("<Range>{ranges}</Range>")).unwrap_err();
        assert!(matches!(error, BmapError::Damaged(_)), "{ranges}: {error}");
    }
    for ranges in [
        "<Range>4-6</Range><Range>6</Range>",
        "<Range>4</Range><Range>1</Range>",
    ] {
        assert!(matches!(old_bmap(100, ranges), Err(BmapError::Damaged(_))));
    }
    let deep = "<a>".repeat(200_000);
    assert!(old_bmap(100, &deep).is_err());
    assert!(UsedMap::parse_bmap(b"", 0).is_err());
    assert!(UsedMap::parse_bmap(&[0xff; 9], 0).is_err());
}

#[test]
fn a_block_map_is_believed_where_it_lists_something_to_know_it_by() {
    let source = MemBase((0u8..=255).cycle().take(100 * 4096).collect());
    let block = |n: u64| n * 4096..(n + 1) * 4096;
    let sound = |n: u64| BmapRange {
        range: block(n),
        sha256: Some(Sha256Digest::of(&source.0[..4096])),
    };
    let bogus = |n: u64| BmapRange {
        sha256: Some(Sha256Digest::of(b"")),
        ..sound(n)
    };
    let unknown = [
        block(20).start..block(30).end,
        block(40).start..block(50).end,
    ];
    let agrees = |ranges: Vec<BmapRange>| {
        let used = UsedMap::whole(source.len());
        let go_on = || Ok::<(), io::Error>(());
        let map = Bmap { used, ranges };
        map.agrees(&source, &unknown, go_on).unwrap()
    };
    assert!(agrees(vec![sound(0), sound(25), sound(50)]));
    // What it says of other places is not asked for.
    assert!(agrees(vec![sound(0), bogus(10), sound(25), sound(50)]));
    assert!(!agrees(Vec::new()));
    assert!(!agrees(vec![sound(0), sound(10)]));
    assert!(!agrees(vec![sound(0), sound(25), sound(51)]));
    assert!(!agrees(vec![sound(25), sound(50)]));
    assert!(!agrees(vec![bogus(0), sound(25), sound(50)]));
    assert!(!agrees(vec![sound(0), sound(25), bogus(50)]));
    let nameless = BmapRange {
        sha256: None,
        ..sound(50)
    };
    assert!(!agrees(vec![sound(0), sound(25), nameless]));
}

#[test]
fn a_check_of_a_block_map_can_be_ended() {
    let source = MemBase(vec![0; 4096]);
    let ranges = vec![BmapRange {
        range: 0..4096,
        sha256: Some(Sha256Digest::of(&source.0)),
    }];
    let map = Bmap {
        used: UsedMap::whole(4096),
        ranges,
    };
    let stop = || Err(io::Error::other("enough"));
    let error = map.agrees(&source, &[], stop).unwrap_err();
    assert_eq!(error.to_string(), "enough");
}
