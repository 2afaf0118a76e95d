use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::view::CowView;
use super::{EditError, Minted, Overlay, SECTOR_LEN, edit_boot};
use crate::base::read_at::RawFile;
use crate::base::testing::{FatShape, fat_image, has_tools, mcopy_out, run, sample, try_run};
use crate::base::{Base, MemBase, ReadAt};
use crate::layout::disk::{Partition, Scheme};
use crate::layout::{BootPartition, Disk, Layout, UsedMap};
use crate::provision::BootFile;

#[derive(Clone, Debug)]
enum Step {
    Read(usize, usize),
    Write(usize, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..1500),
        proptest::collection::vec(Just(0u8), 0..9000),
    ];
    prop_oneof![
        (0usize..40_000, 0usize..9000).prop_map(|(at, len)| Step::Read(at, len)),
        (0usize..40_000, bytes).prop_map(|(at, bytes)| Step::Write(at, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_view_equals_memory_and_its_overlay_equals_the_view(
        before in 0usize..5,
        sectors in 1usize..70,
        steps in proptest::collection::vec(step(), 0..30),
        cuts in proptest::collection::vec(1usize..9000, 1..8),
    ) {
        let (start, len) = (before * SECTOR_LEN, sectors * SECTOR_LEN);
        let base = MemBase(sample(start + len + 700, sectors as u64));
        let mut expected = base.0.clone();
        let partition = Partition {
            number: 1,
            offset: start as u64,
            len: len as u64,
            type_id: "0c".to_owned(),
        };
        let mut view = CowView::new(&base, &partition);
        for step in steps {
            let (Step::Read(at, _) | Step::Write(at, _)) = step;
            view.seek(SeekFrom::Start(at as u64)).unwrap();
            let left = len.saturating_sub(at);
            match step {
                Step::Read(_, want) => {
                    let mut got = Vec::new();
                    (&mut view).take(want as u64).read_to_end(&mut got).unwrap();
                    prop_assert_eq!(got.len(), want.min(left));
                    prop_assert!(got == expected[start + len - left..][..want.min(left)]);
                }
                Step::Write(_, bytes) => {
                    let n = bytes.len().min(left);
                    // Nothing is taken beyond the end of the partition.
                    prop_assert_eq!(view.write_all(&bytes).is_ok(), bytes.len() <= left);
                    expected[start + len - left..][..n].copy_from_slice(&bytes[..n]);
                }
            }
        }
        let overlay = view.into_overlay().unwrap();
        for pair in overlay.extents().windows(2) {
            prop_assert!(pair[0].end() < pair[1].offset);
        }
        for extent in overlay.extents() {
            prop_assert!(extent.bytes.len().is_multiple_of(SECTOR_LEN));
            prop_assert!(extent.offset >= start as u64 && extent.end() <= (start + len) as u64);
        }
        prop_assert_eq!(overlay.is_empty(), expected == base.0);
        let mut minted = base.0.clone();
        overlay.apply(0, &mut minted);
        prop_assert!(minted == expected);
        // The same in chunks of any length, and read through.
        let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
        while at < expected.len() {
            let end = expected.len().min(at + cuts.next().unwrap());
            let mut chunk = base.0[at..end].to_vec();
            overlay.apply(at as u64, &mut chunk);
            prop_assert!(chunk == expected[at..end]);
            let touched = overlay.touches(at as u64, (end - at) as u64);
            prop_assert!(touched || chunk == base.0[at..end]);
            let minted = Minted { base: &base, overlay: &overlay };
            minted.read_exact_at(&mut chunk, at as u64).unwrap();
            prop_assert!(chunk == expected[at..end]);
            at = end;
        }
    }
}

#[test]
fn writing_what_is_there_already_is_no_difference() {
    let base = MemBase(sample(10 * SECTOR_LEN, 1));
    let partition = Partition {
        number: 1,
        offset: 0,
        len: base.len(),
        type_id: "0c".to_owned(),
    };
    let mut view = CowView::new(&base, &partition);
    view.write_all(&base.0).unwrap();
    assert!(view.seek(SeekFrom::Current(-1_000_000)).is_err());
    assert!(view.into_overlay().unwrap().is_empty());
}

#[test]
fn digests_tell_overlays_apart_by_place_as_well() {
    let (a, b) = ([1; SECTOR_LEN], [2; SECTOR_LEN]);
    let overlay = |list: &[(u64, &[u8])]| Overlay::from_sectors(list.iter().copied());
    let overlays = [
        overlay(&[]),
        overlay(&[(0, &a)]),
        overlay(&[(512, &a)]),
        overlay(&[(0, &a), (512, &b)]),
        overlay(&[(0, &a), (1024, &b)]),
        overlay(&[(0, &b), (512, &a)]),
    ];
    assert_eq!(overlays[3].extents().len(), 1);
    assert_eq!(overlays[4].extents().len(), 2);
    assert_eq!(overlays[4].len(), 1024);
    for (i, left) in overlays.iter().enumerate() {
        for (j, right) in overlays.iter().enumerate() {
            assert_eq!(left.digest() == right.digest(), i == j);
        }
    }
}

const TOOLS: [&str; 4] = ["mkfs.vfat", "fsck.vfat", "mcopy", "mmd"];

fn stock() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("cmdline.txt", b"console=tty1 resize rootwait\n".to_vec()),
        ("config.txt", b"arm_64bit=1\n".to_vec()),
        ("start.elf", sample(150_000, 2)),
        ("overlays/disable-bt.dtbo", sample(1_000, 3)),
        ("user-data", b"#cloud-config\n".to_vec()),
        ("a rather long name of a file.txt", sample(9_000, 4)),
    ]
}

