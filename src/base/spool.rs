//! Bases that cannot be read in place are decompressed once, into the cache.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest as _;

use super::cache::{Cache, Known, Stamp, lock_dir};
use super::chunk::{ChunkHasher, Chunker};
use super::read_at::RawFile;
use super::sparse::data_runs;
use super::{BaseError, ChunkDigests, Digests, Format, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

/// No card is larger than this; what unpacks to more is no image.
const MAX_LEN: u64 = 2 << 40;
/// How the names of unfinished files begin.
const UNFINISHED: &str = ".unfinished";
/// Bytes decompressed at once.
const PIECE_LEN: usize = 1 << 20;
/// A decoder for a dictionary of 1.5 GiB, the largest that `xz` makes, would
/// need more; nothing that publishes images uses one.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

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
    pub(super) fn run(&self, file: &File, stamp: &Stamp) -> Result<(RawFile, Digests), BaseError> {
        let dir = self
            .cache
            .spool_dir()
            .map_err(|source| self.cache_failed(source))?;
        let _lock = lock_dir(&dir).map_err(|source| self.cache_failed(source))?;
        if let Some(found) = self.recall(stamp, &dir) {
            return Ok(found);
        }
        // Nobody else is unpacking: what is unfinished was left by a crash.
        sweep(&dir).map_err(|source| self.cache_failed(source))?;
        let (digests, spooled) = self.decompress(file, &dir)?;
        let path = spool_path(&dir, &digests.published);
        let failed = |source| self.cache_failed(source);
        spooled.as_file().sync_all().map_err(failed)?;
        let spooled = spooled
            .persist(&path)
            .map_err(|error| failed(error.error))?;
        let spool_stamp = Stamp::of(&spooled.metadata().map_err(failed)?);
        self.cache
            .remember(self.path, stamp, Known::of(&digests, Some(spool_stamp)));
        let raw = RawFile::new(File::open(&path).map_err(failed)?).map_err(failed)?;
        Ok((raw, digests))
    }

    /// A spooled file that is still what was put there.
    fn recall(&self, stamp: &Stamp, dir: &Path) -> Option<(RawFile, Digests)> {
        let known = self.cache.recall(self.path, stamp)?;
        let digests = known.digests()?;
        let file = File::open(spool_path(dir, &digests.published)).ok()?;
        let unchanged = known.spool? == Stamp::of(&file.metadata().ok()?);
        unchanged.then(|| RawFile::new(file).ok().map(|raw| (raw, digests)))?
    }

    fn decompress(
        &self,
        file: &File,
        dir: &Path,
    ) -> Result<(Digests, tempfile::NamedTempFile), BaseError> {
        let target = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(dir)
            .map_err(|source| self.cache_failed(source))?;
        let digests = match self.format {
            Format::Zip => self.unzip(file, target.as_file())?,
            _ => self.unpack(file, target.as_file())?,
        };
        Ok((digests, target))
    }

    fn unpack(&self, file: &File, target: &File) -> Result<Digests, BaseError> {
        let len = file
            .metadata()
            .map_err(|source| self.unreadable(source))?
            .len();
        let input = Tee::new(file);
        let consumed = Arc::clone(&input.consumed);
        let mut decoder = self.decoder(input)?;
        let progress = |_| consumed.load(Ordering::Relaxed);
        let (raw, chunks) = self.copy(decoder.as_read(), (len, &progress), target)?;
        let published = decoder.finish().map_err(|error| self.damaged(&error))?;
        Ok(Digests {
            published,
            raw,
            chunks,
        })
    }

    /// Unpacks the one image in a zip.
    fn unzip(&self, file: &File, target: &File) -> Result<Digests, BaseError> {
        let unsuitable = |what: String| BaseError::Unsuitable {
            name: self.name.to_owned(),
            what,
        };
        let damaged = |error: zip::result::ZipError| self.damaged(&error.into());
        let mut archive = zip::ZipArchive::new(file).map_err(damaged)?;
        check_zip_end(file, archive.comment()).map_err(|error| self.damaged(&error))?;
        let mut images = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(damaged)?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if name.to_ascii_lowercase().ends_with(".img") {
                images.push((index, name));
            }
        }
        let index = match images.as_slice() {
            [(index, _)] => *index,
            [] => {
                let what = "the zip holds no .img; give a Raspberry Pi OS image".to_owned();
                return Err(unsuitable(what));
            }
            _ => {
                let names: Vec<&str> = images.iter().map(|(_, name)| name.as_str()).collect();
                let what = format!("the zip holds several images ({})", names.join(", "));
                return Err(unsuitable(format!(
                    "{what}; unpack one of them and give that"
                )));
            }
        };
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let total = entry.size();
        let (raw, chunks) = self.copy(&mut entry, (total, &|unpacked| unpacked), target)?;
        let published = digest_of_file(file).map_err(|source| self.unreadable(source))?;
        Ok(Digests {
            published,
            raw,
            chunks,
        })
    }

    /// Copies what `decoder` unpacks into `target`, as sparse as may be, and
    /// digests it. Progress is a total, and how far the bytes unpacked so far
    /// are on the way to it.
    fn copy(
        &self,
        decoder: &mut dyn Read,
        (total, progress): (u64, &dyn Fn(u64) -> u64),
        target: &File,
    ) -> Result<(Sha256Digest, ChunkDigests), BaseError> {
        let mut hasher = ChunkHasher::new();
        let mut write = |offset: u64, chunk: &[u8]| {
            hasher.update(chunk);
            for run in data_runs(chunk) {
                target.write_all_at(&chunk[run.clone()], offset + run.start as u64)?;
            }
            Ok(())
        };
        let mut chunker = Chunker::default();
        let mut piece = vec![0; PIECE_LEN];
        let mut len = 0;
        self.sink.send(Event::Started {
            task: self.name,
            verb: "unpacking",
            total,
        });
        loop {
            self.interrupt.check()?;
            let n = match decoder.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.damaged(&error)),
            };
            len += n as u64;
            if len > MAX_LEN {
                let what = "it unpacks to more than 2 TiB; give a Raspberry Pi OS image".to_owned();
                return Err(BaseError::Unsuitable {
                    name: self.name.to_owned(),
                    what,
                });
            }
            chunker
                .push(&piece[..n], &mut write)
                .map_err(|source| self.cache_failed(source))?;
            self.sink.send(Event::Progressed {
                task: self.name,
                done: progress(len),
            });
        }
        chunker
            .finish(&mut write)
            .map_err(|source| self.cache_failed(source))?;
        target
            .set_len(len)
            .map_err(|source| self.cache_failed(source))?;
        self.sink.send(Event::Ended { task: self.name });
        Ok(hasher.finish())
    }

    fn decoder<'f>(&self, input: Tee<'f>) -> Result<Decoder<'f>, BaseError> {
        let input = BufReader::with_capacity(PIECE_LEN, input);
        Ok(match self.format {
            Format::Gzip => Decoder::Gzip(flate2::bufread::MultiGzDecoder::new(input)),
            Format::Zstd => Decoder::Zstd(
                zstd::stream::read::Decoder::with_buffer(input)
                    .map_err(|error| self.damaged(&error))?,
            ),
            Format::Bzip2 => Decoder::Bzip2(bzip2::bufread::MultiBzDecoder::new(input)),
            Format::Xz | Format::Raw | Format::Zip => {
                let flags = xz2::stream::CONCATENATED;
                let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, flags)
                    .map_err(|error| self.damaged(&error.into()))?;
                Decoder::Xz(xz2::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }

    fn damaged(&self, error: &io::Error) -> BaseError {
        let what = format!("it does not unpack ({error})");
        BaseError::Damaged {
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

/// Makes sure that a zip ends with its "end of central directory" record and
/// comment (APPNOTE 4.3.16): the parser also finds one further to the front.
fn check_zip_end(file: &File, comment: &[u8]) -> io::Result<()> {
    const END_LEN: u64 = 22;
    let appended = || io::Error::other("something was appended");
    let len = file.metadata()?.len();
    let start = len.checked_sub(END_LEN + comment.len() as u64);
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, start.ok_or_else(appended)?)?;
    if magic == *b"PK\x05\x06" {
        Ok(())
    } else {
        Err(appended())
    }
}

/// Removes unfinished files.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn spool_path(dir: &Path, published: &Sha256Digest) -> PathBuf {
    dir.join(format!("{published}.img"))
}

/// A decompressor over a file.
enum Decoder<'a> {
    Xz(xz2::bufread::XzDecoder<BufReader<Tee<'a>>>),
    Gzip(flate2::bufread::MultiGzDecoder<BufReader<Tee<'a>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Tee<'a>>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<BufReader<Tee<'a>>>),
}

impl<'a> Decoder<'a> {
    fn as_read(&mut self) -> &mut dyn Read {
        match self {
            Self::Xz(decoder) => decoder,
            Self::Gzip(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
            Self::Bzip2(decoder) => decoder,
        }
    }

    /// The digest of the whole file, after making sure that all of it was used.
    fn finish(self) -> io::Result<Sha256Digest> {
        let mut input = match self {
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        };
        if input.read(&mut [0])? != 0 {
            return Err(io::Error::other("something was appended"));
        }
        let tee: Tee<'a> = input.into_inner();
        Ok(Sha256Digest(tee.hasher.finalize().into()))
    }
}

/// Reads a file from its start and digests what is read.
struct Tee<'a> {
    file: &'a File,
    offset: u64,
    hasher: sha2::Sha256,
    consumed: Arc<AtomicU64>,
}

impl<'a> Tee<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            file,
            offset: 0,
            hasher: sha2::Sha256::new(),
            consumed: Arc::default(),
        }
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.hasher.update(&buf[..n]);
        self.offset += n as u64;
        self.consumed.store(self.offset, Ordering::Relaxed);
        Ok(n)
    }
}

/// Digest of a whole file.
pub(super) fn digest_of_file(file: &File) -> io::Result<Sha256Digest> {
    let mut tee = Tee::new(file);
    let mut piece = vec![0; PIECE_LEN];
    while tee.read(&mut piece)? != 0 {}
    Ok(Sha256Digest(tee.hasher.finalize().into()))
}
