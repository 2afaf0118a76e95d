use super::*;
use crate::base::testing::pipe;
use crate::base::{Base, ReadAt as _};

fn open(bench: &Bench, stored: &Stored) -> Base {
    Base::open(&stored.path(), &bench.cache, &Silent, &bench.interrupt).expect("a base")
}

/// Bytes that are no image, but compress like one.
fn bytes() -> Vec<u8> {
    (0..9_000_000_u32)
        .flat_map(|n| (n / 97).to_le_bytes())
        .collect()
}

/// Blocks that tell their lengths, as many threads make them.
fn xz(bytes: &[u8]) -> Vec<u8> {
    pipe("xz", &["-1", "-T2", "--block-size=1MiB"], bytes)
}

fn arrive(name: &str, packed: Vec<u8>) -> (Bench, Stored) {
    let server = Server::http();
    let published = Sha256Digest::of(&packed);
    server.serve(name, Answer::bytes(packed));
    let bench = Bench::new();
    let stored = bench.arrives(&wanted(&server, name, published));
    (bench, stored)
}

#[test]
fn what_has_arrived_need_not_be_digested_again() {
    let bytes = bytes();
    let raw = Sha256Digest::of(&bytes);
    for (name, packed) in [
        ("/a.img", bytes.clone()),
        ("/a.img.xz", xz(&bytes)),
        ("/a.img.gz", gzip(&bytes)),
        ("/a.img.zst", zstd::encode_all(&*bytes, 1).expect("zstd")),
    ] {
        let (bench, stored) = arrive(name, packed);
        let base = open(&bench, &stored);
        let digests = base.known_digests(&bench.cache).expect("known digests");
        assert_eq!((digests.raw, digests.published), (raw, stored.note.sha256));
        assert_eq!(base.len(), bytes.len() as u64);
        let mut found = vec![0; 100];
        base.read_exact_at(&mut found, 5_000_000).expect("bytes");
        assert!(found == bytes[5_000_000..5_000_100]);
    }
}

#[test]
fn what_cannot_be_read_in_place_is_unpacked_on_the_way() {
    let bytes = bytes();
    let (bench, stored) = arrive("/a.img.gz", gzip(&bytes));
    let unpacked = || {
        let spool = bench.dir.path().join("cache/spool");
        let entries = fs::read_dir(spool).expect("a directory").flatten();
        let stamps = entries.map(|entry| {
            let metadata = entry.metadata().expect("metadata");
            (entry.file_name(), metadata.modified().expect("a time"))
        });
        stamps.collect::<Vec<_>>()
    };
    let before = unpacked();
    assert_eq!(before.len(), 1);
    open(&bench, &stored);
    assert_eq!(unpacked(), before);
}

#[test]
fn xz_that_is_read_in_place_is_not_unpacked() {
    let (bench, _stored) = arrive("/a.img.xz", xz(&bytes()));
    let spool = bench.dir.path().join("cache/spool");
    assert!(fs::read_dir(spool).into_iter().flatten().next().is_none());
}

#[test]
fn what_is_damaged_but_as_promised_is_kept_and_told_when_it_is_opened() {
    let mut packed = gzip(&bytes());
    let at = packed.len() / 2;
    packed.truncate(at);
    let (bench, stored) = arrive("/a.img.gz", packed);
    let opened = Base::open(&stored.path(), &bench.cache, &Silent, &bench.interrupt);
    assert!(opened.is_err());
}

#[test]
fn an_image_that_rotted_in_the_cache_is_fetched_again() {
    let (server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let stored = bench.arrives(&wanted);
    assert!(matches!(bench.fetch(&wanted), Ok(Fetched::Here(_))));
    let path = stored.path();
    drop(stored);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[1000] ^= 1;
    fs::write(&path, bytes).expect("a file");
    let stored = bench.arrives(&wanted);
    assert_eq!(
        Sha256Digest::of(&fs::read(stored.path()).expect("a file")),
        stored.note.sha256
    );
    assert_eq!(server.asks().len(), 2);
}

#[test]
fn what_is_here_is_found_by_each_digest_that_may_be_promised() {
    let bytes = bytes();
    let (packed, raw) = (gzip(&bytes), Sha256Digest::of(&bytes));
    let published = Sha256Digest::of(&packed);
    let server = Server::http();
    server.serve("/a.img.gz", Answer::bytes(packed));
    let bench = Bench::new();
    let mut wanted = wanted(&server, "/a.img.gz", published);
    bench.arrives(&wanted);
    for (either, raw) in [
        (Some(published), None),
        (Some(raw), None),
        (None, Some(raw)),
    ] {
        wanted.promise = Promise {
            published: None,
            raw,
            either,
        };
        assert!(matches!(bench.fetch(&wanted), Ok(Fetched::Here(_))));
    }
    assert_eq!(server.asks().len(), 1);
}

#[test]
fn what_is_here_is_held_to_every_promise() {
    let bytes = bytes();
    let (packed, wrong) = (gzip(&bytes), Sha256Digest([1; 32]));
    let server = Server::http();
    server.serve("/a.img.gz", Answer::bytes(packed.clone()));
    let bench = Bench::new();
    let mut wanted = wanted(&server, "/a.img.gz", Sha256Digest::of(&packed));
    bench.arrives(&wanted);
    wanted.promise.raw = Some(Sha256Digest::of(&bytes));
    assert!(matches!(bench.fetch(&wanted), Ok(Fetched::Here(_))));
    wanted.promise.raw = Some(wrong);
    assert!(matches!(bench.fails(&wanted), FetchError::Mismatch { .. }));
    wanted.promise.raw = None;
    wanted.promise.either = Some(wrong);
    assert!(matches!(bench.fails(&wanted), FetchError::Mismatch { .. }));
    assert_eq!(server.asks().len(), 1);
}

#[test]
fn a_version_that_is_here_is_not_sent_again() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    server.serve("/a.img", Answer::content(noise(MIB)).etag(Some("\"v1\"")));
    let bench = Bench::trusting(Some(&authority));
    let mut wanted = Wanted {
        url: server.url("/a.img"),
        name: "a.img".to_owned(),
        ..Wanted::default()
    };
    let stored = bench.arrives(&wanted);
    assert_eq!(stored.etag(), Some("\"v1\""));
    wanted.known_etag = Some("\"v1\"".to_owned());
    assert!(matches!(bench.fetch(&wanted), Ok(Fetched::Unchanged)));
    assert_eq!(server.sent("/a.img"), MIB);
    server.serve(
        "/a.img",
        Answer::content(noise(2 * MIB)).etag(Some("\"v2\"")),
    );
    assert_eq!(bench.arrives(&wanted).note.len, 2 * MIB);
}

#[test]
fn the_same_from_two_addresses_is_kept_once() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    server.serve("/a.img", Answer::content(noise(MIB)));
    let bench = Bench::trusting(Some(&authority));
    let mut wanted = Wanted {
        url: server.url("/a.img"),
        name: "a.img".to_owned(),
        ..Wanted::default()
    };
    let first = bench.arrives(&wanted);
    server.serve("/b.img", Answer::content(noise(MIB)));
    wanted.url = server.url("/b.img");
    let second = bench.arrives(&wanted);
    assert_eq!(first.path(), second.path());
    assert_eq!(second.note.url, server.url("/a.img"));
    assert_eq!(bench.store().len(), 1);
}

#[test]
fn the_cache_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    bench.arrives(&wanted);
    let images = bench.dir.path().join("cache/images");
    let mode = fs::metadata(images).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
