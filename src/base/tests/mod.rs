//! Bases of every format, sound and damaged. Nothing but an error or the right
//! bytes may come of any of them.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "as above"
)]

mod odd;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::report::event::Silent;

struct Bench {
    dir: TempDir,
    cache: Cache,
}

impl Bench {
    fn new() -> Self {
        // In memory where that is possible: spooling waits for the disk.
        let dir = TempDir::new_in("/dev/shm")
            .or_else(|_| TempDir::new())
            .unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        Self { dir, cache }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("base.txt");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, path: &Path) -> Result<Base, BaseError> {
        Base::open(path, &self.cache, &Silent, &Interrupt::default())
    }

    /// Opens a base and passes over all of it.
    fn read_all(&self, path: &Path) -> Result<(Vec<u8>, Digests), BaseError> {
        let base = self.open(path)?;
        let mut bytes = Vec::new();
        let interrupt = Interrupt::default();
        let digests =
            base.digest_while(&self.cache, &Silent, &interrupt, &mut |offset, chunk| {
                assert_eq!(offset, bytes.len() as u64);
                bytes.extend_from_slice(chunk);
                Ok(())
            })?;
        Ok((bytes, digests))
    }
}

/// Pipes bytes through a program.
fn pipe(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `tests/run` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Some bytes that neither shrink to nothing nor stay as they are.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if index / 1000 % 3 == 0 {
                0
            } else {
                state.to_be_bytes()[0] & 0x1f
            }
        })
        .collect()
}

#[test]
fn every_format_gives_the_bytes_that_went_in() {
    let bytes = sample(300_000);
    let (half, rest) = bytes.split_at(100_000);
    let both = |program: &str, args: &[&str]| {
        [pipe(program, args, half), pipe(program, args, rest)].concat()
    };
    let padded = [
        pipe("xz", &["-0", "--block-size=50000"], &bytes),
        vec![0; 8],
    ]
    .concat();
    for (packed, format) in [
        (bytes.clone(), Format::Raw),
        (
            pipe("xz", &["-0", "--block-size=70000"], &bytes),
            Format::Xz,
        ),
        (pipe("xz", &["-0"], &bytes), Format::Xz),
        (padded, Format::Xz),
        (both("xz", &["-0"]), Format::Xz),
        (pipe("gzip", &["-1"], &bytes), Format::Gzip),
        (both("gzip", &["-1"]), Format::Gzip),
        (pipe("zstd", &["-q", "-1"], &bytes), Format::Zstd),
        (both("zstd", &["-q", "-1"]), Format::Zstd),
        (pipe("bzip2", &["-1"], &bytes), Format::Bzip2),
        (both("bzip2", &["-1"]), Format::Bzip2),
    ] {
        let bench = Bench::new();
        let path = bench.write(&packed);
        assert_eq!(bench.open(&path).unwrap().format(), format);
        let (found, digests) = bench.read_all(&path).unwrap();
        assert!(found == bytes, "{format}");
        assert_eq!(digests.raw, Sha256Digest::of(&bytes), "{format}");
        assert_eq!(digests.published, Sha256Digest::of(&packed), "{format}");
        // What was found is remembered.
        assert_eq!(
            bench.open(&path).unwrap().known_digests(&bench.cache),
            Some(digests)
        );
    }
}

#[test]
fn damage_is_an_error_or_does_no_harm() {
    let bytes = sample(6000);
    for packed in [
        pipe("xz", &["-0", "--block-size=1500"], &bytes),
        pipe("xz", &["-0", "--check=sha256"], &bytes),
        pipe("gzip", &["-1"], &bytes),
        pipe("zstd", &["-q", "-1", "--check"], &bytes),
        pipe("bzip2", &["-1"], &bytes),
    ] {
        let bench = Bench::new();
        let original = bench.read_all(&bench.write(&packed)).unwrap().0;
        for at in (0..packed.len()).step_by(7) {
            let mut flipped = packed.clone();
            flipped[at] ^= 0x10;
            for damaged in [&flipped[..], &packed[..at]] {
                let bench = Bench::new();
                match bench.read_all(&bench.write(damaged)) {
                    Err(_) => {}
                    // What no longer looks compressed is taken as it is.
                    Ok((found, _)) if found == damaged => {}
                    Ok((found, _)) => assert!(found == original, "byte {at}"),
                }
            }
        }
        let appended = [&packed[..], b"more"].concat();
        let bench = Bench::new();
        assert!(bench.read_all(&bench.write(&appended)).is_err());
    }
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let status = Command::new("zip")
        .args(["-q", "x.zip"])
        .args(names)
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    fs::read(dir.path().join("x.zip")).unwrap()
}

#[test]
fn a_zip_is_read_where_it_holds_one_image() {
    let bytes = sample(50_000);
    let bench = Bench::new();
    let path = bench.write(&zip_of(&[("a.img", &bytes), ("readme", b"hello")]));
    assert!(bench.read_all(&path).unwrap().0 == bytes);
    let path = bench.write(&zip_of(&[("a.img", &bytes), ("b.img", &bytes)]));
    let error = bench.open(&path).unwrap_err().to_string();
    assert!(error.contains("a.img, b.img"), "{error}");
    let path = bench.write(&zip_of(&[("a.iso", &bytes)]));
    assert!(
        bench
            .open(&path)
            .unwrap_err()
            .to_string()
            .contains("no .img")
    );
}

