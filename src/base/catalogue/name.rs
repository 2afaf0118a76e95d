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
        /// The nearest names there are; several where what was given fits them all.
        nearest: Vec<String>,
    },
    /// The date is none.
    #[error("`{0}` is no date such as 2026-06-18")]
    Date(String),
}

impl BadName {
    /// ``did you mean `raspios-lite-arm64`?``, where one of the names may be meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest, .. } if !nearest.is_empty() => {
                Some(format!("did you mean `{}`?", nearest.join("` or `")))
            }
            _ => None,
        }
    }
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
            let most = catalogue.images().map(alike).fold(ALIKE, f64::max);
            let nearest = catalogue.images().filter(|image| {
                let alike = alike(image);
                alike > ALIKE && alike >= most
            });
            return Err(BadName::Unknown {
                name: name.to_owned(),
                nearest: nearest.map(|image| image.name().to_owned()).collect(),
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
