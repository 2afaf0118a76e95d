//! `cardmint images verify`: reads what is here once more.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{checked_by, open, to_json};
use crate::base::Cache;
use crate::base::fetch::Stored;
use crate::cli::ImagesVerifyArgs;
use crate::commands::{Context, Usage};
use crate::exit::ExitCode;

pub(super) fn run(context: &mut Context<'_>, args: &ImagesVerifyArgs) -> Result<ExitCode> {
    let cache = Cache::open_default()?;
    let mut all = open(context, &cache)?.store().all()?;
    all.retain(|stored| is_meant(stored, &args.images));
    if all.is_empty() && !args.images.is_empty() {
        bail!(Usage(format!(
            "no such image is here: {}. `cardmint images list` shows what is",
            args.images.join(", ")
        )));
    }
    let mut codes = Vec::new();
    let mut report = Vec::new();
    for stored in &mut all {
        let is_intact = stored.is_intact_throughout(&context.interrupt)?;
        codes.push(match is_intact {
            true => ExitCode::Done,
            false => ExitCode::Different,
        });
        let mut json = to_json(stored);
        json["intact"] = is_intact.into();
        report.push(json);
        if args.json {
            continue;
        }
        if is_intact {
            let checked = checked_by(&stored.note).join("; ");
            writeln!(context.out, "{}: intact. {checked}", stored.note.name)?;
        } else {
            writeln!(
                context.out,
                "{}: DAMAGED, its bytes are not what arrived. Its next use fetches it again",
                stored.note.name
            )?;
        }
    }
    if args.json {
        context.print_json(&Value::from(report))?;
    } else if all.is_empty() {
        context.tell("No image is here.")?;
    }
    Ok(ExitCode::merge(codes))
}

fn is_meant(stored: &Stored, names: &[String]) -> bool {
    let note = &stored.note;
    let is_it = |name: &String| note.name.contains(name.as_str()) || note.asked.contains(name);
    names.is_empty() || names.iter().any(is_it)
}
