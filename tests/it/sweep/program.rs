//! The program itself on damaged bytes, in a base, an image or the cache: an error
//! that names the file, or what was promised. Never a panic, never half a file.

use std::fs;
use std::path::{Path, PathBuf};

use cardmint::base::Sha256Digest;

use super::damage::Damage;
use super::formats::{Promise, packed};
use super::{BASE, NAME, cases, sweep};
use crate::harness::{Btrfs, Run, Scratch, base, has, tool};

/// A cluster of one whose base can be damaged.
struct Victim {
    scratch: Scratch,
    manifest: String,
    wanted: Vec<u8>,
}

impl Victim {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write(NAME, fs::read(base(BASE)).expect("a base"));
        scratch.init(&scratch.path(NAME), 1);
        scratch.cardmint(&["build", "-q"]).expect(0);
        Self {
            wanted: fs::read(scratch.path("c/images/raspberrypi0.img")).expect("an image"),
            manifest: fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest"),
            scratch,
        }
    }

    fn image(&self) -> PathBuf {
        self.scratch.path("c/images/raspberrypi0.img")
    }

    /// Builds on `bytes`, with nothing remembered.
    fn build(&self, bytes: &[u8], promise: Promise) -> Run {
        for dir in ["cache/cardmint", "c/images"] {
            fs::remove_dir_all(self.scratch.path(dir)).ok();
        }
        self.scratch.write(NAME, bytes);
        let mut manifest = self.manifest.clone();
        if let Some(digest) = promise.digest() {
            let line = format!("sha256 = \"{digest}\"\ncount    =");
            manifest = manifest.replace("count    =", &line);
        }
        self.scratch.write("c/cluster.toml", manifest);
        self.scratch.cardmint(&["build"])
    }

    /// A failed build names the base, and leaves nothing that looks like an image.
    #[track_caller]
    fn assert_failed(&self, run: &Run) {
        assert!([1, 2, 3].contains(&run.code), "{run:?}");
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        assert!(run.stderr.contains(NAME), "{}", run.stderr);
        let images = self.scratch.path("c/images");
        let left = fs::read_dir(images).into_iter().flatten().count();
        assert_eq!(left, 0, "{}", run.stderr);
    }
}

