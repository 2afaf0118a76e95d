use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_connection_that_is_cut_again_and_again_costs_no_byte_twice() {
    let len = 24 * MIB;
    let (server, wanted) = noisy(len, |answer| answer.cut_randomly(3, MIB));
    let stored = Bench::new().arrives(&wanted);
    assert_eq!(stored.note.len, len);
    assert_eq!(server.sent("/a.img"), len);
    assert!(server.asks().len() > 24);
    // Each goes on from where the last one ended, and only if it is still the same.
    let mut offset = 0;
    for ask in server.asks() {
        assert_eq!(ask.from.unwrap_or(0), offset);
        assert_eq!(ask.if_range.is_some(), offset > 0);
        offset += ask.sent;
    }
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_was_stopped() {
    let len = 4 * MIB;
    let (server, wanted) = noisy(len, |answer| answer);
    let bench = interrupted(&server, &wanted, Answer::content(noise(len)));
    assert_eq!(bench.store().len(), 1);
    // What a killed process may leave beside it does not stay.
    let partial = bench
        .dir
        .path()
        .join("cache/images")
        .join(&bench.store()[0]);
    for stray in [".unfinished123", ".tmp123", "note.json"] {
        fs::write(partial.join(stray), "x").expect("a file");
    }
    server.serve("/a.img", Answer::content(noise(len)));
    let stored = bench.arrives(&wanted);
    let folder = stored.path().parent().expect("a folder").to_owned();
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 2);
    assert_eq!(
        server.sent("/a.img"),
        len - MIB,
        "the first is still silent"
    );
    assert_eq!(server.asks()[0].from, Some(MIB));
    assert_eq!(bench.store(), [digest_of(&noise(len)).to_string()]);
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let (server, wanted) = noisy(4 * MIB, |answer| answer.stall_after(MIB));
    Bench::bearing(Duration::from_secs(3), None).arrives(&wanted);
    let asks = server.asks();
    assert_eq!(asks.len(), 1, "the first is still silent");
    assert_eq!(asks[0].from, Some(MIB));
}

#[test]
fn ctrl_c_is_heard_while_a_server_is_silent() {
    let (_server, wanted) = noisy(4 * MIB, |answer| answer.stall_after(MIB));
    assert_interruptible(&wanted);
}

/// Nothing but the interruption ends it before the silence is noticed.
fn assert_interruptible(wanted: &Wanted) {
    let bench = Bench::new();
    let interrupt = bench.interrupt.clone();
    let start = Instant::now();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        interrupt
            .flag()
            .store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(bench.fails(wanted), FetchError::Interrupted));
    assert!(start.elapsed() < SILENCE);
}

#[test]
fn ctrl_c_is_heard_while_a_server_takes_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // Until no more of them may wait to be taken.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let waiting: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).collect();
    let (_server, mut wanted) = noisy(MIB, |answer| answer);
    wanted.url = format!("http://{address}/a.img");
    assert_interruptible(&wanted);
    drop(waiting);
}

