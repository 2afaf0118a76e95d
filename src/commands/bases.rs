//! Opens the bases that a set of nodes is built on, each once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::catalogue::{self, PRACTICE, PRACTICE_IMAGE};
use super::{Context, Refused, Usage};
use crate::base::{Base, Cache};
use crate::cluster::Node;
use crate::cluster::node::{Image, ImageSource};
use crate::layout::{Layout, Mechanism, detect};
use crate::plan::OpenBase;

/// The bases, and for each node the index of its own.
pub(super) struct Bases {
    pub(super) list: Vec<OpenBase>,
    pub(super) of_node: Vec<usize>,
}

/// Opens the base of every node in `nodes`.
pub(super) fn open_all(
    context: &Context<'_>,
    cache: &Cache,
    nodes: &[Node],
    mechanism: Option<Mechanism>,
) -> Result<Bases> {
    let mut known: HashMap<Arc<Image>, usize> = HashMap::new();
    let mut bases = Bases {
        list: Vec::new(),
        of_node: Vec::new(),
    };
    for node in nodes {
        let index = match known.get(&node.image) {
            Some(&index) => index,
            None => {
                bases
                    .list
                    .push(open(context, cache, &node.image, mechanism)?);
                known.insert(Arc::clone(&node.image), bases.list.len() - 1);
                bases.list.len() - 1
            }
        };
        bases.of_node.push(index);
    }
    Ok(bases)
}

fn open(
    context: &Context<'_>,
    cache: &Cache,
    image: &Image,
    mechanism: Option<Mechanism>,
) -> Result<OpenBase> {
    let base = match &image.source {
        ImageSource::Path(path) => open_file(context, cache, path)?,
        ImageSource::Catalogue(name) if name == PRACTICE => {
            Base::from_static(PRACTICE, PRACTICE_IMAGE)?
        }
        ImageSource::Catalogue(name) => return Err(catalogue::not_here(name, "image").into()),
        ImageSource::Url(url) => bail!(Usage(format!(
            "this version of cardmint does not download. Download {url} and set `image` in \
             cluster.toml to the file's path"
        ))),
    };
    if let Some(wanted) = image.sha256 {
        base.check_sha256(wanted, cache, &context.progress, &context.interrupt)
            .map_err(refusal)?;
    }
    let name = base.name().to_owned();
    let layout = Layout::read(&base).with_context(|| name.clone())?;
    if let Some(reason) = detect::customised(&layout.boot) {
        let error = detect::DetectError::Customised(reason);
        bail!(Refused(format!("{name}: {error}")));
    }
    let os = detect::detect(&layout.boot, mechanism)
        .map_err(|error| Usage(format!("{name}: {error}")))?;
    let sha256 = base.known_digests(cache).map(|digests| digests.raw);
    Ok(OpenBase {
        base,
        layout,
        os,
        sha256,
    })
}

/// Opens an image file, with advice where it is missing.
pub(super) fn open_file(context: &Context<'_>, cache: &Cache, path: &Path) -> Result<Base> {
    if !path.exists() {
        bail!(Usage(format!(
            "there is no image {}. Set `image` in cluster.toml to the path of a Raspberry Pi OS \
             Lite image, or download one from https://www.raspberrypi.com/software/operating-systems/",
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
