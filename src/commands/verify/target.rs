//! What `verify` is to look at: a card, an image, or a compressed one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::base::read_at::RawFile;
use crate::base::{Base, BaseError, Cache, ChunkDigests, Format, ReadAt, read_format};
use crate::card::sudo_again;
use crate::commands::{Context, Usage};
use crate::output::Expected;

/// What there is to compare.
pub(super) enum Found {
    /// Bytes as they are.
    Plain,
    /// A compressed image, all of which was read.
    Packed {
        /// Its bytes, unpacked.
        image: Box<dyn ReadAt>,
        /// Digests of those.
        chunks: ChunkDigests,
    },
    /// A compressed image that does not unpack.
    Damaged(Damage),
}

/// Why a compressed image does not unpack.
pub(super) struct Damage {
    /// What is wrong, and where.
    pub(super) what: String,
    pub(super) format: Format,
}

impl Found {
    /// Reads all of the image, if it is compressed; what is remembered of it counts for
    /// nothing. Of a card the bytes count as they are, however they begin.
    pub(super) fn open(
        context: &Context<'_>,
        cache: &Cache,
        target: &Path,
        was_flashed: bool,
    ) -> Result<Self> {
        let failed = || format!("reading {}", target.display());
        let file = fs::File::open(target).with_context(failed)?;
        let kind = file.metadata().with_context(failed)?.file_type();
        let format = read_format(&file).with_context(failed)?;
        // Nothing boots from a card that an image was written to without unpacking it.
        if format == Format::Raw || was_flashed || kind.is_block_device() {
            return Ok(Self::Plain);
        }
        match Base::open_afresh(target, cache, &context.progress, &context.interrupt) {
            Ok((image, digests)) => Ok(Self::Packed {
                image: Box::new(image),
                chunks: digests.chunks,
            }),
            // A difference as any other: what is planned unpacks.
            Err(BaseError::Damaged { what, .. }) => Ok(Self::Damaged(Damage { what, format })),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses early, and says what to do.
pub(in crate::commands) fn check_readable(target: &Path) -> Result<()> {
    let kind = match fs::metadata(target) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(Usage(format!("there is no {}", target.display())))
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", target.display())),
    };
    if kind.is_dir() {
        bail!(Usage(format!(
            "{} is a directory; give an image or a card",
            target.display()
        )));
    }
    // Opening a pipe would wait for somebody to write to it.
    if !kind.is_file() && !kind.is_block_device() {
        bail!(Usage(format!(
            "{} is neither a file nor a block device; give an image or a card",
            target.display()
        )));
    }
    if let Err(error) = fs::File::open(target)
        && error.kind() == ErrorKind::PermissionDenied
    {
        bail!(Usage(format!(
            "you may not read {0}. Run the same once more {1}, or join the group that may \
             (`ls -l {0}` tells which)",
            target.display(),
            sudo_again()
        )));
    }
    Ok(())
}

/// The bytes of an image that is not compressed.
pub(super) fn open_plain(target: &Path) -> Result<Box<dyn ReadAt>> {
    let open = || RawFile::new(fs::File::open(target)?);
    let image = open().with_context(|| format!("reading {}", target.display()))?;
    Ok(Box::new(image))
}

/// Which chunks of what was unpacked are not as planned.
pub(super) fn differing_packed(found: &ChunkDigests, expected: &Expected) -> Vec<usize> {
    let found = found.as_slice();
    let count = expected.chunks().max(found.len());
    (0..count)
        .filter(|&index| found.get(index) != expected.digest(index))
        .collect()
}

/// A card, or a file that stands in for one, holds more than the image, and old bytes where the image uses nothing;
/// an image file has neither.
pub(super) fn is_card(target: &Path, image_len: u64) -> Result<bool> {
    let metadata = fs::metadata(target).with_context(|| target.display().to_string())?;
    Ok(metadata.file_type().is_block_device() || metadata.len() > image_len)
}
