//! Downloads: an image arrives once, whatever happens to the connection, the program
//! or the machine, and is in the store only when it is what was promised.
//!
//! While it arrives it is hashed and decompressed, so that its first use need not
//! read it again.

mod address;
mod answer;
mod arrival;
mod client;
mod download;
mod error;
mod partial;
mod room;
mod small;
mod store;
#[cfg(test)]
mod tests;
mod wanted;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use address::{password_in, without_password};
pub use client::{Client, Patience, Settings};
pub use error::FetchError;
pub use small::{Document, Small};
pub(in crate::base) use store::PARTIAL;
pub use store::{ImageStore, Note, Signed, Stored};
pub use wanted::{Promise, Wanted, file_name};

use self::arrival::Arrival;
use self::download::{Download, Outcome};
use self::partial::Partial;
use super::cache::{Cache, Known};
use super::spool::{self, TakenIn};
use super::{Base, BaseError, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

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
    let uri = address::parse(&wanted.url)?;
    if uri.scheme_str() != Some("https") && wanted.promise.is_none() {
        return Err(FetchError::Insecure(wanted.url.clone()));
    }
    let store = ImageStore::open(cache)?;
    let fetching = Fetching {
        client,
        cache,
        store: &store,
        wanted,
        sink,
        interrupt,
    };
    loop {
        if let Some(stored) = fetching.find()? {
            return Ok(Fetched::Here(stored));
        }
        let opened = Partial::open(&store, &wanted.url, &wanted.name, sink, interrupt)?;
        let Some(partial) = opened else {
            // Another process has finished it meanwhile, with a digest that only its
            // note tells, and was promised something else perhaps, or nothing.
            match find_by_url(&store, &wanted.url)? {
                Some(stored) if fetching.broken_by(&stored)?.is_none() => {
                    return Ok(Fetched::Here(stored));
                }
                _ => continue,
            }
        };
        let had = partial.len > 0;
        match fetching.run(partial) {
            // What an earlier run left may have suffered from a power failure.
            Err(FetchError::Mismatch { .. }) if had => {}
            result => return result,
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
    /// The image in the store that has the digest promised, intact.
    fn find(&self) -> Result<Option<Stored>, FetchError> {
        let Some(mut stored) = self.find_promised()? else {
            return Ok(None);
        };
        match stored.is_intact(self.interrupt) {
            Ok(true) => {}
            Err(BaseError::Interrupted(_)) => return Err(FetchError::Interrupted),
            // What cannot be read is of no more use than what is wrong.
            Ok(false) | Err(_) => {
                stored
                    .remove()
                    .map_err(|source| self.store.failed(source))?;
                return Ok(None);
            }
        }
        match self.broken_by(&stored)? {
            Some((wanted, found)) => Err(self.mismatch(wanted, found)),
            None => Ok(Some(stored)),
        }
    }

    /// The image in the store whose digest is promised, as far as it is known: that of
    /// its uncompressed bytes is noted where they were read.
    fn find_promised(&self) -> Result<Option<Stored>, FetchError> {
        let promise = self.wanted.promise;
        if let Some(published) = promise.published {
            return Ok(self.store.get(&published));
        }
        if let Some(stored) = promise.either.and_then(|either| self.store.get(&either)) {
            return Ok(Some(stored));
        }
        let Some(wanted) = promise.either.or(promise.raw) else {
            return Ok(None);
        };
        let all = self.store.all()?;
        let is_it = |stored: &Stored| self.cache.raw_digest(&stored.path()) == Some(wanted);
        Ok(all.into_iter().find(is_it))
    }

    /// The promised digest that an image in the store does not have, and what it has.
    fn broken_by(
        &self,
        stored: &Stored,
    ) -> Result<Option<(Sha256Digest, Sha256Digest)>, FetchError> {
        let promise = self.wanted.promise;
        let published = stored.note.sha256;
        let mut raw = self.cache.raw_digest(&stored.path());
        if raw.is_none() && promise.needs_raw(published) {
            raw = self.raw_of(&stored.path())?;
        }
        Ok(promise.broken_by(published, raw))
    }

    fn run(&self, mut partial: Partial) -> Result<Fetched, FetchError> {
        let arrival = Arrival::default();
        let (outcome, taken) = thread::scope(|scope| {
            let dir = partial.dir().to_owned();
            let (arriving, interrupt) = (&arrival, self.interrupt);
            // What cannot be unpacked on the way is left to whoever opens the image,
            // who is then told why.
            let taking = scope.spawn(move || {
                // What is unpacked is not worth a download that finds no room.
                let has_room = || {
                    let least = arriving.to_come().saturating_add(room::RESERVE);
                    room::free(&dir).is_none_or(|free| free >= least)
                };
                spool::take_in(arriving.follow(), &dir, &has_room, interrupt)
            });
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
                    FetchError::Mismatch { .. }
                        | FetchError::TooLong { .. }
                        | FetchError::Empty(_)
                        | FetchError::NoLength(_)
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
            raw = self.raw_of(&partial.path())?;
        }
        if let Some((wanted, found)) = promise.broken_by(published, raw) {
            partial.discard();
            return Err(self.mismatch(wanted, found));
        }
        if let Some(mut stored) = self.store.get(&published)
            && stored.is_intact(self.interrupt).unwrap_or(false)
        {
            // The same, from another address, or under another ETag.
            if stored.note.url == self.wanted.url {
                let etag = partial.head.etag.clone();
                // Costs fetching it once more.
                drop(stored.change(|note| note.etag = etag));
            }
            partial.discard();
            return Ok(Fetched::Arrived(stored));
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
        let stored = partial
            .publish(self.store, note, self.interrupt)
            .map_err(failed)?;
        self.cache.remember_file(&stored.path(), known);
        Ok(Fetched::Arrived(stored))
    }

    /// The digest of the uncompressed bytes, the long way. `None` where it is no
    /// image: then it cannot be what was promised.
    fn raw_of(&self, path: &Path) -> Result<Option<Sha256Digest>, FetchError> {
        let digests = Base::open(path, self.cache, self.sink, self.interrupt)
            .and_then(|base| base.digests(self.cache, self.sink, self.interrupt));
        match digests {
            Ok(digests) => Ok(Some(digests.raw)),
            Err(BaseError::Interrupted(_)) => Err(FetchError::Interrupted),
            Err(BaseError::Cache { dir, source, .. }) => Err(FetchError::Cache { dir, source }),
            Err(BaseError::Damaged { .. } | BaseError::Unsuitable { .. }) => Ok(None),
            // Says nothing of what it should be, and may be over the next time.
            Err(error) => Err(FetchError::Unread {
                name: self.wanted.name.clone(),
                source: Box::new(error),
            }),
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
