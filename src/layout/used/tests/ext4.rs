use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Patched, Shifted, disk, gaps, only_frees, partition, raw, read, spoil};
use crate::base::testing::{has_tools, run, sample};
use crate::base::{MemBase, ReadAt};
use crate::layout::used::{MIN_GAP, UsedMap, ext4};

const EXT_TOOLS: [&str; 4] = ["mkfs.ext4", "debugfs", "dumpe2fs", "e2fsck"];

/// Free ranges of an ext file system that fills the source, before anything is
/// rounded.
fn exact(source: &dyn ReadAt) -> Option<Vec<Range<u64>>> {
    ext4::free(source, &partition(0, source.len(), "83"), 0).unwrap()
}

fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// All files of an ext image, by debugfs.
fn dump(dir: &Path, image: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let out = tempfile::tempdir().unwrap();
    let request = format!("rdump / {}", out.path().display());
    run(dir, "debugfs", &["-R", &request, image]);
    tree(out.path())
}

const DELETED: [&str; 3] = ["f3", "f7", "large"];

fn populate(dir: &Path) {
    fs::create_dir_all(dir.join("deep/deeper")).unwrap();
    for n in 0..12usize {
        fs::write(
            dir.join(format!("f{n}")),
            sample(n * n * 2_500 + 40, n as u64),
        )
        .unwrap();
    }
    fs::write(dir.join("deep/deeper/f"), sample(700_000, 99)).unwrap();
    fs::write(dir.join("large"), sample(1_500_000, 98)).unwrap();
    fs::write(dir.join("last"), sample(900_000, 97)).unwrap();
}

/// An ext file system of `size` KiB with files, of which some were deleted.
fn ext_image(dir: &Path, options: &str, size: &str) -> PathBuf {
    let (root, path) = (dir.join("root"), dir.join("ext.img"));
    if !root.exists() {
        populate(&root);
    }
    fs::remove_file(&path).ok();
    let mut args: Vec<&str> = vec!["-q", "-F", "-d", root.to_str().unwrap()];
    args.extend(options.split_whitespace());
    args.extend([path.to_str().unwrap(), size]);
    run(dir, "mkfs.ext4", &args);
    let script: String = DELETED.iter().map(|name| format!("rm {name}\n")).collect();
    fs::write(dir.join("script"), script).unwrap();
    run(dir, "debugfs", &["-w", "-f", "script", "ext.img"]);
    path
}

/// Free ranges as dumpe2fs lists them.
fn dumped(dir: &Path) -> Vec<Range<u64>> {
    let text = run(dir, "dumpe2fs", &["ext.img"]);
    let block_len = text
        .lines()
        .find_map(|line| line.strip_prefix("Block size:"));
    let block_len: u64 = block_len.unwrap().trim().parse().unwrap();
    let mut found: Vec<Range<u64>> = Vec::new();
    for list in text
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "))
    {
        for run in list.split(", ").filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let start = first.parse::<u64>().unwrap() * block_len;
            let end = (last.parse::<u64>().unwrap() + 1) * block_len;
            match found.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => found.push(start..end),
            }
        }
    }
    found
}

/// Options of mkfs.ext4 and KiB.
const GRID: [(&str, &str); 18] = [
    ("-b 1024", "40961"),
    ("-b 1024 -O ^flex_bg", "40999"),
    ("-b 1024 -O ^metadata_csum,uninit_bg", "50003"),
    ("-b 1024 -O ^metadata_csum,^uninit_bg,^64bit", "33333"),
    ("-b 1024 -O meta_bg,^resize_inode", "60001"),
    (
        "-b 1024 -O meta_bg,^resize_inode,^flex_bg,^64bit -g 512",
        "40000",
    ),
    ("-b 1024 -O sparse_super2", "50000"),
    ("-b 1024 -O ^sparse_super,^resize_inode -G 4", "50000"),
    ("-b 2048 -O ^has_journal -g 4096", "61234"),
    ("-b 1024 -t ext2", "40001"),
    ("-b 1024 -t ext3", "40001"),
    ("-b 4096 -O ^64bit -g 2048", "61236"),
    ("-b 4096 -O metadata_csum_seed,orphan_file -g 4096", "70000"),
    ("-b 4096 -E packed_meta_blocks=1 -G 32 -g 2048", "70000"),
    ("-b 4096", "700004"),
    (
        "-b 4096 -O ^metadata_csum,uninit_bg -E lazy_itable_init=1",
        "600004",
    ),
    ("-b 4096 -t ext3 -I 128", "500000"),
    ("-b 4096 -O sparse_super2,inline_data -I 512", "900000"),
];

