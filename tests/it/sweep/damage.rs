//! Whatever happens to the bytes of a base, an image or the cache: an error that
//! names the file, or what was promised. Never a panic, never half a file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cardmint::base::{Base, Cache, ReadAt as _, Sha256Digest};
use cardmint::interrupt::Interrupt;
use cardmint::layout::{Layout, detect};
use cardmint::output::{Expected, differing_chunks};
use cardmint::overlay::Overlay;
use cardmint::report::event::Silent;

use super::{BASE, Dice, cases, sweep};
use crate::harness::{Run, Scratch, base, tool};

/// What the damaged file is called; every error has to say it.
const NAME: &str = "base.bin";
/// Longest run of bytes that is lost, zero or misplaced.
const MAX_RUN: usize = 64 << 10;

/// What happened to a file.
#[derive(Debug)]
enum Damage {
    Bit { at: usize, bit: u8 },
    Byte { at: usize, is: u8 },
    Zeros { at: usize, len: usize },
    Swapped { at: usize, with: usize, len: usize },
    Inserted { at: usize, bytes: Vec<u8> },
    Deleted { at: usize, len: usize },
    Cut { at: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Damage {
    fn of(case: u64, bytes: &[u8]) -> Self {
        let mut dice = Dice::of(case);
        let at = place(&mut dice, bytes);
        let most = (bytes.len() - at).min(MAX_RUN);
        // As likely one byte as thousands.
        let len = (1 + dice.below(most)) >> dice.below(17);
        let len = len.max(1);
        match dice.below(7) {
            0 => Self::Bit {
                at,
                bit: 1 << dice.below(8),
            },
            1 => Self::Byte {
                at,
                is: dice.roll().to_le_bytes()[0],
            },
            2 => Self::Zeros { at, len },
            3 => Self::Swapped {
                at,
                with: dice.below(bytes.len() - len + 1),
                len,
            },
            4 => Self::Inserted {
                at,
                bytes: (0..len).map(|_| dice.roll().to_le_bytes()[0]).collect(),
            },
            5 => Self::Deleted { at, len },
            _ => Self::Cut { at },
        }
    }

    fn done_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Bit { at, bit } => bytes[*at] ^= bit,
            Self::Byte { at, is } => bytes[*at] = *is,
            Self::Zeros { at, len } => bytes[*at..at + len].fill(0),
            Self::Swapped { at, with, len } => {
                let (one, other) = (
                    bytes[*at..at + len].to_vec(),
                    bytes[*with..with + len].to_vec(),
                );
                bytes[*at..at + len].copy_from_slice(&other);
                bytes[*with..with + len].copy_from_slice(&one);
            }
            Self::Inserted { at, bytes: more } => {
                drop(bytes.splice(*at..*at, more.iter().copied()));
            }
            Self::Deleted { at, len } => drop(bytes.drain(*at..at + len)),
            Self::Cut { at } => bytes.truncate(*at),
        }
        bytes
    }
}

/// Headers and trailers are small, and count for most.
fn place(dice: &mut Dice, bytes: &[u8]) -> usize {
    const EDGE: usize = 512;
    let len = bytes.len();
    match dice.below(4) {
        0 => dice.below(len.min(EDGE)),
        1 => len - 1 - dice.below(len.min(EDGE)),
        _ => {
            // Where there is something: most of a small base is zeros.
            let at = dice.below(len);
            let next = bytes[at..].iter().position(|&byte| byte != 0);
            at + next.unwrap_or(0)
        }
    }
}

/// A way to pack the base, on standard output.
fn packed(scratch: &Scratch, command: &str) -> Vec<u8> {
    let (to, raw) = (scratch.path("packed"), base(BASE));
    let script = format!("RAW='{}'; {command} > '{}'", raw.display(), to.display());
    tool("bash", &["-euo", "pipefail", "-c", &script]).expect(0);
    fs::read(to).expect("a file")
}

