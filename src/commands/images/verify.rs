//! `cardmint images verify`: reads what is here once more.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{checked_by, open, to_json};
use crate::base::fetch::Stored;
use crate::base::{BaseError, Cache};
use crate::cli::ImagesVerifyArgs;
use crate::commands::{Context, Usage, told};
use crate::exit::ExitCode;
use crate::interrupt::Interrupt;

pub(super) fn run(context: &mut Context<'_>, args: &ImagesVerifyArgs) -> Result<ExitCode> {
    let cache = Cache::open_default()?;
    let mut all = open(context, &cache)?.store().all()?;
    let is_here = |name: &&String| all.iter().any(|stored| is_meant(stored, name));
    let missing: Vec<&str> = args
        .images
        .iter()
        .filter(|name| !is_here(name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        bail!(Usage(format!(
            "no such image is here: {}. `cardmint images list` shows what is",
            missing.join(", ")
        )));
    }
    if !args.images.is_empty() {
        all.retain(|stored| args.images.iter().any(|name| is_meant(stored, name)));
    }
    let mut codes = Vec::new();
    let mut report = Vec::new();
    for stored in &mut all {
        let problem = problem(stored, &context.interrupt)?;
        codes.push(match problem {
            None => ExitCode::Done,
            Some(_) => ExitCode::Different,
        });
        let mut json = to_json(stored);
        json["intact"] = problem.is_none().into();
        json["problem"] = problem.clone().into();
        report.push(json);
        if args.json {
            continue;
        }
        let name = &stored.note.name;
        match problem {
            None => {
                let checked = checked_by(&stored.note).join("; ");
                writeln!(context.out, "{name}: intact. {checked}")?;
            }
            Some(problem) => writeln!(
                context.out,
                "{name}: DAMAGED, {problem}. Its next use fetches it again"
            )?,
        }
    }
    if args.json {
        context.print_json(&Value::from(report))?;
    } else if all.is_empty() {
        context.tell("No image is here.")?;
    }
    Ok(ExitCode::merge(codes))
}

/// What is wrong with an image. A disk that rots may refuse to read it at all.
fn problem(stored: &mut Stored, interrupt: &Interrupt) -> Result<Option<String>> {
    match stored.is_intact_throughout(interrupt) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("its bytes are not what arrived".to_owned())),
        Err(error @ BaseError::Interrupted(_)) => Err(error.into()),
        Err(error) => Ok(Some(format!("it cannot be read: {}", told(&error.into())))),
    }
}

fn is_meant(stored: &Stored, name: &String) -> bool {
    let note = &stored.note;
    note.name.contains(name.as_str()) || note.asked.contains(name)
}
