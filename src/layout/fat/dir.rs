//! Directory entries, with long names (VFAT).

use super::FatError;

/// Bytes in a directory entry.
pub(super) const ENTRY_LEN: usize = 32;
const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
/// Read-only, hidden, system and volume-id at once mark a piece of a long name.
const ATTR_LONG_NAME: u8 = 0x0f;
/// `NTRes` bits: base or extension of a short name is shown in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Long name where there is one, else the short name.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for directories.
    pub len: u32,
    pub(super) is_label: bool,
    pub(super) first_cluster: u32,
}

impl Entry {
    /// An entry for tests that look at names only.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_dir: false,
            len: 0,
            is_label: false,
            first_cluster: 0,
        }
    }

    /// Whether this is what FAT, which ignores case, would find under `name`.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Parses the raw bytes of a directory; `.` and `..` are left out.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, FatError> {
    let mut entries = Vec::new();
    let mut long = LongName::default();
    for raw in bytes.chunks_exact(ENTRY_LEN) {
        match raw[0] {
            0x00 => break,
            0xe5 => {
                long = LongName::default();
                continue;
            }
            _ => {}
        }
        if raw[11] & ATTR_LONG_NAME == ATTR_LONG_NAME {
            long.push(raw);
            continue;
        }
        let name = std::mem::take(&mut long)
            .finish(short_name_checksum(raw))
            .unwrap_or_else(|| short_name(raw));
        // Errors tell it, and a terminal would obey.
        let name = name.replace(char::is_control, "\u{fffd}");
        if name == "." || name == ".." {
            continue;
        }
        if name.is_empty() || name.contains('/') {
            return Err(FatError::Damaged(
                "a directory holds an impossible name".to_owned(),
            ));
        }
        let u16_at = |at: usize| u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
        let is_label = raw[11] & ATTR_VOLUME_ID != 0;
        entries.push(Entry {
            name: if is_label { label(raw) } else { name },
            is_dir: raw[11] & ATTR_DIRECTORY != 0,
            len: u16_at(28) | u16_at(30) << 16,
            is_label,
            first_cluster: u16_at(26) | u16_at(20) << 16,
        });
    }
    Ok(entries)
}

/// Collects the pieces of a long name, which precede the entry, last first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    checksum: u8,
}

impl LongName {
    /// Where the 13 UTF-16 units of a piece stand.
    const UNITS_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
    /// 20 pieces of 13 units are the longest name there is.
    const MAX_UNITS: usize = 20 * 13;

    fn push(&mut self, raw: &[u8]) {
        const LAST_PIECE: u8 = 0x40;
        if raw[0] & LAST_PIECE != 0 {
            self.units.clear();
        }
        self.checksum = raw[13];
        if self.units.len() < Self::MAX_UNITS {
            let units = Self::UNITS_AT.map(|at| u16::from_le_bytes([raw[at], raw[at + 1]]));
            self.units.splice(0..0, units);
        }
    }

    /// The name, if there is one and it belongs to the entry that follows.
    fn finish(self, checksum: u8) -> Option<String> {
        if self.units.is_empty() || self.checksum != checksum {
            return None;
        }
        let end = self
            .units
            .iter()
            .position(|&unit| unit == 0)
            .unwrap_or(self.units.len());
        Some(String::from_utf16_lossy(&self.units[..end]))
    }
}

fn short_name_checksum(raw: &[u8]) -> u8 {
    raw[..11]
        .iter()
        .fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte))
}

fn short_name(raw: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if lower {
            text.to_ascii_lowercase()
        } else {
            text
        }
    };
    let base = part(&raw[..8], raw[12] & LOWER_BASE != 0);
    let extension = part(&raw[8..11], raw[12] & LOWER_EXTENSION != 0);
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

fn label(raw: &[u8]) -> String {
    let label = String::from_utf8_lossy(&raw[..11]);
    label.trim_end().replace(char::is_control, "\u{fffd}")
}
