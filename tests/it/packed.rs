//! `build --format img.xz` and `img.zst`, judged by the programs that people read such files with.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::harness::{Btrfs, Run, Scratch, base, extract, partitions, tool};

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A base in blocks of this many bytes, as its publisher would compress it.
fn compressed(scratch: &Scratch, args: &[&str]) -> PathBuf {
    let path = scratch.path("base.img.xz");
    let raw = base("trixie-arm64");
    fs::copy(&raw, scratch.path("base.img")).expect("a base");
    let image = scratch.path("base.img");
    let all = [args, &["-1", "-k", utf8(&image)]].concat();
    tool("xz", &all).expect(0);
    fs::remove_file(image).expect("a file");
    path
}

/// A cluster of two on a base of three blocks.
fn cluster() -> Scratch {
    let scratch = Scratch::new();
    let image = compressed(&scratch, &["-T2", "--block-size=20MiB"]);
    scratch.init(&image, 2);
    scratch
}

fn build(scratch: &Scratch, more: &[&str]) -> Run {
    scratch.cardmint(&[&["build", "--format", "img.xz"], more].concat())
}

fn image(scratch: &Scratch, node: usize) -> PathBuf {
    scratch.path(&format!("c/images/raspberrypi{node}.img.xz"))
}

/// The image of a node, unpacked by `xz`.
fn unpacked(scratch: &Scratch, node: usize) -> Vec<u8> {
    let target = scratch.path("unpacked.xz");
    fs::copy(image(scratch, node), &target).expect("an image");
    tool("xz", &["-dkf", utf8(&target)]).expect(0);
    fs::read(scratch.path("unpacked")).expect("an image")
}

#[test]
fn others_unpack_to_the_very_image() {
    let scratch = cluster();
    let run = build(&scratch, &[]).expect(0);
    let encoding = run.stderr.matches(": encoding").count();
    assert_eq!(encoding, 1, "once for all nodes: {}", run.stderr);
    scratch.cardmint(&["build"]).expect(0);
    for node in [0, 1] {
        let packed = image(&scratch, node);
        tool("xz", &["-t", utf8(&packed)]).expect(0);
        let listed = tool("xz", &["--robot", "--list", utf8(&packed)]).expect(0);
        let file = listed.stdout.lines().find(|line| line.starts_with("file"));
        let streams = file.and_then(|line| line.split('\t').nth(1));
        assert_eq!(streams, Some("1"), "{}", listed.stdout);
        let plain = fs::read(packed.with_extension("")).expect("an image");
        assert!(unpacked(&scratch, node) == plain, "node {node}");
        let dir = packed.parent().expect("a folder");
        let sums = format!("cd {} && sha256sum -c *.sha256", utf8(dir));
        tool("sh", &["-c", &sums]).expect(0);
        scratch
            .cardmint(&["verify", &node.to_string(), utf8(&packed)])
            .expect(0);
    }
    scratch
        .cardmint(&["verify", "1", utf8(&image(&scratch, 0))])
        .expect(4);
    let shown = scratch
        .cardmint(&["inspect", utf8(&image(&scratch, 1))])
        .expect(0);
    assert!(shown.stdout.contains("raspberrypi1"), "{}", shown.stdout);
}

#[test]
fn zstd_unpacks_what_is_made_for_it() {
    let scratch = cluster();
    let zst = |more: &[&str]| {
        let run = scratch.cardmint(&[&["build", "--format", "img.zst"], more].concat());
        run.expect(0).stderr
    };
    let told = zst(&[]);
    assert_eq!(told.matches(": compressing").count(), 1, "{told}");
    scratch.cardmint(&["build"]).expect(0);
    let dir = scratch.path("c/images");
    for node in [0, 1] {
        let packed = dir.join(format!("raspberrypi{node}.img.zst"));
        tool("zstd", &["-qt", utf8(&packed)]).expect(0);
        let target = scratch.path("unpacked");
        let unpack = ["-qdfo", utf8(&target), utf8(&packed)];
        tool("zstd", &unpack).expect(0);
        let plain = packed.with_extension("");
        tool("cmp", &[utf8(&target), utf8(&plain)]).expect(0);
        tool("bmaptool", &["copy", utf8(&packed), utf8(&target)]).expect(0);
        tool("cmp", &[utf8(&target), utf8(&plain)]).expect(0);
        let node = node.to_string();
        scratch
            .cardmint(&["verify", &node, utf8(&packed)])
            .expect(0);
    }
    let sums = format!("cd {} && sha256sum -c *.sha256", utf8(&dir));
    tool("sh", &["-c", &sums]).expect(0);

    let again = scratch.path("again");
    let told = zst(&["--out", utf8(&again)]);
    let repeated = ["compressing", "encoding"].map(|verb| told.contains(verb));
    assert_eq!(repeated, [false; 2], "kept from the first run: {told}");
    for node in [0, 1] {
        let name = format!("raspberrypi{node}.img.zst");
        tool("cmp", &[utf8(&dir.join(&name)), utf8(&again.join(&name))]).expect(0);
    }
}

