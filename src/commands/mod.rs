//! One file per subcommand: thin glue that reads top to bottom like its help
//! text. The only room that prints, and the only one that knows exit codes.

mod bases;
mod build;
mod completions;
mod demo;
mod devices;
mod difference;
mod flash;
mod handover;
mod images;
mod init;
mod inspect;
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

use crate::base::fetch::{FetchError, ImageStore};
use crate::base::images::ImageError;
use crate::base::{BaseError, Cache};
use crate::card::{CardError, DeviceError, OpenError};
use crate::cli::{Cli, Command};
use crate::cluster::{KeyError, ManifestErrors};
use crate::exit::ExitCode;
use crate::interrupt::{Interrupt, Interrupted};
use crate::output::OutputError;
use crate::plan::PlanError;
use crate::provision::ProvisionError;
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
    if let Err(error) = &result
        && exit_code(error) == ExitCode::Failed
    {
        doubt(&context.images.take());
    }
    result
}

/// Images that a command failed on may have rotted in the cache: they are read again
/// before their next use, and fetched again if they have.
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

/// The exit code that an error stands for.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        // Errors that are shown as their cause hide it from the chain.
        let interrupted = cause.is::<Interrupted>()
            || matches!(cause.downcast_ref(), Some(BaseError::Interrupted(_)))
            || cause
                .downcast_ref::<OutputError>()
                .is_some_and(OutputError::is_interrupted)
            || cause
                .downcast_ref::<CardError>()
                .is_some_and(CardError::is_interrupted)
            || cause
                .downcast_ref::<ImageError>()
                .is_some_and(ImageError::is_interrupted)
            || matches!(cause.downcast_ref(), Some(FetchError::Interrupted));
        if interrupted {
            return ExitCode::Interrupted;
        }
        if cause
            .downcast_ref::<CardError>()
            .is_some_and(CardError::is_difference)
        {
            return ExitCode::Different;
        }
        let is_refusal = cause.is::<Refused>()
            || matches!(
                cause.downcast_ref(),
                Some(OpenError::Busy(_) | OpenError::ReadOnly(_) | OpenError::Changed { .. })
            )
            || matches!(
                cause.downcast_ref(),
                Some(
                    DeviceError::Partition { .. }
                        | DeviceError::NotADisk(_)
                        | DeviceError::FileInDev(_)
                )
            )
            || cause
                .downcast_ref::<KeyError>()
                .is_some_and(KeyError::is_refusal)
            || cause
                .downcast_ref::<ImageError>()
                .is_some_and(ImageError::is_refusal);
        if is_refusal {
            return ExitCode::Refused;
        }
        if cause.is::<Usage>()
            || matches!(
                cause.downcast_ref(),
                Some(
                    DeviceError::Missing(_)
                        | DeviceError::NoMedium(_)
                        | DeviceError::Directory(_)
                        | DeviceError::NotBlock(_)
                )
            )
            || cause.is::<ManifestErrors>()
            || cause
                .downcast_ref::<ImageError>()
                .is_some_and(ImageError::is_usage)
            || matches!(
                cause.downcast_ref::<PlanError>(),
                Some(PlanError::Board { .. })
            )
            || matches!(cause.downcast_ref(), Some(ProvisionError::Exporter(_)))
        {
            return ExitCode::Usage;
        }
    }
    ExitCode::Failed
}
