//! Image files: made, read back, and only then given their name.
//!
//! Where the file system shares blocks (btrfs, xfs), the base is written once
//! and each image is a clone of it plus the overlay. Elsewhere the base is
//! decoded once and written to a batch of images at the same time.

mod aligned;
mod beside;
mod blocks;
mod bmap;
mod draft;
mod error;
mod expected;
mod fan_out;
mod of_base;
mod packed;
mod plain;
mod read_back;
mod recode;
mod reflink;
pub(crate) mod splice;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub(crate) use aligned::{ALIGN, AlignedBuf};
pub(crate) use beside::beside;
use beside::publish_alone;
pub use beside::{publish_beside, remove_abandoned};
pub use blocks::{Blocks, Compression, Packing};
pub use error::OutputError;
pub use expected::Expected;
pub use packed::Packer;
pub use plain::sha256_of_images;
pub use read_back::differing_chunks;
pub(crate) use read_back::for_each_chunk;

use self::draft::Draft;
use self::fan_out::{Lane, fan_out};
use crate::base::chunk::{CHUNK_LEN, ChunkDigests};
use crate::base::{Base, Cache, Digests, ReadAt as _, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::layout::UsedMap;
use crate::overlay::Overlay;
use crate::report::event::{Event, Sink};

/// Images written in one pass over the base; bounds open files and memory.
const BATCH_LEN: usize = 32;

/// One image to make.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Whose image it is: the hostname.
    pub name: &'a str,
    /// Where it goes.
    pub path: PathBuf,
    /// What differs from the base.
    pub overlay: &'a Overlay,
    /// What of both together holds data, for a block map beside the image.
    pub used: Option<&'a UsedMap>,
}

/// What became of a [`Job`]: the digest of the published image, or why there is
/// none.
pub type Outcome = Result<Sha256Digest, OutputError>;

/// What all jobs of a build share.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// The stock image.
    pub base: &'a Base,
    /// Where digests are remembered.
    pub cache: &'a Cache,
    /// Replace existing images.
    pub replace: bool,
    /// Where progress goes.
    pub sink: &'a dyn Sink,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
}

