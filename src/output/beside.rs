//! What belongs beside an image: its digest and its block map.

use std::fs;
use std::path::{Path, PathBuf};

use super::draft::{self, Draft};
use super::{Expected, Job, OutputError, bmap};
use crate::base::Sha256Digest;

/// Puts `.sha256` and, where it is known what the image uses, `.bmap` beside the
/// image of `job`, whose file has the digest `sha256`.
///
/// # Errors
/// Where they cannot be written.
pub fn publish_beside(
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
    publish_text(&beside(&job.path, ".bmap"), &bmap::render(expected, used))
}

/// `raspberrypi0.img.xz.sha256`.
pub(crate) fn beside(image: &Path, suffix: &str) -> PathBuf {
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