#[test]
fn a_small_document_that_comes_byte_by_byte_is_not_waited_for() {
    let server = Server::http();
    let answer = Answer::content(noise(2 * MIB)).pause(Duration::from_millis(100));
    server.serve("/list", answer);
    let bench = Bench::bearing(Duration::from_millis(300), None);
    let url = server.url("/list");
    let error = bench
        .client
        .get_small(&url, 4 * MIB, None, &bench.interrupt);
    let error = error.expect_err("no document");
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_from_its_start() {
    let bench = Bench::new();
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    let old = Content::Noise {
        seed: 1,
        len: 4 * MIB,
    };
    let other = Content::Noise {
        seed: 2,
        len: 3 * MIB,
    };
    wanted.promise.published = Some(digest_of(&other));
    let answer = Answer::content(old).etag(Some("\"old\"")).cut_after(MIB);
    let new = Answer::content(other).etag(Some("\"new\""));
    server.serve("/a.img", answer.becomes(new));
    bench.arrives(&wanted);
    let last = server.asks().pop().expect("an ask");
    assert_eq!((last.from, last.status), (Some(MIB), 200));
    assert_eq!(last.if_range.as_deref(), Some("\"old\""));
}

/// A bench on which 1 MiB of 4 has arrived, of what `first` serves.
fn interrupted(server: &Server, wanted: &Wanted, first: Answer) -> Bench {
    server.serve("/a.img", first.stall_after(MIB));
    let bench = Bench::new();
    let interrupt = bench.interrupt.clone();
    let images = bench.dir.path().join("cache/images");
    // As soon as all of it is there, and before the silence is noticed.
    thread::spawn(move || {
        let len = || -> Option<u64> {
            let partial = fs::read_dir(&images).ok()?.next()?.ok()?.path();
            Some(partial.join("a.img").metadata().ok()?.len())
        };
        while len().unwrap_or(0) < MIB {
            thread::sleep(Duration::from_millis(2));
        }
        interrupt
            .flag()
            .store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(bench.fails(wanted), FetchError::Interrupted));
    let settings = Settings {
        roots: Some(Vec::new()),
        patience: bench.client.patience,
    };
    Bench {
        interrupt: Interrupt::default(),
        client: Client::new(&settings).expect("a client"),
        ..bench
    }
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_once_more() {
    let (server, wanted) = noisy(4 * MIB, |answer| answer);
    let bench = interrupted(&server, &wanted, Answer::content(noise(4 * MIB)));
    server.serve("/a.img", Answer::content(noise(4 * MIB)).ignore_ranges());
    bench.arrives(&wanted);
}

#[test]
fn a_part_that_was_not_asked_for_is_not_taken_for_it() {
    let (server, wanted) = noisy(4 * MIB, |answer| answer);
    let bench = interrupted(&server, &wanted, Answer::content(noise(4 * MIB)));
    server.serve("/a.img", Answer::content(noise(4 * MIB)).shift_ranges(512));
    bench.arrives(&wanted);
}

#[test]
fn a_file_that_has_become_shorter_is_fetched_from_its_start() {
    let (server, mut wanted) = noisy(4 * MIB, |answer| answer);
    let bench = interrupted(&server, &wanted, Answer::content(noise(4 * MIB)));
    let short = Content::Noise {
        seed: 9,
        len: MIB / 2,
    };
    wanted.promise.published = Some(digest_of(&short));
    server.serve("/a.img", Answer::content(short));
    bench.arrives(&wanted);
    assert!(server.asks().iter().any(|ask| ask.status == 416));
}

#[test]
fn without_anything_to_tell_by_the_rest_is_not_trusted_to_belong_to_it() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let answer = || Answer::content(noise(2 * MIB)).etag(None);
    server.serve("/a.img", answer().cut_after(MIB));
    let bench = Bench::trusting(Some(&authority));
    let wanted = Wanted {
        url: server.url("/a.img"),
        name: "a.img".to_owned(),
        ..Wanted::default()
    };
    assert!(matches!(
        bench.fails(&wanted),
        FetchError::Unreachable { .. }
    ));
    assert!(server.asks().iter().all(|ask| ask.from.is_none()));
}

#[test]
fn a_server_in_trouble_is_asked_again_after_a_while() {
    for status in [429, 500, 503] {
        let (server, wanted) = noisy(MIB, |answer| {
            answer.fail_first(2, status).header("Retry-After", "0")
        });
        Bench::new().arrives(&wanted);
        assert_eq!(server.asks().len(), 3);
    }
}

#[test]
fn patience_ends() {
    let (server, wanted) = noisy(MIB, |answer| answer.fail_first(99, 502));
    let error = Bench::new().fails(&wanted);
    assert!(error.to_string().contains("502"), "{error}");
    assert!(matches!(error, FetchError::Unreachable { attempts: 3, .. }));
    assert_eq!(server.asks().len(), 3);
}

#[test]
fn what_is_not_there_is_not_asked_for_again() {
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    wanted.url = server.url("/nothing");
    let error = Bench::new().fails(&wanted);
    assert!(error.is_missing(), "{error}");
    assert_eq!(server.asks().len(), 1);
}

#[test]
fn what_a_server_cannot_do_is_not_asked_for_again() {
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    server.serve("/cannot", Answer::status(501));
    wanted.url = server.url("/cannot");
    let bench = Bench::new();
    let found = bench.client.final_url(&wanted.url, &bench.interrupt);
    for error in [bench.fails(&wanted), found.expect_err("no address")] {
        let is_it = matches!(error, FetchError::Refused { status: 501, .. });
        assert!(is_it, "{error:?}");
    }
    assert_eq!(server.asks().len(), 2);
}

#[test]
fn two_that_want_the_same_download_it_once() {
    let len = 8 * MIB;
    let (server, wanted) = noisy(len, |answer| answer.pause(Duration::from_millis(2)));
    let bench = Bench::new();
    let outcomes = thread::scope(|scope| {
        let fetching: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| bench.fetch(&wanted).expect("a download")))
            .collect();
        let outcomes = fetching
            .into_iter()
            .map(|thread| thread.join().expect("a thread"));
        outcomes.collect::<Vec<_>>()
    });
    let arrived = |outcome: &&Fetched| matches!(outcome, Fetched::Arrived(_));
    assert_eq!(outcomes.iter().filter(arrived).count(), 1);
    assert_eq!(server.sent("/a.img"), len);
}

