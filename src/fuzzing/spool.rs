//! Formats that are unpacked into the cache.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::LazyLock;

use bzip2::read::MultiBzDecoder;

use crate::base::spool::{take_in, unpack_into};
use crate::base::{Format, Sha256Digest};
use crate::interrupt::Interrupt;

/// Longer inputs would show nothing more.
const MAX_LEN: usize = 512;
/// Nor would what unpacks to more than this. It takes its time, and a fuzzer finds much of it.
const MAX_UNPACKED: u64 = 1 << 20;

/// Bytes as a zip.
///
/// # Panics
/// Where what was unpacked has another digest than is said.
pub(super) fn zip(bytes: &[u8]) {
    if bytes.starts_with(b"PK") {
        unpack(Format::Zip, bytes);
    }
}

/// Bytes as what their magic says: xz, gzip, Zstandard or bzip2.
///
/// # Panics
/// As [`zip`], and where unpacking on arrival gives something else than unpacking later.
pub(super) fn packed(bytes: &[u8]) {
    let format = Format::of(bytes);
    if bytes.len() > MAX_LEN || matches!(format, Format::Raw | Format::Zip) {
        return;
    }
    if format == Format::Bzip2 && is_bomb(bytes) {
        return;
    }
    let later = unpack(format, bytes);
    // Of several xz streams, the quick way reads the first and leaves the rest to the
    // other. Each call begins threads, so not all inputs go this way.
    let is_chosen = format != Format::Xz || bytes.len().is_multiple_of(16);
    if is_chosen && let Some(taken) = take_in(bytes, folder(), &|| true, &Interrupt::default()) {
        // Of a frame whose last block is empty, libzstd looks at the length that it tells only
        // where it has all of the frame at once, and that depends on how it arrives.
        let is_passed_over = format == Format::Zstd && later.is_none();
        assert!(is_passed_over || Some(taken.raw()) == later);
    }
}

/// Whether bzip2 unpacks to too much: it may be 45 MB from 45 bytes.
fn is_bomb(bytes: &[u8]) -> bool {
    let mut unpacked = MultiBzDecoder::new(bytes).take(MAX_UNPACKED + 1);
    io::copy(&mut unpacked, &mut io::sink()).is_ok_and(|len| len > MAX_UNPACKED)
}

/// Unpacks a file made of `bytes`; the digest of what came of it.
fn unpack(format: Format, bytes: &[u8]) -> Option<Sha256Digest> {
    let file = file();
    (&file).write_all(bytes).unwrap();
    let target = self::file();
    let digests = match unpack_into(format, &file, &target, folder()) {
        Ok(digests) => digests,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error}");
            return None;
        }
    };
    assert_eq!(digests.published, Sha256Digest::of(bytes));
    let len = target.metadata().unwrap().len();
    if len <= 1 << 20 {
        let mut unpacked = vec![0; len as usize];
        std::os::unix::fs::FileExt::read_exact_at(&target, &mut unpacked, 0).unwrap();
        assert_eq!(digests.raw, Sha256Digest::of(&unpacked));
    }
    Some(digests.raw)
}

/// A file without a name, in memory where there is a place for that.
fn file() -> File {
    tempfile::tempfile_in(folder()).unwrap()
}

fn folder() -> &'static Path {
    static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        }
    });
    &FOLDER
}