#[test]
fn free_blocks_of_every_kind_of_ext_are_those_that_dumpe2fs_lists() {
    if !has_tools(&EXT_TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (options, size) in GRID {
        let path = ext_image(dir, options, size);
        let free = exact(&raw(&path)).unwrap_or_else(|| panic!("{options}: not understood"));
        assert_eq!(free, dumped(dir), "{options}");
        for by in [0, 1536, 1 << 20] {
            let map = read(&Shifted(raw(&path), by), by, "83");
            let gaps = gaps(&map);
            assert!(!gaps.is_empty(), "{options}");
            for gap in &gaps {
                assert!(gap.end - gap.start >= MIN_GAP);
                let (start, end) = (gap.start - by, gap.end - by);
                let inside = free
                    .iter()
                    .any(|free| free.start <= start && end <= free.end);
                assert!(inside, "{options}: {gap:?}");
            }
            if by != 1536 {
                continue;
            }
            run(dir, "cp", &["--sparse=always", "ext.img", "card.img"]);
            spoil(&dir.join("card.img"), &gaps, by);
            run(dir, "e2fsck", &["-fn", "card.img"]);
            let card = dump(dir, "card.img");
            assert!(card == dump(dir, "ext.img"), "{options}");
            let mut files = tree(&dir.join("root"));
            files.retain(|name, _| !DELETED.iter().any(|gone| name == Path::new(gone)));
            // debugfs 1.47 pads files that lie in their inode to 60 bytes.
            assert!(
                card == files || options.contains("inline_data"),
                "{options}"
            );
        }
    }
}

#[test]
fn file_systems_that_are_not_clean_or_not_understood_are_used_in_full() {
    if !has_tools(&EXT_TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (options, request) in [
        ("-b 1024", "feature needs_recovery"),
        ("-b 1024", "set_super_value state 0"),
        ("-b 1024", "set_super_value state 2"),
        ("-b 1024", "set_super_value free_blocks_count 5"),
        ("-b 1024", "set_block_group 2 free_blocks_count 5"),
        (
            "-b 1024 -O ^metadata_csum",
            "set_block_group 2 free_blocks_count 5",
        ),
        ("-b 1024 -t ext2", "set_block_group 2 block_bitmap 7"),
        ("-b 1024 -t ext2", "freeb 30000 4"),
        ("-b 4096 -O bigalloc -C 16384", "stats"),
    ] {
        let path = ext_image(dir, options, "40001");
        run(dir, "debugfs", &["-w", "-R", request, "ext.img"]);
        let source = raw(&path);
        // `freeb` keeps all counts right, so it stays understood.
        if request.starts_with("freeb") {
            assert_eq!(exact(&source).unwrap(), dumped(dir), "{request}");
            continue;
        }
        assert_eq!(exact(&source), None, "{options}: {request}");
        assert_eq!(read(&source, 0, "83"), UsedMap::whole(source.len()));
    }
}

#[test]
fn a_partition_is_only_trusted_to_hold_what_its_type_says() {
    if !has_tools(&EXT_TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = ext_image(dir.path(), "-b 1024", "40000");
    let source = Shifted(raw(&path), 4096);
    let whole = UsedMap::whole(source.len());
    assert_ne!(read(&source, 4096, "83"), whole);
    assert_eq!(read(&source, 4096, "0c"), whole);
    let cut = disk(source.len(), vec![partition(4096, source.len(), "83")]);
    assert_eq!(UsedMap::read(&source, &cut).unwrap(), whole);
    // A partition that has not been grown into: its tail is not understood.
    let long = fs::read(&path).unwrap();
    let len = long.len() as u64;
    let long = MemBase([long, vec![0; 1 << 20]].concat());
    let map = read(&long, 0, "83");
    assert!(
        map.within(len, 1 << 20)
            .eq(std::iter::once(len..len + (1 << 20)))
    );
    let short = MemBase(long.0[..30 << 20].to_vec());
    assert_eq!(read(&short, 0, "83"), UsedMap::whole(30 << 20));
}

#[test]
fn no_flipped_byte_frees_a_block_in_use_where_there_are_checksums() {
    if !has_tools(&EXT_TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (options, is_safe) in [
        ("-b 1024 -g 2048 -O ^resize_inode", true),
        ("-b 1024 -g 2048 -O ^resize_inode,^64bit", true),
        (
            "-b 1024 -g 2048 -O ^resize_inode,^metadata_csum,uninit_bg",
            false,
        ),
        ("-b 1024 -t ext2", false),
    ] {
        let image = fs::read(ext_image(dir.path(), options, "9001")).unwrap();
        let before = exact(&MemBase(image.clone())).unwrap();
        let bitmap_at = |desc: usize| {
            let block = u32::from_le_bytes(image[desc..desc + 4].try_into().unwrap());
            usize::try_from(block).unwrap() * 1024
        };
        // Superblock, descriptors, and bitmaps: those of all groups where flex_bg
        // has put them together.
        let bitmap = bitmap_at(2048);
        for at in (1024..2048 + 320).chain((bitmap..bitmap + 5 * 1024).step_by(3)) {
            let flip = image[at] ^ (1u8.rotate_left(u32::try_from(at % 8).unwrap()));
            for byte in [flip, !image[at]] {
                let bytes = vec![byte];
                let source = Patched {
                    base: &image,
                    at,
                    bytes,
                };
                let free = exact(&source).unwrap_or_default();
                assert!(
                    !is_safe || only_frees(&free, &before),
                    "{options}: {at} {byte}"
                );
            }
        }
    }
}

#[test]
fn hostile_superblocks_and_descriptors_never_panic() {
    if !has_tools(&EXT_TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for options in [
        "-b 1024 -t ext2",
        "-b 1024 -O ^metadata_csum,^uninit_bg,64bit,meta_bg,^resize_inode",
    ] {
        let image = fs::read(ext_image(dir.path(), options, "9001")).unwrap();
        for at in (1024..3072).step_by(4) {
            for value in [
                0,
                1,
                2,
                6,
                0x100,
                0x8000,
                0x7fff_ffff,
                0x8000_0000,
                u32::MAX,
            ] {
                let bytes = value.to_le_bytes().to_vec();
                drop(read(
                    &Patched {
                        base: &image,
                        at,
                        bytes,
                    },
                    0,
                    "83",
                ));
            }
        }
    }
}
