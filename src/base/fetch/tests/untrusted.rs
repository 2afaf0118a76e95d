use super::*;

#[test]
fn what_was_not_promised_is_thrown_away() {
    let (_server, mut wanted) = noisy(MIB, |answer| answer);
    wanted.promise.published = Some(Sha256Digest([1; 32]));
    let bench = Bench::new();
    let error = bench.fails(&wanted);
    assert!(matches!(error, FetchError::Mismatch { .. }) && error.is_refusal());
    assert!(bench.store().is_empty());
}

#[test]
fn a_promise_may_be_of_the_uncompressed_bytes() {
    let bytes = vec![5; 3 << 20];
    let (packed, raw) = (gzip(&bytes), Sha256Digest::of(&bytes));
    let published = Sha256Digest::of(&packed);
    let server = Server::http();
    server.serve("/a.img.gz", Answer::bytes(packed));
    let promise = |published, raw, either| Wanted {
        promise: Promise {
            published,
            raw,
            either,
        },
        ..wanted(&server, "/a.img.gz", raw.unwrap_or(Sha256Digest([0; 32])))
    };
    let wrong = Sha256Digest([1; 32]);
    for good in [
        promise(None, Some(raw), None),
        promise(None, None, Some(raw)),
        promise(None, None, Some(published)),
        promise(Some(published), Some(raw), Some(raw)),
    ] {
        Bench::new().arrives(&good);
    }
    for bad in [
        promise(None, Some(wrong), None),
        promise(None, None, Some(wrong)),
        promise(Some(published), Some(wrong), None),
        promise(Some(published), None, Some(wrong)),
    ] {
        let bench = Bench::new();
        assert!(matches!(bench.fails(&bad), FetchError::Mismatch { .. }));
        assert!(bench.store().is_empty());
    }
}

#[test]
fn what_cannot_be_read_is_not_called_forged() {
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let fetching = super::super::Fetching {
        client: &bench.client,
        cache: &bench.cache,
        store: &super::super::ImageStore::open(&bench.cache).expect("a store"),
        wanted: &wanted,
        sink: &Silent,
        interrupt: &bench.interrupt,
    };
    let error = fetching.raw_of(&bench.dir.path().join("nothing"));
    let error = error.expect_err("no digest");
    assert!(matches!(error, FetchError::Unread { .. }), "{error:?}");
    assert!(!error.is_refusal());
    // What is no image has no uncompressed bytes.
    let cut = bench.dir.path().join("cut.img.gz");
    fs::write(&cut, &gzip(&[7; 9999])[..20]).expect("a file");
    assert_eq!(fetching.raw_of(&cut).expect("an answer"), None);
}

#[test]
fn without_encryption_a_digest_is_needed() {
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    wanted.promise = Promise::default();
    assert!(matches!(
        Bench::new().fails(&wanted),
        FetchError::Insecure(_)
    ));
    assert!(server.asks().is_empty());
}

#[test]
fn from_https_nobody_is_led_to_http() {
    let authority = Authority::new();
    let (plain, mut wanted) = noisy(MIB, |answer| answer);
    let server = Server::https(&authority);
    server.serve("/a.img", Answer::redirect(&wanted.url));
    let bench = Bench::trusting(Some(&authority));
    wanted.url = server.url("/a.img");
    let error = bench.fails(&wanted);
    assert!(matches!(error, FetchError::Downgraded { .. }), "{error}");
    assert!(plain.asks().is_empty());
    // The other way, and within https, is nobody's harm.
    server.serve("/b.img", Answer::content(noise(MIB)));
    server.serve("/a.img", Answer::redirect(&server.url("/b.img")));
    bench.arrives(&wanted);
}

#[test]
fn addresses_that_lead_in_circles_are_given_up() {
    let (server, wanted) = noisy(MIB, |answer| answer);
    server.serve("/a.img", Answer::redirect(&wanted.url));
    assert!(matches!(
        Bench::new().fails(&wanted),
        FetchError::Redirected(_)
    ));
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_trusted() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    server.serve("/a.img", Answer::content(noise(MIB)));
    let wanted = wanted(&server, "/a.img", digest_of(&noise(MIB)));
    let error = Bench::trusting(Some(&Authority::new())).fails(&wanted);
    assert!(matches!(error, FetchError::Untrusted { .. }), "{error:?}");
}

#[test]
fn lengths_are_held_to() {
    let (_server, mut wanted) = noisy(MIB, |answer| answer);
    wanted.len = Some(MIB + 1);
    assert!(matches!(
        Bench::new().fails(&wanted),
        FetchError::WrongLength { .. }
    ));
    // One that tells no length may go on for ever.
    let (_server, mut wanted) = noisy(2 * MIB, Answer::chunked);
    wanted.len = Some(MIB);
    assert!(matches!(
        Bench::new().fails(&wanted),
        FetchError::TooLong { .. }
    ));
    let (_server, mut wanted) = noisy(2 * MIB, Answer::chunked);
    wanted.len = Some(2 * MIB);
    Bench::new().arrives(&wanted);
    // One that promises more than it has.
    let (_server, wanted) = noisy(MIB, |answer| answer.claim_len(2 * MIB));
    assert!(matches!(
        Bench::new().fails(&wanted),
        FetchError::Unreachable { .. } | FetchError::Mismatch { .. }
    ));
}

#[test]
fn what_ends_too_soon_is_not_taken_for_whole() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let bench = Bench::trusting(Some(&authority));
    let fails = |answer: Answer, len| {
        server.serve("/a.img", answer);
        let wanted = Wanted {
            url: server.url("/a.img"),
            name: "a.img".to_owned(),
            len,
            ..Wanted::default()
        };
        bench.fails(&wanted)
    };
    // Only the list tells how long it is.
    let short = fails(Answer::content(noise(MIB)).chunked(), Some(2 * MIB));
    assert!(matches!(short, FetchError::Unreachable { .. }), "{short}");
    let empty = fails(Answer::bytes(""), None);
    assert!(matches!(empty, FetchError::Empty(_)), "{empty}");
    let nothing = fails(Answer::bytes("").chunked(), None);
    assert!(
        matches!(nothing, FetchError::Unreachable { .. }),
        "{nothing}"
    );
}

#[test]
fn room_is_looked_for_before_anything_comes() {
    let huge = 1 << 50;
    let (server, mut wanted) = noisy(MIB, |answer| answer.claim_len(huge));
    wanted.len = Some(huge);
    let error = Bench::new().fails(&wanted);
    assert!(matches!(error, FetchError::NoSpace { .. }), "{error}");
    assert_eq!(server.asks().len(), 1);
}

#[test]
fn passwords_in_addresses_are_refused_and_not_repeated() {
    for url in [
        "https://me:secret@example.org/a",
        "http://secret@h/a",
        "https://me:sec/secret@h/a",
    ] {
        let wanted = Wanted {
            url: url.to_owned(),
            ..Wanted::default()
        };
        let error = Bench::new().fails(&wanted);
        assert!(error.is_usage());
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for url in ["", "ftp://x/y", "https://", "https:///x", "x"] {
        let wanted = Wanted {
            url: url.to_owned(),
            ..Wanted::default()
        };
        assert!(Bench::new().fails(&wanted).is_usage(), "{url}");
    }
}
