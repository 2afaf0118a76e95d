//! Compressed images: spliced from the base's own compressed blocks, with a digest
//! and a block map beside each.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use sha2::Digest as _;

use super::beside::{Beside, publish_alone, publish_beside};
use super::blocks::Blocks;
use super::draft::Draft;
use super::of_base::Unreadable;
use super::read_back::Reader;
use super::splice::{Donor, Origin, Pieces, Spliced, Splicer, check, is_interrupt, write};
use super::{Expected, Job, Outcome, OutputError, reflink};
use crate::base::read_at::RawFile;
use crate::base::{Digests, Sha256Digest};
use crate::interrupt::Interrupted;
use crate::report::event::Event;

/// What is tried where bytes of the base are read for an image.
const OF_BASE: &str = "reading the base of";

/// Makes compressed images.
pub struct Packer<'a> {
    blocks: &'a Blocks<'a>,
    /// The file with the frames.
    origin: Origin<'a>,
    splicer: Splicer<'a>,
    /// The first image, whose blocks others may share.
    first: OnceLock<(Spliced, RawFile)>,
    /// Whether the file system of the images lets files share blocks.
    shares_blocks: OnceLock<bool>,
}

impl<'a> Packer<'a> {
    /// What makes images of `blocks`.
    ///
    /// # Errors
    /// Where the format has no such level.
    pub fn new(blocks: &'a Blocks<'a>) -> Result<Self, OutputError> {
        let (origin, splicer) = blocks.splicer()?;
        Ok(Self {
            blocks,
            origin,
            splicer,
            first: OnceLock::new(),
            shares_blocks: OnceLock::new(),
        })
    }

    /// Digests of the base.
    #[must_use]
    pub fn digests(&self) -> &Digests {
        &self.blocks.digests
    }