/// A base in zstd frames of this length, with a seek table that adds `error` to that of
/// the first, and takes it from that of the last.
pub(crate) fn in_frames(scratch: &Scratch, raw: &Path, frame_len: usize, error: i32) -> PathBuf {
    let raw = fs::read(raw).expect("a base");
    let (mut file, mut table) = (Vec::new(), Vec::new());
    let frames: Vec<&[u8]> = raw.chunks(frame_len).collect();
    let count = u32::try_from(frames.len()).expect("a few");
    for (number, frame) in (1..).zip(&frames) {
        let path = scratch.write("frame", frame);
        tool("zstd", &["-qf1", utf8(&path)]).expect(0);
        let packed = fs::read(scratch.path("frame.zst")).expect("a frame");
        let told = |len: usize| u32::try_from(len).expect("short");
        let error = match number {
            1 => error,
            _ if number == count => -error,
            _ => 0,
        };
        let len = told(frame.len()).checked_add_signed(error);
        for len in [told(packed.len()), len.expect("a length")] {
            table.extend(len.to_le_bytes());
        }
        file.extend(packed);
    }
    // The seek table, as "Zstandard Seekable Format" has it.
    let table_len = u32::try_from(table.len() + 9).expect("short");
    file.extend(0x184d_2a5e_u32.to_le_bytes());
    file.extend(table_len.to_le_bytes());
    file.extend(table);
    file.extend(count.to_le_bytes());
    file.push(0);
    file.extend(0x8f92_eab1_u32.to_le_bytes());
    scratch.write("base.img.zst", file)
}

#[test]
fn a_base_in_zstd_frames_is_spliced_as_it_is_where_its_table_is_true() {
    for (error, is_recoded) in [(0, false), (-65_536, true)] {
        let scratch = Scratch::new();
        let path = in_frames(&scratch, &base("trixie-arm64"), 20 << 20, error);
        scratch.init(&path, 1);
        let args = ["build", "--format", "img.zst", "--level", "1"];
        let run = scratch.cardmint(&args).expect(0);
        let says = run.stderr.contains("compressing");
        assert_eq!(says, is_recoded, "{}", run.stderr);
        scratch.cardmint(&["build"]).expect(0);
        let packed = scratch.path("c/images/raspberrypi0.img.zst");
        let target = scratch.path("unpacked");
        tool("zstd", &["-qdfo", utf8(&target), utf8(&packed)]).expect(0);
        let plain = packed.with_extension("");
        tool("cmp", &[utf8(&target), utf8(&plain)]).expect(0);
    }
}

#[test]
fn plain_images_get_sums_when_asked_for() {
    let scratch = cluster();
    scratch.cardmint(&["build", "--sums"]).expect(0);
    let dir = scratch.path("c/images");
    let check = format!("cd {} && sha256sum -c *.sha256", utf8(&dir));
    let checked = tool("sh", &["-c", &check]).expect(0);
    assert_eq!(checked.stdout.matches(": OK").count(), 2);
    let image = dir.join("raspberrypi1.img");
    let card = scratch.path("card");
    let run = tool("bmaptool", &["copy", utf8(&image), utf8(&card)]).expect(0);
    assert!(run.stderr.contains("discovered bmap"), "{}", run.stderr);
    scratch.cardmint(&["verify", "1", utf8(&card)]).expect(0);

    // What told of an image that is no more goes with it.
    fs::write(&image, "no image").expect("written");
    scratch.cardmint(&["build"]).expect(3);
    assert!(dir.join("raspberrypi1.img.sha256").exists());
    scratch.cardmint(&["build", "--force"]).expect(0);
    for (node, is_there) in [(0, true), (1, false)] {
        for suffix in ["sha256", "bmap"] {
            let path = dir.join(format!("raspberrypi{node}.img.{suffix}"));
            assert_eq!(path.exists(), is_there, "{}", path.display());
        }
    }
}

