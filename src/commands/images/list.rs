//! `cardmint images list`: the names, and what is here.

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::json;

use super::{checked_by, open, to_json};
use crate::base::Cache;
use crate::base::catalogue::{Catalogue, Entry, KnownImage};
use crate::base::fetch::{ImageStore, Stored};
use crate::base::images::current;
use crate::cli::ImagesListArgs;
use crate::cluster::node::PRACTICE;
use crate::commands::Context;
use crate::exit::ExitCode;
use crate::report::{drawn, plain_table};

pub(super) fn run(context: &mut Context<'_>, args: &ImagesListArgs) -> Result<ExitCode> {
    let cache = Cache::open_default()?;
    match &args.from {
        Some(url) => entries(context, &cache, url, args.json),
        None => names(context, &cache, args.json),
    }
}

/// The names of the catalogue, and the images that are here; asks nobody.
fn names(context: &mut Context<'_>, cache: &Cache, as_json: bool) -> Result<ExitCode> {
    let here = ImageStore::open(cache)?.all()?;
    let catalogue = Catalogue::builtin();
    let newest = |image: &KnownImage| current(&here, image.name());
    if as_json {
        let names: Vec<_> = catalogue
            .images()
            .map(|image| {
                json!({
                    "image": image.name(),
                    "title": image.title(),
                    "boards": image.boards(),
                    "here": newest(image).map(|stored| stored.note.name.clone()),
                })
            })
            .collect();
        let here: Vec<_> = here.iter().map(to_json).collect();
        let all = json!({ "names": names, "here": here });
        context.print_json(&all)?;
        return Ok(ExitCode::Done);
    }
    let mut table = plain_table();
    table.set_header(["image", "boards", "here"]);
    for image in catalogue.images() {
        let here = match newest(image) {
            Some(stored) => stored.note.released.clone().unwrap_or_else(|| "yes".into()),
            None => "-".to_owned(),
        };
        table.add_row([image.name().to_owned(), image.boards().to_owned(), here]);
    }
    table.add_row([PRACTICE, "none: a tiny one to try cardmint with", "always"]);
    writeln!(context.out, "{}", drawn(&table, []))?;
    if !here.is_empty() {
        writeln!(context.out)?;
    }
    for stored in &here {
        show(context, stored)?;
    }
    Ok(ExitCode::Done)
}

fn show(context: &mut Context<'_>, stored: &Stored) -> Result<()> {
    let note = &stored.note;
    writeln!(
        context.out,
        "{}\n  {}, arrived on {} from {}",
        note.name,
        HumanBytes(note.len),
        note.arrived.strftime("%Y-%m-%d"),
        note.url
    )?;
    for line in checked_by(note) {
        writeln!(context.out, "  {line}")?;
    }
    Ok(())
}

/// The entries of a list, each with what a manifest calls it.
fn entries(context: &mut Context<'_>, cache: &Cache, url: &str, as_json: bool) -> Result<ExitCode> {
    let list = open(context, cache)?.list(url)?;
    let named: Vec<(&Entry, String)> = list
        .entries()
        .iter()
        .zip(list.names())
        .map(|(entry, name)| (entry, format!("{url}#{name}")))
        .collect();
    if as_json {
        let all: Vec<_> = named
            .iter()
            .map(|(entry, name)| {
                json!({
                    "image": name,
                    "name": entry.name,
                    "categories": entry.categories,
                    "description": entry.description,
                    "url": entry.url,
                    "released": entry.release_date,
                    "len": entry.download_len,
                    "sha256": entry.download_sha256,
                    "raw_len": entry.extract_len,
                    "raw_sha256": entry.extract_sha256,
                    "devices": entry.devices,
                })
            })
            .collect();
        context.print_json(&all)?;
        return Ok(ExitCode::Done);
    }
    for (entry, name) in &named {
        let len = entry
            .download_len
            .map(|len| format!(", {}", HumanBytes(len)));
        let date = entry.release_date.as_deref().unwrap_or("no date");
        writeln!(
            context.out,
            "{} ({date}{})\n  image = \"{}\"",
            entry.name,
            len.unwrap_or_default(),
            name
        )?;
    }
    if list.skipped() > 0 {
        context.tell(format_args!(
            "\nnote: {} entries are not shown: they are menus, or not understood.",
            list.skipped()
        ))?;
    }
    Ok(ExitCode::Done)
}
