//! `cardmint build`: the node images, each made, read back and only then named.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use serde_json::json;

use super::workspace::Workspace;
use super::{Context, exit_code};
use crate::base::Sha256Digest;
use crate::cli::BuildArgs;
use crate::cluster::record::Entry;
use crate::exit::ExitCode;
use crate::output::{Build, Expected, Job, OutputError, differing_chunks};
use crate::plan::{self, Card, OpenBase, Plan};
use crate::report::plain_table;

/// What became of one node's image.
enum Fate {
    /// Made, read back and named; its digest.
    Built(Sha256Digest),
    /// It was there already and holds exactly what is planned; its digest.
    Kept(Sha256Digest),
    /// Another image is there, and `--force` was not given.
    Refused,
    /// Not made.
    Failed(anyhow::Error),
}

pub(super) fn run(context: &mut Context<'_>, args: &BuildArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let nodes = workspace.select(args.selection.nodes.as_deref())?;
    let bases = workspace.bases(context, &nodes, args.selection.mechanism)?;
    let out = args
        .selection
        .out
        .clone()
        .unwrap_or_else(|| context.path("images"));
    let orders = workspace.orders(nodes, &bases, &out)?;
    let plan = plan::make(
        &workspace.cluster.name,
        &bases.list,
        orders,
        &workspace.templates,
    )?;
    for notice in plan.notices().iter().chain(&workspace.cluster.notices) {
        context.tell(format_args!("note: {notice}"))?;
    }
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let mut fates: Vec<Option<Fate>> = plan.cards.iter().map(|_| None).collect();
    for (index, base) in plan.bases.iter().enumerate() {
        build_base(
            context,
            &workspace,
            &plan,
            (index, base),
            args.force,
            &mut fates,
        )?;
    }
    let fates: Vec<Fate> = fates.into_iter().flatten().collect();
    let handover = workspace.write_handover()?;
    report(context, &plan, &fates, &handover, args.json)
}

/// Makes the images of all cards on one base, and records them.
fn build_base(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    (index, on): (usize, &OpenBase),
    force: bool,
    fates: &mut [Option<Fate>],
) -> Result<()> {
    let mut wanted = Vec::new();
    for (at, card) in plan
        .cards
        .iter()
        .enumerate()
        .filter(|(_, card)| card.base == index)
    {
        match existing(context, workspace, on, card)? {
            Some(Fate::Refused) if force => wanted.push(at),
            Some(fate) => fates[at] = Some(fate),
            None => wanted.push(at),
        }
    }
    let jobs: Vec<Job<'_>> = wanted
        .iter()
        .map(|&at| {
            let card = &plan.cards[at];
            Job {
                name: &card.node.hostname,
                path: card.path.clone(),
                overlay: &card.overlay,
            }
        })
        .collect();
    let build = Build {
        base: &on.base,
        cache: &workspace.cache,
        replace: force,
        sink: &context.progress,
        interrupt: &context.interrupt,
    };
    let result = if jobs.is_empty() {
        on.base
            .digests(&workspace.cache, &context.progress, &context.interrupt)
            .map_err(OutputError::from)
    } else {
        build.run(&jobs, |job, outcome| {
            fates[wanted[job]] = Some(match outcome {
                Ok(digest) => Fate::Built(digest),
                Err(error) => Fate::Failed(error.into()),
            });
        })
    };
    // What was published before a failure is recorded all the same.
    let known = || on.base.known_digests(&workspace.cache);
    if let Some(digests) = result.as_ref().ok().cloned().or_else(known) {
        record(workspace, plan, (index, on), digests.raw, fates)?;
    }
    result.map(drop).map_err(Into::into)
}

/// What is already under the image's name: the very image, another one, or
/// nothing.
fn existing(
    context: &Context<'_>,
    workspace: &Workspace,
    on: &OpenBase,
    card: &Card,
) -> Result<Option<Fate>> {
    if !card
        .path
        .try_exists()
        .with_context(|| card.path.display().to_string())?
    {
        return Ok(None);
    }
    let digests = on
        .base
        .digests(&workspace.cache, &context.progress, &context.interrupt)?;
    let expected = Expected::new(&on.base, &digests.chunks, &card.overlay)?;
    let name = &card.node.hostname;
    let different = differing_chunks(
        &card.path,
        &expected,
        name,
        &context.progress,
        &context.interrupt,
    )?;
    Ok(Some(if different.is_empty() {
        Fate::Kept(expected.image_digest())
    } else {
        Fate::Refused
    }))
}

