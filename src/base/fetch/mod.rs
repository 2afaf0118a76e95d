//! Downloads: an image arrives once, whatever happens to the connection, the program
//! or the machine, and is in the store only when it is what was promised.
//!
//! While it arrives it is hashed and decompressed, so that its first use need not
//! read it again.

mod arrival;
mod client;
mod download;
mod error;
mod partial;
mod small;
mod store;
#[cfg(test)]
mod tests;

use std::thread;
use std::time::{Duration, Instant};

pub use client::{Client, Patience, Settings};
pub use error::FetchError;
pub use small::{Document, Small};
pub(in crate::base) use store::PARTIAL;
pub use store::{ImageStore, Note, Signed, Stored};

use self::arrival::Arrival;
use self::download::{Download, Outcome};
use self::partial::Partial;
use super::cache::{Cache, Known};
use super::spool::{self, TakenIn};
use super::{Base, BaseError, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

/// An image to download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `https://…`, or `http://…` if its digest is promised.
    pub url: String,
    /// File name to keep it under.
    pub name: String,
    /// Length of the file in bytes, where it is known before.
    pub len: Option<u64>,
    /// What its digest must be.
    pub promise: Promise,
    /// The image is there already with this ETag; nothing is sent if it still has it.
    pub known_etag: Option<String>,
}

/// Digests that were promised before the download. Each that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Of the file.
    pub published: Option<Sha256Digest>,
    /// Of its uncompressed bytes.
    pub raw: Option<Sha256Digest>,
    /// Of one or the other: people copy both into their manifests.
    pub either: Option<Sha256Digest>,
}

/// What a download came to.
#[derive(Debug)]
pub enum Fetched {
    /// It was there.
    Here(Stored),
    /// It arrived now.
    Arrived(Stored),
    /// What the caller has is still what the server has.
    Unchanged,
}

impl Promise {
    /// Whether nothing is promised.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only the uncompressed bytes can tell if it holds.
    fn needs_raw(&self, published: Sha256Digest) -> bool {
        self.raw.is_some() || self.either.is_some_and(|either| either != published)
    }

    /// The digest that does not hold, and what was found in its place.
    fn broken_by(
        &self,
        published: Sha256Digest,
        raw: Option<Sha256Digest>,
    ) -> Option<(Sha256Digest, Sha256Digest)> {
        let published_differs = self.published.filter(|wanted| *wanted != published);
        let raw_differs = self.raw.zip(raw).filter(|(wanted, found)| wanted != found);
        let neither = self
            .either
            .filter(|wanted| *wanted != published && Some(*wanted) != raw);
        published_differs
            .or(neither)
            .map(|wanted| (wanted, published))
            .or(raw_differs)
    }
}

/// Name of the file that an address leads to, fit to be a file name anywhere.
#[must_use]
pub fn file_name(url: &str) -> String {
    const LONGEST: usize = 200;
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = match path.trim_end_matches('/').rsplit_once('/') {
        Some((_, last)) => last,
        None => "",
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    let name: String = last
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    match name.trim_start_matches('.') {
        "" | store::NOTE => "image".to_owned(),
        name => name.to_owned(),
    }
}

/// Makes sure that an image is in the store, and says whether it was.
///
/// Several processes that want the same download it once: the others wait.
///
/// # Errors
/// Where it cannot be had, is not what was promised, or has no room.
pub fn fetch(
    client: &Client,
    cache: &Cache,
    wanted: &Wanted,
    sink: &dyn Sink,
    interrupt: &Interrupt,
) -> Result<Fetched, FetchError> {
    let uri = client::parse(&wanted.url)?;
    if uri.scheme_str() != Some("https") && wanted.promise.is_none() {
        return Err(FetchError::Insecure(wanted.url.clone()));
    }
    let store = ImageStore::open(cache)?;
    loop {
        if let Some(stored) = find(&store, wanted, interrupt)? {
            return Ok(Fetched::Here(stored));
        }
        let opened = Partial::open(&store, &wanted.url, &wanted.name, sink, interrupt)?;
        let Some(partial) = opened else {
            // Another process has finished it meanwhile, with a digest that only its
            // note tells.
            match find_by_url(&store, &wanted.url)? {
                Some(stored) => return Ok(Fetched::Here(stored)),
                None => continue,
            }
        };
        let fetching = Fetching {
            client,
            cache,
            store: &store,
            wanted,
            sink,
            interrupt,
        };
        let had = partial.len > 0;
        match fetching.run(partial) {
            // What an earlier run left may have suffered from a power failure.
            Err(FetchError::Mismatch { .. }) if had => {}
            result => return result,
        }
    }
}

fn find(
    store: &ImageStore,
    wanted: &Wanted,
    interrupt: &Interrupt,
) -> Result<Option<Stored>, FetchError> {
    let Some(published) = wanted.promise.published else {
        return Ok(None);
    };
    let Some(mut stored) = store.get(&published) else {
        return Ok(None);
    };
    match stored.is_intact(interrupt) {
        Ok(true) => Ok(Some(stored)),
        Err(BaseError::Interrupted(_)) => Err(FetchError::Interrupted),
        // What cannot be read is of no more use than what is wrong.
        Ok(false) | Err(_) => {
            stored.remove().map_err(|source| store.failed(source))?;
            Ok(None)
        }
    }
}

fn find_by_url(store: &ImageStore, url: &str) -> Result<Option<Stored>, FetchError> {
    let all = store.all()?;
    Ok(all.into_iter().find(|stored| stored.note.url == url))
}

struct Fetching<'a> {
    client: &'a Client,
    cache: &'a Cache,
    store: &'a ImageStore,
    wanted: &'a Wanted,
    sink: &'a dyn Sink,
    interrupt: &'a Interrupt,
}

