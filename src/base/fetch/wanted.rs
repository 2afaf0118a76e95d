//! What to download, and what was promised of it.

use super::partial::STATE;
use super::store::NOTE;
use crate::base::Sha256Digest;

/// An image to download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `https://…`, or `http://…` if its digest is promised.
    pub url: String,
    /// File name to keep it under.
    pub name: String,
    /// Length of the file in bytes, where it is known before.
    pub len: Option<u64>,
    /// What its digest must be.
    pub promise: Promise,
    /// The image is there already with this ETag; nothing is sent if it still has it.
    pub known_etag: Option<String>,
}

/// Digests that were promised before the download. Each that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Of the file.
    pub published: Option<Sha256Digest>,
    /// Of its uncompressed bytes.
    pub raw: Option<Sha256Digest>,
    /// Of one or the other: people copy both into their manifests.
    pub either: Option<Sha256Digest>,
}

impl Promise {
    /// Whether nothing is promised.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a file with this digest was promised.
    pub(super) fn names(&self, file: Sha256Digest) -> bool {
        [self.published, self.either].contains(&Some(file))
    }

    /// Whether only the uncompressed bytes can tell if it holds.
    pub(super) fn needs_raw(&self, published: Sha256Digest) -> bool {
        self.raw.is_some() || self.either.is_some_and(|either| either != published)
    }

    /// The digest that does not hold, and what was found in its place. One of the
    /// uncompressed bytes does not hold either where there are none.
    pub(super) fn broken_by(
        &self,
        published: Sha256Digest,
        raw: Option<Sha256Digest>,
    ) -> Option<(Sha256Digest, Sha256Digest)> {
        let differs = |wanted: &Sha256Digest| *wanted != published && Some(*wanted) != raw;
        let wrong = self.published.filter(|wanted| *wanted != published);
        let wrong_raw = self.raw.filter(|wanted| raw != Some(*wanted));
        wrong
            .or(self.either.filter(differs))
            .map(|wanted| (wanted, published))
            .or(wrong_raw.map(|wanted| (wanted, raw.unwrap_or(published))))
    }
}

/// Name of the file that an address leads to, fit to be a file name anywhere.
#[must_use]
pub fn file_name(url: &str) -> String {
    const LONGEST: usize = 200;
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = match path.trim_end_matches('/').rsplit_once('/') {
        Some((_, last)) => last,
        None => "",
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    let name: String = last
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    match name.trim_start_matches('.') {
        "" | NOTE | STATE => "image".to_owned(),
        name => name.to_owned(),
    }
}
