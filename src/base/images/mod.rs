//! From a name to verified bytes: finds the image that a name stands for, fetches it
//! if it is not here, and checks what it can be checked by.
//!
//! What is here is used without asking the network: a cluster built twice is built on
//! the same base. Only where a newer one is asked for, lists are read again.

mod choose;
mod error;
mod lists;
mod resolve;
mod side_files;
mod vouch;

use std::cell::OnceCell;

pub use self::choose::current;
pub use self::error::ImageError;
use self::lists::Lists;
use self::resolve::{Found, Origin};
use super::catalogue::{Catalogue, ImageName, OsList};
use super::fetch::{self, Client, Fetched, ImageStore, Note, Promise, Settings, Stored, Wanted};
use super::signature::Keyring;
use super::{BaseError, Cache, Sha256Digest};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

/// [`Note::promised_by`](fetch::Note::promised_by) of an image whose digest the user gave.
pub const GIVEN: &str = "you";

/// An image, as a manifest or a command line names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A name of the catalogue.
    Name(ImageName),
    /// An entry of a list: the list's address, and the entry's name.
    Listed {
        /// Address of the list.
        list: String,
        /// Name of the entry.
        entry: String,
    },
    /// The address of the image itself.
    Url(String),
}

impl Source {
    /// What an address means: `LIST#ENTRY`, or an image.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        match url.split_once('#') {
            // It is refused as a whole: a password is not shown in two halves either.
            _ if fetch::password_in(url).is_some() => Self::Url(url.to_owned()),
            Some((list, entry)) => Self::Listed {
                list: list.to_owned(),
                entry: entry.to_owned(),
            },
            None => Self::Url(url.to_owned()),
        }
    }
}

impl Source {
    /// Whether it is one release for ever, however many follow.
    fn is_of_date(&self) -> bool {
        matches!(self, Self::Name(name) if name.date.is_some())
    }

