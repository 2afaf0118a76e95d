//! One file per subcommand: thin glue that reads top to bottom like its help
//! text. The only room that prints, and the only one that knows exit codes.

mod bases;
mod build;
mod completions;
mod demo;
mod devices;
mod difference;
mod failure;
mod flash;
mod handover;
mod images;
mod init;
mod inspect;
mod made;
mod man;
mod open_cards;
mod plan;
mod practice;
mod replace;
mod status;
mod used;
mod verify;
mod workspace;

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

pub use self::failure::{exit_code, told};
use crate::base::Cache;
use crate::base::fetch::ImageStore;
use crate::cli::{Cli, Command};
use crate::exit::ExitCode;
use crate::interrupt::Interrupt;
use crate::ui::progress::{Progress, Verbosity};

pub use self::completions::complete;

/// What every command gets: where it works and how it talks.
pub struct Context<'a> {
    /// Directory of the cluster.
    pub dir: PathBuf,
    /// How much to say.
    pub verbosity: Verbosity,
    /// Where progress goes.
    pub progress: Progress,
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Names of the downloaded images that are used.
    images: RefCell<Vec<String>>,
}

impl Context<'_> {
    /// A path within the cluster's directory, as short as it can be shown.
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        if self.dir == Path::new(".") {
            name.as_ref().to_owned()
        } else {
            self.dir.join(name)
        }
    }

    /// Prints what a person wants to know but did not ask for.
    fn tell(&mut self, text: impl std::fmt::Display) -> Result<()> {
        if self.verbosity != Verbosity::Quiet {
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    /// Prints what `--json` promises.
    fn print_json(&mut self, report: &impl Serialize) -> Result<()> {
        serde_json::to_writer_pretty(&mut *self.out, report)?;
        writeln!(self.out)?;
        Ok(())
    }
}

/// Refused for safety: nothing was changed. Exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Asked in a way that cannot be answered. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs the command that was typed.
///
/// # Errors
/// Whatever kept it from its work; [`exit_code`] tells the code of it.
pub fn run(cli: Cli, interrupt: Interrupt, out: &mut dyn Write) -> Result<ExitCode> {
    let verbosity = match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let mut context = Context {
        dir: cli.directory.unwrap_or_else(|| PathBuf::from(".")),
        verbosity,
        progress: Progress::new(verbosity),
        interrupt,
        out,
        images: RefCell::default(),
    };
    let result = dispatch(&mut context, cli.command);
    let code = match &result {
        Ok(code) => *code,
        Err(error) => exit_code(error),
    };
    if code == ExitCode::Failed {
        doubt(&context.images.take());
    }
    result
}

/// Images that a command failed on, if only for some nodes, may have rotted in the cache:
/// they are read again before their next use, and fetched again if they have.
fn doubt(names: &[String]) {
    let store = || ImageStore::open(&Cache::open_default().ok()?).ok();
    if !names.is_empty()
        && let Some(store) = store()
    {
        for name in names {
            store.doubt(name);
        }
    }
}

fn dispatch(context: &mut Context<'_>, command: Command) -> Result<ExitCode> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Plan(args) => plan::run(context, &args),
        Command::Build(args) => build::run(context, &args),
        Command::Flash(args) => flash::run(context, &args),
        Command::Replace(args) => replace::run(context, &args),
        Command::Handover(args) => handover::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Inspect(args) => inspect::run(context, &args),
        Command::Devices(args) => devices::run(context, &args),
        Command::OpenCards { socket, stay } => open_cards::run(&socket, stay),
        Command::Images(command) => images::run(context, &command),
        Command::Demo(args) => demo::run(context, &args),
        Command::Completions { shell } => completions::run(context, shell),
        Command::Man { dir } => man::run(context, dir.as_deref()),
    }
}
