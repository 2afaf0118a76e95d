//! `build --sums` and what `--imager-manifest` needs: digests of plain images.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::job;
use crate::base::Sha256Digest;
use crate::commands::Context;
use crate::commands::used::Maps;
use crate::commands::workspace::Workspace;
use crate::output::{Build, Expected, publish_beside, sha256_of_images};
use crate::overlay::Overlay;
use crate::plan::{Card, Plan};

/// SHA-256 of the uncompressed images that are there, by the card's number.
pub(super) type Sums = BTreeMap<usize, Sha256Digest>;

/// Takes the digests: one pass over each base for all its nodes.
pub(super) fn take(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    is_there: impl Fn(usize) -> bool,
) -> Result<Sums> {
    let mut sums = Sums::new();
    for (number, on) in plan.bases.iter().enumerate() {
        let build = Build {
            base: &on.base,
            cache: &workspace.cache,
            replace: false,
            sink: &context.progress,
            interrupt: &context.interrupt,
        };
        let of_base = |(at, card): &(usize, &Card)| card.base == number && is_there(*at);
        let cards = plan.cards.iter().enumerate().filter(of_base);
        let (places, overlays): (Vec<usize>, Vec<&Overlay>) =
            cards.map(|(at, card)| (at, &card.overlay)).unzip();
        if !overlays.is_empty() {
            let digests = sha256_of_images(&build, &overlays)?;
            sums.extend(places.into_iter().zip(digests));
        }
    }
    Ok(sums)
}

/// Writes `.sha256` and `.bmap` beside the plain images that `sums` are of.
pub(super) fn write(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    sums: &Sums,
) -> Result<()> {
    for (number, on) in plan.bases.iter().enumerate() {
        let of_base = |(at, _): &(&usize, _)| plan.cards[**at].base == number;
        let mut sums = sums.iter().filter(of_base).peekable();
        if sums.peek().is_none() {
            continue;
        }
        let sink = &context.progress;
        let digests = on
            .base
            .digests(&workspace.cache, sink, &context.interrupt)?;
        let maps = Maps::new(on, false, sink, &context.interrupt)?;
        for (&at, &sum) in sums {
            let card = &plan.cards[at];
            let used = maps.of_card(&card.overlay)?;
            let expected = Expected::new(&on.base, &digests.chunks, &card.overlay)
                .with_context(|| on.base.name().to_owned())?;
            publish_beside(&job(card, Some(&used)), &expected, sum)?;
        }
    }
    Ok(())
}
