//! Lists of images, the last good copy of each kept.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ImageError;
use crate::base::catalogue::OsList;
use crate::base::fetch::{Client, FetchError, Small, without_password};
use crate::base::{Cache, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};
use crate::whole;

/// The official list has 200 KB.
const MAX_LEN: u64 = 32 << 20;
/// Lists that one list leads to, directly or not.
const MAX_LISTS: usize = 64;

/// What is known of a list that was read before.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    etag: Option<String>,
    arrived: Timestamp,
    /// Of the list itself: a bit that flips on the disk may be one of an image's digest.
    sha256: Sha256Digest,
}

/// Reads lists.
pub(super) struct Lists<'a> {
    pub(super) cache: &'a Cache,
    pub(super) client: &'a Client,
    pub(super) sink: &'a dyn Sink,
    pub(super) interrupt: &'a Interrupt,
}

impl Lists<'_> {
    /// A list by itself, without those that it refers to.
    pub(super) fn top(&self, url: &str) -> Result<OsList, ImageError> {
        if !url.starts_with("https://") {
            // Its digests are only as good as the way they came.
            return Err(wrong(
                url,
                "a list must come from an https address".to_owned(),
            ));
        }
        match self.ask(url) {
            Ok(list) => Ok(list),
            Err(ImageError::Fetch(FetchError::Interrupted)) => Err(FetchError::Interrupted.into()),
            Err(ImageError::Fetch(error)) if error.is_refusal() => Err(error.into()),
            Err(error) => self.recall(url, &error).ok_or(error),
        }
    }

    /// A list with all that it refers to; what of those cannot be had is left out.
    pub(super) fn whole(&self, url: &str) -> Result<OsList, ImageError> {
        let mut list = self.top(url)?;
        let mut open = list.take_more();
        let mut asked = 1;
        while let Some(more) = open.pop() {
            asked += 1;
            if asked > MAX_LISTS {
                break;
            }
            match self.top(&more.url) {
                Ok(mut found) => {
                    let nested = found.take_more();
                    open.extend(nested.into_iter().map(|inner| inner.below(&more.path)));
                    list.graft(&more.path, found);
                }
                Err(ImageError::Fetch(FetchError::Interrupted)) => {
                    return Err(FetchError::Interrupted.into());
                }
                Err(error) => {
                    let message = format!("A part of the list is left out: {error}.");
                    self.sink.send(Event::Noticed { message: &message });
                }
            }
        }
        Ok(list)
    }

    fn ask(&self, url: &str) -> Result<OsList, ImageError> {
        let kept = self.kept(url);
        let etag = kept.as_ref().and_then(|(kept, _)| kept.etag.as_deref());
        let bytes = match self.client.get_small(url, MAX_LEN, etag, self.interrupt)? {
            Small::Fresh(document) => {
                let list = parse(url, &document.bytes)?;
                // Not keeping it costs asking again.
                drop(self.keep(url, document.etag, &document.bytes));
                return Ok(list);
            }
            Small::Unchanged => kept.map(|(_, bytes)| bytes).unwrap_or_default(),
        };
        parse(url, &bytes)
    }

    /// The last good copy, in place of one that cannot be had.
    fn recall(&self, url: &str, error: &ImageError) -> Option<OsList> {
        let (kept, bytes) = self.kept(url)?;
        let list = parse(url, &bytes).ok()?;
        let message = format!(
            "Going by the list of {}, because a newer one cannot be had: {error}.",
            kept.arrived.strftime("%Y-%m-%d")
        );
        self.sink.send(Event::Noticed { message: &message });
        Some(list)
    }

    fn paths(&self, url: &str) -> io::Result<(PathBuf, PathBuf)> {
        let dir = self.cache.lists_dir()?;
        let key = Sha256Digest::of(url.as_bytes());
        Ok((
            dir.join(format!("{key}.json")),
            dir.join(format!("{key}.list")),
        ))
    }

    fn kept(&self, url: &str) -> Option<(Kept, Vec<u8>)> {
        let (about, body) = self.paths(url).ok()?;
        let kept: Kept = serde_json::from_slice(&fs::read(about).ok()?).ok()?;
        let bytes = fs::read(body).ok()?;
        let is_it = kept.url == url && kept.sha256 == Sha256Digest::of(&bytes);
        is_it.then_some((kept, bytes))
    }

    fn keep(&self, url: &str, etag: Option<String>, bytes: &[u8]) -> io::Result<()> {
        let (about, body) = self.paths(url)?;
        // Without the other half it counts for nothing, so that halves never mix.
        match fs::remove_file(&about) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let kept = Kept {
            url: url.to_owned(),
            etag,
            arrived: Timestamp::now(),
            sha256: Sha256Digest::of(bytes),
        };
        for (path, bytes) in [(body, bytes), (about, &serde_json::to_vec(&kept)?)] {
            whole::write(&path, bytes, 0o600)?;
        }
        Ok(())
    }
}

fn parse(url: &str, bytes: &[u8]) -> Result<OsList, ImageError> {
    OsList::parse(bytes).map_err(|error| wrong(url, error.to_string()))
}

fn wrong(url: &str, what: String) -> ImageError {
    ImageError::List {
        url: without_password(url),
        what,
    }
}