/// A server over https at which nobody promises anything, and what to ask of it.
fn unpromised(answer: Answer) -> (Server, Bench, Wanted) {
    let authority = Authority::new();
    let server = Server::https(&authority);
    server.serve("/a.img", answer);
    let wanted = Wanted {
        url: server.url("/a.img"),
        name: "a.img".to_owned(),
        ..Wanted::default()
    };
    (server, Bench::trusting(Some(&authority)), wanted)
}

#[test]
fn a_part_that_is_smaller_than_asked_for_is_not_taken_for_the_rest() {
    let answer = Answer::content(noise(4 * MIB));
    let (server, bench, wanted) = unpromised(answer.cut_after(MIB).becomes(
        // Of it come three parts.
        Answer::content(noise(4 * MIB)).shorten_ranges(MIB),
    ));
    let stored = bench.arrives(&wanted);
    assert_eq!(stored.note.sha256, digest_of(&noise(4 * MIB)));
    let from: Vec<_> = server.asks().iter().map(|ask| ask.from).collect();
    assert_eq!(from, [None, Some(MIB), Some(2 * MIB), Some(3 * MIB)]);
}

#[test]
fn the_rest_of_another_file_of_the_same_length_is_not_taken_for_it() {
    const OLD: &str = "Mon, 01 Jun 2026 00:00:00 GMT";
    const NEW: &str = "Tue, 02 Jun 2026 00:00:00 GMT";
    let content = |seed| Content::Noise { seed, len: 4 * MIB };
    let answer = |seed| Answer::content(content(seed)).etag(None).ignore_if_range();
    let dated = |seed, date| answer(seed).header("Last-Modified", date);
    for new in [dated(8, NEW), answer(8)] {
        let (_server, bench, wanted) = unpromised(dated(7, OLD).cut_after(MIB).becomes(new));
        let stored = bench.arrives(&wanted);
        assert_eq!(stored.note.sha256, digest_of(&content(8)));
    }
    // One that does say that it is still the same need not send all once more.
    let (server, bench, wanted) = unpromised(dated(7, OLD).cut_after(MIB).becomes(dated(7, OLD)));
    bench.arrives(&wanted);
    assert_eq!(server.sent("/a.img"), 4 * MIB);
}

#[test]
fn an_answer_that_tells_no_end_is_not_taken_for_whole_where_it_is_cut() {
    // The end of a connection that was cut looks as that of one that was closed.
    let answer = || Answer::content(noise(2 * MIB)).open_ended();
    let (server, bench, mut wanted) = unpromised(answer().cut_after(MIB));
    let error = bench.fails(&wanted);
    assert!(matches!(error, FetchError::NoLength(_)), "{error:?}");
    assert!(bench.store().is_empty());
    let url = server.url("/a.img");
    let small = bench
        .client
        .get_small(&url, 4 * MIB, None, &bench.interrupt);
    assert!(matches!(small, Err(FetchError::NoLength(_))), "{small:?}");
    // A digest tells.
    wanted.promise.either = Some(digest_of(&noise(2 * MIB)));
    for rest in [answer(), answer().ignore_ranges()] {
        server.serve("/a.img", answer().cut_after(MIB).becomes(rest));
        let stored = bench.arrives(&wanted);
        assert_eq!(stored.note.len, 2 * MIB);
        stored.remove().expect("a folder");
    }
    // What ends like that twice was not cut.
    let (server, wanted) = noisy(MIB, |answer| answer);
    let other = Answer::bytes("<html>moved</html>").open_ended();
    server.serve("/a.img", other.ignore_ranges());
    let error = Bench::new().fails(&wanted);
    assert!(matches!(error, FetchError::Mismatch { .. }), "{error:?}");
    assert_eq!(server.asks().len(), 2);
}
