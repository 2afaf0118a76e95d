//! `cardmint open-cards`: opens cards for a cardmint that may not, and does nothing
//! else. That one starts it, through `sudo`, and shows the command before.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::card::{System, broker};
use crate::exit::ExitCode;
use crate::plan::guard::{self, Demands};

pub(super) fn run(socket: &Path, stay: bool) -> Result<ExitCode> {
    if !stay {
        return leave(socket);
    }
    let system = System::default();
    // Whoever asks has judged already, but with fewer rights.
    let judge = |path: &Path| {
        let device = system.device(path).map_err(|error| error.to_string())?;
        if device.id.inode.is_some() {
            return Err(format!("{} is no device", path.display()));
        }
        let demands = Demands {
            len: 0,
            allow_fixed: true,
            protected: system.protected(&[]).map_err(|error| error.to_string())?,
        };
        match guard::refusals(&device, &demands).first() {
            Some(refusal) => Err(format!("{}: {refusal}", path.display())),
            None => Ok(device.path),
        }
    };
    broker::serve(socket, &judge).context("the connection to cardmint failed")?;
    Ok(ExitCode::Done)
}

/// Goes on in the background: a `sudo` that stayed would take what is typed from
/// the one that asked for this.
fn leave(socket: &Path) -> Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program")?;
    Command::new(program)
        .arg("open-cards")
        .arg("--stay")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting this program again")?;
    Ok(ExitCode::Done)
}
