//! Signatures: who vouches for an image.

use std::fs::File;
use std::io::BufReader;
use std::time::SystemTime;

use super::{Image, ImageError, Images, Request, side_files};
use crate::base::fetch::{FetchError, Note, Signed, Small};
use crate::base::signature::{Certificate, SignatureError};
use crate::report::event::Event;

/// Signatures have a few hundred bytes.
const MAX_LEN: u64 = 64 << 10;
/// Bytes read at once.
const PIECE_LEN: usize = 1 << 20;

impl Images<'_> {
    /// Checks the signature of an image that arrived, that somebody asks to look at
    /// again, or whose signature is required; unless it was checked before by a key
    /// that is still trusted, and still the same. `asked` is the address that was just
    /// found to have the image.
    pub(super) fn vouch(
        &self,
        image: &mut Image,
        request: &Request,
        asked: Option<&str>,
    ) -> Result<(), ImageError> {
        let is_settled = self.look_for_signature(image, request, asked)?;
        let stored = &mut image.stored;
        if is_settled && stored.note.unvouched {
            // Costs looking for it once more.
            drop(stored.change(|note| note.unvouched = false));
        }
        Ok(())
    }

    /// Whether nobody need look again.
    fn look_for_signature(
        &self,
        image: &mut Image,
        request: &Request,
        asked: Option<&str>,
    ) -> Result<bool, ImageError> {
        let required = request.require_signature;
        let trusted = self.keys.certificates().map_err(ImageError::Keys)?;
        if trusted.is_empty() {
            return match required {
                true => Err(refused(
                    image.stored.note.name.clone(),
                    SignatureError::NoKeys,
                )),
                false => Ok(true),
            };
        }
        let signature = image.stored.note.signature.as_ref();
        let is_done = signature.is_some_and(|signed| {
            let by = |key: &Certificate| {
                key.fingerprint() == signed.fingerprint && key.basis() == signed.basis
            };
            signed.basis.is_some() && trusted.iter().any(by)
        });
        // Whoever downloaded it may have been stopped meanwhile, or is about to look.
        let is_new = image.is_new || image.stored.note.unvouched;
        if is_done || !(required || is_new || request.newest) {
            return Ok(true);
        }
        match self.check_signature(image, asked) {
            Ok(()) => Ok(true),
            Err(error) if is_forged(&error) => Err(self.throw_out(image, error)),
            Err(error) => self.go_without(image, error, required),
        }
    }

    /// Removes an image that was tampered with: nobody shall find it here.
    fn throw_out(&self, image: &mut Image, error: ImageError) -> ImageError {
        let stored = &mut image.stored;
        // Where it cannot be removed, the next run looks again.
        drop(stored.change(|note| (note.unvouched, note.signature) = (true, None)));
        let Err(problem) = stored.remove() else {
            return match error {
                ImageError::Signature { name, source, .. } => ImageError::Signature {
                    name,
                    source,
                    removed: true,
                },
                error => error,
            };
        };
        self.notice(&format!(
            "{} cannot be removed: {problem}. Remove it yourself.",
            stored.dir().display()
        ));
        error
    }

    /// Tells that an image bears no signature that counts, where it need not; whether that
    /// is settled.
    fn go_without(
        &self,
        image: &mut Image,
        error: ImageError,
        required: bool,
    ) -> Result<bool, ImageError> {
        let stored = &mut image.stored;
        let is_settled = match &error {
            ImageError::Unsigned { .. } => true,
            // A server that has none may answer with a page of its own.
            ImageError::Fetch(error) => matches!(error, FetchError::TooLong { .. }),
            ImageError::Signature { source, .. } => source.is_judgement(),
            _ => false,
        };
        if matches!(error, ImageError::Signature { .. }) && is_settled {
            // What counted before does not count any more; told again where it stays.
            drop(stored.change(|note| note.signature = None));
        }
        if required || error.is_interrupted() {
            return Err(error);
        }
        let name = &stored.note.name;
        let again = match is_settled {
            true => "",
            false => " The next run looks again.",
        };
        self.notice(&match error {
            ImageError::Unsigned { url, .. } => {
                format!("{name}: no signature was checked; {url} is not there.")
            }
            ImageError::Fetch(error) => {
                format!("{name}: no signature was checked: {error}.{again}")
            }
            ImageError::Signature { source, .. } => format!("{name}: {source}.{again}"),
            error => return Err(error),
        });
        Ok(is_settled)
    }

    pub(super) fn notice(&self, message: &str) {
        self.sink.send(Event::Noticed { message });
    }

    fn check_signature(&self, image: &mut Image, asked: Option<&str>) -> Result<(), ImageError> {
        let own = image.stored.note.url.clone();
        let Some(asked) = asked.filter(|asked| *asked != own) else {
            return self.check_beside(image, &own);
        };
        // The same bytes came from elsewhere before, where perhaps nobody signs them.
        match self.check_beside(image, asked) {
            Err(error) if !error.is_interrupted() && !is_forged(&error) => {
                match self.check_beside(image, &own) {
                    Err(ImageError::Unsigned { .. }) => Err(error),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Checks the signature beside `address`, which has the image.
    fn check_beside(&self, image: &mut Image, address: &str) -> Result<(), ImageError> {
        let name = image.stored.note.name.clone();
        let url = side_files::beside(address, ".sig");
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
            basis: verified.basis,
        };
        let note = |note: &mut Note| {
            note.signature = Some(signed);
            note.move_to(address);
        };
        image.stored.change(note).map_err(unreadable)
    }
}

/// Whether somebody changed what was signed.
fn is_forged(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Signature {
            source: SignatureError::Bad,
            ..
        }
    )
}

fn refused(name: String, source: SignatureError) -> ImageError {
    ImageError::Signature {
        name,
        source,
        removed: false,
    }
}
