//! udisks2, the service by which desktops let their users write to cards.
//!
//! Interfaces: `org.freedesktop.UDisks2.Manager.ResolveDevice`, `.Block.OpenDevice`
//! (since 2.7.3), `.Drive.Eject`; polkit decides, and may ask the user.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use zbus::proxy::MethodFlags;
use zbus::{Connection, OwnedFd, OwnedObjectPath, Proxy, Variant};

use super::handed::{HandError, Handed, Keeper};
use super::open::OpenError;
use crate::interrupt::Interrupt;

const SERVICE: &str = "org.freedesktop.UDisks2";
const MANAGER: &str = "/org/freedesktop/UDisks2/Manager";
const BLOCK: &str = "org.freedesktop.UDisks2.Block";
/// What udisks answers to what is no error of ours.
const BUSY: &str = "Device or resource busy";

/// Opens a block device for reading and writing; with `may_ask` polkit may have
/// the user give a password.
///
/// # Errors
/// Where there is no udisks, where it refuses, and where the device cannot be had.
pub fn open(path: &Path, may_ask: bool, interrupt: &Interrupt) -> Result<Handed, HandError> {
    let (sender, answer) = channel();
    let device = path.to_owned();
    // A dialog may wait for ever; the user may rather press Ctrl-C.
    thread::spawn(move || {
        let result = zbus::block_on(open_both(&device, may_ask));
        drop(sender.send(result));
    });
    let unwilling = |text: &str| HandError::Unwilling(format!("udisks2: {text}"));
    loop {
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(Ok((file, direct))) => {
                let keeper = Udisks(path.to_owned());
                let direct = direct.map(Into::into);
                return Ok(Handed::new(file.into(), direct, keeper));
            }
            Ok(Err(error)) if error.to_string().contains(BUSY) => {
                return Err(OpenError::Busy(path.to_owned()).into());
            }
            Ok(Err(error)) => return Err(unwilling(&said(&error))),
            Err(RecvTimeoutError::Disconnected) => return Err(unwilling("no answer")),
            Err(RecvTimeoutError::Timeout) => {
                interrupt
                    .check()
                    .map_err(|_| unwilling("interrupted while it asked"))?;
            }
        }
    }
}

/// What an error says, without the name that programs know it by.
fn said(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        other => other.to_string(),
    }
}

async fn open_both(path: &Path, may_ask: bool) -> zbus::Result<(OwnedFd, Option<OwnedFd>)> {
    let bus = Connection::system().await?;
    let block = Proxy::new(&bus, SERVICE, resolve(&bus, path).await?, BLOCK).await?;
    let file = open_with(&block, OFlags::EXCL, may_ask).await?;
    // Not every device takes direct I/O.
    let direct = open_with(&block, OFlags::DIRECT, may_ask).await.ok();
    Ok((file, direct))
}

async fn resolve(bus: &Connection, path: &Path) -> zbus::Result<OwnedObjectPath> {
    let spec = HashMap::from([("path", Variant::from(path.to_string_lossy().into_owned()))]);
    let options = HashMap::<&str, Variant<'_>>::new();
    let manager = Proxy::new(bus, SERVICE, MANAGER, "org.freedesktop.UDisks2.Manager").await?;
    let mut found: Vec<OwnedObjectPath> = manager.call("ResolveDevice", &(spec, options)).await?;
    found
        .pop()
        .ok_or_else(|| zbus::Error::Failure("it does not know the device".to_owned()))
}

async fn open_with(block: &Proxy<'_>, flags: OFlags, may_ask: bool) -> zbus::Result<OwnedFd> {
    let options = HashMap::from([
        ("flags", Variant::from(flags.bits().cast_signed())),
        ("auth.no_user_interaction", Variant::from(!may_ask)),
    ]);
    let call_flags = if may_ask {
        MethodFlags::ALLOW_INTERACTIVE_AUTH
    } else {
        MethodFlags::empty()
    };
    let body = ("rw", options);
    let file = block
        .call_with_flags("OpenDevice", call_flags, &body)
        .await?;
    file.ok_or_else(|| zbus::Error::Failure("no answer".to_owned()))
}

/// Lets go of a card by way of udisks.
#[derive(Debug)]
struct Udisks(PathBuf);

impl Keeper for Udisks {
    fn let_go(&self, eject: bool) -> bool {
        // udev has the kernel read the partition table once the card is closed.
        eject && zbus::block_on(eject_drive(&self.0)).is_ok()
    }
}

async fn eject_drive(path: &Path) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let block = Proxy::new(&bus, SERVICE, resolve(&bus, path).await?, BLOCK).await?;
    let drive: OwnedObjectPath = block.get_property("Drive").await?;
    let drive = Proxy::new(&bus, SERVICE, drive, "org.freedesktop.UDisks2.Drive").await?;
    let options = HashMap::<&str, Variant<'_>>::new();
    drive.call("Eject", &(options,)).await
}