/// What a base has to be, where somebody said so.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Nothing,
    /// The digest of the file.
    File(Sha256Digest),
    /// The digest of what it unpacks to.
    Contents(Sha256Digest),
}

impl Promise {
    fn digest(self) -> Option<Sha256Digest> {
        match self {
            Self::Nothing => None,
            Self::File(digest) | Self::Contents(digest) => Some(digest),
        }
    }
}

/// Takes in a base as the commands do; gives the digest of its contents.
fn take_in(path: &Path, cache: &Cache, promise: Promise) -> Result<Sha256Digest, String> {
    let interrupt = Interrupt::default();
    let told = |error: &dyn std::error::Error| error.to_string();
    let base = Base::open(path, cache, &Silent, &interrupt).map_err(|error| told(&error))?;
    if let Some(wanted) = promise.digest() {
        base.check_sha256(wanted, cache, &Silent, &interrupt)
            .map_err(|error| told(&error))?;
    }
    // The commands put its name before these.
    let named = |error: &dyn std::error::Error| format!("{}: {error}", base.name());
    let layout = Layout::read(&base).map_err(|error| named(&error))?;
    if let Some(reason) = detect::customised(&layout.boot) {
        return Err(format!("{}: {reason}", base.name()));
    }
    detect::detect(&layout.boot, None).map_err(|error| named(&error))?;
    let digests = base.digests(cache, &Silent, &interrupt);
    Ok(digests.map_err(|error| told(&error))?.raw)
}

/// Damages a base that checks itself, in memory of this process.
fn sweep_packed(command: &str) {
    let scratch = Scratch::new();
    let bytes = packed(&scratch, command);
    sweep_checked(&scratch, &bytes, &fs::read(base(BASE)).expect("a base"));
}

/// Damages `bytes`, which unpack to `raw`.
fn sweep_checked(scratch: &Scratch, bytes: &[u8], raw: &[u8]) {
    let (file, raw) = (Sha256Digest::of(bytes), Sha256Digest::of(raw));
    sweep(cases(40, 1), |case, say| {
        let damage = Damage::of(case, bytes);
        let promise = match case % 3 {
            0 => Promise::Nothing,
            1 => Promise::File(file),
            _ => Promise::Contents(raw),
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(bytes);
        let path = scratch.write(NAME, &damaged);
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().to_owned());
        match take_in(&path, &cache, promise) {
            Ok(found) => {
                assert_eq!(found, raw, "taken for the base");
                let is_promised = !matches!(promise, Promise::File(_)) || damaged == bytes;
                assert!(is_promised, "not the file that was promised");
            }
            Err(message) => {
                assert!(damaged != bytes, "{message}");
                assert!(message.contains(NAME), "{message}");
            }
        }
    });
}

#[test]
fn xz_of_many_blocks_is_sound_or_refused() {
    sweep_packed("xz -0 --block-size=1MiB -c \"$RAW\"");
}

#[test]
fn xz_of_one_block_is_sound_or_refused() {
    sweep_packed("xz -0 -c \"$RAW\"");
}

#[test]
fn gzip_is_sound_or_refused() {
    sweep_packed("gzip -1 -c \"$RAW\"");
}

#[test]
fn zstd_is_sound_or_refused() {
    sweep_packed("zstd -q -1 -c \"$RAW\"");
}

#[test]
fn bzip2_is_sound_or_refused() {
    sweep_packed("bzip2 -1 -c \"$RAW\"");
}

#[test]
fn zip_is_sound_or_refused() {
    sweep_packed("(cd \"$(dirname \"$RAW\")\" && zip -q -1 - tiny.img)");
}

