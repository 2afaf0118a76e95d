//! `cardmint build`: the node images, each made, read back and only then named.

mod imager;
mod packed;
mod sums;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::workspace::{Pick, Workspace};
use super::{Context, Refused, exit_code, handover, made, told};
use crate::base::Sha256Digest;
use crate::cli::BuildArgs;
use crate::cluster::record::Entry;
use crate::exit::ExitCode;
use crate::layout::UsedMap;
use crate::output::{
    Build, Compression, Expected, Job, OutputError, differing_chunks, remove_abandoned,
};
use crate::plan::{Card, OpenBase, Plan};
use crate::report::event::Sink;
use crate::report::{Tone, drawn, plain_table};
use crate::whole;

/// What became of one node's image.
enum Fate {
    /// Made, read back and named; its digest.
    Built(Sha256Digest),
    /// It was there already and holds exactly what is planned; its digest.
    Kept(Sha256Digest),
    /// Another image is there, and `--force` was not given.
    Refused,
    /// Not made: why, and the exit code that stands for it.
    Failed(String, ExitCode),
}

pub(super) fn run(context: &mut Context<'_>, args: &BuildArgs) -> Result<ExitCode> {
    let compression = packed::compression(args)?;
    let workspace = Workspace::open(context)?;
    let nodes = workspace.select(args.selection.nodes.as_deref())?;
    let bases = workspace.bases(context, &nodes, args.selection.mechanism, Pick::Newest)?;
    let out = args
        .selection
        .out
        .clone()
        .unwrap_or_else(|| context.path("images"));
    let mut orders = workspace.orders(nodes, &bases, &out)?;
    if let Some(format) = compression {
        for order in &mut orders {
            let path = order.path.as_mut_os_string();
            path.push(format!(".{}", format.suffix()));
        }
    }
    let plan = workspace.plan(&bases, orders)?;
    spare_bases(&plan)?;
    let notices = [plan.notices(), workspace.cluster.notices.clone()].concat();
    if !args.json {
        for notice in &notices {
            context.tell(format_args!("note: {notice}"))?;
        }
    }
    whole::create_dir_all(&out, 0o777).with_context(|| format!("creating {}", out.display()))?;
    let (fates, mut codes) = build_all(context, &workspace, &plan, (args, compression));
    let handover = handover::write_beside(context, &workspace);
    let how = (args, compression);
    let beside = write_beside(context, &workspace, &plan, how, &fates, &out);
    let errors = [handover.as_ref().err(), beside.as_ref().err()];
    codes.extend(errors.into_iter().flatten().map(exit_code));
    codes.extend(fates.iter().map(Fate::code));
    let code = ExitCode::merge(codes);
    let folder = handover.as_deref().ok();
    let reported = if args.json {
        report_json(context, &plan, &fates, folder, &notices)
    } else {
        context.tell(summary(&plan, &fates))
    };
    for (card, fate) in plan.cards.iter().zip(&fates) {
        if let Some(problem) = fate.problem(&card.path) {
            crate::ui::complain(&format!("{}: {problem}", card.node.hostname));
        }
    }
    for error in errors.into_iter().flatten() {
        crate::ui::complain(&told(error));
    }
    let (ExitCode::Done, Some(folder)) = (code, folder) else {
        return Ok(code);
    };
    // A report that nobody got counts where there is nothing worse.
    reported?;
    if !args.json {
        tell_next(context, &plan, folder)?;
    }
    Ok(code)
}

fn tell_next(context: &mut Context<'_>, plan: &Plan<'_>, folder: &Path) -> Result<()> {
    let first = &plan.cards[0].node.hostname;
    context.tell(format_args!(
        "\nWrite each image to its card, power the nodes on, then:\n  cardmint status --wait 10m{}",
        handover::login(folder, first)
    ))
}

/// Refuses to make an image in place of one of the bases, which `--force` would replace.
fn spare_bases(plan: &Plan<'_>) -> Result<()> {
    let id = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let files = plan.bases.iter().filter_map(|on| on.base.path());
    let bases: Vec<_> = files.filter_map(id).collect();
    for card in &plan.cards {
        if id(&card.path).is_some_and(|id| bases.contains(&id)) {
            bail!(Refused(format!(
                "{} is the base image itself; choose another place with --out",
                card.path.display()
            )));
        }
    }
    Ok(())
}

