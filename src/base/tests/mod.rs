mod odd;
mod remembered;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::testing::{has_tools, pipe, run, sample};
use super::{Base, BaseError, Cache, Format, ReadAt, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::Silent;

/// A directory with a cache of its own.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn cache(&self) -> Cache {
        Cache::at(self.dir.path().join("cache"))
    }

    fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, path: &Path) -> Result<Base, BaseError> {
        Base::open(path, &self.cache(), &Silent, &Interrupt::default())
    }

    fn read(&self, base: &Base) -> Result<Vec<u8>, BaseError> {
        let mut all = Vec::new();
        base.digest_while(
            &self.cache(),
            &Silent,
            &Interrupt::default(),
            &mut |_, chunk, _| {
                all.extend_from_slice(chunk);
                Ok(())
            },
        )?;
        Ok(all)
    }

    /// Everything in the spool directory, and nothing where there is none.
    fn spool(&self) -> Vec<PathBuf> {
        let Ok(dir) = fs::read_dir(self.dir.path().join("cache/spool")) else {
            return Vec::new();
        };
        dir.map(|entry| entry.unwrap().path()).collect()
    }

    fn check(&self, base: &Base, wanted: Sha256Digest) -> Result<(), BaseError> {
        base.check_sha256(wanted, &self.cache(), &Silent, &Interrupt::default())
    }
}

fn zip(entries: &[(&str, &[u8])], args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut all = vec!["-q"];
    all.extend(args);
    all.push("out.zip");
    for (name, bytes) in entries {
        fs::write(dir.path().join(name), bytes).unwrap();
        all.push(name);
    }
    run(dir.path(), "zip", &all);
    fs::read(dir.path().join("out.zip")).unwrap()
}

/// `data` in every format that needs the spool.
fn packed(data: &[u8]) -> Vec<(&'static str, Format, Vec<u8>)> {
    let (a, b) = data.split_at(data.len() / 3);
    let twice = |tool, args: &[&str]| [pipe(tool, args, a), pipe(tool, args, b)].concat();
    vec![
        ("gzip", Format::Gzip, pipe("gzip", &["-c"], data)),
        ("gzip, two members", Format::Gzip, twice("gzip", &["-c"])),
        (
            "zstd",
            Format::Zstd,
            pipe("zstd", &["-q", "-c", "--check"], data),
        ),
        (
            "zstd, two frames",
            Format::Zstd,
            twice("zstd", &["-q", "-c", "--check"]),
        ),
        ("bzip2", Format::Bzip2, pipe("bzip2", &["-c"], data)),
        ("bzip2, two streams", Format::Bzip2, twice("bzip2", &["-c"])),
        ("xz, two streams", Format::Xz, twice("xz", &["-0", "-c"])),
        (
            "zip, deflated",
            Format::Zip,
            zip(&[("a.IMG", data), ("readme.txt", b"hi")], &[]),
        ),
        ("zip, stored", Format::Zip, zip(&[("a.img", data)], &["-0"])),
        ("zip64", Format::Zip, zip(&[("a.img", data)], &["-fz"])),
    ]
}

const TOOLS: [&str; 5] = ["gzip", "zstd", "bzip2", "xz", "zip"];

#[test]
fn every_format_is_recognised_whatever_the_name_says() {
    if !has_tools(&TOOLS) {
        return;
    }
    let data = sample(100_000, 11);
    for (what, format, bytes) in packed(&data) {
        let bench = Bench::new();
        let path = bench.put("misleading.tar.gz.txt", &bytes);
        let base = bench.open(&path).expect(what);
        assert_eq!(
            (base.format(), base.len()),
            (format, data.len() as u64),
            "{what}"
        );
        assert_eq!(base.published_len(), bytes.len() as u64);
        let mut part = vec![0; 5_000];
        base.read_exact_at(&mut part, 60_001).unwrap();
        assert!(part == data[60_001..65_001], "{what}");
        assert!(bench.read(&base).unwrap() == data, "{what}");
        let digests = base.known_digests(&bench.cache()).expect(what);
        assert_eq!(digests.published, Sha256Digest::of(&bytes), "{what}");
        assert_eq!(digests.raw, Sha256Digest::of(&data), "{what}");
        assert_eq!(bench.spool().len(), 1, "{what}");
    }
}

