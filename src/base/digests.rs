//! Digesting a base: once in its lifetime, in the pass that uses its bytes.

use std::io;
use std::thread;

use super::cache::Known;
use super::chunk::{ChunkHasher, Each, EachDigested, chunk_digest};
use super::{Base, BaseError, Cache, Digests, ReadAt as _, Sha256Digest, Store, pass, spool};
use crate::interrupt::{Interrupt, Interrupted};
use crate::report::event::{Event, Sink};

impl Base {
    /// The digests, where they are known without reading the base.
    #[must_use]
    pub fn known_digests(&self, cache: &Cache) -> Option<Digests> {
        self.recall(cache)?.digests(self.len())
    }

    /// The digests; reads the base once in its lifetime.
    ///
    /// # Errors
    /// As [`Base::digest_while`].
    pub fn digests(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<Digests, BaseError> {
        match self.known_digests(cache) {
            Some(digests) => Ok(digests),
            None => self.digest_while(cache, sink, interrupt, &mut |_, _, _| Ok(())),
        }
    }

    /// Passes every chunk on to `each`, in order and with its digest, and returns
    /// the digests of what went by; digests that are known already are not computed again.
    ///
    /// # Errors
    /// Where the base is damaged, unreadable or changes meanwhile, where `each`
    /// fails, and where the user asks to stop.
    pub fn digest_while(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        each: EachDigested<'_>,
    ) -> Result<Digests, BaseError> {
        let digests = match self.known_digests(cache) {
            Some(known) => {
                let mut chunks = known.chunks.as_slice().iter();
                let is_checked = self.is_checked();
                let mut rotten = None;
                let passed = self.pass(sink, interrupt, &mut |offset, chunk| {
                    // As many as there are chunks, which recalling them made sure of.
                    let missing = || io::Error::other("more chunks than digests");
                    let digest = chunks.next().ok_or_else(missing)?;
                    if !is_checked && chunk_digest(chunk) != *digest {
                        rotten = Some(offset);
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    each(offset, chunk, digest)
                });
                if let Some(offset) = rotten {
                    return Err(self.rotten(cache, &known.published, offset));
                }
                passed?;
                known
            }
            None => self.digest_anew(sink, interrupt, each)?,
        };
        self.check_unchanged()?;
        self.remember(cache, Known::of(&digests, None));
        Ok(digests)
    }

    /// Why bytes are not what they once were. Of what was unpacked there is more to be
    /// had: the next run finds none and unpacks it anew.
    fn rotten(&self, cache: &Cache, published: &Sha256Digest, offset: u64) -> BaseError {
        let name = self.name.clone();
        match self.store {
            Store::Spooled(_) if spool::discard(cache, published).is_ok() => {
                BaseError::Rotten { name, offset }
            }
            _ => BaseError::Damaged {
                name,
                what: format!("what lies at byte {offset} is not what it once was"),
            },
        }
    }

    /// Makes sure that what was unpacked into the cache is still what it was, where it is
    /// known: to be asked when what it holds makes no sense. Reads it all.
    ///
    /// # Errors
    /// [`BaseError::Rotten`] where it is not, and as [`Base::digest_while`].
    pub fn check_unpacked(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<(), BaseError> {
        if self.is_spooled() && self.known_digests(cache).is_some() {
            self.digest_while(cache, sink, interrupt, &mut |_, _, _| Ok(()))?;
        }
        Ok(())
    }

    /// Makes sure that what is read at random is what it was when its digests were taken.
    /// What carries checks of its own is not read.
    ///
    /// # Errors
    /// [`BaseError::Rotten`] or [`BaseError::Damaged`] where it is not, and as
    /// [`Base::digest_while`].
    pub(crate) fn check_read_at_random(
        &self,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<(), BaseError> {
        if !self.is_checked() {
            self.digest_while(cache, sink, interrupt, &mut |_, _, _| Ok(()))?;
        }
        Ok(())
    }

    /// xz has checks of its own, as a rule; other bytes may have rotted since they were
    /// digested.
    fn is_checked(&self) -> bool {
        matches!(&self.store, Store::Xz(xz) if xz.is_checked())
    }

    /// A pass that works out all digests; the file's own at the same time.
    pub(super) fn digest_anew(
        &self,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        each: EachDigested<'_>,
    ) -> Result<Digests, BaseError> {
        // The practice base is known by its contents alone, a raw file as well.
        let file = match self.store {
            Store::Raw(_) => None,
            Store::Xz(_) | Store::Spooled(_) => self.file.as_ref(),
        };
        let mut hasher = ChunkHasher::new();
        thread::scope(|scope| {
            let published = file.map(|file| scope.spawn(|| self.published_digest(file, interrupt)));
            self.pass(sink, interrupt, &mut |offset, chunk| {
                let digest = hasher.update(chunk);
                each(offset, chunk, &digest)
            })?;
            let (raw, chunks) = hasher.finish();
            let published = match published.map(thread::ScopedJoinHandle::join) {
                None => raw,
                Some(Ok(published)) => published?,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
            };
            Ok(Digests {
                published,
                raw,
                chunks,
            })
        })
    }

    /// Makes sure that the base is the one a digest was published for, whether
    /// of the file or of its uncompressed bytes.
    ///
    /// # Errors
    /// [`BaseError::Mismatch`] where it is neither.
    pub fn check_sha256(
        &self,
        wanted: Sha256Digest,
        cache: &Cache,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<(), BaseError> {
        let file = self.file.as_ref();
        let known = self.recall(cache).unwrap_or_default();
        if known.published == Some(wanted) || known.raw == Some(wanted) {
            return Ok(());
        }
        if let (Some(file), None, false) =
            (file, known.published, matches!(self.store, Store::Raw(_)))
        {
            // Cheaper than decoding: the digest of the file is tried first.
            let published = self.published_digest(file, interrupt)?;
            if published == wanted {
                self.check_unchanged()?;
                self.remember(
                    cache,
                    Known {
                        published: Some(published),
                        ..Known::default()
                    },
                );
                return Ok(());
            }
        }
        let Digests { published, raw, .. } = self.digests(cache, sink, interrupt)?;
        if published == wanted || raw == wanted {
            return Ok(());
        }
        Err(BaseError::Mismatch {
            name: self.name.clone(),
            wanted,
            published,
            raw,
        })
    }

    fn pass(
        &self,
        sink: &dyn Sink,
        interrupt: &Interrupt,
        each: Each<'_>,
    ) -> Result<(), BaseError> {
        let task = self.name.as_str();
        let mut stop = None;
        let mut consumer = None;
        let mut guarded = |offset: u64, chunk: &[u8]| {
            if let Err(interrupted) = interrupt.check() {
                stop = Some(interrupted);
                return Err(io::ErrorKind::Interrupted.into());
            }
            sink.send(Event::Progressed {
                task,
                done: offset + chunk.len() as u64,
            });
            each(offset, chunk).inspect_err(|error| consumer = Some(error.kind()))
        };
        sink.send(Event::Started {
            task,
            verb: "reading",
            total: self.len(),
        });
        let result = match &self.store {
            Store::Xz(xz) => pass::pass_xz(xz, &mut guarded),
            Store::Raw(raw) => pass::pass_raw(&**raw, &mut guarded),
            Store::Spooled(raw) => pass::pass_raw(raw, &mut guarded),
        };
        sink.send(Event::Ended { task });
        match result {
            Ok(_) => Ok(()),
            Err(_) if stop.is_some() => Err(Interrupted.into()),
            Err(source) if consumer.is_some() => Err(BaseError::Consumer {
                name: self.name.clone(),
                source,
            }),
            Err(source) => Err(self.failed(source)),
        }
    }
}