#[test]
fn levels_are_those_of_the_format() {
    let scratch = cluster();
    for (format, level, says) in [
        ("img.xz", "10", "xz has levels 0 to 9"),
        ("img.zst", "0", "zstd has levels 1 to 19"),
        ("img", "6", "--format img.xz or img.zst"),
    ] {
        let args = ["build", "--format", format, "--level", level];
        let run = scratch.cardmint(&args).expect(2);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert!(!scratch.path("c/images").exists());
}

#[test]
fn imager_gets_a_list_of_the_images() {
    let scratch = cluster();
    build(&scratch, &["--imager-manifest"]).expect(0);
    let list = fs::read_to_string(scratch.path("c/images/c.rpi-imager-manifest")).expect("a list");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let entries = list["os_list"].as_array().expect("entries");
    assert_eq!(entries.len(), 2);
    for (node, entry) in entries.iter().enumerate() {
        assert_eq!(entry["name"], format!("raspberrypi{node} of c"));
        assert_eq!(entry["release_date"], "2026-06-18");
        assert_eq!(entry["init_format"], "none");
        let devices = entry["devices"].as_array().expect("tags");
        assert!(devices.iter().any(|tag| tag == "pi4-64bit"), "{devices:?}");
        let url = entry["url"]
            .as_str()
            .and_then(|url| url.strip_prefix("file://"));
        let path = Path::new(url.expect("a file's URL"));
        let digest = |path: &Path| {
            let run = tool("sha256sum", &[utf8(path)]).expect(0);
            run.stdout.split(' ').next().expect("a digest").to_owned()
        };
        assert_eq!(entry["image_download_sha256"], digest(path));
        assert_eq!(
            entry["image_download_size"],
            fs::metadata(path).expect("a file").len()
        );
        let plain = unpacked(&scratch, node);
        assert_eq!(entry["extract_size"], plain.len());
        assert_eq!(entry["extract_sha256"], digest(&scratch.path("unpacked")));
    }
}

#[test]
fn bmaptool_finds_the_map_and_writes_a_sound_card() {
    let scratch = cluster();
    build(&scratch, &["--nodes", "1"]).expect(0);
    let card = scratch.path("card");
    fs::write(&card, vec![0xa5; 160 << 20]).expect("a card");
    let run = tool(
        "bmaptool",
        &["copy", utf8(&image(&scratch, 1)), utf8(&card)],
    )
    .expect(0);
    assert!(
        run.stderr.contains("discovered bmap file"),
        "{}",
        run.stderr
    );
    for (number, judge, flag) in [(0, "fsck.vfat", "-n"), (1, "e2fsck", "-fn")] {
        let part = scratch.path("part");
        extract(&card, number, &part);
        tool(judge, &[flag, utf8(&part)]).expect(0);
    }
    scratch.cardmint(&["verify", "1", utf8(&card)]).expect(0);
}

#[test]
fn an_image_that_is_there_is_kept_or_refused_or_replaced() {
    let scratch = cluster();
    build(&scratch, &[]).expect(0);
    let first = fs::read(image(&scratch, 0)).expect("an image");
    let beside = scratch.path("c/images/raspberrypi0.img.xz.sha256");
    fs::remove_file(&beside).expect("a file");
    let again = build(&scratch, &[]).expect(0);
    assert_eq!(again.stdout.matches("kept").count(), 2, "{}", again.stdout);
    assert!(beside.exists());

    let file = fs::File::options()
        .write(true)
        .open(image(&scratch, 0))
        .expect("an image");
    file.write_all_at(&[1], first.len() as u64 / 2)
        .expect("written");
    let run = build(&scratch, &[]).expect(3);
    assert!(run.stderr.contains("--force replaces it"), "{}", run.stderr);
    build(&scratch, &["--force"]).expect(0);
    assert!(fs::read(image(&scratch, 0)).expect("an image") == first);
}

#[test]
fn bases_without_blocks_get_some_once() {
    for (kind, args) in [("one block", &["-T1"][..]), ("raw", &[])] {
        let scratch = Scratch::new();
        let path = match kind {
            "raw" => base("trixie-arm64"),
            _ => compressed(&scratch, args),
        };
        scratch.init(&path, 2);
        let run = build(&scratch, &["--nodes", "0", "--level", "1"]).expect(0);
        let says = run.stderr.contains("compressing");
        assert_eq!(says, kind == "raw", "{kind}: {}", run.stderr);
        scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
        let plain = fs::read(image(&scratch, 0).with_extension("")).expect("an image");
        assert!(unpacked(&scratch, 0) == plain, "{kind}");
        let run = build(&scratch, &["--nodes", "1", "--level", "1"]).expect(0);
        assert!(
            !run.stderr.contains("compressing"),
            "{kind}: {}",
            run.stderr
        );
        if kind != "raw" {
            continue;
        }
        // What the disk lost in the cache is noticed, and made anew.
        let dir = scratch.path("cache/cardmint/blocks");
        let found = fs::read_dir(dir).expect("a folder");
        let mut found = found.map(|entry| entry.expect("an entry").path());
        let is_xz = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "xz");
        let blocks = found.find(is_xz).expect("blocks");
        let len = fs::metadata(&blocks).expect("a file").len();
        let file = fs::File::options()
            .write(true)
            .open(&blocks)
            .expect("a file");
        file.write_all_at(&[0x55; 64], len / 2).expect("written");
        let run = build(&scratch, &["--nodes", "1", "--level", "1", "--force"]).expect(0);
        assert!(run.stderr.contains("compressing"), "{}", run.stderr);
        assert!(run.stdout.contains("kept"), "{}", run.stdout);
    }
}