/// Makes all images; tells what became of each, and the exit codes of the bases that failed.
fn build_all(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    how: (&BuildArgs, Option<Compression>),
) -> (Vec<Fate>, Vec<ExitCode>) {
    // Also of those that are kept: whatever is written beside them counts on it.
    remove_abandoned(plan.cards.iter().map(|card| card.path.as_path()));
    let mut fates: Vec<Option<Fate>> = plan.cards.iter().map(|_| None).collect();
    let mut codes = Vec::new();
    for (index, base) in plan.bases.iter().enumerate() {
        let on = (index, base);
        if let Err(error) = build_base(context, workspace, plan, on, how, &mut fates) {
            codes.push(exit_code(&error));
            // One base failing never stops another.
            if !fail_rest(plan, index, &error, &mut fates) {
                crate::ui::complain(&told(&error));
            }
        }
    }
    (fates.into_iter().flatten().collect(), codes)
}

/// Writes what was asked for beside the images.
fn write_beside(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    (args, compression): (&BuildArgs, Option<Compression>),
    fates: &[Fate],
    out: &Path,
) -> Result<()> {
    if fates
        .iter()
        .any(|fate| fate.code() == ExitCode::Interrupted)
    {
        return Ok(());
    }
    let is_plain = compression.is_none();
    if args.imager_manifest || (args.sums && is_plain) {
        let is_there = |card: usize| fates.get(card).is_some_and(|fate| fate.digest().is_some());
        let sums = sums::take(context, workspace, plan, is_there)?;
        if args.sums && is_plain {
            sums::write(context, workspace, plan, &sums)?;
        }
        if args.imager_manifest {
            imager::write(plan, out, &sums)?;
        }
    }
    Ok(())
}

/// Gives the cards of a base that failed, and have no fate yet, that one; tells
/// whether there were any.
fn fail_rest(
    plan: &Plan<'_>,
    base: usize,
    error: &anyhow::Error,
    fates: &mut [Option<Fate>],
) -> bool {
    let mut any = false;
    for (card, fate) in plan.cards.iter().zip(fates) {
        if card.base == base && fate.is_none() {
            *fate = Some(Fate::failed(error));
            any = true;
        }
    }
    any
}

/// Makes the images of all cards on one base, and records them.
fn build_base(
    context: &Context<'_>,
    workspace: &Workspace,
    plan: &Plan<'_>,
    (index, on): (usize, &OpenBase),
    (args, compression): (&BuildArgs, Option<Compression>),
    fates: &mut [Option<Fate>],
) -> Result<()> {
    let build = Build {
        base: &on.base,
        cache: &workspace.cache,
        replace: args.force,
        sink: &context.progress,
        interrupt: &context.interrupt,
    };
    let of_base = |(_, card): &(usize, &Card)| card.base == index;
    let cards: Vec<(usize, &Card)> = plan.cards.iter().enumerate().filter(of_base).collect();
    if let Some(format) = compression {
        let digests = packed::build_base(build, on, &cards, (args, format), fates)?;
        return record(workspace, plan, (index, on), digests.raw, fates, build.sink);
    }
    let mut wanted = Vec::new();
    for (at, card) in cards {
        match existing(context, workspace, on, card) {
            Ok(Some(Fate::Refused)) if args.force => wanted.push(at),
            Ok(None) => wanted.push(at),
            Ok(fate) => fates[at] = fate,
            Err(error) => fates[at] = Some(Fate::failed(&error)),
        }
    }
    let jobs: Vec<Job<'_>> = wanted
        .iter()
        .map(|&at| job(&plan.cards[at], None))
        .collect();
    let result = if jobs.is_empty() {
        on.base
            .digests(&workspace.cache, &context.progress, &context.interrupt)
            .map_err(OutputError::from)
    } else {
        build.run(&jobs, |job, outcome| {
            fates[wanted[job]] = Some(match outcome {
                Ok(digest) => Fate::Built(digest),
                Err(error) => Fate::failed(&error.into()),
            });
        })
    };
    // What was published before a failure is recorded all the same.
    let known = || on.base.known_digests(&workspace.cache);
    if let Some(digests) = result.as_ref().ok().cloned().or_else(known) {
        record(workspace, plan, (index, on), digests.raw, fates, build.sink)?;
    }
    result.map(drop).map_err(Into::into)
}

