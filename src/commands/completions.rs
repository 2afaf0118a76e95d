//! `cardmint completions`: a completion script on standard output.

use anyhow::Result;
use clap::CommandFactory as _;

use super::Context;
use crate::cli::Cli;
use crate::exit::ExitCode;

pub(super) fn run(context: &mut Context<'_>, shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cardmint", &mut script);
    context.out.write_all(&script)?;
    Ok(ExitCode::Done)
}
