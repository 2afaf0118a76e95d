//! `cardmint images fetch`: looks for the newest, and downloads it once.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{arrived, checked_by, open, to_json};
use crate::base::Cache;
use crate::base::catalogue::{Catalogue, ImageName, KnownImage};
use crate::base::images::{Request, Source};
use crate::cli::ImagesFetchArgs;
use crate::cluster::manifest::StandIn;
use crate::cluster::node::ImageSource;
use crate::cluster::{Cluster, Node};
use crate::commands::workspace::MANIFEST;
use crate::commands::{Context, Usage};
use crate::exit::ExitCode;

pub(super) fn run(context: &mut Context<'_>, args: &ImagesFetchArgs) -> Result<ExitCode> {
    let requests = requests(context, args)?;
    let cache = Cache::open_default()?;
    let mut found = Vec::new();
    for request in &requests {
        let image = open(context, &cache)?.get(request)?;
        if !args.json {
            let text = match image.is_new {
                true => arrived(&image),
                false => format!(
                    "{} is here already: {}.",
                    image.stored.note.name,
                    checked_by(&image.stored.note).join("; ")
                ),
            };
            context.tell(text)?;
        }
        let mut json = to_json(&image.stored);
        json["new"] = image.is_new.into();
        found.push(json);
    }
    if args.json {
        context.print_json(&Value::from(found))?;
    }
    Ok(ExitCode::Done)
}

fn requests(context: &Context<'_>, args: &ImagesFetchArgs) -> Result<Vec<Request>> {
    if args.images.len() != 1 && args.sha256.is_some() {
        bail!(Usage("--sha256 goes with one image".into()));
    }
    let mut requests = match args.images.as_slice() {
        [] => of_cluster(context)?,
        names => names
            .iter()
            .map(|text| Ok(Request::of(source(text)?)))
            .collect::<Result<Vec<_>>>()?,
    };
    for request in &mut requests {
        request.newest = true;
        request.require_signature |= args.require_signature;
        request.sha256 = args.sha256.or(request.sha256);
    }
    Ok(requests)
}

/// What was typed.
fn source(text: &str) -> Result<Source> {
    if text.contains("://") {
        return Ok(Source::of_url(text));
    }
    let name = text.parse::<ImageName>().map_err(|error| {
        let names: Vec<&str> = Catalogue::builtin()
            .images()
            .map(KnownImage::name)
            .collect();
        let help = match error.suggestion() {
            Some(suggestion) => format!("; {suggestion}"),
            None => format!(". There are {}; or give an https address", names.join(", ")),
        };
        Usage(format!("{error}{help}"))
    })?;
    Ok(Source::Name(name))
}

/// What the nodes of the manifest are built on.
fn of_cluster(context: &Context<'_>) -> Result<Vec<Request>> {
    let manifest = context.path(MANIFEST);
    if !manifest.exists() {
        bail!(Usage(format!(
            "there is no {} here; name an image, such as raspios-lite-arm64. `cardmint images \
             list` shows the names",
            manifest.display()
        )));
    }
    let cluster = Cluster::load(&manifest, &mut StandIn);
    context.interrupt.check()?;
    let cluster = cluster?;
    let mut requests: Vec<Request> = Vec::new();
    for Node { image, .. } in &cluster.nodes {
        let ImageSource::Download(source) = &image.source else {
            continue;
        };
        let is_known =
            |request: &Request| request.source == *source && request.sha256 == image.sha256;
        if !requests.iter().any(is_known) {
            requests.push(Request {
                sha256: image.sha256,
                require_signature: image.require_signature,
                ..Request::of(source.clone())
            });
        }
    }
    if requests.is_empty() {
        bail!(Usage(format!(
            "{} names only images that are files here; there is nothing to fetch",
            manifest.display()
        )));
    }
    Ok(requests)
}
