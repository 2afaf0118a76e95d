//! `cardmint plan`: what each card will hold and why. Writes nothing.

use anyhow::{Result, bail};

use super::workspace::{Pick, Workspace};
use super::{Context, Usage};
use crate::cli::PlanArgs;
use crate::exit::ExitCode;
use crate::provision::provision;
use crate::ui::progress::Verbosity;

pub(super) fn run(context: &mut Context<'_>, args: &PlanArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let nodes = workspace.select(args.selection.nodes.as_deref())?;
    let bases = workspace.bases(context, &nodes, args.selection.mechanism, Pick::Newest)?;
    if let Some(file) = &args.show {
        return show(context, &workspace, file, &nodes[0], &bases);
    }
    let out = args
        .selection
        .out
        .clone()
        .unwrap_or_else(|| context.path("images"));
    let orders = workspace.orders(nodes, &bases, &out)?;
    let mut plan = workspace.plan(&bases, orders)?;
    plan.verbose = context.verbosity == Verbosity::Verbose;
    plan.width = crate::ui::width();
    if args.json {
        let mut json = plan.to_json();
        json["notices"] = [plan.notices(), workspace.cluster.notices.clone()]
            .concat()
            .into();
        context.print_json(&json)?;
        return Ok(ExitCode::Done);
    }
    write!(context.out, "{plan}")?;
    for notice in &workspace.cluster.notices {
        writeln!(context.out, "\nnote: {notice}")?;
    }
    context.tell(
        "\nNothing was written. `cardmint flash` writes the cards, `cardmint build` makes the images.",
    )?;
    Ok(ExitCode::Done)
}

/// Prints one boot file of the first chosen node. The file is rendered anew
/// from values that never held a secret.
fn show(
    context: &mut Context<'_>,
    workspace: &Workspace,
    file: &str,
    node: &crate::cluster::Node,
    bases: &super::bases::Bases,
) -> Result<ExitCode> {
    let identity = workspace.identity(node)?;
    let on = &bases.list[bases.of_node[0]];
    let render = |node, identity| provision(node, &on.os, identity, &workspace.templates);
    let real = render(node, &identity)?;
    let boot_files = render(&node.masked(), &identity.masked())?;
    match boot_files
        .files
        .iter()
        .find(|boot_file| boot_file.name == file)
    {
        Some(found) => {
            // The id follows from the contents, so that of masked contents is another.
            let Ok(text) = std::str::from_utf8(&found.bytes) else {
                let len = found.bytes.len();
                bail!(Usage(format!("`{file}` is no text; it has {len} bytes")));
            };
            let text = text.replace(&boot_files.instance_id, &real.instance_id);
            context.out.write_all(text.as_bytes())?;
        }
        None => {
            let names: Vec<&str> = boot_files
                .files
                .iter()
                .map(|boot_file| boot_file.name.as_str())
                .collect();
            bail!(Usage(format!(
                "no file `{file}` is planned; there are {}",
                names.join(", ")
            )));
        }
    }
    Ok(ExitCode::Done)
}
