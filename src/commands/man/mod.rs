//! `cardmint man`: manual pages, made from the same definition as the help.

mod page;

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};

use super::Context;
use crate::cli::Cli;
use crate::exit::ExitCode;
use crate::whole;

pub(super) fn run(context: &mut Context<'_>, dir: Option<&Path>) -> Result<ExitCode> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(dir) = dir else {
        context.out.write_all(&page::render(&root)?)?;
        return Ok(ExitCode::Done);
    };
    whole::create_dir_all(dir, 0o777).with_context(|| format!("creating {}", dir.display()))?;
    write_all(&root, dir).with_context(|| format!("writing manual pages to {}", dir.display()))?;
    Ok(ExitCode::Done)
}

/// Writes the page of a command and of those below it.
fn write_all(command: &Command, dir: &Path) -> std::io::Result<()> {
    let name = format!("{}.1", page::name(command));
    whole::write(&dir.join(name), &page::render(command)?, 0o666)?;
    for below in page::visible(command) {
        write_all(below, dir)?;
    }
    Ok(())
}