impl Fetching<'_> {
    fn run(&self, mut partial: Partial) -> Result<Fetched, FetchError> {
        let arrival = Arrival::default();
        let (outcome, taken) = thread::scope(|scope| {
            let dir = partial.dir().to_owned();
            let (arriving, interrupt) = (&arrival, self.interrupt);
            // What cannot be unpacked on the way is left to whoever opens the image,
            // who is then told why.
            let taking = scope.spawn(move || spool::take_in(arriving.follow(), &dir, interrupt));
            scope.spawn(|| arrival.write_back());
            let outcome = self.download(&mut partial, &arrival);
            // Ends the other thread, whatever happened.
            arrival.lose();
            let taken = self.watch(&arrival, taking);
            (outcome, taken)
        });
        let published = match outcome {
            Ok(Some(published)) => published,
            Ok(None) => {
                partial.discard();
                return Ok(Fetched::Unchanged);
            }
            Err(error) => {
                if matches!(
                    error,
                    FetchError::Mismatch { .. } | FetchError::TooLong { .. }
                ) {
                    partial.discard();
                }
                return Err(error);
            }
        };
        self.interrupt.check()?;
        self.check_raw(partial, published, taken)
    }

    /// Downloads all of it and compares it with what was promised for the file.
    fn download(
        &self,
        partial: &mut Partial,
        arrival: &Arrival,
    ) -> Result<Option<Sha256Digest>, FetchError> {
        if self.wanted.promise.is_none() {
            partial
                .distrust_other_boots()
                .map_err(|source| self.store.failed(source))?;
        }
        let download = Download {
            client: self.client,
            wanted: self.wanted,
            partial,
            arrival,
            sink: self.sink,
            interrupt: self.interrupt,
        };
        let outcome = self
            .client
            .until_interrupted(self.interrupt, || download.run())?;
        let Outcome::Complete(published) = outcome else {
            return Ok(None);
        };
        match self.wanted.promise.published {
            Some(wanted) if wanted != published => Err(self.mismatch(wanted, published)),
            _ => {
                arrival.complete();
                Ok(Some(published))
            }
        }
    }

    /// Waits for what is still to be unpacked, and shows it if that takes longer.
    fn watch(
        &self,
        arrival: &Arrival,
        taking: thread::ScopedJoinHandle<'_, Option<TakenIn>>,
    ) -> Option<TakenIn> {
        const UNNOTICED: Duration = Duration::from_millis(300);
        const STEP: Duration = Duration::from_millis(20);
        let task = &self.wanted.name;
        let start = Instant::now();
        let mut shown = false;
        while !taking.is_finished() {
            if !shown && start.elapsed() > UNNOTICED {
                shown = true;
                self.sink.send(Event::Started {
                    task,
                    verb: "unpacking",
                    total: arrival.len(),
                });
            }
            if shown {
                let done = arrival.followed();
                self.sink.send(Event::Progressed { task, done });
            }
            thread::sleep(STEP);
        }
        if shown {
            self.sink.send(Event::Ended { task });
        }
        match taking.join() {
            Ok(taken) => taken,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Compares the uncompressed bytes with what was promised for them, and gives the
    /// image its place.
    fn check_raw(
        &self,
        partial: Partial,
        published: Sha256Digest,
        taken: Option<TakenIn>,
    ) -> Result<Fetched, FetchError> {
        let promise = self.wanted.promise;
        let mut raw = taken.as_ref().map(TakenIn::raw);
        if raw.is_none() && promise.needs_raw(published) {
            raw = self.raw_of(&partial)?;
        }
        if let Some((wanted, found)) = promise.broken_by(published, raw) {
            partial.discard();
            return Err(self.mismatch(wanted, found));
        }
        let failed = |source| self.store.failed(source);
        let mut note = Note::new(
            &self.wanted.name,
            &self.wanted.url,
            published,
            &partial.file,
        )
        .map_err(failed)?;
        note.etag = partial.head.etag.clone();
        let known = match taken {
            Some(taken) => taken.settle(&partial.path(), self.cache, published),
            None => Known {
                published: Some(published),
                raw,
                ..Known::default()
            },
        };
        let stored = partial.publish(self.store, note).map_err(failed)?;
        self.cache.remember_file(&stored.path(), known);
        Ok(Fetched::Arrived(stored))
    }

    /// The digest of the uncompressed bytes, the long way. `None` where it is no
    /// image: then it cannot be what was promised.
    fn raw_of(&self, partial: &Partial) -> Result<Option<Sha256Digest>, FetchError> {
        let digests = Base::open(&partial.path(), self.cache, self.sink, self.interrupt)
            .and_then(|base| base.digests(self.cache, self.sink, self.interrupt));
        match digests {
            Ok(digests) => Ok(Some(digests.raw)),
            Err(BaseError::Interrupted(_)) => Err(FetchError::Interrupted),
            Err(BaseError::Cache { dir, source, .. }) => Err(FetchError::Cache { dir, source }),
            Err(_) => Ok(None),
        }
    }

    fn mismatch(&self, wanted: Sha256Digest, found: Sha256Digest) -> FetchError {
        FetchError::Mismatch {
            name: self.wanted.name.clone(),
            wanted,
            found,
        }
    }
}
