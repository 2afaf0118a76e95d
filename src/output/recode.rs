//! A base without blocks to splice, turned once into one that has them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use sha2::Digest as _;

use super::packed::Packing;
use super::splice::Encoder;
use super::{Build, OutputError};
use crate::base::read_at::RawFile;
use crate::base::xz::{XzBase, trailer};
use crate::base::{CHUNK_LEN, Digests, ReadAt as _, Sha256Digest};
use crate::report::event::Event;

/// Stream flags of our own files: CRC-64, as `xz` makes them.
const FLAGS: [u8; 2] = [0, 4];
/// Bytes of the image in a block.
const BLOCK_LEN: u64 = CHUNK_LEN as u64;

/// The base as blocks, from the cache; puts them there the first time.
pub(super) fn open(
    build: &Build<'_>,
    digests: &Digests,
    packing: Packing,
) -> Result<(XzBase, File), OutputError> {
    let dir = build.cache.blocks_dir().map_err(|source| {
        OutputError::io(
            "making a place in the cache for",
            Path::new(build.base.name()),
            source,
        )
    })?;
    let stem = format!("{}-{}-", digests.raw, packing.level);
    let failed = |source| OutputError::io("reading the blocks in", &dir, source);
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // The digest of the file is its name: what the disk lost is noticed.
        let Some(digest) = name
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_suffix(".xz"))
        else {
            continue;
        };
        let is_sound = digest_of(&path).is_ok_and(|found| found.to_string() == digest);
        match is_sound.then(|| open_file(&path)) {
            Some(Ok(blocks)) => return Ok(blocks),
            _ => drop(std::fs::remove_file(&path)),
        }
    }
    let draft = tempfile::Builder::new()
        .prefix(".recoding-")
        .tempfile_in(&dir)
        .map_err(|source| OutputError::io("writing to", &dir, source))?;
    crate::owner::give(draft.as_file(), &dir);
    let digest = encode_all(build, packing, draft.as_file(), &dir)?;
    let path = dir.join(format!("{stem}{digest}.xz"));
    let failed = |source| OutputError::io("writing", &path, source);
    draft.as_file().sync_all().map_err(failed)?;
    draft.persist(&path).map_err(|error| failed(error.error))?;
    open_file(&path).map_err(failed)
}

fn open_file(path: &Path) -> io::Result<(XzBase, File)> {
    let raw = RawFile::new(File::open(path)?)?;
    let base = XzBase::open(Arc::new(raw)).map_err(io::Error::other)?;
    Ok((base, File::open(path)?))
}

fn digest_of(path: &Path) -> io::Result<Sha256Digest> {
    let mut file = File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buf = vec![0; CHUNK_LEN];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(Sha256Digest(hasher.finalize().into())),
            len => hasher.update(&buf[..len]),
        }
    }
}

/// Compresses the base block by block, several at a time, and writes them in order.
fn encode_all(
    build: &Build<'_>,
    packing: Packing,
    file: &File,
    dir: &Path,
) -> Result<Sha256Digest, OutputError> {
    let task = build.base.name();
    let encoder = Encoder::new(FLAGS, packing.level)
        .ok_or_else(|| OutputError::NotSpliceable(task.to_owned()))?;
    let len = build.base.len();
    build.sink.send(Event::Started {
        task,
        verb: "compressing",
        total: len,
    });
    let mut out = Hashed {
        file,
        hasher: sha2::Sha256::new(),
    };
    let failed = |source| OutputError::io("writing to", dir, source);
    out.write_all(&trailer::stream_header(FLAGS))
        .map_err(failed)?;
    let mut records = Vec::new();
    let offsets: Vec<u64> = (0..len).step_by(CHUNK_LEN).collect();
    for batch in offsets.chunks(packing.jobs.max(1)) {
        build.interrupt.check()?;
        let encode = |offset: u64| {
            // At most a block.
            let len = usize::try_from((len - offset).min(BLOCK_LEN)).map_err(io::Error::other)?;
            let mut bytes = vec![0; len];
            build.base.read_exact_at(&mut bytes, offset)?;
            encoder.encode(&bytes)
        };
        let blocks = thread::scope(|scope| {
            let handles: Vec<_> = batch
                .iter()
                .map(|&offset| scope.spawn(move || encode(offset)))
                .collect();
            let join = |handle: thread::ScopedJoinHandle<'_, _>| match handle.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            handles
                .into_iter()
                .map(join)
                .collect::<io::Result<Vec<_>>>()
        });
        for block in blocks.map_err(|source| OutputError::io("compressing for", dir, source))? {
            records.push((block.unpadded_len, block.len));
            out.write_all(&block.bytes).map_err(failed)?;
        }
        build.sink.send(Event::Progressed {
            task,
            done: (batch.last().copied().unwrap_or(0) + BLOCK_LEN).min(len),
        });
    }
    out.write_all(&trailer::index_and_footer(&records, FLAGS))
        .map_err(failed)?;
    build.sink.send(Event::Ended { task });
    Ok(Sha256Digest(out.hasher.finalize().into()))
}

/// A file that is digested while it is written.
struct Hashed<'a> {
    file: &'a File,
    hasher: sha2::Sha256,
}

impl io::Write for Hashed<'_> {
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
