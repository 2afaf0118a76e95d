//! Bases that cannot be read in place are decompressed once, into the cache.

mod archive;
mod arriving;
mod copy;
mod decoder;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use self::archive::ArchiveError;
pub(crate) use self::arriving::{TakenIn, take_in};
use self::copy::CopyError;
use self::decoder::{Counting, Decoder, FromStart, Tee};
use super::cache::{Cache, Known, Stamp, lock_dir};
use super::read_at::RawFile;
use super::{BaseError, ChunkDigests, Digests, Format, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::owner;
use crate::report::event::{Event, Sink};

/// Bytes decompressed at once.
const PIECE_LEN: usize = 1 << 20;
/// How the names of unfinished files begin.
const UNFINISHED: &str = ".unfinished";

/// What to spool, and for whom.
pub(super) struct Spooling<'a> {
    pub(super) path: &'a Path,
    pub(super) name: &'a str,
    pub(super) format: Format,
    pub(super) cache: &'a Cache,
    pub(super) sink: &'a dyn Sink,
    pub(super) interrupt: &'a Interrupt,
}

impl Spooling<'_> {
    /// The decompressed file: from the cache, or made now.
    pub(super) fn run(&self, file: &File, stamp: Option<&Stamp>) -> Result<RawFile, BaseError> {
        let failed = |source| self.cache_failed(source);
        let dir = self.cache.spool_dir().map_err(failed)?;
        let waiting = || {
            let message = "Waiting for another cardmint, which is unpacking an image.";
            self.sink.send(Event::Noticed { message });
        };
        let _lock = lock_dir(&dir, self.interrupt, &waiting, &failed)?;
        if let Some(found) = self.recall(stamp, &dir) {
            return Ok(found);
        }
        // Nobody else is unpacking: what is unfinished was left by a crash.
        sweep(&dir).map_err(failed)?;
        let target = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&dir)
            .map_err(failed)?;
        owner::give(target.as_file(), &dir);
        let digests = self.decompress(file, target.as_file())?;
        self.check_unchanged(file, stamp)?;
        target.as_file().sync_all().map_err(failed)?;
        let path = spool_path(&dir, &digests.published);
        let spooled = target.persist(&path).map_err(|error| failed(error.error))?;
        let spool_stamp = Stamp::of(&spooled.metadata().map_err(failed)?);
        self.cache
            .remember(self.path, stamp, Known::of(&digests, spool_stamp));
        RawFile::new(File::open(&path).map_err(failed)?).map_err(failed)
    }

    /// The decompressed file, made now and under no name: it is gone when it is closed,
    /// whatever ends the process. Nobody else has any use for it, so nobody waits.
    pub(super) fn run_unnamed(
        &self,
        file: &File,
        stamp: Option<&Stamp>,
    ) -> Result<(RawFile, Digests), BaseError> {
        let failed = |source| self.cache_failed(source);
        let dir = self.cache.spool_dir().map_err(failed)?;
        let target = tempfile::tempfile_in(&dir).map_err(failed)?;
        let digests = self.decompress(file, &target)?;
        self.check_unchanged(file, stamp)?;
        Ok((RawFile::new(target).map_err(failed)?, digests))
    }

    fn check_unchanged(&self, file: &File, stamp: Option<&Stamp>) -> Result<(), BaseError> {
        let now = file.metadata().map_err(|source| self.unreadable(source))?;
        if Stamp::of(&now).as_ref() == stamp {
            Ok(())
        } else {
            Err(BaseError::Changed(self.name.to_owned()))
        }
    }

    /// A spooled file that is still what was put there.
    fn recall(&self, stamp: Option<&Stamp>, dir: &Path) -> Option<RawFile> {
        let known = self.cache.recall(self.path, stamp)?;
        let file = File::open(spool_path(dir, &known.published?)).ok()?;
        let metadata = file.metadata().ok()?;
        known.digests(metadata.len())?;
        let unchanged = known.spool.is_some() && known.spool == Stamp::of(&metadata);
        unchanged.then(|| RawFile::new(file).ok())?
    }

    fn decompress(&self, file: &File, target: &File) -> Result<Digests, BaseError> {
        let metadata = file.metadata().map_err(|source| self.unreadable(source))?;
        self.sink.send(Event::Started {
            task: self.name,
            verb: "unpacking",
            total: metadata.len(),
        });
        let result = match self.format {
            Format::Zip => self.unzip(file, target),
            _ => self.unpack(file, target),
        };
        self.sink.send(Event::Ended { task: self.name });
        result
    }

    fn unpack(&self, file: &File, target: &File) -> Result<Digests, BaseError> {
        let input = Counting::new(FromStart::of(file));
        let consumed = input.consumed();
        let consumed = || consumed.load(Ordering::Relaxed);
        let failed = |error: &io::Error| self.failed(error, consumed());
        let mut decoder =
            Decoder::new(self.format, Tee::new(input)).map_err(|error| failed(&error))?;
        let (raw, chunks) = self.copy(decoder.as_read(), &|_| consumed(), target)?;
        let input = decoder.finish().map_err(|error| failed(&error))?;
        let published = input.finish();
        Ok(Digests {
            published,
            raw,
            chunks,
        })
    }

    /// Unpacks the one image in a zip.
    fn unzip(&self, file: &File, target: &File) -> Result<Digests, BaseError> {
        let failed = |error| match error {
            ArchiveError::Broken(error) => self.failed(&error.into(), 0),
            ArchiveError::Unsuitable(what) => self.unsuitable(what),
        };
        let mut archive = archive::open(file).map_err(failed)?;
        archive::check_end(file, archive.comment()).map_err(|error| self.failed(&error, 0))?;
        let index = archive::find_image(&mut archive).map_err(failed)?;
        let mut entry = archive
            .by_index(index)
            .map_err(|error| failed(error.into()))?;
        // An entry is read in small steps; that its share of the bytes grows
        // evenly is close enough.
        archive::check_method(&entry).map_err(failed)?;
        let len = file
            .metadata()
            .map_err(|source| self.unreadable(source))?
            .len();
        let packed = entry.compressed_size().min(len);
        let unpacked = entry.size().max(1);
        let consumed = |len: u64| {
            let share = u128::from(len) * u128::from(packed) / u128::from(unpacked);
            u64::try_from(share).unwrap_or(packed).min(packed)
        };
        let (raw, chunks) = self.copy(&mut entry, &consumed, target)?;
        let published = digest_of_file(file, self.interrupt, &|source| self.unreadable(source))?;
        Ok(Digests {
            published,
            raw,
            chunks,
        })
    }

    /// Copies what `decoder` unpacks into `target`. `consumed` tells from how many
    /// bytes of the file came those unpacked so far.
    fn copy(
        &self,
        decoder: &mut dyn Read,
        consumed: &dyn Fn(u64) -> u64,
        target: &File,
    ) -> Result<(Sha256Digest, ChunkDigests), BaseError> {
        let mut done = 0;
        let mut progressed = |unpacked| {
            done = consumed(unpacked);
            self.sink.send(Event::Progressed {
                task: self.name,
                done,
            });
            done
        };
        copy::copy(decoder, Some(target), self.interrupt, &mut progressed).map_err(|error| {
            match error {
                CopyError::Decoder(error) => self.failed(&error, done),
                CopyError::Bomb { consumed, unpacked } => self.unsuitable(format!(
                    "its first {consumed} bytes unpack to more than {unpacked}, which no image \
                     does; give a Raspberry Pi OS image"
                )),
                CopyError::Target(source) => self.cache_failed(source),
                CopyError::Interrupted(interrupted) => interrupted.into(),
            }
        })
    }

    /// What a decoder's error means, after it read `consumed` bytes.
    fn failed(&self, error: &io::Error, consumed: u64) -> BaseError {
        if let Some(code) = error.raw_os_error() {
            return self.unreadable(io::Error::from_raw_os_error(code));
        }
        if decoder::is_out_of_memory(error) {
            let what = "its dictionary takes more than 256 MiB of memory; unpack it yourself and \
                        give the .img";
            return self.unsuitable(what.to_owned());
        }
        // Decoders read ahead, up to a piece.
        let what = format!("it does not unpack, at or before byte {consumed} ({error})");
        BaseError::Damaged {
            name: self.name.to_owned(),
            what,
        }
    }

    fn unsuitable(&self, what: String) -> BaseError {
        BaseError::Unsuitable {
            name: self.name.to_owned(),
            what,
        }
    }

    fn cache_failed(&self, source: io::Error) -> BaseError {
        let dir = self
            .cache
            .spool_dir()
            .unwrap_or_else(|_| PathBuf::from("the cache"));
        BaseError::Cache {
            name: self.name.to_owned(),
            dir,
            source,
        }
    }

    fn unreadable(&self, source: io::Error) -> BaseError {
        BaseError::Read {
            path: self.path.to_owned(),
            source,
        }
    }
}

