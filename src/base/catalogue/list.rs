//! Lists of images in the format of Raspberry Pi Imager (`os_list_imagingutility_v4.json`;
//! schema: rpi-imager, `doc/json-schema/os-list-schema.json`).
//!
//! Publishers write them by hand, and add fields. What is not understood is passed
//! over: an entry that is wrong counts for nothing and does no harm to the others.

use std::collections::HashMap;

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::base::Sha256Digest;

/// Lists within lists. `serde_json` itself goes no deeper than 128 levels.
const MAX_DEPTH: usize = 16;
/// The official list has some 100 entries.
const MAX_ENTRIES: usize = 20_000;
/// Characters of a text that are kept.
const MAX_TEXT: usize = 500;

/// A list of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsList {
    entries: Vec<Entry>,
    more: Vec<SubList>,
    skipped: usize,
}

/// An image in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The menus that it is in, outermost first.
    pub categories: Vec<String>,
    /// `Raspberry Pi OS Lite (64-bit)`.
    pub name: String,
    /// What the publisher says of it.
    pub description: String,
    /// Where it is.
    pub url: String,
    /// When it was released, as the publisher writes it.
    pub release_date: Option<String>,
    /// Length of the file in bytes.
    pub download_len: Option<u64>,
    /// Digest of the file.
    pub download_sha256: Option<Sha256Digest>,
    /// Length of the uncompressed bytes.
    pub extract_len: Option<u64>,
    /// Digest of the uncompressed bytes.
    pub extract_sha256: Option<Sha256Digest>,
    /// What it is for: `pi5-64bit`, `pi1-32bit`.
    pub devices: Vec<String>,
}

/// A list that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubList {
    /// The menus that it is in, outermost first.
    pub path: Vec<String>,
    /// Where it is.
    pub url: String,
}

/// Not a list of images.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not JSON.
    #[error("it is no JSON ({0})")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("it has no `os_list`; it is not in the format of Raspberry Pi Imager")]
    NoList,
}

/// No one entry is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None has the name.
    #[error("there is no entry `{name}`{}", among(.nearest))]
    Unknown {
        /// What was looked for.
        name: String,
        /// Names that are alike.
        nearest: Vec<String>,
    },
    /// Several have it.
    #[error("`{name}` is ambiguous: {}", .names.join(", "))]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// Names that are not.
        names: Vec<String>,
    },
}

fn among(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; there is {}", names.join(", ")),
    }
}

impl SubList {
    /// The same, in a list that is itself below `path`.
    #[must_use]
    pub fn below(self, path: &[String]) -> Self {
        Self {
            path: [path, &self.path].concat(),
            url: self.url,
        }
    }
}

impl OsList {
    /// Reads a list.
    ///
    /// # Errors
    /// Where it is none. Entries that are wrong are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        let json: Value = serde_json::from_slice(bytes)?;
        let items = json
            .get("os_list")
            .and_then(Value::as_array)
            .ok_or(ListError::NoList)?;
        let mut list = Self::default();
        list.take(items, &mut Vec::new());
        Ok(list)
    }

    fn take(&mut self, items: &[Value], path: &mut Vec<String>) {
        for item in items {
            if self.entries.len() + self.more.len() >= MAX_ENTRIES || path.len() >= MAX_DEPTH {
                self.skipped += 1;
                continue;
            }
            let Some(item) = item.as_object() else {
                self.skipped += 1;
                continue;
            };
            let name = text(item, "name").unwrap_or_default();
            if let Some(Value::Array(inner)) = item.get("subitems") {
                path.push(name);
                self.take(inner, path);
                path.pop();
            } else if let Some(url) = address(item, "subitems_url") {
                self.more.push(SubList {
                    path: [path.as_slice(), &[name]].concat(),
                    url,
                });
            } else {
                match entry(item, path) {
                    Some(entry) => self.entries.push(entry),
                    None => self.skipped += 1,
                }
            }
        }
    }

    /// The images.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many entries were passed over: wrong ones, and menus without images.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Takes the lists that this one refers to.
    #[must_use]
    pub fn take_more(&mut self) -> Vec<SubList> {
        std::mem::take(&mut self.more)
    }

    /// Adds the images of another list below the menus of `path`.
    pub fn graft(&mut self, path: &[String], other: Self) {
        let room = MAX_ENTRIES.saturating_sub(self.entries.len());
        self.skipped += other.skipped + other.entries.len().saturating_sub(room);
        let below = other.entries.into_iter().take(room).map(|mut entry| {
            entry.categories.splice(0..0, path.iter().cloned());
            entry
        });
        self.entries.extend(below);
    }

    /// The one entry that `name` means: as [`Entry::slug`] gives it, with its menus
    /// before it where several share it, or as the publisher writes it.
    ///
    /// # Errors
    /// Where it is none, or more than one.
    pub fn find(&self, name: &str) -> Result<&Entry, FindError> {
        let is_it = |entry: &&Entry| {
            entry.name == name || entry.slug() == name || entry.full_slug() == name
        };
        let mut found = self.entries.iter().filter(is_it);
        let Some(first) = found.next() else {
            return Err(FindError::Unknown {
                name: name.to_owned(),
                nearest: self.nearest(name),
            });
        };
        let others: Vec<&Entry> = found.filter(|other| other.url != first.url).collect();
        if others.is_empty() {
            return Ok(first);
        }
        let names = std::iter::once(first).chain(others).map(Entry::full_slug);
        Err(FindError::Ambiguous {
            name: name.to_owned(),
            names: names.collect(),
        })
    }

    /// What each entry is called in a manifest, as briefly as it is clear.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut urls: HashMap<String, Option<&str>> = HashMap::new();
        for entry in &self.entries {
            urls.entry(entry.slug())
                .and_modify(|url| *url = url.filter(|url| *url == entry.url))
                .or_insert(Some(&entry.url));
        }
        let name = |entry: &Entry| match urls.get(&entry.slug()) {
            Some(Some(_)) => entry.slug(),
            _ => entry.full_slug(),
        };
        self.entries.iter().map(name).collect()
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        const SHOWN: usize = 3;
        const ALIKE: f64 = 0.6;
        let slug = slug(name);
        let mut alike: Vec<(f64, String)> = self
            .entries
            .iter()
            .map(|entry| (strsim::jaro_winkler(&slug, &entry.slug()), entry.slug()))
            .filter(|(alike, _)| *alike > ALIKE)
            .collect();
        alike.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        alike.dedup_by(|(_, a), (_, b)| a == b);
        alike
            .into_iter()
            .take(SHOWN)
            .map(|(_, name)| name)
            .collect()
    }
}

