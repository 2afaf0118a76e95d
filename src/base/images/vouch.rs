//! Signatures: who vouches for an image.

use std::fs::File;
use std::io::BufReader;
use std::time::SystemTime;

use super::{Image, ImageError, Images, Request, side_files};
use crate::base::fetch::{Signed, Small};
use crate::base::signature::{Certificate, SignatureError};
use crate::report::event::Event;

/// Signatures have a few hundred bytes.
const MAX_LEN: u64 = 64 << 10;
/// Bytes read at once.
const PIECE_LEN: usize = 1 << 20;

impl Images<'_> {
    /// Checks the signature of an image that arrived, that somebody asks to look at
    /// again, or whose signature is required; unless it was checked before by a key
    /// that is still trusted.
    pub(super) fn vouch(&self, image: &mut Image, request: &Request) -> Result<(), ImageError> {
        self.look_for_signature(image, request)?;
        let stored = &mut image.stored;
        if stored.note.unvouched {
            // Costs looking for it once more.
            drop(stored.change(|note| note.unvouched = false));
        }
        Ok(())
    }

    fn look_for_signature(&self, image: &mut Image, request: &Request) -> Result<(), ImageError> {
        let required = request.require_signature;
        let trusted = self.keys.certificates().map_err(ImageError::Keys)?;
        let name = image.stored.note.name.clone();
        if trusted.is_empty() {
            return match required {
                true => Err(refused(name, SignatureError::NoKeys)),
                false => Ok(()),
            };
        }
        let signature = image.stored.note.signature.as_ref();
        let is_done = signature.is_some_and(|signed| {
            let by = |key: &Certificate| key.fingerprint() == signed.fingerprint;
            trusted.iter().any(by)
        });
        // Whoever downloaded it may have been stopped meanwhile, or is about to look.
        let is_new = image.is_new || image.stored.note.unvouched;
        if is_done || !(required || is_new || request.newest) {
            return Ok(());
        }
        let error = match self.check_signature(image) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error {
            ImageError::Signature {
                name,
                source: source @ SignatureError::Bad,
                ..
            } => {
                // Tampered with: nobody shall find it here.
                drop(image.stored.remove());
                Err(ImageError::Signature {
                    name,
                    source,
                    removed: true,
                })
            }
            error if required || error.is_interrupted() => Err(error),
            ImageError::Unsigned { url, .. } => {
                self.notice(&format!(
                    "{name}: no signature was checked; {url} is not there."
                ));
                Ok(())
            }
            ImageError::Fetch(error) => {
                self.notice(&format!("{name}: no signature was checked: {error}."));
                Ok(())
            }
            ImageError::Signature { name, source, .. } => {
                self.notice(&format!("{name}: {source}."));
                Ok(())
            }
            error => Err(error),
        }
    }

    pub(super) fn notice(&self, message: &str) {
        self.sink.send(Event::Noticed { message });
    }

    fn check_signature(&self, image: &mut Image) -> Result<(), ImageError> {
        let name = image.stored.note.name.clone();
        let url = side_files::beside(&image.stored.note.url, ".sig");
        let signature = match self
            .client()?
            .get_small(&url, MAX_LEN, None, self.interrupt)
        {
            Ok(Small::Fresh(document)) => document.bytes,
            Ok(Small::Unchanged) => return Err(ImageError::Unsigned { name, url }),
            Err(error) if error.is_missing() => return Err(ImageError::Unsigned { name, url }),
            Err(error) => return Err(error.into()),
        };
        let path = image.stored.path();
        let unreadable = |source| ImageError::Store {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(unreadable)?;
        let mut data = BufReader::with_capacity(PIECE_LEN, file);
        let verified = self
            .keys
            .verify(&signature, &mut data, &name, SystemTime::now())
            .map_err(|source| refused(name, source))?;
        let signed = Signed {
            fingerprint: verified.fingerprint,
            user_id: verified.user_id,
            made: verified.made,
        };
        image
            .stored
            .change(|note| note.signature = Some(signed))
            .map_err(unreadable)
    }
}

fn refused(name: String, source: SignatureError) -> ImageError {
    ImageError::Signature {
        name,
        source,
        removed: false,
    }
}
