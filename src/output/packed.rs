//! Compressed images: spliced from the base's own compressed blocks, with a digest
//! and a block map beside each.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use sha2::Digest as _;

use super::draft::{self, Draft, open_direct};
use super::splice::{Spliced, Splicer, check, write};
use super::{Build, Expected, Job, Outcome, OutputError, bmap, recode};
use crate::base::xz::XzBase;
use crate::base::{Digests, Sha256Digest};
use crate::report::event::Event;

/// How compressed images are made.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// xz's preset for what is compressed anew, 0 to 9.
    pub level: u32,
    /// Images made at a time.
    pub jobs: usize,
}

/// The compressed blocks that images are made of.
pub struct Blocks<'a> {
    build: Build<'a>,
    packing: Packing,
    digests: Digests,
    /// Blocks of our own making, where the base has none to splice.
    own: Option<(XzBase, File)>,
}

impl<'a> Blocks<'a> {
    /// Finds them: in the base's own file, or in the cache, where they are put the
    /// first time.
    ///
    /// # Errors
    /// Where the base fails, or the cache cannot be written.
    pub fn open(build: Build<'a>, packing: Packing) -> Result<Self, OutputError> {
        let digests = build
            .base
            .digests(build.cache, build.sink, build.interrupt)?;
        let own = match build.base.compressed() {
            Some(_) => None,
            None => Some(recode::open(&build, &digests, packing)?),
        };
        Ok(Self {
            build,
            packing,
            digests,
            own,
        })
    }

    fn parts(&self) -> Option<(&XzBase, Option<&File>)> {
        match &self.own {
            Some((base, file)) => Some((base, Some(file))),
            None => self.build.base.compressed(),
        }
    }

    /// What makes images of them.
    ///
    /// # Errors
    /// Where the blocks cannot be spliced, or are not what they once were.
    pub fn packer(&self) -> Result<Packer<'_>, OutputError> {
        let unfit = || OutputError::NotSpliceable(self.build.base.name().to_owned());
        let (base, file) = self.parts().ok_or_else(unfit)?;
        let splicer = Splicer::new(base, self.packing.level, self.build.interrupt);
        // What is copied is never decoded, so nothing else would tell.
        if self.own.is_none() {
            self.build
                .base
                .check_published(&self.digests, self.build.interrupt)?;
        }
        Ok(Packer {
            blocks: self,
            base,
            file,
            splicer: splicer.ok_or_else(unfit)?,
            is_warm: AtomicBool::new(false),
        })
    }
}

/// Makes compressed images.
pub struct Packer<'a> {
    blocks: &'a Blocks<'a>,
    base: &'a XzBase,
    file: Option<&'a File>,
    splicer: Splicer<'a>,
    /// Whether an image was spliced already: what all have in common is encoded
    /// then, and one more takes no time worth telling.
    is_warm: AtomicBool,
}