#[test]
fn a_spooled_file_that_changed_is_made_again() {
    let bytes = sample(50_000);
    let bench = Bench::new();
    let path = bench.write(&pipe("gzip", &["-1"], &bytes));
    bench.open(&path).unwrap();
    let spooled = fs::read_dir(bench.dir.path().join("cache/spool"))
        .unwrap()
        .next()
        .unwrap();
    let spooled = spooled.unwrap().path();
    fs::write(&spooled, b"something else").unwrap();
    assert!(bench.read_all(&path).unwrap().0 == bytes);
}

#[test]
fn a_changed_file_is_digested_anew() {
    let bench = Bench::new();
    let path = bench.write(&sample(1000));
    let before = bench.read_all(&path).unwrap().1;
    bench.write(&sample(1001));
    assert_eq!(bench.open(&path).unwrap().known_digests(&bench.cache), None);
    assert_ne!(bench.read_all(&path).unwrap().1, before);
}

#[test]
fn an_interrupt_ends_a_pass() {
    let bench = Bench::new();
    for packed in [
        sample(100_000),
        pipe("xz", &["-0", "--block-size=9000"], &sample(100_000)),
    ] {
        let base = bench.open(&bench.write(&packed)).unwrap();
        let interrupt = Interrupt::default();
        interrupt
            .flag()
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let result = base.digest_while(&bench.cache, &Silent, &interrupt, &mut |_, _| Ok(()));
        assert!(matches!(result, Err(BaseError::Interrupted(_))));
    }
    let path = bench.write(&pipe("gzip", &["-1"], &sample(100_000)));
    let interrupt = Interrupt::default();
    interrupt
        .flag()
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let result = Base::open(&path, &bench.cache, &Silent, &interrupt);
    assert!(matches!(result, Err(BaseError::Interrupted(_))));
    assert_eq!(
        fs::read_dir(bench.dir.path().join("cache/spool"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_image_digest_follows_from_chunks_of_4_mib() {
    let bytes = sample(CHUNK_LEN + 1000);
    let bench = Bench::new();
    let digests = bench.read_all(&bench.write(&bytes)).unwrap().1;
    let parts: Vec<u8> = bytes
        .chunks(4 << 20)
        .flat_map(|chunk| Sha256Digest::of(chunk).0)
        .collect();
    assert_eq!(digests.chunks.image_digest(), Sha256Digest::of(&parts));
}

/// An index that lies: a valid frame around arbitrary records.
fn forged(records: &[(u64, u64)], count: u64) -> Vec<u8> {
    let number = |out: &mut Vec<u8>, mut number: u64| {
        while number >= 0x80 {
            out.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    };
    let mut index = vec![0];
    number(&mut index, count);
    for &(unpadded, len) in records {
        number(&mut index, unpadded);
        number(&mut index, len);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32fast::hash(&index).to_le_bytes());
    let mut tail = ((index.len() / 4 - 1) as u32).to_le_bytes().to_vec();
    tail.extend([0, 1]);
    let mut file = vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1];
    file.extend(crc32fast::hash(&[0, 1]).to_le_bytes());
    file.extend([0xaa; 64]);
    file.extend(&index);
    file.extend(crc32fast::hash(&tail).to_le_bytes());
    file.extend(&tail);
    file.extend(b"YZ");
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_reads_of_an_xz_are_those_of_its_contents(
        len in 1usize..200_000,
        block in 4096usize..60_000,
        check in prop::sample::select(vec!["none", "crc32", "crc64", "sha256"]),
        reads in prop::collection::vec((0.0f64..1.0, 0usize..70_000), 1..20),
    ) {
        let bytes = sample(len);
        let args = ["-0", &format!("--block-size={block}"), &format!("--check={check}")];
        let bench = Bench::new();
        let base = bench.open(&bench.write(&pipe("xz", &args, &bytes))).unwrap();
        prop_assert_eq!(base.len(), len as u64);
        for (start, want) in reads {
            let start = (start * len as f64) as usize;
            let want = want.min(len - start);
            let mut buf = vec![0; want];
            base.read_exact_at(&mut buf, start as u64).unwrap();
            prop_assert!(buf == bytes[start..start + want]);
        }
        prop_assert!(base.read_exact_at(&mut [0; 2], len as u64 - 1).is_err());
    }

    #[test]
    fn a_lying_index_is_an_error(
        records in prop::collection::vec((any::<u64>(), any::<u64>()), 0..4),
        count in prop_oneof![0u64..5, any::<u64>()],
    ) {
        let masked: Vec<(u64, u64)> =
            records.iter().map(|&(a, b)| (a >> 1, b >> 1)).collect();
        let small = [(64, 1000)];
        for records in [&masked[..], &small] {
            let bench = Bench::new();
            let path = bench.write(&forged(records, count));
            prop_assert!(bench.read_all(&path).is_err());
        }
    }
}