fn file(name: &str, bytes: Vec<u8>) -> BootFile {
    BootFile {
        name: name.to_owned(),
        bytes,
        why: "test",
        secret: false,
    }
}

/// Replaces, makes longer, empties and adds.
fn ours() -> Vec<BootFile> {
    vec![
        file("cmdline.txt", b"console=tty1 rootwait quiet\n".to_vec()),
        file("config.txt", sample(14_000, 5)),
        file("USER-DATA", Vec::new()),
        file("network-config", b"version: 2\n".to_vec()),
        file("cardmint-first-boot-with-a-long-name.sh", sample(30_000, 6)),
    ]
}

/// A file system without a partition table as the only partition of a disk.
fn open(path: &Path) -> (RawFile, BootPartition) {
    let source = RawFile::new(File::open(path).unwrap()).unwrap();
    let disk = Disk {
        len: source.len(),
        scheme: Scheme::Mbr,
        id: String::new(),
        partitions: vec![Partition {
            number: 1,
            offset: 0,
            len: source.len(),
            type_id: "0c".to_owned(),
        }],
    };
    let boot = BootPartition::find(&source, &disk).unwrap();
    (source, boot)
}

fn minted(path: &Path, overlay: &Overlay) -> PathBuf {
    use std::os::unix::fs::FileExt as _;
    let copy = path.with_extension("minted.img");
    let (from, to) = (path.to_str().unwrap(), copy.to_str().unwrap());
    run(path.parent().unwrap(), "cp", &["--sparse=always", from, to]);
    let file = OpenOptions::new().write(true).open(&copy).unwrap();
    for extent in overlay.extents() {
        file.write_all_at(&extent.bytes, extent.offset).unwrap();
    }
    copy
}

#[test]
fn other_tools_find_an_edited_boot_partition_sound() {
    if !has_tools(&TOOLS) {
        return;
    }
    for shape in FatShape::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = fat_image(dir.path(), shape, &stock());
        let (source, boot) = open(&path);
        let overlay =
            edit_boot(&source, &boot, &ours()).unwrap_or_else(|error| panic!("{shape:?}: {error}"));
        let again = edit_boot(&source, &boot, &ours()).unwrap();
        assert_eq!(overlay, again, "the same inputs gave other bytes");

        let copy = minted(&path, &overlay);
        let (clean, report) = try_run(dir.path(), "fsck.vfat", &["-n", copy.to_str().unwrap()]);
        assert!(clean, "{shape:?}: {report}");
        assert!(
            !report.contains("Dirty") && !report.contains("wrong"),
            "{shape:?}: {report}"
        );
        for file in ours() {
            assert!(
                mcopy_out(&copy, &file.name) == file.bytes,
                "{shape:?} {}",
                file.name
            );
        }
        for name in [
            "start.elf",
            "overlays/disable-bt.dtbo",
            "a rather long name of a file.txt",
        ] {
            let bytes = mcopy_out(&path, name);
            assert!(
                mcopy_out(&copy, name) == bytes,
                "{shape:?} {name} has changed"
            );
        }
        // An edited one can be edited again.
        let (source, boot) = open(&copy);
        let more = [file("network-config", sample(3_000, 7))];
        let twice = minted(&copy, &edit_boot(&source, &boot, &more).unwrap());
        run(dir.path(), "fsck.vfat", &["-n", twice.to_str().unwrap()]);
        assert!(mcopy_out(&twice, "network-config") == more[0].bytes);
        // What is there already needs no change but that of its directory entry.
        let (source, boot) = open(&twice);
        let same = edit_boot(&source, &boot, &more).unwrap();
        let copy = minted(&twice, &same);
        assert!(mcopy_out(&copy, "network-config") == more[0].bytes);
    }
}

