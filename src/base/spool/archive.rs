//! The one image in a zip.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// More images than this are not named one by one.
const MAX_NAMED: usize = 5;

/// What may be read to find and read a directory: some 10,000 files. Each takes five times
/// its bytes there in memory.
const MAX_DIRECTORY: usize = 1 << 20;

/// Why a zip gives no image.
pub(super) enum ArchiveError {
    /// It is broken.
    Broken(ZipError),
    /// It is sound, but not for us: why, and what to do.
    Unsuitable(String),
}

impl From<ZipError> for ArchiveError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::UnsupportedArchive(_)
            | ZipError::CompressionMethodNotSupported(_)
            | ZipError::InvalidPassword => cannot_unpack(&error.to_string()),
            error => Self::Broken(error),
        }
    }
}

/// Opens a zip, unless it has so many entries that they would take hundreds of megabytes of
/// memory.
pub(super) fn open(file: &File) -> Result<ZipArchive<&File>, ArchiveError> {
    let mut bounded = Bounded {
        file,
        left: MAX_DIRECTORY,
    };
    let opened = ZipArchive::new(&mut bounded).map(drop);
    if bounded.left == 0 {
        return Err(ArchiveError::Unsuitable(
            "the zip has no list of its files, or one of thousands; download it again, or unpack \
             it yourself and give the .img"
                .to_owned(),
        ));
    }
    opened?;
    Ok(ZipArchive::new(file)?)
}

/// A file that gives only so many bytes.
struct Bounded<'a> {
    file: &'a File,
    left: usize,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("too much was read"));
        }
        let len = buf.len().min(self.left);
        let n = self.file.read(&mut buf[..len])?;
        self.left -= n;
        Ok(n)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Makes sure that a zip ends with its "end of central directory" record and
/// comment (APPNOTE 4.3.16): the parser also finds one further to the front.
pub(super) fn check_end(file: &File, comment: &[u8]) -> io::Result<()> {
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

/// Finds the entry that is an image: its index.
pub(super) fn find_image(archive: &mut ZipArchive<&File>) -> Result<usize, ArchiveError> {
    let mut images = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if is_image(&name) {
            images.push((index, name));
        }
    }
    match images.as_slice() {
        [(index, _)] => Ok(*index),
        [] => Err(ArchiveError::Unsuitable(
            "the zip holds no .img; give a Raspberry Pi OS image".to_owned(),
        )),
        _ => {
            let named = images.iter().take(MAX_NAMED).map(|(_, name)| name.as_str());
            let more = (images.len() > MAX_NAMED).then_some("…");
            let names: Vec<&str> = named.chain(more).collect();
            // A terminal would obey control characters of a name.
            let names = names.join(", ").replace(char::is_control, "\u{fffd}");
            Err(ArchiveError::Unsuitable(format!(
                "the zip holds several images ({names}); unpack one of them and give that"
            )))
        }
    }
}

/// Refuses an entry packed by a method that is not built in; the crate would
/// only fail when it is read, like damage.
pub(super) fn check_method<R: Read>(entry: &ZipFile<'_, R>) -> Result<(), ArchiveError> {
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(()),
        method => Err(cannot_unpack(&format!("packed by {method}"))),
    }
}

fn cannot_unpack(why: &str) -> ArchiveError {
    ArchiveError::Unsuitable(format!(
        "cardmint cannot unpack it ({why}); unpack it yourself and give the .img"
    ))
}

/// macOS puts a `._` file beside each file of a zip, for what is no content.
fn is_image(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.to_ascii_lowercase().ends_with(".img") && !file.starts_with("._")
}
