//! `cardmint replace`: the card of a node that died, with the same identity.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum as _;

use super::flash::{self, Target};
use super::workspace::{Pick, Workspace};
use super::{Context, Usage};
use crate::cli::{ImageFormat, ReplaceArgs};
use crate::exit::ExitCode;

pub(super) fn run(context: &mut Context<'_>, args: &ReplaceArgs) -> Result<ExitCode> {
    let mut workspace = Workspace::open(context)?;
    let node = workspace.select_one(&args.node)?;
    let number = node.number;
    if workspace.record.entry(number).is_none() {
        bail!(Usage(format!(
            "{0} was never made, so there is nothing to replace: `cardmint flash {0}` makes it",
            node.hostname
        )));
    }
    let renewed = if args.new_identity {
        workspace.record.renew(number);
        let key = workspace.identity(&node)?.host_key;
        Some((node.hostname.clone(), key.fingerprint))
    } else {
        None
    };
    let target = Target {
        node,
        card: args.to.clone(),
    };
    let code = flash::mint(context, workspace, vec![target], &args.card, Pick::AsBefore)?;
    if let (ExitCode::Done, Some((hostname, fingerprint)), false) = (code, renewed, args.card.json)
    {
        tell_renewed(context, &hostname, &fingerprint)?;
    }
    Ok(code)
}

/// What else a new identity changes.
fn tell_renewed(context: &mut Context<'_>, hostname: &str, fingerprint: &str) -> Result<()> {
    context.tell(format_args!(
        "\n{hostname} has a new host key: {fingerprint}\n{} was written anew and has it",
        context.path("handover/known_hosts").display()
    ))?;
    for format in ImageFormat::value_variants() {
        let Some(value) = format.to_possible_value() else {
            continue;
        };
        let name = value.get_name();
        let image: PathBuf = context.path(format!("images/{hostname}.{name}"));
        if image.exists() {
            let option = match format {
                ImageFormat::Img => String::new(),
                _ => format!(" --format {name}"),
            };
            context.tell(format_args!(
                "{} is of the old identity; `cardmint build --nodes {hostname} --force{option}` \
                 makes it anew",
                image.display()
            ))?;
        }
    }
    Ok(())
}
