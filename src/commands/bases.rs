//! Opens the bases that a set of nodes is built on, each once.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::practice::PRACTICE_IMAGE;
use super::{Context, Refused, Usage, images};
use crate::base::fetch::Stored;
use crate::base::images::Request;
use crate::base::{Base, Cache};
use crate::cluster::Node;
use crate::cluster::node::{Image, ImageSource, PRACTICE};
use crate::layout::{Layout, Mechanism, Os, detect};
use crate::plan::OpenBase;

/// The bases, and for each node the index of its own.
pub(super) struct Bases {
    pub(super) list: Vec<OpenBase>,
    pub(super) of_node: Vec<usize>,
    /// Downloaded images; while this lives, they are not pruned.
    _in_use: Vec<Stored>,
}

/// Opens the base of every node in `nodes`; the one called `before` is taken where a
/// name leaves the choice.
pub(super) fn open_all(
    context: &Context<'_>,
    cache: &Cache,
    nodes: &[Node],
    mechanism: Option<Mechanism>,
    before: Option<&str>,
) -> Result<Bases> {
    let mut known: HashMap<Arc<Image>, usize> = HashMap::new();
    let mut bases = Bases {
        list: Vec::new(),
        of_node: Vec::new(),
        _in_use: Vec::new(),
    };
    for node in nodes {
        let index = match known.get(&node.image) {
            Some(&index) => index,
            None => {
                let (base, stored) = find(context, cache, &node.image, before)?;
                bases
                    .list
                    .push(open(context, cache, &node.image, base, mechanism)?);
                bases._in_use.extend(stored);
                known.insert(Arc::clone(&node.image), bases.list.len() - 1);
                bases.list.len() - 1
            }
        };
        bases.of_node.push(index);
    }
    Ok(bases)
}

/// The base that an image is, fetched if it is not here.
fn find(
    context: &Context<'_>,
    cache: &Cache,
    image: &Image,
    before: Option<&str>,
) -> Result<(Base, Option<Stored>)> {
    let source = match &image.source {
        ImageSource::Path(path) => return Ok((open_file(context, cache, path)?, None)),
        ImageSource::Practice => return Ok((Base::from_static(PRACTICE, PRACTICE_IMAGE)?, None)),
        ImageSource::Download(source) => source,
    };
    let request = Request {
        sha256: image.sha256,
        require_signature: image.require_signature,
        before: before.map(str::to_owned),
        ..Request::of(source.clone())
    };
    let stored = images::get(context, cache, &request)?;
    let base = open_file(context, cache, &stored.path())?;
    Ok((base, Some(stored)))
}

fn open(
    context: &Context<'_>,
    cache: &Cache,
    image: &Image,
    base: Base,
    mechanism: Option<Mechanism>,
) -> Result<OpenBase> {
    if let Some(wanted) = image.sha256 {
        base.check_sha256(wanted, cache, &context.progress, &context.interrupt)
            .map_err(refusal)?;
    }
    let (layout, os) = match examine(&base, mechanism) {
        Ok(found) => found,
        Err(error) => {
            // It may be what became of it in the cache that makes no sense.
            base.check_unpacked(cache, &context.progress, &context.interrupt)?;
            return Err(error);
        }
    };
    let sha256 = base.known_digests(cache).map(|digests| digests.raw);
    Ok(OpenBase {
        base,
        layout,
        os,
        sha256,
    })
}

/// What a base is, and whether nodes can be made of it.
fn examine(base: &Base, mechanism: Option<Mechanism>) -> Result<(Layout, Os)> {
    let name = base.name();
    let layout = Layout::read(base).with_context(|| name.to_owned())?;
    if let Some(reason) = detect::customised(&layout.boot) {
        let error = detect::DetectError::Customised(reason);
        bail!(Refused(format!("{name}: {error}")));
    }
    let os = detect::detect(&layout.boot, mechanism)
        .map_err(|error| Usage(format!("{name}: {error}")))?;
    Ok((layout, os))
}

/// Whether there is no such file. Whatever else keeps it from being looked at is told where
/// it is opened.
pub(super) fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Opens an image file, with advice where it is missing.
pub(super) fn open_file(context: &Context<'_>, cache: &Cache, path: &Path) -> Result<Base> {
    if is_missing(path) {
        bail!(Usage(format!(
            "there is no image {}. Set `image` in cluster.toml to the path of a Raspberry Pi OS \
             Lite image, or to a name such as raspios-lite-arm64, which is downloaded",
            path.display()
        )));
    }
    Ok(Base::open(
        path,
        cache,
        &context.progress,
        &context.interrupt,
    )?)
}

/// A digest that does not match is a refusal; other failures stay what they are.
fn refusal(error: crate::base::BaseError) -> anyhow::Error {
    match error {
        crate::base::BaseError::Mismatch { .. } => Refused(error.to_string()).into(),
        other => other.into(),
    }
}
