//! `cardmint completions`: a completion script on standard output, and the answers to
//! what such a script asks.
//!
//! A script hands the words of the command line to `cardmint` itself, with the shell's
//! name in [`VARIABLE`]. Whatever goes wrong then is nothing to complete: no message,
//! no network, nothing written.

mod candidates;

use std::ffi::OsStr;

use anyhow::Result;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use self::candidates::Typed;
use super::Context;
use crate::cli::Cli;
use crate::exit::ExitCode;

/// Names the shell that asks.
const VARIABLE: &str = "CARDMINT_COMPLETE";

pub(super) fn run(context: &mut Context<'_>, shell: clap_complete::Shell) -> Result<ExitCode> {
    let script = match shell {
        clap_complete::Shell::Bash => include_bytes!("../../../completions/cardmint.bash").to_vec(),
        clap_complete::Shell::Zsh => include_bytes!("../../../completions/_cardmint").to_vec(),
        clap_complete::Shell::Fish => include_bytes!("../../../completions/cardmint.fish").to_vec(),
        other => {
            let mut script = Vec::new();
            if let Some(shell) = Shells::builtins().completer(&other.to_string()) {
                let name = "cardmint";
                shell.write_registration(VARIABLE, name, name, name, &mut script)?;
            }
            script
        }
    };
    context.out.write_all(&script)?;
    Ok(ExitCode::Done)
}

/// Answers a shell that completes a command line; whether one asked.
#[must_use]
pub fn complete() -> bool {
    // As our scripts ask; otherwise the variable leaked from somewhere, and a command
    // that does nothing would look like one that succeeded.
    if std::env::args_os().nth(1).is_none_or(|word| word != "--") {
        return false;
    }
    let dir = std::env::current_dir().ok();
    CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), dir.as_deref())
        .unwrap_or(true)
}

/// The command line, with what each of its words may be.
fn command() -> Command {
    let typed = Typed::from_environment();
    let by = |complete: fn(&Typed, &str) -> Vec<CompletionCandidate>| {
        let typed = typed.clone();
        let completer = ArgValueCompleter::new(move |word: &OsStr| {
            word.to_str()
                .map_or_else(Vec::new, |word| complete(&typed, word))
        });
        move |arg: Arg| arg.add(completer.clone())
    };
    let selection = |command: Command| {
        command
            .mut_arg("nodes", by(candidates::node_set))
            .mut_arg("mechanism", by(candidates::mechanisms))
    };
    let flash = |command: Command| {
        command
            .mut_arg("to", by(candidates::cards))
            .mut_arg("mechanism", by(candidates::mechanisms))
    };
    let target = |command: Command| {
        command
            .mut_arg("target", by(candidates::images_and_cards))
            .mut_arg("mechanism", by(candidates::mechanisms))
    };
    let images = |command: Command| {
        command
            .mut_subcommand("fetch", |c| c.mut_arg("images", by(candidates::images)))
            .mut_subcommand("verify", |c| c.mut_arg("images", by(candidates::here)))
    };
    Cli::command()
        .mut_subcommand("init", |c| {
            c.mut_arg("image", by(candidates::images_and_files))
        })
        .mut_subcommand("plan", |c| {
            selection(c).mut_arg("show", by(candidates::boot_files))
        })
        .mut_subcommand("build", selection)
        .mut_subcommand("flash", |c| {
            flash(c).mut_arg("targets", by(candidates::nodes_with_cards))
        })
        .mut_subcommand("replace", |c| {
            flash(c).mut_arg("node", by(candidates::nodes))
        })
        .mut_subcommand("status", |c| c.mut_arg("nodes", by(candidates::nodes)))
        // clap puts what is changed at the end, so the order is that of the words.
        .mut_subcommand("verify", |c| {
            target(c.mut_arg("node", by(candidates::nodes)))
        })
        .mut_subcommand("inspect", target)
        .mut_subcommand("images", images)
}