    /// Looks at the images of `jobs`, which are all there, several at a time, and
    /// calls `done` for each: with its digest where it is byte for byte what is
    /// planned. What belongs beside such an image is put there.
    pub fn check(
        &self,
        jobs: &[Job<'_>],
        done: impl FnMut(usize, Result<Option<Sha256Digest>, OutputError>),
    ) {
        self.each(
            "checking",
            jobs,
            |job, threads| self.held(job, threads),
            done,
        );
    }

    /// Makes the images of `jobs`, several at a time, and calls `done` for each as
    /// soon as its fate is known.
    pub fn run(&self, jobs: &[Job<'_>], done: impl FnMut(usize, Outcome)) {
        self.each(
            "splicing",
            jobs,
            |job, threads| self.make(job, threads),
            done,
        );
    }

    /// Calls `body` for each job, with how many threads it may use, and `done` with
    /// what came of it.
    fn each<T: Send>(
        &self,
        verb: &'static str,
        jobs: &[Job<'_>],
        body: impl Fn(&Job<'_>, usize) -> T + Sync,
        mut done: impl FnMut(usize, T),
    ) {
        if jobs.is_empty() {
            return;
        }
        let task = "images";
        let sink = self.blocks.build.sink;
        let total = jobs.len() as u64;
        sink.send(Event::Started { task, verb, total });
        let mut made = 0;
        let mut report = |index, outcome| {
            made += 1;
            done(index, outcome);
            sink.send(Event::Progressed { task, done: made });
        };
        let threads = self.blocks.packing.jobs;
        // The first encodes what all have in common, with all threads.
        if let Some(job) = jobs.first() {
            report(0, body(job, threads));
        }
        let next = AtomicUsize::new(1);
        let at_a_time = self.splicer.at_a_time(threads);
        let (sender, outcomes) = channel();
        thread::scope(|scope| {
            for _ in 0..at_a_time.min(jobs.len().saturating_sub(1)) {
                let (sender, next, body) = (sender.clone(), &next, &body);
                scope.spawn(move || {
                    while let index = next.fetch_add(1, Ordering::Relaxed)
                        && let Some(job) = jobs.get(index)
                        && sender.send((index, body(job, 1))).is_ok()
                    {}
                });
            }
            drop(sender);
            for (index, outcome) in outcomes {
                report(index, outcome);
            }
        });
        sink.send(Event::Ended { task });
    }

    fn held(&self, job: &Job<'_>, threads: usize) -> Result<Option<Sha256Digest>, OutputError> {
        let spliced = self.splice(job, threads)?;
        let len = job.path.metadata().map(|file| file.len());
        if len.ok() != Some(spliced.len) {
            return Ok(None);
        }
        let (different, sha256) = self.read_back(&job.path, &job.path, &spliced)?;
        if different.is_some() {
            return Ok(None);
        }
        let expected = self.expected(job)?;
        publish_beside(job, &expected, sha256)?;
        Ok(Some(expected.image_digest()))
    }

    fn make(&self, job: &Job<'_>, threads: usize) -> Outcome {
        let build = &self.blocks.build;
        let failed = |verb, source| failure(verb, &job.path, source);
        let spliced = self.splice(job, threads)?;
        let mut draft = Draft::create(&job.path, 0)?;
        if self.shares_blocks(job) {
            let donor = self.first.get();
            let donor = donor.map(|(spliced, file)| Donor::new(spliced, file));
            let out = draft.as_file();
            write(&spliced, self.origin, donor.as_ref(), out, &mut |_| {
                build.interrupt.check().map_err(io::Error::other)
            })
            .map_err(|source| failed("writing", source))?;
        } else {
            let mut pieces = Pieces::new(&spliced, self.origin.bytes);
            while let Some((offset, piece)) =
                pieces.next().map_err(|source| failed(OF_BASE, source))?
            {
                build.interrupt.check()?;
                draft.write_at(offset, piece)?;
            }
        }
        draft.sync()?;
        let (different, sha256) = self.read_back(draft.draft_path(), &job.path, &spliced)?;
        if let Some(offset) = different {
            return Err(OutputError::ReadBack {
                path: job.path.clone(),
                offset,
            });
        }
        let expected = self.expected(job)?;
        let own = File::open(draft.draft_path()).and_then(RawFile::new);
        let beside = Beside::draft(job, &expected, sha256)?;
        publish_alone(draft, &job.path, build.replace)?;
        beside.publish()?;
        if let Ok(own) = own {
            // Only the first is wanted.
            drop(self.first.set((spliced, own)));
        }
        Ok(expected.image_digest())
    }

    /// Whether images can have blocks of the base's file, and of each other.
    fn shares_blocks(&self, job: &Job<'_>) -> bool {
        *self
            .shares_blocks
            .get_or_init(|| reflink::works_beside(&job.path))
    }

    fn splice(&self, job: &Job<'_>, threads: usize) -> Result<Spliced, OutputError> {
        self.splicer.splice(job.overlay, threads).map_err(|source| {
            let is_damaged = source.kind() == io::ErrorKind::InvalidData;
            let verb = if is_damaged { OF_BASE } else { "compressing" };
            failure(verb, &job.path, source)
        })
    }

    fn expected(&self, job: &Job<'_>) -> Result<Expected, OutputError> {
        Expected::new(
            self.blocks.build.base,
            &self.blocks.digests.chunks,
            job.overlay,
        )
        .map_err(|source| failure(OF_BASE, &job.path, source))
    }

    /// Compares a file with what it is made of; where it differs, and its digest.
    fn read_back(
        &self,
        file: &Path,
        name: &Path,
        spliced: &Spliced,
    ) -> Result<(Option<u64>, Sha256Digest), OutputError> {
        let failed = |source| failure("reading", name, source);
        let interrupt = self.blocks.build.interrupt;
        let reader = Reader::open(file).map_err(failed)?;
        let mut hasher = sha2::Sha256::new();
        let different = check(spliced, self.origin.bytes, &reader, |piece| {
            hasher.update(piece);
            interrupt.check().map_err(io::Error::other)
        })
        .map_err(failed)?;
        Ok((different, Sha256Digest(hasher.finalize().into())))
    }
}

fn failure(verb: &'static str, path: &Path, source: io::Error) -> OutputError {
    if is_interrupt(&source) {
        return Interrupted.into();
    }
    match source.downcast() {
        Ok(Unreadable(source)) => OutputError::io(OF_BASE, path, source),
        Err(source) => OutputError::io(verb, path, source),
    }
}
