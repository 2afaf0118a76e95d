//! A base without blocks to splice, turned once into one that has them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use sha2::Digest as _;

use super::draft::{self, Draft};
use super::packed::{Packing, beside, publish_text};
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
    let path = dir.join(format!("{}-{}.xz", digests.raw, packing.level));
    let sum = beside(&path, ".sha256");
    // What the disk lost since is noticed: it would never be decoded here.
    let known = fs::read_to_string(&sum).ok();
    let found = digest_of(&path).map(|digest| digest.to_string()).ok();
    if let (true, Ok(blocks)) = (known.is_some() && known == found, open_file(&path)) {
        return Ok(blocks);
    }
    draft::remove_abandoned(&path)
        .map_err(|source| OutputError::io("tidying beside", &path, source))?;
    let draft = Draft::create(&path, 0)?;
    let digest = encode_all(build, packing, draft.as_file(), &dir)?;
    draft.sync()?;
    draft.publish(true)?;
    publish_text(&sum, &digest.to_string())?;
    open_file(&path).map_err(|source| OutputError::io("reading", &path, source))
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
