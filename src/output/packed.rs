//! Compressed images: spliced from the base's own compressed blocks, with a digest
//! and a block map beside each.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use sha2::Digest as _;

use super::beside::publish_beside;
use super::draft::{self, Draft};
use super::read_back::Reader;
use super::recode::{self, Recoded};
use super::splice::{
    Container, Crew, Donor, Effort, Frames, Kept, Origin, Pieces, Spliced, Splicer, check,
    is_interrupt, write,
};
use super::{Build, Expected, Job, Outcome, OutputError, reflink};
use crate::base::read_at::RawFile;
use crate::base::xz::IndexError;
use crate::base::{Digests, Format, ReadAt, Sha256Digest};
use crate::interrupt::Interrupted;
use crate::report::event::Event;

/// Formats of compressed images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One xz stream of many blocks.
    Xz,
    /// zstd frames with a seek table.
    Zst,
}

impl Compression {
    /// Whose format it is.
    #[must_use]
    pub fn tool(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zst => "zstd",
        }
    }

    /// What its encoder can be told to try.
    #[must_use]
    pub fn levels(self) -> RangeInclusive<u32> {
        Container::from(self).levels()
    }

    /// How names of such images end, without the dot.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zst => "zst",
        }
    }

    /// Finds the frames of a file of this format.
    pub(super) fn read(self, file: &dyn ReadAt) -> Result<Frames, IndexError> {
        match self {
            Self::Xz => Frames::read_xz(file),
            Self::Zst => Frames::read_zst(file),
        }
    }
}

impl From<Compression> for Container {
    fn from(format: Compression) -> Self {
        match format {
            Compression::Xz => Self::XZ,
            Compression::Zst => Self::ZST,
        }
    }
}

/// How compressed images are made.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// What they are.
    pub format: Compression,
    /// The encoder's level for what is compressed anew: one of [`Compression::levels`].
    pub level: u32,
    /// Images made at a time.
    pub jobs: usize,
}

impl Packing {
    pub(super) fn effort<'a>(&self, build: &Build<'a>) -> Effort<'a> {
        Effort {
            level: self.level,
            jobs: self.jobs.max(1),
            name: build.base.name(),
            sink: build.sink,
            interrupt: build.interrupt,
        }
    }
}

/// The compressed frames that images are made of.
pub struct Blocks<'a> {
    build: Build<'a>,
    packing: Packing,
    digests: Digests,
    source: Source,
    /// Where what the images have in common is kept.
    dir: PathBuf,
}

/// Where the frames are.
enum Source {
    /// In the base's own file.
    Base(Frames),
    /// In one of our own making.
    Own(Recoded),
}

impl<'a> Blocks<'a> {
    /// Finds them: in the base's own file, or in the cache, where they are put the
    /// first time.
    ///
    /// # Errors
    /// Where the base fails or is not what it once was, or the cache cannot be
    /// written.
    pub fn open(build: Build<'a>, packing: Packing) -> Result<Self, OutputError> {
        let digests = build
            .base
            .digests(build.cache, build.sink, build.interrupt)?;
        let dir = build.cache.blocks_dir().map_err(|source| {
            let name = Path::new(build.base.name());
            OutputError::io("making a place in the cache for", name, source)
        })?;
        let source = match frames_of_base(&build, packing.format) {
            Some(frames) => {
                // What is copied is never decoded, so nothing else would tell.
                build.base.check_published(&digests, build.interrupt)?;
                Source::Base(frames)
            }
            None => Source::Own(recode::open(&build, &digests, packing, &dir)?),
        };
        Ok(Self {
            build,
            packing,
            digests,
            source,
            dir,
        })
    }

    /// The file with the frames, and its digest.
    fn parts(&self) -> Option<(&Frames, &dyn ReadAt, Origin<'_>, Sha256Digest)> {
        match &self.source {
            Source::Own(own) => Some((&own.frames, &own.file, Origin::of(&own.file), own.sha256)),
            Source::Base(frames) => {
                let (bytes, file) = self.build.base.compressed()?;
                let origin = Origin::new(bytes, file);
                Some((frames, bytes, origin, self.digests.published))
            }
        }
    }

    /// What makes images of them.
    ///
    /// # Errors
    /// Where the format has no such level.
    pub fn packer(&self) -> Result<Packer<'_>, OutputError> {
        let unfit = |source| {
            let name = Path::new(self.build.base.name());
            OutputError::io("compressing", name, source)
        };
        let parts = self.parts().ok_or(io::ErrorKind::Unsupported);
        let (frames, bytes, origin, file) = parts.map_err(|kind| unfit(kind.into()))?;
        let effort = self.packing.effort(&self.build);
        let dir = &self.dir;
        let splicer = Splicer::new(bytes, frames, effort, Some(Kept { dir, file }));
        Ok(Packer {
            blocks: self,
            bytes,
            origin,
            container: frames.container,
            splicer: splicer.map_err(unfit)?,
            first: OnceLock::new(),
            shares_blocks: OnceLock::new(),
        })
    }
}

/// The frames of the base as it was published, where it has some of this format.
fn frames_of_base(build: &Build<'_>, format: Compression) -> Option<Frames> {
    let (bytes, _) = build.base.compressed()?;
    let is_same = match format {
        Compression::Xz => build.base.format() == Format::Xz && !build.base.is_spooled(),
        Compression::Zst => build.base.format() == Format::Zstd,
    };
    let frames = is_same.then(|| format.read(bytes).ok()).flatten()?;
    // An index may say anything; the digests are those of what was decoded.
    (frames.len == build.base.len()).then_some(frames)
}

/// Makes compressed images.
pub struct Packer<'a> {
    blocks: &'a Blocks<'a>,
    /// The file with the frames.
    bytes: &'a dyn ReadAt,
    origin: Origin<'a>,
    container: Container,
    splicer: Splicer<'a>,
    /// The first image, whose blocks others may share.
    first: OnceLock<(Spliced, RawFile)>,
    /// Whether the file system of the images lets files share blocks.
    shares_blocks: OnceLock<bool>,
}

impl Packer<'_> {
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
        let Packing {
            level,
            jobs: threads,
            ..
        } = self.blocks.packing;
        // The first encodes what all have in common, with all threads.
        if let Some(job) = jobs.first() {
            report(0, body(job, threads));
        }
        let next = AtomicUsize::new(1);
        let at_a_time = Crew::of_nodes(self.container, level, threads).len();
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
        draft::remove_abandoned(&job.path)
            .map_err(|source| OutputError::io("tidying beside", &job.path, source))?;
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
            let mut pieces = Pieces::new(&spliced, self.bytes);
            while let Some((offset, piece)) = pieces
                .next()
                .map_err(|source| failed("reading the base of", source))?
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
        draft.publish(build.replace)?;
        publish_beside(job, &expected, sha256)?;
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
        self.splicer
            .splice(job.overlay, threads)
            .map_err(|source| failure("compressing", &job.path, source))
    }

    fn expected(&self, job: &Job<'_>) -> Result<Expected, OutputError> {
        Expected::new(
            self.blocks.build.base,
            &self.blocks.digests.chunks,
            job.overlay,
        )
        .map_err(|source| failure("reading the base of", &job.path, source))
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
        let different = check(spliced, self.bytes, &reader, |piece| {
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
    OutputError::io(verb, path, source)
}
