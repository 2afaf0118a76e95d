//! Downloads from a server that misbehaves.

#[path = "../../../../tests/server/mod.rs"]
mod server;

/// What arrives is used without being read again.
mod arriving;
/// Cut, stalled, refused, and taken up again.
mod broken;
/// Other processes, and whoever else writes to the cache.
mod others;
/// What is not what it should be.
mod untrusted;

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use tempfile::TempDir;

use self::server::{Answer, Authority, Content, Server};
use super::{Client, FetchError, Fetched, Patience, Promise, Settings, Stored, Wanted, fetch};
use crate::base::{Cache, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::Silent;

const MIB: u64 = 1 << 20;

/// How long a client bears silence: no machine is so busy that a server falls silent
/// for as long without meaning to.
const SILENCE: Duration = Duration::from_secs(30);

/// A cache, and a client that soon asks again.
struct Bench {
    dir: TempDir,
    cache: Cache,
    client: Client,
    interrupt: Interrupt,
}

impl Bench {
    fn new() -> Self {
        Self::trusting(None)
    }

    fn trusting(authority: Option<&Authority>) -> Self {
        Self::bearing(SILENCE, authority)
    }

    /// One whose client takes a server for lost that is silent for so long.
    fn bearing(silence: Duration, authority: Option<&Authority>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = Settings {
            roots: Some(authority.map(Authority::der).into_iter().collect()),
            patience: Patience {
                silence,
                attempts: 3,
                pause: Duration::from_millis(10),
                longest_pause: Duration::from_millis(50),
            },
        };
        Self {
            cache: Cache::at(dir.path().join("cache")),
            client: Client::new(&settings).expect("a client"),
            interrupt: Interrupt::default(),
            dir,
        }
    }

    fn fetch(&self, wanted: &Wanted) -> Result<Fetched, FetchError> {
        fetch(&self.client, &self.cache, wanted, &Silent, &self.interrupt)
    }

    fn arrives(&self, wanted: &Wanted) -> Stored {
        match self.fetch(wanted).expect("a download") {
            Fetched::Arrived(stored) => stored,
            other => panic!("{other:?}"),
        }
    }

    fn fails(&self, wanted: &Wanted) -> FetchError {
        self.fetch(wanted).expect_err("no download")
    }

    /// Names of what is in the store.
    fn store(&self) -> Vec<String> {
        let dir = self.dir.path().join("cache/images");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

fn noise(len: u64) -> Content {
    Content::Noise { seed: 7, len }
}

/// The digest that noise of this length has.
fn digest_of(content: &Content) -> Sha256Digest {
    let mut bytes = vec![0; usize::try_from(content.len()).expect("a length")];
    content.read(&mut bytes, 0);
    Sha256Digest::of(&bytes)
}

fn wanted(server: &Server, path: &str, published: Sha256Digest) -> Wanted {
    Wanted {
        url: server.url(path),
        name: super::file_name(path),
        promise: Promise {
            published: Some(published),
            ..Promise::default()
        },
        ..Wanted::default()
    }
}

/// A server with noise at `/a.img`, and what to ask of it.
fn noisy(len: u64, answer: impl FnOnce(Answer) -> Answer) -> (Server, Wanted) {
    let server = Server::http();
    server.serve("/a.img", answer(Answer::content(noise(len))));
    let wanted = wanted(&server, "/a.img", digest_of(&noise(len)));
    (server, wanted)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("gzip");
    gzip.finish().expect("gzip")
}

#[test]
fn a_name_is_made_of_an_address() {
    for (url, name) in [
        ("https://a.b/c/x.img.xz", "x.img.xz"),
        ("https://a.b/c/x.img.xz?token=1#y", "x.img.xz"),
        ("https://a.b/x y%20.img", "x_y_20.img"),
        ("https://a.b/..", "image"),
        ("https://a.b/.hidden", "hidden"),
        ("https://a.b/note.json", "image"),
        ("https://a.b/.state.json", "image"),
        ("https://a.b", "image"),
        ("https://a.b/c/", "c"),
    ] {
        assert_eq!(super::file_name(url), name, "{url}");
    }
}