impl Packer<'_> {
    /// Digests of the base.
    #[must_use]
    pub fn digests(&self) -> &Digests {
        &self.blocks.digests
    }

    /// Digest of the image that is to be at a job's path already, where it is
    /// there byte for byte; what belongs beside it is put there.
    ///
    /// # Errors
    /// Where it cannot be read, or the base fails.
    pub fn holds(&self, job: &Job<'_>) -> Result<Option<Sha256Digest>, OutputError> {
        let spliced = self.splice(job, self.blocks.packing.jobs)?;
        let len = job.path.metadata().map(|file| file.len());
        if len.ok() != Some(spliced.len) {
            return Ok(None);
        }
        let (different, sha256) = self.read_back(&job.path, &job.path, &spliced)?;
        if different.is_some() {
            return Ok(None);
        }
        let expected = self.expected(job)?;
        self.publish_beside(job, &expected, sha256)?;
        Ok(Some(expected.image_digest()))
    }

    /// Makes the images of `jobs`, several at a time, and calls `done` for each as
    /// soon as its fate is known.
    pub fn run(&self, jobs: &[Job<'_>], mut done: impl FnMut(usize, Outcome)) {
        let task = "images";
        let sink = self.blocks.build.sink;
        sink.send(Event::Started {
            task,
            verb: "splicing",
            total: jobs.len() as u64,
        });
        let threads = self.blocks.packing.jobs.max(1);
        let mut made = 0;
        let mut report = |index, outcome| {
            made += 1;
            done(index, outcome);
            sink.send(Event::Progressed { task, done: made });
        };
        let mut rest = jobs.iter().enumerate();
        // The first encodes what all have in common, with all threads.
        if let Some((index, job)) = rest.next() {
            report(index, self.make(job, threads));
        }
        let next = AtomicUsize::new(1);
        let (sender, outcomes) = channel();
        thread::scope(|scope| {
            for _ in 0..threads.min(rest.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let index = next.fetch_add(1, Ordering::Relaxed)
                        && let Some(job) = jobs.get(index)
                        && sender.send((index, self.make(job, 1))).is_ok()
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

    fn make(&self, job: &Job<'_>, threads: usize) -> Outcome {
        let build = &self.blocks.build;
        let failed = |verb, source| failure(verb, &job.path, source);
        draft::remove_abandoned(&job.path)
            .map_err(|source| OutputError::io("tidying beside", &job.path, source))?;
        let spliced = self.splice(job, threads)?;
        let draft = Draft::create(&job.path, 0)?;
        let source = self.base.source();
        write(
            &spliced,
            (source, self.file),
            draft.as_file(),
            build.interrupt,
        )
        .map_err(|source| failed("writing", source))?;
        draft.sync()?;
        let (different, sha256) = self.read_back(draft.draft_path(), &job.path, &spliced)?;
        if let Some(offset) = different {
            return Err(OutputError::ReadBack {
                path: job.path.clone(),
                offset,
            });
        }
        let expected = self.expected(job)?;
        draft.publish(build.replace)?;
        self.publish_beside(job, &expected, sha256)?;
        Ok(expected.image_digest())
    }

    fn splice(&self, job: &Job<'_>, threads: usize) -> Result<Spliced, OutputError> {
        let is_first = !self.is_warm.swap(true, Ordering::Relaxed);
        let (sink, task) = (self.blocks.build.sink, self.blocks.build.base.name());
        let step = |done, total| match done {
            _ if !is_first => {}
            0 => sink.send(Event::Started {
                task,
                verb: "encoding",
                total,
            }),
            done => sink.send(Event::Progressed { task, done }),
        };
        let spliced = self.splicer.splice(job.overlay, threads, &step);
        if is_first {
            sink.send(Event::Ended { task });
        }
        spliced.map_err(|source| failure("compressing", &job.path, source))
    }

    fn expected(&self, job: &Job<'_>) -> Result<Expected, OutputError> {
        Expected::new(&self.splicer, &self.blocks.digests.chunks, job.overlay)
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
        let reader = open_direct(OpenOptions::new().read(true), file)
            .or_else(|_| File::open(file))
            .map_err(failed)?;
        let buffered = File::open(file).map_err(failed)?;
        let mut hasher = sha2::Sha256::new();
        let read = |buf: &mut [u8], at| super::read_back::read_at(&reader, &buffered, buf, at);
        let different = check(spliced, self.base.source(), read, |piece| {
            hasher.update(piece);
            interrupt
                .check()
                .map_err(|_| io::ErrorKind::Interrupted.into())
        })
        .map_err(failed)?;
        Ok((different, Sha256Digest(hasher.finalize().into())))
    }

    /// What belongs beside an image: its digest and its block map.
    fn publish_beside(
        &self,
        job: &Job<'_>,
        expected: &Expected,
        sha256: Sha256Digest,
    ) -> Result<(), OutputError> {
        let name = job.path.file_name().unwrap_or_default().to_string_lossy();
        publish_text(
            &beside(&job.path, ".sha256"),
            &format!("{sha256}  {name}\n"),
        )?;
        let Some(used) = job.used else { return Ok(()) };
        let map = bmap::render(expected, used);
        publish_text(&beside(&job.path, ".bmap"), &map)
    }
}

/// `raspberrypi0.img.xz.sha256`.
pub(super) fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Puts a small file in its place, whole, and only where it is not there already.
pub(super) fn publish_text(path: &Path, text: &str) -> Result<(), OutputError> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    draft::remove_abandoned(path)
        .map_err(|source| OutputError::io("tidying beside", path, source))?;
    let mut draft = Draft::create(path, text.len() as u64)?;
    draft.write_at(0, text.as_bytes())?;
    draft.sync()?;
    draft.publish(true)
}

fn failure(verb: &'static str, path: &Path, source: io::Error) -> OutputError {
    if source.kind() == io::ErrorKind::Interrupted {
        return crate::interrupt::Interrupted.into();
    }
    OutputError::io(verb, path, source)
}
