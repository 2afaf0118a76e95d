//! `cardmint replace`: the card of a node that died, with the same identity.

use anyhow::{Result, bail};

use super::flash::{self, Target};
use super::workspace::{Pick, Workspace};
use super::{Context, Usage};
use crate::cli::ReplaceArgs;
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
    if args.new_identity {
        workspace.record.renew(number);
    }
    let target = Target {
        node,
        card: args.to.clone(),
    };
    flash::mint(context, workspace, vec![target], &args.card, Pick::AsBefore)
}
