//! Unpacking what is still arriving.
//!
//! This saves time and decides nothing: what cannot be unpacked on the way, for
//! whatever reason, is left to whoever opens the image, and is told to them.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::NamedTempFile;

use super::decoder::{Counting, Decoder};
use super::{UNFINISHED, copy, spool_path};
use crate::base::cache::{Cache, Known, Stamp};
use crate::base::read_at::RawFile;
use crate::base::xz::XzBase;
use crate::base::{ChunkDigests, Digests, Format, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::owner;

/// Bytes that tell the format, and of xz the kind.
const HEAD_LEN: u64 = 14;

/// What was learned of an image while it arrived.
#[derive(Debug)]
pub(crate) struct TakenIn {
    raw: Sha256Digest,
    chunks: ChunkDigests,
    /// Its uncompressed bytes, where it cannot be read in place.
    unpacked: Option<NamedTempFile>,
}

/// Unpacks `input` to its end. The uncompressed bytes go to an unnamed file in `dir`
/// where the format needs that, for as long as there is room for them. `None` where it
/// cannot be done on the way.
pub(crate) fn take_in(
    mut input: impl Read,
    dir: &Path,
    has_room: &dyn Fn() -> bool,
    interrupt: &Interrupt,
) -> Option<TakenIn> {
    let mut head = Vec::new();
    input.by_ref().take(HEAD_LEN).read_to_end(&mut head).ok()?;
    let unpacked = match Format::of(&head) {
        // Its directory comes last.
        Format::Zip => return None,
        Format::Raw => None,
        Format::Xz if tells_sizes(&head) => None,
        Format::Xz | Format::Gzip | Format::Zstd | Format::Bzip2 => Some(draft(dir)?),
    };
    let format = Format::of(&head);
    let input = Cursor::new(head).chain(input);
    let target = unpacked.as_ref().map(NamedTempFile::as_file);
    let has_room = || target.is_none() || has_room();
    let (raw, chunks) = unpack(format, input, target, &has_room, interrupt)?;
    Some(TakenIn {
        raw,
        chunks,
        unpacked,
    })
}

/// Whether the first block of an xz file tells its lengths (`.xz` file format 1.2.1,
/// 3.1.2): then many threads made it, in blocks that can be read in place. Certain is
/// only what the index says, which comes last.
fn tells_sizes(head: &[u8]) -> bool {
    const BOTH: u8 = 0x40 | 0x80;
    head.get(13).is_some_and(|flags| flags & BOTH == BOTH)
}

fn draft(dir: &Path) -> Option<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(dir)
        .ok()?;
    owner::give(file.as_file(), dir);
    Some(file)
}

fn unpack(
    format: Format,
    mut input: impl Read,
    target: Option<&File>,
    has_room: &dyn Fn() -> bool,
    interrupt: &Interrupt,
) -> Option<(Sha256Digest, ChunkDigests)> {
    if format == Format::Raw {
        return copy::copy(&mut input, target, interrupt, &mut |unpacked| unpacked).ok();
    }
    let input = Counting::new(input);
    let consumed = input.consumed();
    let mut decoder = Decoder::parallel(format, input).ok()?;
    let mut progressed = |_| consumed.load(Ordering::Relaxed);
    let mut while_room = WhileRoom {
        decoder: decoder.as_read(),
        has_room,
    };
    let digests = copy::copy(&mut while_room, target, interrupt, &mut progressed).ok()?;
    decoder.finish().ok()?;
    Some(digests)
}

/// Gives up as soon as there is no room for what it would read.
struct WhileRoom<'a> {
    decoder: &'a mut dyn Read,
    has_room: &'a dyn Fn() -> bool,
}

impl Read for WhileRoom<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match (self.has_room)() {
            true => self.decoder.read(buf),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl TakenIn {
    /// Digest of the uncompressed bytes.
    pub(crate) fn raw(&self) -> Sha256Digest {
        self.raw
    }

    /// What is known of the file at `path`, all of which has arrived. Its uncompressed
    /// bytes go to their place, if they are of use.
    pub(in crate::base) fn settle(
        self,
        path: &Path,
        cache: &Cache,
        published: Sha256Digest,
    ) -> Known {
        let digests = Digests {
            published,
            raw: self.raw,
            chunks: self.chunks,
        };
        let unpacked = self.unpacked.filter(|_| !is_readable_in_place(path));
        let spool = unpacked.and_then(|unpacked| keep_unpacked(unpacked, cache, &published));
        Known::of(&digests, spool)
    }
}

fn is_readable_in_place(path: &Path) -> bool {
    let file = File::open(path).and_then(RawFile::new);
    file.is_ok_and(|file| XzBase::open(Arc::new(file)).is_ok())
}

fn keep_unpacked(
    unpacked: NamedTempFile,
    cache: &Cache,
    published: &Sha256Digest,
) -> Option<Stamp> {
    let dir = cache.spool_dir().ok()?;
    unpacked.as_file().sync_all().ok()?;
    let path = spool_path(&dir, published);
    unpacked.persist(&path).ok()?;
    Stamp::of(&fs::metadata(&path).ok()?)
}