#[test]
fn raw_and_seekable_xz_files_are_read_in_place() {
    if !has_tools(&["xz"]) {
        return;
    }
    let data = sample(50_000, 12);
    let xz = pipe("xz", &["-0", "-c", "--block-size=9000"], &data);
    for (format, bytes) in [(Format::Raw, data.clone()), (Format::Xz, xz)] {
        let bench = Bench::new();
        let base = bench.open(&bench.put("image.zip", &bytes)).unwrap();
        assert_eq!(base.format(), format);
        assert_eq!(base.raw_file().is_some(), format == Format::Raw);
        assert!(bench.read(&base).unwrap() == data);
        let digests = base.known_digests(&bench.cache()).unwrap();
        assert_eq!(digests.published, Sha256Digest::of(&bytes));
        assert_eq!(digests.raw, Sha256Digest::of(&data));
        assert!(bench.spool().is_empty());
    }
}

#[test]
fn a_zip_with_two_images_names_both_and_one_without_is_refused() {
    if !has_tools(&["zip"]) {
        return;
    }
    let bench = Bench::new();
    let two = bench.put("two", &zip(&[("a.img", b"1"), ("b.img", b"2")], &[]));
    let message = bench.open(&two).unwrap_err().to_string();
    assert!(
        message.contains("a.img") && message.contains("b.img"),
        "{message}"
    );
    let none = bench.put("none", &zip(&[("a.iso", b"1")], &[]));
    let error = bench.open(&none).unwrap_err();
    assert!(matches!(error, BaseError::Unsuitable { .. }), "{error}");
    assert!(bench.spool().is_empty());
}

#[test]
fn truncated_files_are_refused() {
    if !has_tools(&TOOLS) {
        return;
    }
    let data = sample(3_000, 13);
    let bench = Bench::new();
    for (what, _, bytes) in packed(&data) {
        for len in (16..bytes.len())
            .step_by(bytes.len() / 23 + 1)
            .chain([bytes.len() - 1])
        {
            match bench.open(&bench.put("cut", &bytes[..len])) {
                Err(BaseError::Damaged { .. }) => {}
                Err(other) => panic!("{what} cut to {len}: {other}"),
                // The cut may fall between two members; no format notices that.
                Ok(_) => assert!(what.contains("two"), "{what} cut to {len} was taken"),
            }
        }
        assert!(bench.spool().len() <= 1, "{what} left something behind");
    }
}

#[test]
fn corrupted_files_end_in_an_error_or_the_right_bytes() {
    if !has_tools(&TOOLS) {
        return;
    }
    let data = sample(3_000, 14);
    let bench = Bench::new();
    for (what, format, bytes) in packed(&data) {
        for at in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let Ok(base) = bench.open(&bench.put("bad", &bad)) else {
                continue;
            };
            // A broken magic makes it raw; the partition table then decides.
            if base.format() == format {
                let mut read = vec![0; usize::try_from(base.len()).unwrap()];
                base.read_exact_at(&mut read, 0).unwrap();
                assert!(read == data, "{what}: byte {at} went unnoticed");
            }
        }
    }
}

#[test]
fn something_appended_is_refused() {
    if !has_tools(&TOOLS) {
        return;
    }
    let data = sample(3_000, 15);
    let bench = Bench::new();
    for (what, _, bytes) in packed(&data) {
        for tail in [&b"!"[..], b"something else that was appended", &[0; 1001]] {
            let longer = [&bytes[..], tail].concat();
            let result = bench.open(&bench.put("longer", &longer));
            assert!(
                matches!(result, Err(BaseError::Damaged { .. })),
                "{what} with {} bytes more was taken",
                tail.len()
            );
        }
    }
}

#[test]
fn damaged_seekable_xz_files_never_give_wrong_bytes() {
    if !has_tools(&["xz"]) {
        return;
    }
    let data = sample(2_000, 16);
    let good = pipe(
        "xz",
        &["-0", "-c", "--block-size=700", "--check=crc64"],
        &data,
    );
    let bench = Bench::new();
    for at in (0..good.len()).step_by(29) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        for (what, bytes) in [("flipped", &bad[..]), ("cut", &good[..at])] {
            let Ok(base) = bench.open(&bench.put("bad", bytes)) else {
                continue;
            };
            if base.format() == Format::Xz
                && let Ok(read) = bench.read(&base)
            {
                assert!(read == data, "{what} at {at}");
            }
        }
    }
    assert!(bench.spool().is_empty());
}

