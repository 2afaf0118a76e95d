//! `cardmint images prune`: makes room.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use indicatif::HumanBytes;
use serde_json::json;

use crate::base::Cache;
use crate::base::prune::{self, Item, Kind, Limits};
use crate::cli::ImagesPruneArgs;
use crate::commands::{Context, Usage, told};
use crate::exit::ExitCode;
use crate::report::{drawn, plain_table};
use crate::ui::{ask, complain};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A cluster that nobody touched for a quarter of a year can wait for a download.
const DEFAULT_DAYS: u32 = 90;

pub(super) fn run(context: &mut Context<'_>, args: &ImagesPruneArgs) -> Result<ExitCode> {
    let cache = Cache::open_default()?;
    let items = prune::items(&cache)?;
    let chosen = prune::choose(items, SystemTime::now(), &limits(args));
    if chosen.is_empty() && !args.json {
        context.tell("There is nothing to remove.")?;
        return Ok(ExitCode::Done);
    }
    let chosen = match leave(context, args, &chosen)? {
        true => chosen,
        false => Vec::new(),
    };
    if chosen.is_empty() && !args.json {
        context.tell("Nothing was removed.")?;
        return Ok(ExitCode::Done);
    }
    let outcome = match args.dry_run {
        true => Outcome {
            removed: chosen,
            ..Outcome::default()
        },
        false => remove(chosen),
    };
    tell(context, args, &outcome)?;
    Ok(match outcome.failed.is_empty() {
        true => ExitCode::Done,
        false => ExitCode::Failed,
    })
}

/// What became of the items.
#[derive(Default)]
struct Outcome {
    removed: Vec<Item>,
    in_use: Vec<Item>,
    /// Those that could not be removed, and why.
    failed: Vec<(Item, String)>,
}

/// Removes what can be removed: one that cannot keeps no other from making room.
fn remove(items: Vec<Item>) -> Outcome {
    let mut outcome = Outcome::default();
    for item in items {
        match prune::remove(&item) {
            Ok(true) => outcome.removed.push(item),
            Ok(false) => outcome.in_use.push(item),
            Err(error) => outcome.failed.push((item, told(&error.into()))),
        }
    }
    outcome
}

fn tell(context: &mut Context<'_>, args: &ImagesPruneArgs, outcome: &Outcome) -> Result<()> {
    let freed: u64 = outcome.removed.iter().map(|item| item.len).sum();
    for (item, problem) in &outcome.failed {
        let path = item.path.display();
        complain(&format!("{path} cannot be removed: {problem}"));
    }
    if args.json {
        let list = |items: &[Item]| -> Vec<_> { items.iter().map(to_json).collect() };
        let failed = outcome.failed.iter().map(|(item, problem)| {
            let mut json = to_json(item);
            json["problem"] = problem.clone().into();
            json
        });
        let report = json!({
            "dry_run": args.dry_run,
            "removed": list(&outcome.removed),
            "in_use": list(&outcome.in_use),
            "failed": failed.collect::<Vec<_>>(),
            "freed": freed,
        });
        return context.print_json(&report);
    }
    for item in &outcome.in_use {
        context.tell(format_args!("{} is in use and stays.", item.name))?;
    }
    match args.dry_run {
        true => context.tell(format_args!("This would free {}.", HumanBytes(freed))),
        false => context.tell(format_args!("Freed {}.", HumanBytes(freed))),
    }
}

/// Shows what would go, and asks where that is to be asked.
fn leave(context: &mut Context<'_>, args: &ImagesPruneArgs, chosen: &[Item]) -> Result<bool> {
    let asks = !args.dry_run && !args.yes && !chosen.is_empty();
    // Standard output is for programs where they asked for it.
    let mut stderr = anstream::stderr();
    let out: &mut dyn Write = match args.json {
        true => &mut stderr,
        false => context.out,
    };
    if asks || !args.json {
        show(out, chosen)?;
    }
    if !asks {
        return Ok(true);
    }
    if !ask::can_ask() {
        bail!(Usage(
            "nobody is there to be asked: add --yes, or --dry-run to see what would go".into()
        ));
    }
    // Whoever answers must have seen them.
    out.flush()?;
    let total: u64 = chosen.iter().map(|item| item.len).sum();
    ask::confirm(&format!("Remove these, {} in all?", HumanBytes(total)))
}

fn limits(args: &ImagesPruneArgs) -> Limits {
    let days = match (args.all, args.unused_for, args.max_size) {
        (true, ..) => Some(0),
        (false, None, Some(_)) => None,
        (false, days, _) => Some(days.unwrap_or(DEFAULT_DAYS)),
    };
    Limits {
        unused_for: days.map(|days| days * DAY),
        total_len: args.max_size,
    }
}

fn show(out: &mut dyn Write, items: &[Item]) -> Result<()> {
    let mut table = plain_table();
    table.set_header(["", "what", "size", "last used"]);
    for item in items {
        let what = match item.kind {
            Kind::Image => "image",
            Kind::Partial => "unfinished download",
            Kind::Unpacked => "unpacked base",
            Kind::Compressed => "base, compressed anew",
        };
        let name: String = item.name.chars().take(48).collect();
        table.add_row([
            name,
            what.to_owned(),
            HumanBytes(item.len).to_string(),
            ago(item.last_used),
        ]);
    }
    writeln!(out, "{}", drawn(&table, []))?;
    Ok(())
}

fn ago(time: SystemTime) -> String {
    let age = SystemTime::now().duration_since(time).unwrap_or_default();
    match age.as_secs() / DAY.as_secs() {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn to_json(item: &Item) -> serde_json::Value {
    let last_used = jiff::Timestamp::try_from(item.last_used).ok();
    json!({
        "kind": item.kind,
        "name": item.name,
        "path": item.path.display().to_string(),
        "len": item.len,
        "last_used": last_used,
    })
}
