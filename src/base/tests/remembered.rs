//! What the cache keeps: used again, and not believed for longer than it should be.

use std::fs::{self, FileTimes, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::super::cache::{Known, Stamp};
use super::super::testing::{has_tools, pipe, sample};
use super::super::{Base, BaseError, Sha256Digest};
use super::Bench;
use crate::interrupt::Interrupt;
use crate::report::event::Silent;

fn set_old(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    file.set_times(old).unwrap();
}

/// Gives a file other bytes. Its time of change is no finer than the kernel's clock: who
/// is quick enough would leave it as it was.
fn change(path: &Path, bytes: &[u8]) {
    let changed = || {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = changed();
    while changed() == before {
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_spooled_file_serves_again_until_it_or_its_source_changes() {
    if !has_tools(&["gzip"]) {
        return;
    }
    let bench = Bench::new();
    let data = sample(40_000, 17);
    let path = bench.put("image", &pipe("gzip", &["-c"], &data));
    let state = || {
        let metadata = fs::metadata(&bench.spool()[0]).unwrap();
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    bench.open(&path).unwrap();
    let first = state();
    let base = bench.open(&path).unwrap();
    assert_eq!(state(), first, "a second opening unpacked again");
    assert!(bench.read(&base).unwrap() == data);
    // What digesting remembers must not make it forget the spooled file.
    bench.open(&path).unwrap();
    assert_eq!(state(), first);

    let spooled = bench.spool().remove(0);
    let mut altered = data.clone();
    altered[20_000] ^= 1;
    change(&spooled, &altered);
    let base = bench.open(&path).unwrap();
    assert!(
        bench.read(&base).unwrap() == data,
        "an altered spool file was used"
    );

    let file = OpenOptions::new()
        .write(true)
        .open(bench.spool().remove(0))
        .unwrap();
    file.set_len(100).unwrap();
    let base = bench.open(&path).unwrap();
    assert!(
        bench.read(&base).unwrap() == data,
        "a truncated spool file was used"
    );

    set_old(&bench.spool()[0]);
    let before = state();
    bench.open(&path).unwrap();
    assert_ne!(state(), before, "a touched spool file was trusted");

    let other = sample(40_000, 18);
    change(&path, &pipe("gzip", &["-c"], &other));
    let base = bench.open(&path).unwrap();
    assert!(bench.read(&base).unwrap() == other);
}

#[test]
fn digests_are_remembered_until_the_file_changes() {
    let bench = Bench::new();
    let path = bench.put("image", &sample(10_000, 19));
    let base = bench.open(&path).unwrap();
    assert!(base.known_digests(&bench.cache()).is_none());
    let digests = base
        .digests(&bench.cache(), &Silent, &Interrupt::default())
        .unwrap();
    let again = bench.open(&path).unwrap();
    assert_eq!(again.known_digests(&bench.cache()), Some(digests));

    let changed = sample(10_000, 20);
    change(&path, &changed);
    let again = bench.open(&path).unwrap();
    assert!(again.known_digests(&bench.cache()).is_none());
    assert!(bench.read(&again).unwrap() == changed);
    // The first one was opened before the change and must say so.
    assert!(matches!(bench.read(&base), Err(BaseError::Changed(_))));
}

#[test]
fn bytes_that_rotted_since_they_were_digested_are_damage() {
    let bench = Bench::new();
    let base = bench
        .open(&bench.put("image", &sample(10_000, 19)))
        .unwrap();
    let digests = |base: &Base| base.digests(&bench.cache(), &Silent, &Interrupt::default());
    let mut known = digests(&base).unwrap();
    assert!(bench.read(&base).is_ok());
    // As if the file had held something else when its digests were taken.
    known.chunks = vec![Sha256Digest([7; 32])].into();
    base.remember(&bench.cache(), Known::of(&known, None));
    match bench.read(&base) {
        Err(BaseError::Damaged { what, .. }) => assert!(what.contains("once was"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_unpacked_and_rotted_is_unpacked_anew() {
    if !has_tools(&["gzip"]) {
        return;
    }
    let bench = Bench::new();
    let data = sample(10_000, 23);
    let path = bench.put("image.gz", &pipe("gzip", &[], &data));
    let base = bench.open(&path).unwrap();
    let known = bench.read(&base).and_then(|_| {
        let (sink, interrupt) = (&Silent, &Interrupt::default());
        base.digests(&bench.cache(), sink, interrupt)
    });
    // As if it had rotted under times that tell of nothing.
    let [spool] = &bench.spool()[..] else {
        panic!("no file, or more than one");
    };
    let mut bytes = data.clone();
    bytes[5_000] ^= 1;
    fs::write(spool, bytes).unwrap();
    let stamp = Stamp::of(&fs::metadata(spool).unwrap());
    base.remember(&bench.cache(), Known::of(&known.unwrap(), stamp));
    let again = bench.open(&path).unwrap();
    match again.check_unpacked(&bench.cache(), &Silent, &Interrupt::default()) {
        Err(BaseError::Rotten { offset, .. }) => assert_eq!(offset, 0),
        other => panic!("{other:?}"),
    }
    assert!(bench.spool().is_empty());
    let anew = bench.open(&path).unwrap();
    assert!(bench.read(&anew).unwrap() == data);
}

#[test]
fn a_note_that_lost_some_of_its_digests_is_forgotten() {
    let bench = Bench::new();
    let base = bench
        .open(&bench.put("image", &sample((4 << 20) + 1, 22)))
        .unwrap();
    let digests = base
        .digests(&bench.cache(), &Silent, &Interrupt::default())
        .unwrap();
    assert_eq!(base.known_digests(&bench.cache()), Some(digests.clone()));
    for note in fs::read_dir(bench.dir.path().join("cache/digests")).unwrap() {
        let path = note.unwrap().path();
        let last = digests.chunks.as_slice()[1].to_string();
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace(&format!(",\"{last}\""), "");
        assert!(!text.contains(&last));
        fs::write(path, text).unwrap();
    }
    assert_eq!(base.known_digests(&bench.cache()), None);
}

#[test]
fn a_damaged_note_in_the_cache_is_no_more_than_forgotten() {
    let bench = Bench::new();
    let data = sample(10_000, 21);
    let base = bench.open(&bench.put("image", &data)).unwrap();
    bench.read(&base).unwrap();
    for note in fs::read_dir(bench.dir.path().join("cache/digests")).unwrap() {
        fs::write(note.unwrap().path(), b"{\"stamp\": 3").unwrap();
    }
    assert!(base.known_digests(&bench.cache()).is_none());
    assert!(bench.read(&base).unwrap() == data);
}

#[test]
fn either_published_digest_is_accepted_and_others_are_named() {
    if !has_tools(&["xz", "gzip"]) {
        return;
    }
    let data = sample(30_000, 22);
    let files = [
        data.clone(),
        pipe("xz", &["-0", "-c", "--block-size=9000"], &data),
        pipe("gzip", &["-c"], &data),
    ];
    for bytes in files {
        let (published, raw) = (Sha256Digest::of(&bytes), Sha256Digest::of(&data));
        for wanted in [published, raw] {
            let bench = Bench::new();
            let base = bench.open(&bench.put("image", &bytes)).unwrap();
            bench.check(&base, wanted).unwrap();
            bench.check(&base, wanted).unwrap();
            // A digest that was found early does not pass for all of them.
            assert!(bench.read(&base).unwrap() == data);
            let known = base.known_digests(&bench.cache()).unwrap();
            assert_eq!((known.published, known.raw), (published, raw));
            bench.check(&base, raw).unwrap();
        }
        let bench = Bench::new();
        let base = bench.open(&bench.put("image", &bytes)).unwrap();
        let wanted = Sha256Digest::of(b"something else");
        let error = bench.check(&base, wanted).unwrap_err();
        let message = error.to_string();
        for digest in [wanted, published, raw] {
            assert!(message.contains(&digest.to_string()), "{message}");
        }
    }
}
