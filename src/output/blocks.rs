//! The compressed blocks that images are spliced from: the base's own, or some that
//! were made of it.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::of_base::OfBase;
use super::recode::{self, Recoded};
use super::splice::{Container, Effort, Frames, Kept, Origin, Splicer};
use super::{Build, OutputError};
use crate::base::xz::IndexError;
use crate::base::{Digests, Format, ReadAt};

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
        let frames = match self {
            Self::Xz => Frames::read_xz(file),
            Self::Zst => Frames::read_zst(file),
        }?;
        frames.check(file)?;
        Ok(frames)
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
    pub(super) build: Build<'a>,
    pub(super) packing: Packing,
    pub(super) digests: Digests,
    source: Source<'a>,
    /// Where what the images have in common is kept.
    dir: PathBuf,
}

/// Where the frames are.
enum Source<'a> {
    /// In the base's own bytes, and the file that these are, where they are one.
    Base(Frames, OfBase<&'a dyn ReadAt>, Option<&'a File>),
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
        let dir = build.cache.blocks_dir();
        let dir = dir.map_err(|source| recode::unkept(&build, build.cache.dir(), source))?;
        let source = match frames_of_base(&build, packing.format) {
            Some((frames, bytes, file)) => {
                // What is copied is never decoded, so nothing else would tell.
                build.base.check_published(&digests, build.interrupt)?;
                // The plan was made of what lies in the cache, not of this file.
                if build.base.is_spooled() {
                    recode::check_base(&build)?;
                }
                Source::Base(frames, OfBase(bytes), file)
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

    /// The file with the frames, and what makes images of it.
    pub(super) fn splicer(&self) -> Result<(Origin<'_>, Splicer<'_>), OutputError> {
        let (frames, origin, file) = match &self.source {
            Source::Base(frames, bytes, file) => {
                (frames, Origin::new(bytes, *file), self.digests.published)
            }
            Source::Own(own) => {
                let origin = Origin::new(&own.file, Some(own.file.0.file()));
                (&own.frames, origin, own.sha256)
            }
        };
        let dir = &self.dir;
        let effort = self.packing.effort(&self.build);
        let splicer = Splicer::new(origin.bytes, frames, effort, Some(Kept { dir, file }));
        let unfit = |source| {
            let name = Path::new(self.build.base.name());
            OutputError::io("compressing", name, source)
        };
        Ok((origin, splicer.map_err(unfit)?))
    }
}

/// The frames of the base as it was published, where it has some of this format.
fn frames_of_base<'a>(
    build: &Build<'a>,
    format: Compression,
) -> Option<(Frames, &'a dyn ReadAt, Option<&'a File>)> {
    let (bytes, file) = build.base.compressed()?;
    let is_same = match format {
        Compression::Xz => build.base.format() == Format::Xz && !build.base.is_spooled(),
        Compression::Zst => build.base.format() == Format::Zstd,
    };
    let frames = is_same.then(|| format.read(bytes).ok()).flatten()?;
    // An index may say anything; the digests are those of what was decoded.
    (frames.len == build.base.len()).then_some((frames, bytes, file))
}