impl Entry {
    /// Its name for a manifest: `raspberry-pi-os-lite-64-bit`.
    #[must_use]
    pub fn slug(&self) -> String {
        slug(&self.name)
    }

    /// The same with the menus before it.
    #[must_use]
    pub fn full_slug(&self) -> String {
        let menus = self.categories.iter().map(|name| slug(name));
        let all: Vec<String> = menus.chain([self.slug()]).collect();
        all.join("/")
    }

    /// The date in its file name, or else its release date.
    #[must_use]
    pub fn date(&self) -> Option<Date> {
        let file = self.url.rsplit('/').next().unwrap_or_default();
        let in_name = file.get(..10).and_then(|date| date.parse().ok());
        in_name.or_else(|| self.release_date.as_deref()?.parse().ok())
    }
}

fn entry(item: &Map<String, Value>, path: &[String]) -> Option<Entry> {
    let digest = |key: &str| match item.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(value) => match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        },
    };
    let devices = item.get("devices").and_then(Value::as_array);
    Some(Entry {
        categories: path.to_vec(),
        name: text(item, "name").filter(|name| !name.is_empty())?,
        description: text(item, "description").unwrap_or_default(),
        url: address(item, "url")?,
        release_date: text(item, "release_date"),
        download_len: number(item, "image_download_size"),
        // A digest that is none is no slip to be passed over.
        download_sha256: digest("image_download_sha256")?,
        extract_len: number(item, "extract_size"),
        extract_sha256: digest("extract_sha256")?,
        devices: devices
            .into_iter()
            .flatten()
            .filter_map(|device| device.as_str().map(clean))
            .collect(),
    })
}

fn text(item: &Map<String, Value>, key: &str) -> Option<String> {
    item.get(key)?.as_str().map(clean)
}

/// Numbers are written as text at times; 0 stands for unknown.
fn number(item: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = item.get(key)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.filter(|number| *number > 0)
}

fn address(item: &Map<String, Value>, key: &str) -> Option<String> {
    let url = item.get(key)?.as_str()?;
    let is_plain = url.chars().all(|c| c.is_ascii_graphic());
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    (is_plain && is_web).then(|| url.to_owned())
}

/// Text of a stranger, fit for a terminal: on one line, without what could steer it
/// or turn its direction (Unicode TR 9, 2.1 to 2.5).
fn clean(text: &str) -> String {
    let is_harmless = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
    };
    let flat = |c: char| if c.is_whitespace() { ' ' } else { c };
    let text: String = text
        .chars()
        .map(flat)
        .filter(is_harmless)
        .take(MAX_TEXT)
        .collect();
    text.trim().to_owned()
}

/// Lower case, and a hyphen for all that is no letter, digit or full stop.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() || c == '.' {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.trim_end_matches(['-', '.']).to_owned()
}