#[test]
fn the_program_refuses_what_is_not_the_base() {
    let victim = Victim::new();
    let raw = Sha256Digest::of(&fs::read(base(BASE)).expect("a base"));
    let ways = [
        "xz -0 --block-size=1MiB -c \"$RAW\"",
        "xz -0 -c \"$RAW\"",
        "gzip -1 -c \"$RAW\"",
        "zstd -q -1 -c \"$RAW\"",
        "bzip2 -1 -c \"$RAW\"",
        "(cd \"$(dirname \"$RAW\")\" && zip -q -1 - tiny.img)",
    ];
    let files = ways.map(|command| packed(&victim.scratch, command));
    sweep(cases(12, 10), |case, say| {
        let bytes = &files[usize::try_from(case).expect("small") % files.len()];
        let damage = Damage::of(case, bytes);
        let promise = match case / 6 % 3 {
            0 => Promise::Nothing,
            1 => Promise::File(Sha256Digest::of(bytes)),
            _ => Promise::Contents(raw),
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(bytes);
        let run = victim.build(&damaged, promise);
        if run.code == 0 {
            assert!(fs::read(victim.image()).expect("an image") == victim.wanted);
            assert!(!matches!(promise, Promise::File(_)) || damaged == *bytes);
        } else {
            victim.assert_failed(&run);
        }
    });
}

#[test]
fn the_program_makes_of_a_raw_base_what_it_is() {
    let victim = Victim::new();
    let bytes = fs::read(base(BASE)).expect("a base");
    let (boot, boot_len) = crate::harness::partitions(&base(BASE))[0];
    let boot = usize::try_from(boot).expect("small");
    let end = boot + usize::try_from(boot_len).expect("small");
    sweep(cases(6, 5), |case, say| {
        let damage = Damage::of(case, &bytes);
        let promise = if case % 2 == 0 {
            Promise::Nothing
        } else {
            Promise::File(Sha256Digest::of(&bytes))
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(&bytes);
        let run = victim.build(&damaged, promise);
        if run.code != 0 {
            return victim.assert_failed(&run);
        }
        assert!(promise.digest().is_none() || damaged == bytes);
        let image = fs::read(victim.image()).expect("an image");
        assert_eq!(image.len(), damaged.len());
        assert!(image[..boot] == damaged[..boot]);
        assert!(image[end..] == damaged[end..]);
        let path = victim.image();
        let path = path.to_str().expect("UTF-8");
        victim.scratch.cardmint(&["verify", "0", path]).expect(0);
    });
}

#[test]
fn verify_says_same_of_nothing_else() {
    let scratch = Scratch::cluster(BASE, |text| text);
    let formats = ["img", "img.xz", "img.zst"];
    let images = formats.map(|format| {
        let args = ["build", "-q", "--nodes", "0", "--format", format];
        scratch.cardmint(&args).expect(0);
        let name = format!("c/images/raspberrypi0.{format}");
        fs::read(scratch.path(&name)).expect("an image")
    });
    let path = scratch.path(NAME);
    let path = path.to_str().expect("UTF-8");
    sweep(cases(12, 5), |case, say| {
        let bytes = &images[usize::try_from(case % 3).expect("small")];
        let damage = Damage::of(case, bytes);
        say(&format_args!(
            "{damage} of {}",
            formats[usize::try_from(case % 3).expect("small")]
        ));
        let damaged = damage.done_to(bytes);
        scratch.write(NAME, &damaged);
        let run = scratch.cardmint(&["verify", "0", path]);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        match run.code {
            // A longer file stands in for a card, of which what is used counts.
            0 if case % 3 == 0 && damaged.len() > bytes.len() => {
                assert!(run.stdout.contains("every block that"), "{}", run.stdout);
            }
            0 => assert!(is_same(path, &images[0]), "{}", run.stdout),
            4 => assert!(run.stdout.contains(NAME), "{}", run.stdout),
            code => {
                assert_eq!(code, 1, "{}", run.stderr);
                assert!(run.stderr.contains(NAME), "{}", run.stderr);
            }
        }
    });
}

/// Whether the standard tools unpack a file to these bytes.
fn is_same(path: &str, raw: &[u8]) -> bool {
    let unpacks = |tool: &str| {
        let output = std::process::Command::new(tool)
            .args(["-dcq", path])
            .output();
        output.is_ok_and(|output| output.stdout == raw)
    };
    fs::read(path).expect("a file") == raw || unpacks("xz") || unpacks("zstd")
}

/// A note that takes the unpacked base for the one it was made of, as one would where
/// the disk itself forgets: no time and no length tells of that.
fn forge(note: &Path, spool: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let text = fs::read_to_string(note).expect("a note");
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from).expect("its beginning");
        rest.split_once(to).expect("its end").0.to_owned()
    };
    let (stamp, known) = (
        between("\"stamp\":", ",\"known\":"),
        between("\"known\":", ",\"check\":"),
    );
    let (before, _) = known.split_once("\"spool\":").expect("a stamp");
    let file = fs::metadata(spool).expect("a file");
    let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    let known = format!(
        "{before}\"spool\":{{\"dev\":{},\"ino\":{},\"len\":{},\"modified_ns\":{},\"changed_ns\":{}}}}}",
        file.dev(),
        file.ino(),
        file.len(),
        ns(file.mtime(), file.mtime_nsec()),
        ns(file.ctime(), file.ctime_nsec()),
    );
    let check = Sha256Digest::of(format!("[{stamp},{known}]").as_bytes());
    let (head, _) = text.split_once("\"stamp\":").expect("its beginning");
    let forged = format!("{head}\"stamp\":{stamp},\"known\":{known},\"check\":\"{check}\"}}");
    fs::write(note, forged).expect("a note");
}

#[test]
fn a_rotten_cache_makes_no_other_image() {
    let scratch = Scratch::new();
    let bytes = packed(&scratch, "gzip -1 -c \"$RAW\"");
    scratch.init(&scratch.write(NAME, &bytes), 1);
    let formats = ["img", "img.xz", "img.zst"];
    let build = |format: &str| {
        fs::remove_dir_all(scratch.path("c/images")).ok();
        scratch.cardmint(
            &["build", "--format", format, "--level", "1"][..if format == "img" { 3 } else { 5 }],
        )
    };
    let made = |format: &str| fs::read(scratch.path(&format!("c/images/raspberrypi0.{format}")));
    let wanted = formats.map(|format| {
        build(format).expect(0);
        made(format).expect("an image")
    });
    let count = scratch.snapshot("cache").len();
    let record = || fs::read(scratch.path("c/cluster.lock")).expect("a record");
    let recorded = record();
    sweep(cases(10, 10), |case, say| {
        // Sound again, whatever the last case left.
        for format in formats {
            build(format).expect(0);
        }
        let number = usize::try_from(case).expect("small");
        let (path, bytes) = scratch.snapshot("cache").swap_remove(number % count);
        let damage = Damage::of(case, &bytes);
        let format = number / count % formats.len();
        say(&format_args!(
            "{damage} of {}, for {}",
            path.display(),
            formats[format]
        ));
        fs::write(&path, damage.done_to(&bytes)).expect("a file");
        let is_spool = path.parent().is_some_and(|dir| dir.ends_with("spool"));
        if is_spool && case % 2 == 0 {
            let notes = scratch.snapshot("cache/cardmint/digests");
            forge(&notes[0].0, &path);
        }
        let run = build(formats[format]);
        if run.code == 0 {
            assert!(made(formats[format]).expect("an image") == wanted[format]);
            assert!(record() == recorded, "another record");
            return;
        }
        // Only what was forged is believed.
        assert!(is_spool && case % 2 == 0, "{run:?}");
        assert!(
            run.stderr.contains(NAME) && !run.stderr.contains("panicked"),
            "{run:?}"
        );
        let left = fs::read_dir(scratch.path("c/images")).into_iter().flatten();
        assert_eq!(left.count(), 0);
        // It is unpacked anew, so the next run is none the worse.
        build(formats[format]).expect(0);
        assert!(made(formats[format]).expect("an image") == wanted[format]);
    });
}