impl Build<'_> {
    /// Makes the images of `jobs`, all in one folder, and calls `done` for each
    /// as soon as its fate is known. Returns the digests of the base. The folder is
    /// tidied by [`remove_abandoned`].
    ///
    /// # Errors
    /// Where the base fails, which ends all of them. What befalls a single
    /// image goes to `done`.
    pub fn run(
        &self,
        jobs: &[Job<'_>],
        mut done: impl FnMut(usize, Outcome),
    ) -> Result<Digests, OutputError> {
        let reflinks = jobs.len() > 1 && reflink::works_beside(&jobs[0].path);
        if reflinks {
            self.clone_all(jobs, &mut done)
        } else {
            self.write_all(jobs, &mut done)
        }
    }

    fn write_all(
        &self,
        jobs: &[Job<'_>],
        done: &mut dyn FnMut(usize, Outcome),
    ) -> Result<Digests, OutputError> {
        let mut digests = None;
        for (batch, start) in jobs.chunks(BATCH_LEN).zip((0..).step_by(BATCH_LEN)) {
            let mut lanes: Vec<Lane<'_>> = batch
                .iter()
                .map(|job| Lane {
                    overlay: job.overlay,
                    draft: Draft::create(&job.path, self.base.len()),
                })
                .collect();
            let found = self.pass(&mut lanes)?;
            for (index, (job, lane)) in (start..).zip(batch.iter().zip(lanes)) {
                done(
                    index,
                    lane.draft
                        .and_then(|draft| self.finish(job, draft, &found.chunks)),
                );
            }
            digests = Some(found);
        }
        match digests {
            Some(digests) => Ok(digests),
            None => Ok(self.base.digests(self.cache, self.sink, self.interrupt)?),
        }
    }

    fn pass(&self, lanes: &mut [Lane<'_>]) -> Result<Digests, OutputError> {
        let digests = fan_out(lanes, CHUNK_LEN, |each| {
            let put = &mut |offset, chunk: &[u8], _: &_| each(offset, chunk);
            self.base
                .digest_while(self.cache, self.sink, self.interrupt, put)
        })?;
        Ok(digests)
    }

    fn finish(&self, job: &Job<'_>, draft: Draft, chunks: &ChunkDigests) -> Outcome {
        draft.sync()?;
        let expected = self.expected(job, chunks)?;
        let path = draft.draft_path();
        let different = differing_chunks(path, &expected, job.name, self.sink, self.interrupt)?;
        refuse_differences(&job.path, &expected, &different)?;
        publish_alone(draft, &job.path, self.replace)?;
        Ok(expected.image_digest())
    }

    fn clone_all(
        &self,
        jobs: &[Job<'_>],
        done: &mut dyn FnMut(usize, Outcome),
    ) -> Result<Digests, OutputError> {
        let (pristine, digests) = self.pristine(&jobs[0].path)?;
        let task = "images";
        self.sink.send(Event::Started {
            task,
            verb: "cloning",
            total: jobs.len() as u64,
        });
        for (index, job) in jobs.iter().enumerate() {
            self.interrupt.check()?;
            done(index, self.clone_one(job, &pristine, &digests.chunks));
            self.sink.send(Event::Progressed {
                task,
                done: index as u64 + 1,
            });
        }
        self.sink.send(Event::Ended { task });
        Ok(digests)
    }

    /// The base as a raw file beside the images, checked: what clones share.
    fn pristine(&self, beside: &Path) -> Result<(Draft, Digests), OutputError> {
        let path = pristine_path(beside);
        if let Some(draft) = self.clone_of_base(&path)? {
            let digests = self.base.digests(self.cache, self.sink, self.interrupt)?;
            match self.check_pristine(&path, &draft, &digests) {
                Ok(()) => return Ok((draft, digests)),
                Err(error) if error.is_interrupted() => return Err(error),
                // The base may have rotted, or the clone: a pass over the base tells.
                Err(_) => {}
            }
        }
        let nothing = Overlay::default();
        let draft = Draft::create(&path, self.base.len());
        let mut lanes = [Lane {
            overlay: &nothing,
            draft,
        }];
        let digests = self.pass(&mut lanes)?;
        let [Lane { draft, .. }] = lanes;
        let draft = draft?;
        self.check_pristine(&path, &draft, &digests)?;
        Ok((draft, digests))
    }

    /// Makes sure that `draft` holds the base.
    fn check_pristine(
        &self,
        path: &Path,
        draft: &Draft,
        digests: &Digests,
    ) -> Result<(), OutputError> {
        draft.sync()?;
        let expected = Expected::new(self.base, &digests.chunks, &Overlay::default())
            .map_err(|source| OutputError::io("reading the base of", path, source))?;
        let (file, sink) = (draft.draft_path(), self.sink);
        let different = differing_chunks(file, &expected, PRISTINE, sink, self.interrupt)?;
        refuse_differences(path, &expected, &different)
    }

    /// The base's own file, cloned, where both are on one file system.
    fn clone_of_base(&self, path: &Path) -> Result<Option<Draft>, OutputError> {
        let Some(file) = self.base.raw_file() else {
            return Ok(None);
        };
        let mut draft = Draft::create(path, self.base.len())?;
        Ok(draft.clone_from(file).is_ok().then_some(draft))
    }

    fn clone_one(&self, job: &Job<'_>, pristine: &Draft, chunks: &ChunkDigests) -> Outcome {
        let mut draft = Draft::create(&job.path, self.base.len())?;
        draft.clone_from(pristine.as_file())?;
        for extent in job.overlay.extents() {
            draft.write_at(extent.offset, &extent.bytes)?;
        }
        draft.sync()?;
        let expected = self.expected(job, chunks)?;
        let different = read_back::differing_patched_chunks(draft.draft_path(), &expected)?;
        refuse_differences(&job.path, &expected, &different)?;
        publish_alone(draft, &job.path, self.replace)?;
        Ok(expected.image_digest())
    }

    fn expected(&self, job: &Job<'_>, chunks: &ChunkDigests) -> Result<Expected, OutputError> {
        Expected::new(self.base, chunks, job.overlay)
            .map_err(|source| OutputError::io("reading the base of", &job.path, source))
    }
}

/// What the base is called while images are cloned from it.
const PRISTINE: &str = "base";

/// Where the base is kept while images are cloned from it.
fn pristine_path(beside: &Path) -> PathBuf {
    beside.with_file_name(PRISTINE)
}

fn refuse_differences(
    path: &Path,
    expected: &Expected,
    different: &[usize],
) -> Result<(), OutputError> {
    match different.first() {
        None => Ok(()),
        Some(&index) => {
            let (offset, _) = expected.range(index);
            Err(OutputError::ReadBack {
                path: path.to_owned(),
                offset,
            })
        }
    }
}