/// Unpacks `file` into `target` and touches nothing else.
#[cfg(any(test, fuzzing))]
pub(crate) fn unpack_into(
    format: Format,
    file: &File,
    target: &File,
    dir: &Path,
) -> Result<Digests, BaseError> {
    let spooling = Spooling {
        path: dir,
        name: "fuzz",
        format,
        cache: &Cache::at(dir.to_owned()),
        sink: &crate::report::event::Silent,
        interrupt: &Interrupt::default(),
    };
    spooling.decompress(file, target)
}

/// Removes unfinished files.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what the file with this digest was unpacked to. Whoever has it open keeps it.
pub(super) fn discard(cache: &Cache, published: &Sha256Digest) -> io::Result<()> {
    fs::remove_file(spool_path(&cache.spool_dir()?, published))
}

fn spool_path(dir: &Path, published: &Sha256Digest) -> PathBuf {
    dir.join(format!("{published}.img"))
}

/// Digest of a whole file.
pub(crate) fn digest_of_file(
    file: &File,
    interrupt: &Interrupt,
    failed: &dyn Fn(io::Error) -> BaseError,
) -> Result<Sha256Digest, BaseError> {
    let mut tee = Tee::new(FromStart::of(file));
    let mut piece = vec![0; PIECE_LEN];
    while tee.read(&mut piece).map_err(failed)? != 0 {
        interrupt.check()?;
    }
    Ok(tee.finish())
}
