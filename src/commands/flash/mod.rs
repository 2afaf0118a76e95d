//! `cardmint flash`: nodes on cards, each read back.

mod access;
mod cards;
mod fate;
mod show;
mod wait;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::cards::Guard;
use self::write::Run;
use super::used::Maps;
use super::workspace::{Pick, Workspace};
use super::{Context, Usage};
use crate::cli::{CardArgs, FlashArgs};
use crate::cluster::Node;
use crate::cluster::node::PRACTICE;
use crate::exit::ExitCode;
use crate::layout::UsedMap;
use crate::report::event::{Event, Sink};
use crate::ui::ask;
use crate::ui::json_lines::JsonLines;

/// A node, and the card that was named for it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) node: Node,
    pub(super) card: Option<PathBuf>,
}

pub(super) fn run(context: &mut Context<'_>, args: &FlashArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let targets = targets(&workspace, args)?;
    mint(context, workspace, targets, &args.card, Pick::Newest)
}

/// What was typed, as nodes with their cards.
fn targets(workspace: &Workspace, args: &FlashArgs) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    if args.targets.is_empty() {
        let nodes = workspace.select(None)?.into_iter();
        targets.extend(nodes.map(|node| Target { node, card: None }));
    }
    for text in &args.targets {
        match text.split_once('=') {
            Some((node, card)) => targets.push(Target {
                node: workspace.select_one(node)?,
                card: Some(card.into()),
            }),
            None if text.contains('/') => bail!(Usage(format!(
                "{text} is no node; say which one goes on it: cardmint flash NODE={text}"
            ))),
            None => {
                let nodes = workspace.select(Some(text))?.into_iter();
                targets.extend(nodes.map(|node| Target { node, card: None }));
            }
        }
    }
    if let Some(card) = &args.to {
        match targets.as_mut_slice() {
            [target] if target.card.is_none() => target.card = Some(card.clone()),
            _ => bail!(Usage(
                "--to goes with one node. Name a card for each: cardmint flash NODE=CARD …".into()
            )),
        }
    }
    for (index, target) in targets.iter().enumerate() {
        let is_it = |other: &Target| other.node.number == target.node.number;
        if targets[..index].iter().any(is_it) {
            bail!(Usage(format!("{} is named twice", target.node.hostname)));
        }
    }
    Ok(targets)
}

/// Writes `targets`, to the cards that are named or to those that come.
pub(super) fn mint(
    context: &mut Context<'_>,
    workspace: Workspace,
    targets: Vec<Target>,
    args: &CardArgs,
    pick: Pick,
) -> Result<ExitCode> {
    let (nodes, paths): (Vec<Node>, Vec<Option<PathBuf>>) = targets
        .into_iter()
        .map(|target| (target.node, target.card))
        .unzip();
    let named: Vec<&PathBuf> = paths.iter().flatten().collect();
    if !named.is_empty() && named.len() < paths.len() {
        bail!(Usage(
            "some nodes have a card and some have none; name a card for each, or for none".into()
        ));
    }
    if named.is_empty() && !args.yes && !ask::can_ask() {
        bail!(Usage(
            "nobody is there to be asked: name the cards (NODE=CARD) and add --yes".into()
        ));
    }
    let bases = workspace.bases(context, &nodes, args.mechanism, pick)?;
    let orders = workspace.orders(nodes, &bases, Path::new(""))?;
    let plan = workspace.plan(&bases, orders)?;
    let json = JsonLines::default();
    let progress = context.progress.clone();
    let sink: &dyn Sink = if args.json { &json } else { &progress };
    for message in [plan.notices(), workspace.cluster.notices.clone()].concat() {
        sink.send(Event::Noticed { message: &message });
    }
    if plan.bases.iter().any(|on| on.base.name() == PRACTICE) {
        let message = "the practice base boots nothing: what is written is to look at";
        sink.send(Event::Noticed { message });
    }
    let bases = plan.bases.iter();
    let maps: Vec<Maps<'_>> = bases
        .map(|on| Maps::new(on, args.full, sink, &context.interrupt))
        .collect::<Result<_>>()?;
    let cards = plan.cards.iter();
    let used: Vec<UsedMap> = cards
        .map(|card| maps[card.base].of_card(&card.overlay))
        .collect::<Result<_>>()?;
    let guard = Guard::new(&plan, args, &workspace, &context.interrupt)?;
    let mut run = Run::new(workspace, &plan, (&maps, &used), args, sink);
    if named.is_empty() {
        let stop = wait::run(context, &guard, &mut run);
        return run.finish(context, stop);
    }
    let chosen = guard.choose(&paths)?;
    if !args.yes {
        // Standard output is for programs where they asked for it.
        let mut stderr = anstream::stderr();
        let out: &mut dyn Write = if args.json { &mut stderr } else { context.out };
        show::confirm(&plan, &chosen, out)?;
    }
    let stop = run.write(context, chosen);
    run.finish(context, stop)
}