#[test]
fn an_interrupt_leaves_no_spool_file() {
    if !has_tools(&TOOLS) {
        return;
    }
    let data = sample(10_000, 23);
    let interrupt = Interrupt::default();
    interrupt.flag().store(true, Ordering::Relaxed);
    for (what, _, bytes) in packed(&data) {
        let bench = Bench::new();
        let path = bench.put("image", &bytes);
        let result = Base::open(&path, &bench.cache(), &Silent, &interrupt);
        assert!(matches!(result, Err(BaseError::Interrupted(_))), "{what}");
        assert!(bench.spool().is_empty(), "{what}");
    }
    let bench = Bench::new();
    let base = bench.open(&bench.put("image", &data)).unwrap();
    let result = base.digests(&bench.cache(), &Silent, &interrupt);
    assert!(matches!(result, Err(BaseError::Interrupted(_))));
    assert!(base.known_digests(&bench.cache()).is_none());
}

#[test]
fn whoever_takes_the_bytes_may_fail() {
    let bench = Bench::new();
    let base = bench.open(&bench.put("image", &[1; 5000])).unwrap();
    let result = base.digest_while(
        &bench.cache(),
        &Silent,
        &Interrupt::default(),
        &mut |_, _, _| Err(std::io::ErrorKind::StorageFull.into()),
    );
    match result {
        Err(BaseError::Consumer { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
    assert!(base.known_digests(&bench.cache()).is_none());
}

#[test]
fn what_is_no_file_is_refused() {
    let bench = Bench::new();
    let dir = bench.open(bench.dir.path()).unwrap_err();
    assert!(matches!(dir, BaseError::Directory(_)));
    let missing = bench.open(&bench.dir.path().join("missing")).unwrap_err();
    assert!(matches!(missing, BaseError::Read { .. }));
    assert!(missing.to_string().contains("missing"));
}

#[test]
fn names_need_not_be_text() {
    if !has_tools(&["gzip"]) {
        return;
    }
    let bench = Bench::new();
    let data = sample(1_000, 24);
    let name = OsStr::from_bytes(b"pi\xff\xfe.img");
    let path = bench.put(name, &pipe("gzip", &["-c"], &data));
    let base = bench.open(&path).unwrap();
    assert!(base.name().starts_with("pi"));
    assert!(bench.read(&base).unwrap() == data);
    assert!(
        bench
            .open(&path)
            .unwrap()
            .known_digests(&bench.cache())
            .is_some()
    );
}

#[test]
fn a_cache_that_cannot_be_written_stops_only_what_needs_it() {
    if !has_tools(&["gzip"]) {
        return;
    }
    let bench = Bench::new();
    let data = sample(1_000, 25);
    // A file where the cache should be keeps even root out.
    let cache = Cache::at(bench.put("cache", b"").join("deeper"));
    let (sink, interrupt) = (Silent, Interrupt::default());
    let raw = bench.put("raw", &data);
    let base = Base::open(&raw, &cache, &sink, &interrupt).unwrap();
    let digests = base.digests(&cache, &sink, &interrupt).unwrap();
    assert_eq!(digests.raw, Sha256Digest::of(&data));
    let packed = bench.put("packed", &pipe("gzip", &["-c"], &data));
    let error = Base::open(&packed, &cache, &sink, &interrupt).unwrap_err();
    assert!(matches!(error, BaseError::Cache { .. }), "{error}");
}

#[test]
fn an_empty_file_is_a_raw_base_without_bytes() {
    let bench = Bench::new();
    let base = bench.open(&bench.put("empty", b"")).unwrap();
    assert_eq!((base.format(), base.len()), (Format::Raw, 0));
    assert!(bench.read(&base).unwrap().is_empty());
}

#[test]
fn the_practice_base_is_sound() {
    let bytes = include_bytes!("../../../images/practice.img.xz");
    let base = Base::from_static("practice", bytes).unwrap();
    let bench = Bench::new();
    assert_eq!(bench.read(&base).unwrap().len() as u64, base.len());
    assert!(Base::from_static("practice", &bytes[..1000]).is_err());
}
