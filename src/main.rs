//! Parses, runs a command, turns an error into a message and an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Result;
use cardmint::cli::Cli;
use cardmint::interrupt::Interrupt;
use cardmint::{commands, exit, ui};
use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    if commands::complete() {
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code.into(),
        Err(error) if is_broken_pipe(&error) => exit::ExitCode::Done.into(),
        Err(error) => {
            ui::complain(&format!("{error:#}"));
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
    let mut out = anstream::stdout();
    let code = commands::run(cli, interrupt, &mut out)?;
    out.flush()?;
    Ok(code)
}

/// `cardmint plan | head` ends well: whoever closed the pipe has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        io.or_else(json) == Some(ErrorKind::BrokenPipe)
    })
}
