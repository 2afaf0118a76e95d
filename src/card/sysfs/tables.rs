//! The kernel's tables of mounts and swap, parsed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountLine {
    /// Number of the file system's device; anonymous for btrfs and overlays.
    pub(super) number: (u32, u32),
    pub(super) at: PathBuf,
    pub(super) fs: String,
    pub(super) source: PathBuf,
    /// Options of the file system, comma-separated.
    pub(super) options: Vec<u8>,
}

/// Reads `/proc/self/mountinfo`. Lines that are none are passed over.
pub(super) fn mounts(table: &[u8]) -> Vec<MountLine> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(mount)
        .collect()
}

fn mount(line: &[u8]) -> Option<MountLine> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(MountLine {
        number: number(&String::from_utf8_lossy(fields[2]))?,
        at: path(fields[4]),
        fs: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
        source: path(fields.get(dash + 2)?),
        options: unescape(fields.get(dash + 3).copied().unwrap_or_default()),
    })
}

/// What lies below an overlay: its upper and lower directories.
pub(super) fn overlay_layers(options: &[u8]) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for option in options.split(|&byte| byte == b',') {
        let value = option
            .strip_prefix(b"lowerdir=".as_slice())
            .or_else(|| option.strip_prefix(b"upperdir=".as_slice()));
        let Some(value) = value else { continue };
        let dirs = value
            .split(|&byte| byte == b':')
            .filter(|dir| !dir.is_empty());
        layers.extend(dirs.map(|dir| PathBuf::from(OsString::from_vec(dir.to_vec()))));
    }
    layers
}

/// One line of `/proc/swaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SwapLine {
    pub(super) path: PathBuf,
    pub(super) is_file: bool,
}

/// Reads `/proc/swaps`, whose first line is a heading.
pub(super) fn swaps(table: &[u8]) -> Vec<SwapLine> {
    let lines = table.split(|&byte| byte == b'\n').skip(1);
    lines
        .filter_map(|line| {
            let mut fields = line
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|field| !field.is_empty());
            Some(SwapLine {
                path: path(fields.next()?),
                is_file: fields.next()? == b"file",
            })
        })
        .collect()
}

/// `8:1`, as sysfs and mountinfo write a device number.
pub(super) fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn path(field: &[u8]) -> PathBuf {
    Path::new(&OsString::from_vec(unescape(field))).to_owned()
}

/// Undoes the kernel's octal escapes of blanks and backslashes: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}