fn job<'a>(card: &'a Card, used: Option<&'a UsedMap>) -> Job<'a> {
    Job {
        name: &card.node.hostname,
        path: card.path.clone(),
        overlay: &card.overlay,
        used,
    }
}

/// What is already under the image's name: the very image, another one, or
/// nothing.
fn existing(
    context: &Context<'_>,
    workspace: &Workspace,
    on: &OpenBase,
    card: &Card,
) -> Result<Option<Fate>> {
    if !is_there(&card.path)? {
        return Ok(None);
    }
    let digests = on
        .base
        .digests(&workspace.cache, &context.progress, &context.interrupt)?;
    let expected = Expected::new(&on.base, &digests.chunks, &card.overlay)
        .with_context(|| on.base.name().to_owned())?;
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

/// Whether an image is there already.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => bail!(Refused(format!(
            "{} is no ordinary file; move it away, or choose another place with --out",
            path.display()
        ))),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn record(
    workspace: &Workspace,
    plan: &Plan<'_>,
    (index, on): (usize, &OpenBase),
    base: Sha256Digest,
    fates: &[Option<Fate>],
    sink: &dyn Sink,
) -> Result<()> {
    let cards = plan
        .cards
        .iter()
        .zip(fates)
        .filter(|(card, _)| card.base == index);
    let entries: Vec<(u32, Entry)> = cards
        .filter_map(|(card, fate)| match fate {
            Some(Fate::Built(image) | Fate::Kept(image)) => {
                Some((card.node.number, made::entry(card, on, base, *image)))
            }
            _ => None,
        })
        .collect();
    made::keep(workspace, entries, sink)
}

impl Fate {
    fn failed(error: &anyhow::Error) -> Self {
        Self::Failed(told(error), exit_code(error))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Built(_) => "built",
            Self::Kept(_) => "kept",
            Self::Refused => "refused",
            Self::Failed(..) => "failed",
        }
    }

    fn tone(&self) -> Tone {
        match self {
            Self::Built(_) | Self::Kept(_) => Tone::Good,
            Self::Refused | Self::Failed(..) => Tone::Bad,
        }
    }

    fn digest(&self) -> Option<Sha256Digest> {
        match self {
            Self::Built(digest) | Self::Kept(digest) => Some(*digest),
            Self::Refused | Self::Failed(..) => None,
        }
    }

    fn code(&self) -> ExitCode {
        match self {
            Self::Built(_) | Self::Kept(_) => ExitCode::Done,
            Self::Refused => ExitCode::Refused,
            Self::Failed(_, code) => *code,
        }
    }

    fn problem(&self, path: &Path) -> Option<String> {
        match self {
            Self::Built(_) | Self::Kept(_) => None,
            Self::Refused => Some(format!(
                "{} exists and differs from the plan; --force replaces it",
                path.display()
            )),
            Self::Failed(problem, _) => Some(problem.clone()),
        }
    }
}

fn report_json(
    context: &mut Context<'_>,
    plan: &Plan<'_>,
    fates: &[Fate],
    handover: Option<&Path>,
    notices: &[String],
) -> Result<()> {
    let node = |(card, fate): (&Card, &Fate)| {
        json!({
            "hostname": card.node.hostname,
            "number": card.node.number,
            "result": fate.word(),
            "image": card.path.display().to_string(),
            "image_digest": fate.digest(),
            "host_key": card.host_key.fingerprint,
            "problem": fate.problem(&card.path),
        })
    };
    let report = json!({
        "cluster": plan.cluster,
        "nodes": plan.cards.iter().zip(fates).map(node).collect::<Vec<_>>(),
        "handover": handover.map(|folder| folder.display().to_string()),
        "notices": notices,
    });
    context.print_json(&report)
}

fn summary(plan: &Plan<'_>, fates: &[Fate]) -> String {
    let mut table = plain_table();
    table.set_header(["node", "result", "image"]);
    for (card, fate) in plan.cards.iter().zip(fates) {
        table.add_row([
            card.node.hostname.as_str(),
            fate.word(),
            &card.path.display().to_string(),
        ]);
    }
    drawn(&table, fates.iter().map(|fate| (fate.word(), fate.tone())))
}