fn record(
    workspace: &Workspace,
    plan: &Plan<'_>,
    (index, on): (usize, &OpenBase),
    base: Sha256Digest,
    fates: &[Option<Fate>],
) -> Result<()> {
    let cards = plan
        .cards
        .iter()
        .zip(fates)
        .filter(|(card, _)| card.base == index);
    let entries: Vec<(u32, Entry)> = cards
        .filter_map(|(card, fate)| match fate {
            Some(Fate::Built(image) | Fate::Kept(image)) => {
                Some((card.node.number, entry(card, on, base, *image)))
            }
            _ => None,
        })
        .collect();
    crate::cluster::Record::update(&workspace.dir, |record| {
        record.belongs_to(&workspace.cluster.name, &workspace.key);
        for (number, entry) in entries {
            record.set(number, entry);
        }
    })?;
    Ok(())
}

fn entry(card: &Card, on: &OpenBase, base: Sha256Digest, image: Sha256Digest) -> Entry {
    Entry {
        hostname: card.node.hostname.clone(),
        generation: card.generation,
        base,
        base_name: on.base.name().to_owned(),
        overlay: card.overlay.digest(),
        image: image.to_string(),
        host_key: card.host_key.fingerprint.clone(),
        instance_id: card.boot_files.instance_id.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Fate {
    fn word(&self) -> &'static str {
        match self {
            Self::Built(_) => "built",
            Self::Kept(_) => "kept",
            Self::Refused => "refused",
            Self::Failed(_) => "failed",
        }
    }

    fn digest(&self) -> Option<Sha256Digest> {
        match self {
            Self::Built(digest) | Self::Kept(digest) => Some(*digest),
            Self::Refused | Self::Failed(_) => None,
        }
    }

    fn code(&self) -> ExitCode {
        match self {
            Self::Built(_) | Self::Kept(_) => ExitCode::Done,
            Self::Refused => ExitCode::Refused,
            Self::Failed(error) => exit_code(error),
        }
    }

    fn problem(&self, path: &Path) -> Option<String> {
        match self {
            Self::Built(_) | Self::Kept(_) => None,
            Self::Refused => Some(format!(
                "{} exists and differs from the plan; --force replaces it",
                path.display()
            )),
            Self::Failed(error) => Some(format!("{error:#}")),
        }
    }
}

fn report(
    context: &mut Context<'_>,
    plan: &Plan<'_>,
    fates: &[Fate],
    handover: &Path,
    json: bool,
) -> Result<ExitCode> {
    if json {
        let nodes: Vec<_> = plan
            .cards
            .iter()
            .zip(fates)
            .map(|(card, fate)| {
                json!({
                    "hostname": card.node.hostname,
                    "number": card.node.number,
                    "result": fate.word(),
                    "image": card.path.display().to_string(),
                    "image_digest": fate.digest(),
                    "host_key": card.host_key.fingerprint,
                    "problem": fate.problem(&card.path),
                })
            })
            .collect();
        let report = json!({
            "cluster": plan.cluster,
            "nodes": nodes,
            "handover": handover.display().to_string(),
        });
        serde_json::to_writer_pretty(&mut *context.out, &report)?;
        writeln!(context.out)?;
    } else {
        context.tell(summary(plan, fates).trim_fmt())?;
    }
    for (card, fate) in plan.cards.iter().zip(fates) {
        if let Some(problem) = fate.problem(&card.path) {
            crate::ui::complain(&format!("{}: {problem}", card.node.hostname));
        }
    }
    let code = ExitCode::merge(fates.iter().map(Fate::code));
    if code == ExitCode::Done && !json {
        let first = &plan.cards[0].node.hostname;
        context.tell(format_args!(
            "\nWrite each image to its card, power the nodes on, then:\n  ssh -F {} {first}",
            handover.join("ssh_config").display()
        ))?;
    }
    Ok(code)
}

fn summary(plan: &Plan<'_>, fates: &[Fate]) -> Table {
    let mut table = plain_table();
    table.set_header(["node", "result", "image"]);
    for (card, fate) in plan.cards.iter().zip(fates) {
        table.add_row([
            card.node.hostname.as_str(),
            fate.word(),
            &card.path.display().to_string(),
        ]);
    }
    table
}
