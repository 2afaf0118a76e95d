//! What belongs beside an image: its digest and its block map.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Expected, Job, OutputError, bmap, draft};
use crate::base::Sha256Digest;
use crate::whole;

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

/// Removes what lies beside an image that is to be replaced and tells of the old one.
///
/// # Errors
/// What the operating system says.
pub fn remove_beside(image: &Path) -> Result<(), OutputError> {
    let mut removed = false;
    for suffix in [".sha256", ".bmap"] {
        let path = beside(image, suffix);
        match fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OutputError::io("removing", &path, error)),
        }
    }
    if removed {
        // A power failure must not bring them back beside the new image.
        whole::sync_folder(whole::folder_of(image))
            .map_err(|source| OutputError::io("syncing the folder of", image, source))?;
    }
    Ok(())
}

/// Puts a small file in its place, whole, and only where it is not there already.
pub(super) fn publish_text(path: &Path, text: &str) -> Result<(), OutputError> {
    draft::remove_abandoned(path)?;
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    whole::write(path, text.as_bytes(), 0o600)
        .map_err(|source| OutputError::io("writing", path, source))
}
