//! Parses, runs a command, turns an error into a message and an exit code.

use std::alloc::System;
use std::process::ExitCode;

use anyhow::Result;
use cardmint::cli::Cli;
use cardmint::interrupt::Interrupt;
use cardmint::ui::out::Out;
use cardmint::{commands, exit, ui};
use clap::Parser as _;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use signal_hook::consts::{SIGINT, SIGTERM};
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed. Passwords and keys become text of templates, YAML, base64 and
/// FAT on their way to a card, mostly in other people's types.
#[global_allocator]
static HEAP: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // Neither a core dump nor another process of the user gets to see cluster.key;
    // where the kernel does not do it, nothing else depends on it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Whoever could write to what is made here could let himself into every node.
    umask(umask(Mode::WOTH) | Mode::WOTH);
    if commands::complete() {
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            ui::complain(&commands::told(&error));
            commands::exit_code(&error).into()
        }
    }
}

fn run(cli: Cli) -> Result<exit::ExitCode> {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends the process at once, whatever it is doing.
        let code = exit::ExitCode::Interrupted.number().into();
        signal_hook::flag::register_conditional_shutdown(signal, code, interrupt.flag())?;
        signal_hook::flag::register(signal, interrupt.flag())?;
    }
    // Not locked: other threads print lines of JSON.
    let mut out = Out::new(anstream::stdout());
    let code = commands::run(cli, interrupt, &mut out)?;
    match out.finish() {
        Err(error) if code == exit::ExitCode::Done => Err(error.into()),
        _ => Ok(code),
    }
}
