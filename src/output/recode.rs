//! A base without frames to splice, turned once into one that has them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use sha2::Digest as _;

use super::beside::remove_abandoned;
use super::blocks::Packing;
use super::of_base::OfBase;
use super::splice::{Container, Frames, Recode, is_interrupt};
use super::{Build, OutputError, beside};
use crate::base::read_at::RawFile;
use crate::base::xz::IndexError;
use crate::base::{BaseError, Digests, ReadAt as _, Sha256Digest, digest_of_file};
use crate::interrupt::{Interrupt, Interrupted};
use crate::report::event::Silent;
use crate::whole::{self, Existing, Unfinished};

/// A base that was compressed anew.
pub(super) struct Recoded {
    pub(super) file: OfBase<RawFile>,
    pub(super) frames: Frames,
    /// Digest of the file.
    pub(super) sha256: Sha256Digest,
}

/// The base in frames, from the cache; puts it there the first time.
pub(super) fn open(
    build: &Build<'_>,
    digests: &Digests,
    packing: Packing,
    dir: &Path,
) -> Result<Recoded, OutputError> {
    // Another version may bring another encoder; all machines of one version
    // shall make the same bytes.
    let version = env!("CARGO_PKG_VERSION");
    let suffix = packing.format.suffix();
    let name = format!("{}-{}-{version}.{suffix}", digests.raw, packing.level);
    let path = dir.join(name);
    let sum = beside(&path, ".sha256");
    // What the disk lost since is noticed: it would never be decoded here.
    let known = fs::read_to_string(&sum).ok();
    let found = digest_of(&path, build.interrupt)?;
    if let Some(sha256) = found
        && known == Some(sha256.to_string())
        && let Ok(file) = File::open(&path)
        && let Ok(recoded) = read(file, packing, sha256)
    {
        check_base(build)?;
        return Ok(recoded);
    }
    remove_abandoned([path.as_path()]);
    let unkept = |source| unkept(build, dir, source);
    let unfinished = Unfinished::create(&path, 0o600).map_err(unkept)?;
    let sha256 = recode(build, packing, unfinished.as_file(), dir)?;
    unfinished.as_file().sync_all().map_err(unkept)?;
    let failed = |source| OutputError::io("reading", &path, source);
    // Before it has its name: from then on whoever makes room may remove it.
    let file = File::open(unfinished.temporary_path()).map_err(failed)?;
    unfinished.publish(Existing::Replace).map_err(unkept)?;
    let text = sha256.to_string();
    whole::write_in_tidy_folder(&sum, text.as_bytes(), 0o600).map_err(unkept)?;
    read(file, packing, sha256).map_err(|source| failed(io::Error::other(source)))
}

/// Makes sure of the bytes that the plan was made of, and that patched chunks are
/// digested from, where nothing else reads all of them.
pub(super) fn check_base(build: &Build<'_>) -> Result<(), OutputError> {
    let Build {
        base,
        cache,
        sink,
        interrupt,
        ..
    } = *build;
    Ok(base.check_read_at_random(cache, sink, interrupt)?)
}

/// Why the cache does not take it; where images go has nothing to do with that.
pub(super) fn unkept(build: &Build<'_>, dir: &Path, source: io::Error) -> OutputError {
    OutputError::Cache {
        name: build.base.name().to_owned(),
        dir: dir.to_owned(),
        source,
    }
}

fn read(file: File, packing: Packing, sha256: Sha256Digest) -> Result<Recoded, IndexError> {
    let file = RawFile::new(file)?;
    let frames = packing.format.read(&file)?;
    Ok(Recoded {
        file: OfBase(file),
        frames,
        sha256,
    })
}

/// Digest of a file; none where there is none, or it cannot be read.
fn digest_of(path: &Path, interrupt: &Interrupt) -> Result<Option<Sha256Digest>, OutputError> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let failed = |source| BaseError::Read {
        path: path.to_owned(),
        source,
    };
    match digest_of_file(&file, interrupt, &failed) {
        Ok(sha256) => Ok(Some(sha256)),
        Err(BaseError::Interrupted(stop)) => Err(stop.into()),
        Err(_) => Ok(None),
    }
}

/// Compresses the base, and returns the digest of what came out.
fn recode(
    build: &Build<'_>,
    packing: Packing,
    file: &File,
    dir: &Path,
) -> Result<Sha256Digest, OutputError> {
    let recode = Recode {
        container: Container::from(packing.format),
        effort: packing.effort(build),
    };
    let mut out = Hashed {
        file,
        hasher: sha2::Sha256::new(),
    };
    let mut broken = None;
    // A pass decodes on all cores, and tells of damage. The bar is the encoder's.
    let feed = &mut |put: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
        let each = &mut |_, chunk: &[u8], _: &Sha256Digest| put(chunk);
        let passed = build
            .base
            .digest_while(build.cache, &Silent, build.interrupt, each);
        match passed {
            Ok(_) => Ok(()),
            Err(BaseError::Consumer { source, .. }) => Err(source),
            Err(error) => {
                broken = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    };
    let result = recode.pieces(build.base.len(), &mut out, feed);
    match (result, broken) {
        (Ok(_), _) => Ok(Sha256Digest(out.hasher.finalize().into())),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(error), None) if is_interrupt(&error) => Err(Interrupted.into()),
        (Err(source), None) => Err(unkept(build, dir, source)),
    }
}

/// Writes to a file, and digests what goes by.
struct Hashed<'a> {
    file: &'a File,
    hasher: sha2::Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file;
        let done = file.write(bytes)?;
        self.hasher.update(&bytes[..done]);
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
