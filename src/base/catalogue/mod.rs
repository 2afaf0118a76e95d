//! Names of images, and what is known of them without asking anybody. Pure: whoever
//! calls downloads the lists and hands their bytes over.

mod list;
mod name;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use jiff::civil::Date;
use serde::Deserialize;

pub use self::list::{Entry, FindError, ListError, OsList, SubList};
pub use self::name::{BadName, ImageName};
use super::Sha256Digest;
use super::fetch::Promise;

/// The catalogue in the program; `images/catalog.toml` says what is in it.
static TEXT: &str = include_str!("../../../images/catalog.toml");

/// What a 64-bit board boots.
pub const ARM64: &str = "raspios-lite-arm64";
/// What every board boots.
pub const ARMHF: &str = "raspios-lite-armhf";

/// All names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    os_list: String,
    publisher_key: String,
    publisher_key_url: String,
    codenames: Vec<Codename>,
    #[serde(rename = "image")]
    images: Vec<KnownImage>,
}

/// Debian's name from a date on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Codename {
    from: Day,
    current: String,
    legacy: Option<String>,
}

/// A date, which the TOML has as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct Day(Date);

/// An image that has a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownImage {
    name: String,
    title: String,
    boards: String,
    directory: String,
    #[serde(default)]
    legacy: bool,
    latest: String,
    dated: String,
    #[serde(default, rename = "release")]
    releases: Vec<Release>,
}

/// A release that is known by its digest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The date in its file name.
    pub date: Date,
    /// Its address, where it is known to be that.
    pub url: Option<String>,
    sha256: Sha256Digest,
    extract_sha256: Option<Sha256Digest>,
}

impl Release {
    /// What its digests must be.
    #[must_use]
    pub fn promise(&self) -> Promise {
        Promise {
            published: Some(self.sha256),
            raw: self.extract_sha256,
            either: None,
        }
    }
}

impl Catalogue {
    /// The catalogue in the program.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Catalogue> = OnceLock::new();
        // A test reads it; without names, there would still be addresses.
        BUILTIN.get_or_init(|| toml::from_str(TEXT).unwrap_or_default())
    }

    /// Every image that has a name.
    pub fn images(&self) -> impl Iterator<Item = &KnownImage> {
        self.images.iter()
    }

    /// The image with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&KnownImage> {
        self.images().find(|image| image.name == name)
    }

    /// Address of the list in which current images are looked up.
    #[must_use]
    pub fn os_list(&self) -> &str {
        &self.os_list
    }

    /// Fingerprint of the key that Raspberry Pi signs images with.
    #[must_use]
    pub fn publisher_key(&self) -> &str {
        &self.publisher_key
    }

    /// Where that key is to be had.
    #[must_use]
    pub fn publisher_key_url(&self) -> &str {
        &self.publisher_key_url
    }

    /// Debian's name in the file names of a date.
    fn codename(&self, date: Date, legacy: bool) -> Option<&str> {
        let of_date = self
            .codenames
            .iter()
            .rev()
            .find(|name| name.from.0 <= date)?;
        match legacy {
            true => of_date.legacy.as_deref(),
            false => Some(&of_date.current),
        }
    }
}

impl KnownImage {
    /// `raspios-lite-arm64`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `Raspberry Pi OS Lite (64-bit)`.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Which boards it boots, in words.
    #[must_use]
    pub fn boards(&self) -> &str {
        &self.boards
    }

    /// An address that leads to the current one.
    #[must_use]
    pub fn latest(&self) -> &str {
        &self.latest
    }

    /// Releases whose digests are known.
    #[must_use]
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The release of a date, where its digest is known.
    #[must_use]
    pub fn release(&self, date: Date) -> Option<&Release> {
        self.releases.iter().find(|release| release.date == date)
    }

    /// The newest entry of a list that is this image.
    #[must_use]
    pub fn current<'a>(&self, list: &'a OsList) -> Option<&'a Entry> {
        self.in_list(list).max_by_key(|entry| entry.date())
    }

    /// The entry of a list that is this image, of a date.
    #[must_use]
    pub fn dated<'a>(&self, list: &'a OsList, date: Date) -> Option<&'a Entry> {
        self.in_list(list).find(|entry| entry.date() == Some(date))
    }

    /// Titles change with every generation; the folder that an image is kept in has
    /// not changed since 2020.
    fn in_list<'a>(&self, list: &'a OsList) -> impl Iterator<Item = &'a Entry> {
        let folder = format!("/{}/", self.directory);
        list.entries()
            .iter()
            .filter(move |entry| entry.url.contains(&folder))
    }

    /// Addresses under which a release of `date` may be found, the likeliest first.
    #[must_use]
    pub fn candidates(&self, date: Date) -> Vec<String> {
        const LATEST_DAY: i32 = 3;
        let Some(codename) = Catalogue::builtin().codename(date, self.legacy) else {
            return Vec::new();
        };
        let days =
            (0..=LATEST_DAY).filter_map(|days| date.checked_add(jiff::Span::new().days(days)).ok());
        days.map(|published| {
            self.dated
                .replace("{published}", &published.to_string())
                .replace("{date}", &date.to_string())
                .replace("{codename}", codename)
        })
        .collect()
    }
}
