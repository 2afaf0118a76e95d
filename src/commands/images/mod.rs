//! `cardmint images`: stock images, from a name to verified bytes.

mod fetch;
mod list;
mod prune;
mod trust;
mod verify;

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::Context;
use crate::base::Cache;
use crate::base::fetch::{Note, Settings, Stored};
use crate::base::images::{GIVEN, Image, Images, Request};
use crate::base::signature::Keyring;
use crate::cli::ImagesCommand;
use crate::exit::ExitCode;
use crate::report::event::{Event, Sink as _};

/// Another address of the list that names are looked up in, such as a mirror's.
const LIST_VARIABLE: &str = "CARDMINT_OS_LIST";

pub(super) fn run(context: &mut Context<'_>, command: &ImagesCommand) -> Result<ExitCode> {
    match command {
        ImagesCommand::List(args) => list::run(context, args),
        ImagesCommand::Fetch(args) => fetch::run(context, args),
        ImagesCommand::Verify(args) => verify::run(context, args),
        ImagesCommand::Prune(args) => prune::run(context, args),
        ImagesCommand::Trust(args) => trust::run(context, args),
    }
}

/// The images, with the user's keys and the environment's settings.
pub(super) fn open<'a>(context: &'a Context<'_>, cache: &'a Cache) -> Result<Images<'a>> {
    Ok(Images::new(
        cache,
        Keyring::open_default()?,
        std::env::var(LIST_VARIABLE)
            .ok()
            .filter(|url| !url.is_empty()),
        Settings::default(),
        &context.progress,
        &context.interrupt,
    )?)
}

/// An image for a command that builds on it; says so where it arrives now.
pub(super) fn get(context: &Context<'_>, cache: &Cache, request: &Request) -> Result<Stored> {
    let image = open(context, cache)?.get(request)?;
    let name = image.stored.note.name.clone();
    context.images.borrow_mut().push(name);
    if image.is_new {
        let message = arrived(&image);
        context.progress.send(Event::Noticed { message: &message });
    }
    Ok(image.stored)
}

/// What arrived, and what it was checked by.
fn arrived(image: &Image) -> String {
    let note = &image.stored.note;
    format!(
        "{} has arrived, {}: {}.",
        note.name,
        HumanBytes(note.len),
        checked_by(note).join("; ")
    )
}

/// What an image was checked by, as a person reads it.
fn checked_by(note: &Note) -> Vec<String> {
    let digest = match &note.promised_by {
        Some(by) if by == GIVEN => "sha256 as you gave it".to_owned(),
        Some(by) => format!("sha256 as {by} promises"),
        None => format!("nobody promises its sha256, which is {}", note.sha256),
    };
    let signature = match &note.signature {
        Some(signed) => {
            let who = match &signed.user_id {
                Some(name) => format!("{name} ({})", signed.fingerprint),
                None => signed.fingerprint.clone(),
            };
            format!("signed by {who}")
        }
        None => "no signature checked".to_owned(),
    };
    vec![digest, signature]
}

fn to_json(stored: &Stored) -> Value {
    let note = &stored.note;
    let signature = note.signature.as_ref().map(|signed| {
        json!({
            "fingerprint": signed.fingerprint,
            "user_id": signed.user_id,
            "made": signed.made,
        })
    });
    json!({
        "name": note.name,
        "path": stored.path().display().to_string(),
        "sha256": note.sha256,
        "len": note.len,
        "url": note.url,
        "asked": note.asked,
        "released": note.released,
        "arrived": note.arrived,
        "promised_by": note.promised_by,
        "signature": signature,
    })
}