    /// What is noted of an image that was fetched for this; the date is noted apart.
    fn key(&self) -> String {
        match self {
            Self::Name(name) => name.name.clone(),
            other => other.to_string(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Listed { list, entry } => write!(f, "{list}#{entry}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Which image, and what it must be.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which.
    pub source: Source,
    /// Digest of the file, or of its uncompressed bytes.
    pub sha256: Option<Sha256Digest>,
    /// Whether it must bear a signature by a trusted key.
    pub require_signature: bool,
    /// Look for a newer one even if there is one here.
    pub newest: bool,
    /// File name of the one that was used before, which is taken where it is here.
    pub before: Option<String>,
}

impl Request {
    /// Whichever image `source` names, the one that is here first.
    #[must_use]
    pub fn of(source: Source) -> Self {
        Self {
            source,
            sha256: None,
            require_signature: false,
            newest: false,
            before: None,
        }
    }
}

/// An image that may be used.
#[derive(Debug)]
pub struct Image {
    /// Where it is. It is not pruned while this lives.
    pub stored: Stored,
    /// Whether it arrived just now.
    pub is_new: bool,
}

/// Finds, fetches and checks images.
pub struct Images<'a> {
    cache: &'a Cache,
    store: ImageStore,
    keys: Keyring,
    os_list: String,
    has_own_list: bool,
    settings: Settings,
    client: OnceCell<Client>,
    sink: &'a dyn Sink,
    interrupt: &'a Interrupt,
}

impl<'a> Images<'a> {
    /// Images in `cache`, signed by `keys`. `os_list` is another address of the list
    /// that names are looked up in, such as a mirror's.
    ///
    /// # Errors
    /// Where the cache cannot be used.
    pub fn new(
        cache: &'a Cache,
        keys: Keyring,
        os_list: Option<String>,
        settings: Settings,
        sink: &'a dyn Sink,
        interrupt: &'a Interrupt,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            store: ImageStore::open(cache)?,
            cache,
            keys,
            has_own_list: os_list.is_some(),
            os_list: os_list.unwrap_or_else(|| Catalogue::builtin().os_list().to_owned()),
            settings,
            client: OnceCell::new(),
            sink,
            interrupt,
        })
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The image that `request` asks for, here and checked.
    ///
    /// # Errors
    /// Where it is not to be had, is not what was promised, or not signed as required.
    pub fn get(&self, request: &Request) -> Result<Image, ImageError> {
        let (mut image, asked) = match self.find_here(request)? {
            Some(stored) => {
                let is_new = false;
                (Image { stored, is_new }, None)
            }
            None => {
                let (image, url) = self.get_from_network(request)?;
                (image, Some(url))
            }
        };
        self.store.touch(&image.stored);
        self.vouch(&mut image, request, asked.as_deref())?;
        Ok(image)
    }

    /// The entries of a list, with those of the lists that it refers to.
    ///
    /// # Errors
    /// Where it can neither be had nor is kept from before.
    pub fn list(&self, url: &str) -> Result<OsList, ImageError> {
        self.lists()?.whole(url)
    }

    fn lists(&self) -> Result<Lists<'_>, ImageError> {
        Ok(Lists {
            cache: self.cache,
            client: self.client()?,
            sink: self.sink,
            interrupt: self.interrupt,
        })
    }

    fn client(&self) -> Result<&Client, ImageError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(&self.settings)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The image in the store that a request means, intact.
    fn find_here(&self, request: &Request) -> Result<Option<Stored>, ImageError> {
        if request.newest {
            return Ok(None);
        }
        let mut found: Vec<Stored> = self
            .store
            .all()?
            .into_iter()
            .filter(|stored| self.answers(stored, request))
            .collect();
        choose::sort(&mut found, request);
        while let Some(mut stored) = found.pop() {
            match stored.is_intact(self.interrupt) {
                Ok(true) => return Ok(Some(stored)),
                Err(BaseError::Interrupted(_)) => return Err(fetch::FetchError::Interrupted.into()),
                Ok(false) | Err(_) => self.throw_away(&stored)?,
            }
        }
        Ok(None)
    }

    /// Whether an image in the store is what is asked for.
    fn answers(&self, stored: &Stored, request: &Request) -> bool {
        let note = &stored.note;
        if let Some(wanted) = request.sha256 {
            let raw = self.cache.raw_digest(&stored.path());
            // Whatever it was fetched for.
            if note.sha256 == wanted || raw == Some(wanted) {
                return true;
            }
            if raw.is_some() {
                return false;
            }
        }
        let released = note.released.as_deref();
        let is_of_date = match &request.source {
            Source::Name(ImageName {
                date: Some(date), ..
            }) => released == Some(date.to_string().as_str()),
            _ => true,
        };
        let key = request.source.key();
        is_of_date && (note.asked.contains(&key) || note.url == key)
    }

    /// Removes an image that has rotted, and says so.
    fn throw_away(&self, stored: &Stored) -> Result<(), ImageError> {
        let message = format!(
            "{} is no longer what arrived on {}; fetching it again.",
            stored.note.name,
            stored.note.arrived.strftime("%Y-%m-%d")
        );
        self.sink.send(Event::Noticed { message: &message });
        let path = stored.path();
        stored
            .remove()
            .map_err(|source| ImageError::Store { path, source })
    }

    /// The image as the network has it now, and the address that was asked.
    fn get_from_network(&self, request: &Request) -> Result<(Image, String), ImageError> {
        let found = self.resolve(request).map_err(|error| match error {
            ImageError::Fetch(source) if source.is_offline() => ImageError::NotHere {
                name: request.source.to_string(),
                source,
            },
            error => error,
        })?;
        let known = self.known_etag(request, &found)?;
        let wanted = Wanted {
            url: found.url.clone(),
            name: fetch::file_name(&found.url),
            len: found.len,
            promise: Promise {
                either: request.sha256,
                ..found.promise
            },
            known_etag: known
                .as_ref()
                .and_then(|stored| stored.etag().map(str::to_owned)),
        };
        let client = self.client()?;
        let fetched = fetch::fetch(client, self.cache, &wanted, self.sink, self.interrupt)?;
        let (mut stored, is_new) = match (fetched, known) {
            (Fetched::Arrived(stored), _) => (stored, true),
            (Fetched::Here(stored), _) => (stored, false),
            (Fetched::Unchanged, Some(known)) => (known, false),
            (Fetched::Unchanged, None) => {
                return Err(ImageError::Unknown(format!(
                    "{} answers that nothing has changed, though nothing is here",
                    found.url
                )));
            }
        };
        self.label(&mut stored, request, &found)?;
        Ok((Image { stored, is_new }, found.url))
    }

    /// The image here that came from the same address, where only its ETag can tell
    /// whether there is another one now.
    fn known_etag(&self, request: &Request, found: &Found) -> Result<Option<Stored>, ImageError> {
        if !found.promise.is_none() || request.sha256.is_some() {
            return Ok(None);
        }
        let mut all = self.store.all()?;
        all.retain(|stored| stored.note.url == found.url && stored.etag().is_some());
        choose::sort(&mut all, request);
        while let Some(mut stored) = all.pop() {
            if stored.is_intact(self.interrupt).unwrap_or(false) {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Notes under which name an image was asked for, and who promised its digest.
    fn label(
        &self,
        stored: &mut Stored,
        request: &Request,
        found: &Found,
    ) -> Result<(), ImageError> {
        let asked = request.source.key();
        let answered = match request.source.is_of_date() {
            true => None,
            false => Some(choose::next(&self.store.all()?, &asked)),
        };
        let promised_by = match (&found.origin, request.sha256) {
            (_, Some(_)) => Some(GIVEN.to_owned()),
            (Origin::Nobody, None) => None,
            (origin, None) => Some(origin.to_string()),
        };
        let path = stored.path();
        let label = |note: &mut Note| {
            if !note.asked.contains(&asked) {
                note.asked.push(asked.clone());
            }
            note.answered
                .extend(answered.map(|answered| (asked, answered)));
            if found.released.is_some() {
                note.released.clone_from(&found.released);
            }
            if promised_by.is_some() {
                note.promised_by = promised_by;
            }
        };
        stored
            .change(label)
            .map_err(|source| ImageError::Store { path, source })
    }
}
