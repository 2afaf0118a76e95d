//! `cardmint verify`: whether an image holds exactly what is planned.

use std::path::Path;

use anyhow::{Result, bail};
use indicatif::HumanBytes;
use serde_json::json;

use super::difference::{self, Differences, MAX_REGIONS};
use super::workspace::Workspace;
use super::{Context, Usage};
use crate::cli::VerifyArgs;
use crate::exit::ExitCode;
use crate::output::{Expected, differing_chunks};
use crate::overlay::Minted;
use crate::plan;

pub(super) fn run(context: &mut Context<'_>, args: &VerifyArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let nodes = workspace.select(Some(&args.node))?;
    let [node] = nodes.as_slice() else {
        bail!(Usage(format!(
            "`{}` is more than one node; name one",
            args.node
        )));
    };
    let name = node.hostname.clone();
    if !args.target.exists() {
        bail!(Usage(format!("there is no {}", args.target.display())));
    }
    let bases = workspace.bases(context, &nodes, args.mechanism)?;
    let orders = workspace.orders(nodes, &bases, Path::new(""))?;
    let plan = plan::make(
        &workspace.cluster.name,
        &bases.list,
        orders,
        &workspace.templates,
    )?;
    let (on, card) = (&bases.list[0], &plan.cards[0]);
    let digests = on
        .base
        .digests(&workspace.cache, &context.progress, &context.interrupt)?;
    let expected = Expected::new(&on.base, &digests.chunks, &card.overlay)?;
    let chunks = differing_chunks(
        &args.target,
        &expected,
        &name,
        &context.progress,
        &context.interrupt,
    )?;
    let differences = if chunks.is_empty() {
        Differences::default()
    } else {
        let planned = Minted {
            base: &on.base,
            overlay: &card.overlay,
        };
        difference::find(&args.target, &planned, &on.layout, &expected, &chunks)?
    };
    let code = if chunks.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Different
    };
    if args.json {
        let report = to_json(&name, &args.target, &expected, &differences, code);
        serde_json::to_writer_pretty(&mut *context.out, &report)?;
        writeln!(context.out)?;
    } else {
        show(context, &name, &args.target, &expected, &differences)?;
    }
    Ok(code)
}

fn show(
    context: &mut Context<'_>,
    name: &str,
    target: &Path,
    expected: &Expected,
    differences: &Differences,
) -> Result<()> {
    let target = target.display();
    if differences.regions.is_empty() {
        return context.tell(format_args!(
            "{target} holds exactly what is planned for {name}: {}, every byte compared",
            HumanBytes(expected.len())
        ));
    }
    writeln!(
        context.out,
        "{target} differs from what is planned for {name}:"
    )?;
    for file in &differences.files {
        writeln!(context.out, "  {file}")?;
    }
    for region in differences.regions.iter().take(MAX_REGIONS) {
        let (start, len) = (region.range.start, region.range.end - region.range.start);
        writeln!(
            context.out,
            "  {} at byte {start} ({})",
            HumanBytes(len),
            region.place
        )?;
    }
    if let Some(more) = differences.regions.len().checked_sub(MAX_REGIONS + 1) {
        writeln!(context.out, "  and {} more regions", more + 1)?;
    }
    writeln!(
        context.out,
        "A card that has booted, a changed manifest or another base all differ; \
         `cardmint inspect {target}` tells what it is."
    )?;
    Ok(())
}

fn to_json(
    name: &str,
    target: &Path,
    expected: &Expected,
    differences: &Differences,
    code: ExitCode,
) -> serde_json::Value {
    let regions: Vec<_> = differences
        .regions
        .iter()
        .map(|region| {
            json!({
                "offset": region.range.start,
                "len": region.range.end - region.range.start,
                "place": region.place,
            })
        })
        .collect();
    json!({
        "hostname": name,
        "image": target.display().to_string(),
        "result": if code == ExitCode::Done { "same" } else { "different" },
        "planned_digest": expected.image_digest(),
        "files": differences.files,
        "regions": regions,
    })
}
