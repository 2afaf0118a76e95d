//! What belongs beside an image: its digest and its block map.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::{Expected, Job, OutputError, PRISTINE, bmap};
use crate::base::Sha256Digest;
use crate::whole::{self, Existing, Unfinished};

/// What lies beside an image is called like it, with one of these behind.
pub(super) const SUFFIXES: [&str; 2] = [".sha256", ".bmap"];

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
    texts(job, expected, sha256)
        .iter()
        .try_for_each(|(path, text)| publish_text(path, text))
}

/// What is to lie beside an image, complete on the disk, but for its names.
#[derive(Debug)]
pub(super) struct Beside(Vec<Unfinished>);

impl Beside {
    /// Writes it, so that a full disk is met before the image has its name.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn draft(
        job: &Job<'_>,
        expected: &Expected,
        sha256: Sha256Digest,
    ) -> Result<Self, OutputError> {
        let draft = |(path, text): &(PathBuf, String)| {
            Unfinished::with_bytes(path, text.as_bytes(), 0o600)
                .map_err(|source| OutputError::io("writing", path, source))
        };
        let texts = texts(job, expected, sha256);
        Ok(Self(texts.iter().map(draft).collect::<Result<_, _>>()?))
    }

    /// Gives it its names; to be called when the image has its own.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn publish(self) -> Result<(), OutputError> {
        self.0.into_iter().try_for_each(|draft| {
            let path = draft.path().to_owned();
            let published = draft.publish(Existing::Replace);
            published.map_err(|source| OutputError::io("naming", &path, source))
        })
    }
}

fn texts(job: &Job<'_>, expected: &Expected, sha256: Sha256Digest) -> Vec<(PathBuf, String)> {
    let name = job.path.file_name().unwrap_or_default().to_string_lossy();
    let sum = format!("{sha256}  {name}\n");
    let mut texts = vec![(beside(&job.path, ".sha256"), sum)];
    if let Some(used) = job.used {
        texts.push((beside(&job.path, ".bmap"), bmap::render(expected, used)));
    }
    texts
}

/// `raspberrypi0.img.xz.sha256`.
pub(crate) fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Removes what a crash left of these images, of what belongs beside them, and of the
/// base that they were cloned from. One look at each folder, however many images there
/// are.
pub fn remove_abandoned<'a>(images: impl IntoIterator<Item = &'a Path>) {
    let mut folders: BTreeMap<&Path, HashSet<PathBuf>> = BTreeMap::new();
    for image in images {
        let names = folders.entry(whole::folder_of(image)).or_default();
        let name = Path::new(image.file_name().unwrap_or_default());
        names.extend(SUFFIXES.map(|suffix| beside(name, suffix)));
        names.insert(name.to_owned());
    }
    for (folder, names) in folders {
        let is_ours = |name: &OsStr| name == PRISTINE || names.contains(Path::new(name));
        whole::tidy(folder, is_ours);
    }
}

/// Gives an image its name. What lies beside it and tells of another one goes first:
/// whatever happens meanwhile, nothing tells of an image that is not there.
///
/// # Errors
/// Among others where there is an image that is not to be replaced.
pub(super) fn publish_alone(draft: Draft, image: &Path, replace: bool) -> Result<(), OutputError> {
    // Somebody else's image keeps what is beside it.
    if !replace && image.exists() {
        return Err(OutputError::Appeared(image.to_owned()));
    }
    remove_beside(image)?;
    draft.publish(replace)
}

fn remove_beside(image: &Path) -> Result<(), OutputError> {
    let mut removed = false;
    for suffix in SUFFIXES {
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

/// Puts a small file in its place, whole, and only where it is not there already. Its
/// folder is tidied by [`remove_abandoned`].
pub(super) fn publish_text(path: &Path, text: &str) -> Result<(), OutputError> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    whole::write_in_tidy_folder(path, text.as_bytes(), 0o600)
        .map_err(|source| OutputError::io("writing", path, source))
}