#[test]
fn halves_made_apart_are_the_whole() {
    let together = cluster();
    build(&together, &["--jobs", "2"]).expect(0);
    for node in [0, 1] {
        let apart = Scratch::new();
        for name in ["cluster.toml", "cluster.key"] {
            fs::copy(
                together.path(&format!("c/{name}")),
                apart.path(&format!("c/{name}")),
            )
            .expect("a copy");
        }
        for entry in fs::read_dir(together.path("c")).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.path().extension().is_some_and(|kind| kind == "pub") {
                fs::copy(entry.path(), apart.path("c").join(entry.file_name())).expect("a copy");
            }
        }
        build(&apart, &["--jobs", "1", "--nodes", &node.to_string()]).expect(0);
        for suffix in ["", ".sha256", ".bmap"] {
            let read = |scratch: &Scratch| {
                let mut path = image(scratch, node).into_os_string();
                path.push(suffix);
                fs::read(path).expect("a file")
            };
            assert!(read(&apart) == read(&together), "node {node} {suffix}");
        }
    }
}

#[test]
fn where_files_can_share_blocks_images_share_the_bases() {
    let scratch = Scratch::new();
    let Some(disk) = Btrfs::new(&scratch, 400 << 20) else {
        return;
    };
    let at = &disk.at;
    let image = at.join("base.img");
    fs::copy(base("trixie-arm64"), &image).expect("a base");
    // Something that does not shrink, where the root file system is free.
    let noise = tool("openssl", &["rand", "-hex", "2000000"])
        .expect(0)
        .stdout;
    let (root, len) = partitions(&image)[1];
    let file = fs::File::options()
        .write(true)
        .open(&image)
        .expect("a base");
    file.write_all_at(noise.as_bytes(), root + len - (6 << 20))
        .expect("written");
    tool("xz", &["-T2", "--block-size=20MiB", "-0", utf8(&image)]).expect(0);
    let image = at.join("base.img.xz");
    scratch.init(&image, 2);
    let out = at.join("images");
    build(&scratch, &["--out", utf8(&out)]).expect(0);
    tool("sync", &[]).expect(0);
    let made = out.join("raspberrypi1.img.xz");
    let shown = tool("filefrag", &["-v", utf8(&made)]).expect(0);
    assert!(shown.stdout.contains("shared"), "{}", shown.stdout);
    tool("xz", &["-t", utf8(&made)]).expect(0);
}
