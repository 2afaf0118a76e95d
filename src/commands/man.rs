//! `cardmint man`: manual pages, made from the same definition as the help.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use super::Context;
use crate::cli::Cli;
use crate::exit::ExitCode;
use crate::owner;

pub(super) fn run(context: &mut Context<'_>, dir: Option<&Path>) -> Result<ExitCode> {
    match dir {
        Some(dir) => {
            owner::create_dir_all(dir, 0o777)
                .with_context(|| format!("creating {}", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("writing manual pages to {}", dir.display()))?;
        }
        None => clap_mangen::Man::new(Cli::command()).render(context.out)?,
    }
    Ok(ExitCode::Done)
}
