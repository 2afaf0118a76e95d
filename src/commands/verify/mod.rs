//! `cardmint verify`: whether an image holds exactly what is planned.

mod show;
mod target;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use self::show::{Comparison, Outcome};
use self::target::Found;
pub(super) use self::target::check_readable;
use super::Context;
use super::difference::Search;
use super::used::Maps;
use super::workspace::{Pick, Workspace};
use crate::base::Sha256Digest;
use crate::base::chunk::{CHUNK_LEN, digest_pieces, digest_used};
use crate::cli::VerifyArgs;
use crate::exit::ExitCode;
use crate::output::{Expected, differing_chunks};
use crate::overlay::Minted;
use crate::plan::{Card, OpenBase};

pub(super) fn run(context: &mut Context<'_>, args: &VerifyArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let nodes = vec![workspace.select_one(&args.node)?];
    let name = nodes[0].hostname.clone();
    check_readable(&args.target)?;
    let bases = workspace.bases(context, &nodes, args.mechanism, Pick::AsBefore)?;
    let orders = workspace.orders(nodes, &bases, Path::new(""))?;
    let plan = workspace.plan(&bases, orders)?;
    let (on, card) = (&bases.list[0], &plan.cards[0]);
    let written = workspace.record.card(card.node.number);
    let was_flashed = args
        .target
        .canonicalize()
        .is_ok_and(|path| written.is_some_and(|entry| Path::new(&entry.device) == path));
    let found = Found::open(context, &workspace.cache, &args.target, was_flashed)?;
    let is_card = was_flashed || target::is_card(&args.target, on.layout.disk.len)?;
    let expected = if matches!(found, Found::Plain) && is_card {
        expect_card(context, &workspace, on, card)?
    } else {
        let digests = on
            .base
            .digests(&workspace.cache, &context.progress, &context.interrupt)?;
        Expected::new(&on.base, &digests.chunks, &card.overlay)
            .with_context(|| on.base.name().to_owned())?
    };
    let comparison = Comparison {
        outcome: compare(context, &args.target, found, (on, card), &expected)?,
        name,
        target: &args.target,
        expected: &expected,
    };
    if args.json {
        context.print_json(&comparison.to_json())?;
    } else {
        comparison.show(context)?;
    }
    Ok(comparison.outcome.code())
}

fn compare(
    context: &Context<'_>,
    target: &Path,
    found: Found,
    (on, card): (&OpenBase, &Card),
    expected: &Expected,
) -> Result<Outcome> {
    let chunks = match &found {
        Found::Plain => differing_chunks(
            target,
            expected,
            &card.node.hostname,
            &context.progress,
            &context.interrupt,
        )?,
        Found::Packed { chunks, .. } => target::differing_packed(chunks, expected),
        Found::Damaged(_) => Vec::new(),
    };
    let image = match found {
        Found::Damaged(damage) => return Ok(Outcome::Damaged(damage)),
        _ if chunks.is_empty() => return Ok(Outcome::Same),
        Found::Plain => target::open_plain(target)?,
        Found::Packed { image, .. } => image,
    };
    let planned = Minted {
        base: &on.base,
        overlay: &card.overlay,
    };
    let search = Search {
        path: target,
        image: &*image,
        base: on.base.name(),
        planned: &planned,
        layout: &on.layout,
        expected,
        task: &card.node.hostname,
        sink: &context.progress,
        interrupt: &context.interrupt,
    };
    Ok(Outcome::Different(search.run(&chunks)?))
}

/// Reads the base once for what the used blocks of a card must be.
fn expect_card(
    context: &Context<'_>,
    workspace: &Workspace,
    on: &OpenBase,
    card: &Card,
) -> Result<Expected> {
    let used =
        Maps::new(on, false, &context.progress, &context.interrupt)?.of_card(&card.overlay)?;
    let mut digests = BTreeMap::new();
    let mut put = |offset: u64, base: &[u8], whole: &Sha256Digest| {
        let len = base.len() as u64;
        let pieces: Vec<_> = used.within(offset, len).collect();
        if pieces.is_empty() {
            return;
        }
        // A chunk's number of a base that is open fits.
        let index = usize::try_from(offset / CHUNK_LEN as u64).unwrap_or(usize::MAX);
        let digest = if card.overlay.touches(offset, len) {
            let mut bytes = base.to_vec();
            card.overlay.apply(offset, &mut bytes);
            digest_pieces(&bytes, offset, &pieces)
        } else {
            digest_used(base, offset, &pieces, whole)
        };
        digests.insert(index, digest);
    };
    on.base.digest_while(
        &workspace.cache,
        &context.progress,
        &context.interrupt,
        &mut |offset, base, whole| {
            put(offset, base, whole);
            Ok(())
        },
    )?;
    Ok(Expected::of_card(digests, used))
}
