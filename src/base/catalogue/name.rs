//! Names as a manifest writes them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::{Catalogue, KnownImage};

/// `raspios-lite-arm64`, or `raspios-lite-arm64@2026-06-18` for one release of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    /// A name of the catalogue.
    pub name: String,
    /// The date in the file name of the release.
    pub date: Option<Date>,
}

/// Not the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No such name.
    #[error("`{name}` is no name of an image")]
    Unknown {
        /// What was given.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// The date is none.
    #[error("`{0}` is no date such as 2026-06-18")]
    Date(String),
}

impl FromStr for ImageName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        /// How alike two names must be for one to be a slip of the other.
        const ALIKE: f64 = 0.7;
        let (name, date) = match text.split_once('@') {
            Some((name, date)) => (name, Some(date)),
            None => (text, None),
        };
        let catalogue = Catalogue::builtin();
        if catalogue.find(name).is_none() {
            let alike = |image: &KnownImage| strsim::jaro_winkler(name, image.name());
            let nearest = catalogue
                .images()
                .max_by(|a, b| alike(a).total_cmp(&alike(b)))
                .filter(|image| alike(image) > ALIKE);
            return Err(BadName::Unknown {
                name: name.to_owned(),
                nearest: nearest.map(|image| image.name().to_owned()),
            });
        }
        let parse = |date: &str| date.parse().map_err(|_| BadName::Date(date.to_owned()));
        Ok(Self {
            name: name.to_owned(),
            date: date.map(parse).transpose()?,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.date {
            Some(date) => write!(f, "@{date}"),
            None => Ok(()),
        }
    }
}
