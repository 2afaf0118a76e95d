//! Opens cards where the user may not: asks udisks, then `sudo`, for the card alone.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Access as Rights, AtFlags, CWD, accessat};
use tempfile::TempDir;

use crate::card::broker::Broker;
use crate::card::{Device, HandError, Handed, OpenError, shown_command, udisks};
use crate::commands::Refused;
use crate::interrupt::Interrupt;
use crate::ui::ask;

/// The ways to a card that is not ours to open.
pub(super) struct Access {
    /// Whether the user is asked: by polkit, by us, by `sudo`.
    asks: bool,
    interrupt: Interrupt,
    broker: Mutex<Option<Arc<Broker>>>,
}

impl Access {
    pub(super) fn new(asks: bool, interrupt: &Interrupt) -> Self {
        Self {
            asks,
            interrupt: interrupt.clone(),
            broker: Mutex::default(),
        }
    }

    /// Opens a card by help of others; `None` where we may do it ourselves.
    pub(super) fn open(&self, device: &Device) -> Result<Option<Handed>> {
        let path = &device.path;
        let wanted = Rights::READ_OK | Rights::WRITE_OK;
        let may = accessat(CWD, path, wanted, AtFlags::EACCESS);
        if device.id.inode.is_some() || may != Err(rustix::io::Errno::ACCESS) {
            return Ok(None);
        }
        let by_udisks = match udisks::open(path, self.asks, &self.interrupt) {
            Ok(handed) => return Ok(Some(handed)),
            Err(HandError::Open(error)) => return Err(error.into()),
            Err(HandError::Unwilling(why)) => why,
        };
        self.interrupt.check()?;
        let broker = match self.broker()? {
            Ok(broker) => broker,
            Err(by_sudo) => bail!(OpenError::Denied {
                path: path.clone(),
                tried: vec![by_udisks, by_sudo],
            }),
        };
        match broker.open(path) {
            Ok(handed) => Ok(Some(handed)),
            Err(HandError::Open(error)) => Err(error.into()),
            Err(HandError::Unwilling(why)) => bail!(Refused(why)),
        }
    }

    /// The process that opens cards for us, started once; or why it is not there.
    fn broker(&self) -> Result<Result<Arc<Broker>, String>> {
        let mut running = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = &*running {
            return Ok(Ok(Arc::clone(broker)));
        }
        let dir = private_dir()?;
        let socket = dir.path().join("cards");
        let program = std::env::current_exe().context("finding this program")?;
        let command = Broker::command(&program, &socket, self.asks);
        let listener = UnixListener::bind(&socket).context("listening for the opened card")?;
        let question = format!(
            "You may not open cards. sudo may, for the card alone; this is all that runs as root:\n  \
             {}\nRun it?",
            shown_command(&command)
        );
        if self.asks && !ask::confirm(&question)? {
            bail!(Refused("nothing was written".into()));
        }
        match Broker::start(&command, &listener, &self.interrupt) {
            Ok(broker) => {
                let broker = Arc::new(broker);
                *running = Some(Arc::clone(&broker));
                Ok(Ok(broker))
            }
            Err(error) => {
                self.interrupt.check()?;
                Ok(Err(error.to_string()))
            }
        }
    }
}

/// A directory that nobody else may enter.
fn private_dir() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("cardmint-");
    builder.permissions(std::fs::Permissions::from_mode(0o700));
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let dir = match runtime
        .as_deref()
        .map(Path::new)
        .filter(|dir| dir.is_absolute())
    {
        Some(dir) => builder.tempdir_in(dir).or_else(|_| builder.tempdir()),
        None => builder.tempdir(),
    };
    dir.context("making a directory for the socket")
}