/// Our own images, as `verify` reads them.
fn sweep_own(format: &str) {
    let scratch = Scratch::cluster(BASE, |text| text);
    let of = |format: &str, name: &str| {
        let args = ["build", "-q", "--nodes", "0", "--format", format];
        scratch.cardmint(&args).expect(0);
        fs::read(scratch.path("c/images").join(name)).expect("an image")
    };
    let raw = of("img", "raspberrypi0.img");
    let bytes = of(format, &format!("raspberrypi0.{format}"));
    let raw = Sha256Digest::of(&raw);
    sweep(cases(40, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        say(&damage);
        let path = scratch.write(NAME, damage.done_to(&bytes));
        let dir = tempfile::tempdir().expect("a directory");
        let (cache, interrupt) = (Cache::at(dir.path().to_owned()), Interrupt::default());
        let found = Base::open(&path, &cache, &Silent, &interrupt)
            .and_then(|image| image.digests(&cache, &Silent, &interrupt));
        // Another digest is a difference that is told; an image of other bytes with
        // the same one would not be.
        if let Err(error) = found {
            assert!(error.to_string().contains(NAME), "{error}");
        } else if let Ok(found) = found
            && found.raw != raw
        {
            // Nothing but a magic number that is gone makes other bytes of it.
            let head = fs::read(&path).expect("a file");
            assert!(
                found.raw == Sha256Digest::of(&head),
                "unpacks to something else"
            );
        }
    });
}

#[test]
fn our_xz_is_sound_or_refused() {
    sweep_own("img.xz");
}

#[test]
fn our_zstd_is_sound_or_refused() {
    sweep_own("img.zst");
}

#[test]
fn a_raw_base_is_what_was_promised_or_what_it_is() {
    let scratch = Scratch::new();
    let bytes = fs::read(base(BASE)).expect("a base");
    let raw = Sha256Digest::of(&bytes);
    sweep(cases(20, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        let promise = if case % 2 == 0 {
            Promise::Nothing
        } else {
            Promise::Contents(raw)
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(&bytes);
        let path = scratch.write(NAME, &damaged);
        let dir = tempfile::tempdir().expect("a directory");
        match take_in(&path, &Cache::at(dir.path().to_owned()), promise) {
            Ok(found) => {
                assert_eq!(found, Sha256Digest::of(&damaged));
                assert!(promise.digest().is_none_or(|wanted| wanted == found));
            }
            Err(message) => assert!(message.contains(NAME), "{message}"),
        }
    });
}

#[test]
fn every_chunk_of_an_image_that_differs_is_told() {
    let scratch = Scratch::new();
    let (raw, interrupt) = (base(BASE), Interrupt::default());
    let bytes = fs::read(&raw).expect("a base");
    let cache = Cache::at(scratch.path("cache"));
    let open = Base::open(&raw, &cache, &Silent, &interrupt).expect("a base");
    let digests = open.digests(&cache, &Silent, &interrupt).expect("digests");
    let nothing = Overlay::default();
    let expected = Expected::new(&open, &digests.chunks, &nothing).expect("what is planned");
    let chunk_len = cardmint::base::CHUNK_LEN;
    sweep(cases(20, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        say(&damage);
        let damaged = damage.done_to(&bytes);
        let path = scratch.write("image", &damaged);
        let found = differing_chunks(&path, &expected, "image", &Silent, &interrupt);
        let found = found.expect("a comparison");
        let chunk = |bytes: &[u8], index: usize| {
            let rest = &bytes[bytes.len().min(index * chunk_len)..];
            rest[..rest.len().min(chunk_len)].to_vec()
        };
        let last = expected.chunks() - 1;
        let differs = |&index: &usize| {
            chunk(&bytes, index) != chunk(&damaged, index)
                || (index == last && damaged.len() > bytes.len())
        };
        let wanted: Vec<usize> = (0..expected.chunks()).filter(differs).collect();
        assert_eq!(found, wanted);
        assert_eq!(open.len(), bytes.len() as u64);
    });
}

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
        fs::remove_dir_all(scratch.path("cache/cardmint")).expect("a cache");
    });
}

#[test]
fn a_damaged_map_beside_the_base_costs_time_and_nothing_else() {
    if !crate::harness::has("bmaptool") {
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