#[test]
fn the_used_map_of_minted_bytes_holds_all_that_was_put_there() {
    use std::os::unix::fs::FileExt as _;
    if !has_tools(&TOOLS) {
        return;
    }
    for shape in FatShape::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = fat_image(dir.path(), shape, &stock());
        let (base, boot) = open(&path);
        // Zeros over a base that has zeros there: no extent tells of them.
        let files = [
            file("zeros", vec![0; 300_000]),
            file("meta-data", sample(9_000, 5)),
        ];
        let overlay = edit_boot(&base, &boot, &files).unwrap();
        let disk = Disk {
            len: base.len(),
            scheme: Scheme::Mbr,
            id: String::new(),
            partitions: vec![boot.partition.clone()],
        };
        let source = Minted {
            base: &base,
            overlay: &overlay,
        };
        let map = UsedMap::read(&source, &disk).unwrap();
        assert!(map.used_len() < map.len(), "{shape:?}");
        let card = dir.path().join("card.img");
        std::fs::write(&card, vec![0xa5; usize::try_from(map.len()).unwrap()]).unwrap();
        let written = OpenOptions::new().write(true).open(&card).unwrap();
        for range in map.ranges() {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
            source.read_exact_at(&mut bytes, range.start).unwrap();
            written.write_all_at(&bytes, range.start).unwrap();
        }
        run(dir.path(), "fsck.vfat", &["-n", card.to_str().unwrap()]);
        for file in files {
            assert!(mcopy_out(&card, &file.name) == file.bytes, "{shape:?}");
        }
    }
}

#[test]
fn a_full_boot_partition_says_how_much_is_missing() {
    if !has_tools(&TOOLS) {
        return;
    }
    // The last would only be larger.
    for shape in &FatShape::ALL[..5] {
        let dir = tempfile::tempdir().unwrap();
        let path = fat_image(dir.path(), *shape, &stock());
        let (source, boot) = open(&path);
        let cluster = shape.cluster_len as u64;
        // A new file in a FAT32 root may cost the directory a cluster.
        let dir_len = if shape.bits == 32 { cluster } else { 0 };
        let room = usize::try_from(boot.free_len - dir_len).unwrap();
        let fits = edit_boot(&source, &boot, &[file("big", vec![1; room])]);
        if shape.bits != 32 {
            let copy = minted(&path, &fits.unwrap());
            run(dir.path(), "fsck.vfat", &["-n", copy.to_str().unwrap()]);
        }
        match edit_boot(&source, &boot, &[file("big", vec![1; room + 1])]) {
            Err(EditError::Full { needed, free }) => {
                assert_eq!((needed, free), (boot.free_len + cluster, boot.free_len));
            }
            other => panic!("{shape:?}: {:?}", other.map(|overlay| overlay.len())),
        }
        // What a file held before counts as free when it is replaced.
        let room = usize::try_from(boot.free_len).unwrap()
            + 150_000usize.next_multiple_of(shape.cluster_len);
        match edit_boot(&source, &boot, &[file("start.elf", vec![1; room + 1])]) {
            Err(EditError::Full { needed, free }) => assert_eq!(needed - free, cluster),
            other => panic!("{shape:?}: {:?}", other.map(|overlay| overlay.len())),
        }
    }
}

#[test]
fn a_directory_in_the_way_is_named() {
    if !has_tools(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, boot) = open(&fat_image(dir.path(), FatShape::ALL[2], &stock()));
    match edit_boot(&source, &boot, &[file("Overlays", Vec::new())]) {
        Err(EditError::IsDirectory(name)) => assert_eq!(name, "Overlays"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_root_directory_without_room_is_an_error() {
    if !has_tools(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, boot) = open(&fat_image(dir.path(), FatShape::ALL[1], &stock()));
    // 512 entries of the root directory, and each of these takes several.
    let many: Vec<BootFile> = (0..300)
        .map(|n| file(&format!("a file with a long name {n}"), Vec::new()))
        .collect();
    assert!(edit_boot(&source, &boot, &many).is_err());
}

#[test]
fn the_practice_base_takes_boot_files() {
    let bytes = include_bytes!("../../images/practice.img.xz");
    let base = Base::from_static("practice", bytes).unwrap();
    let layout = Layout::read(&base).unwrap();
    let overlay = edit_boot(&base, &layout.boot, &ours()).unwrap();
    assert!(!overlay.is_empty());
    let partition = &layout.boot.partition;
    let end = partition.offset + partition.len;
    for extent in overlay.extents() {
        assert!(extent.offset >= partition.offset && extent.end() <= end);
    }
    let minted = Minted {
        base: &base,
        overlay: &overlay,
    };
    let after = Layout::read(&minted).unwrap();
    assert_eq!(
        after.boot.cmdline.as_deref(),
        Some("console=tty1 rootwait quiet\n")
    );
    assert!(edit_boot(&base, &layout.boot, &[]).unwrap().is_empty());
}