#[test]
fn what_rotted_in_the_cache_gets_into_no_compressed_image() {
    let raw = fs::read(base(BASE)).expect("a base");
    let line = b"console=serial0";
    let at = raw.windows(line.len()).position(|bytes| bytes == line);
    let at = at.expect("a kernel's command line");
    for is_spliced in [true, false] {
        let scratch = Scratch::new();
        let path = if is_spliced {
            crate::packed::in_frames(&scratch, &base(BASE), 4 << 20, 0)
        } else {
            scratch.write(NAME, packed(&scratch, "gzip -1 -c \"$RAW\""))
        };
        scratch.init(&path, 2);
        let build = || scratch.cardmint(&["build", "--force", "--format", "img.zst"]);
        let run = build().expect(0);
        assert_eq!(run.stderr.contains("compressing"), !is_spliced);
        let made = || scratch.snapshot("c");
        let wanted = made();
        let (spool, mut bytes) = scratch.snapshot("cache/cardmint/spool").remove(0);
        bytes[at] ^= 1;
        fs::write(&spool, bytes).expect("a file");
        forge(&scratch.snapshot("cache/cardmint/digests")[0].0, &spool);
        let run = build().expect(1);
        assert!(run.stderr.contains("unpacked anew"), "{}", run.stderr);
        assert!(made() == wanted, "another image, or another record");
        build().expect(0);
        assert!(made() == wanted, "another image, or another record");
    }
}

#[test]
fn what_rotted_in_the_cache_is_told_where_images_could_share_it() {
    let scratch = Scratch::new();
    let Some(disk) = Btrfs::new(&scratch, 200 << 20) else {
        return;
    };
    let at = &disk.at;
    fs::remove_dir_all(scratch.path("cache")).ok();
    std::os::unix::fs::symlink(at, scratch.path("cache")).expect("a link");
    let bytes = packed(&scratch, "gzip -1 -c \"$RAW\"");
    scratch.init(&scratch.write(NAME, bytes), 2);
    let out = at.join("images");
    let build = || {
        fs::remove_dir_all(&out).ok();
        scratch.cardmint(&["build", "--out", out.to_str().expect("UTF-8")])
    };
    let built = build().expect(0);
    assert!(built.stderr.contains("cloning"), "{}", built.stderr);
    let (spool, mut bytes) = scratch.snapshot("cache/cardmint/spool").remove(0);
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&spool, bytes).expect("a file");
    forge(&scratch.snapshot("cache/cardmint/digests")[0].0, &spool);
    let run = build().expect(1);
    assert!(run.stderr.contains("unpacked anew"), "{}", run.stderr);
    build().expect(0);
}

#[test]
fn a_damaged_map_beside_the_base_costs_time_and_nothing_else() {
    if !has("bmaptool") {
        return;
    }
    const LEN: u64 = 12 << 20;
    let scratch = Scratch::new();
    let mut bytes = fs::read(base(BASE)).expect("a base");
    // A feature from the future, so that nothing but the map tells what is used: ext4's
    // INCOMPAT bits, at 0x60 of its superblock.
    let (root, _) = crate::harness::partitions(&base(BASE))[1];
    let bits = usize::try_from(root).expect("small") + 1024 + 0x60;
    bytes[bits..bits + 4].fill(0xff);
    scratch.write(NAME, bytes);
    let (image, map) = (scratch.path(NAME), scratch.path("base.bin.bmap"));
    let utf8 = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    tool("bmaptool", &["create", &utf8(&image), "-o", &utf8(&map)]).expect(0);
    scratch.init(&image, 1);
    let bytes = fs::read(&map).expect("a map");
    let card = scratch.path("card");
    let target = format!("0={}", utf8(&card));
    sweep(cases(4, 10), |case, say| {
        let damage = Damage::of(case, &bytes);
        say(&damage);
        fs::write(&map, damage.done_to(&bytes)).expect("a map");
        fs::write(&card, vec![0xa5; usize::try_from(LEN).expect("small")]).expect("a card");
        scratch
            .cardmint(&["flash", "--yes", "-q", &target])
            .expect(0);
        fs::write(&map, &bytes).expect("a map");
        scratch.cardmint(&["verify", "0", &utf8(&card)]).expect(0);
    });
}
