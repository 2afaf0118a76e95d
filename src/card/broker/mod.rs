//! A process with more rights than ours, usually started by `sudo`, opens cards
//! and hands them over: nothing else has to run as root.
//!
//! We listen on a socket that only we can reach; the broker connects to it. Each
//! request and each answer is a line of JSON; open files travel beside the answer
//! (`SCM_RIGHTS`, unix(7)). `sudo` would close a socket that was merely inherited.

mod serve;

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::{Deserialize, Serialize};

use super::handed::{HandError, Handed, Keeper};
use super::open::OpenError;
use crate::interrupt::Interrupt;

pub use serve::serve;

/// A card open for nobody else, and once more for direct I/O.
const MAX_FILES: usize = 2;
/// How long the broker takes to connect once it runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is shorter than this.
const MAX_LINE: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Open a device and hand it over.
    Open(PathBuf),
    /// Forget a device that was opened; with `true` have its reader let go. Done
    /// means that it did.
    LetGo(PathBuf, bool),
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Done; for [`Request::Open`] the files come along.
    Done,
    /// Not done, for a reason of ours.
    Refused(String),
    /// Not done: the operating system's error.
    Failed(i32),
}

/// A running broker; it ends when we hang up, however we end.
#[derive(Debug)]
pub struct Broker(Mutex<UnixStream>);

impl Broker {
    /// The command that will run: `sudo -- …/cardmint open-cards …`. Without
    /// `may_ask`, sudo takes no password.
    #[must_use]
    pub fn command(program: &Path, socket: &Path, may_ask: bool) -> Vec<OsString> {
        let sudo: &[&str] = if may_ask {
            &["sudo", "--"]
        } else {
            &["sudo", "-n", "--"]
        };
        let mut words: Vec<OsString> = sudo.iter().map(OsString::from).collect();
        words.extend([program.into(), "open-cards".into(), socket.into()]);
        words
    }

    /// Starts `command`, which is to connect to the socket that `listener` is
    /// bound to and then to go on in the background. The terminal stays ours:
    /// `sudo` asks for its password there.
    ///
    /// # Errors
    /// Where it fails or nobody connects, or somebody other than root or us; where
    /// the user asks to stop.
    pub fn start(
        command: &[OsString],
        listener: &UnixListener,
        interrupt: &Interrupt,
    ) -> Result<Self, HandError> {
        let unwilling = |text: String| HandError::Unwilling(text);
        let program = command.first().map(|word| word.display().to_string());
        let program = program.unwrap_or_default();
        let failed = |error: io::Error| unwilling(format!("{program}: {error}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let mut child = Command::new(&program)
            .args(command.iter().skip(1))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut ended: Option<Instant> = None;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            match child.try_wait().map_err(failed)? {
                Some(status) if !status.success() => {
                    return Err(unwilling(format!("{program} failed ({status})")));
                }
                Some(_) if ended.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                    return Err(unwilling(format!("{program} started nothing")));
                }
                _ => {}
            }
            if interrupt.check().is_err() {
                return Err(unwilling("interrupted".to_owned()));
            }
            thread::sleep(Duration::from_millis(50));
        };
        let _ = child.wait();
        stream.set_nonblocking(false).map_err(failed)?;
        let peer = socket_peercred(&stream).map_err(|error| failed(error.into()))?;
        if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
            return Err(unwilling("somebody else answered".to_owned()));
        }
        Ok(Self(Mutex::new(stream)))
    }

    /// Opens a block device for reading and writing.
    ///
    /// # Errors
    /// What the broker or its operating system says.
    pub fn open(self: &Arc<Self>, path: &Path) -> Result<Handed, HandError> {
        let (answer, mut files) = self
            .ask(&Request::Open(path.to_owned()))
            .map_err(|error| HandError::Unwilling(format!("sudo's process is gone: {error}")))?;
        match answer {
            Answer::Refused(why) => return Err(HandError::Unwilling(why)),
            Answer::Failed(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(OpenError::of(path, source).into());
            }
            Answer::Done => {}
        }
        if files.is_empty() {
            return Err(HandError::Unwilling("it handed nothing over".to_owned()));
        }
        let file = files.remove(0);
        let keeper = Kept {
            broker: Arc::clone(self),
            path: path.to_owned(),
            is_let_go: AtomicBool::new(false),
        };
        Ok(Handed::new(file, files.pop(), keeper))
    }

    fn ask(&self, request: &Request) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let (line, files) = receive(&stream)?;
        Ok((serde_json::from_slice(&line)?, files))
    }
}

/// A card that the broker holds with us.
#[derive(Debug)]
struct Kept {
    broker: Arc<Broker>,
    path: PathBuf,
    is_let_go: AtomicBool,
}

impl Keeper for Kept {
    fn let_go(&self, eject: bool) -> bool {
        self.is_let_go.store(true, Ordering::Relaxed);
        let request = Request::LetGo(self.path.clone(), eject);
        matches!(self.broker.ask(&request), Ok((Answer::Done, _)))
    }
}

impl Drop for Kept {
    /// Nobody could mount a card that is not written after all, as long as the broker has it.
    fn drop(&mut self) {
        if !self.is_let_go.load(Ordering::Relaxed) {
            self.let_go(false);
        }
    }
}

/// One line, and the files that came with it.
fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut files) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let mut buf = [0; MAX_LINE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = match recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut buf)],
            &mut control,
            flags,
        ) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        line.extend_from_slice(&buf[..message.bytes]);
        if message.bytes == 0 || line.len() > MAX_LINE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((line, files))
}

/// One line, without files.
fn read_line(reader: &mut BufReader<&UnixStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    Ok((reader.read_line(&mut line)? > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_written_is_let_go() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let broker = Arc::new(Broker(Mutex::new(ours)));
        let asked = thread::spawn(move || {
            let mut reader = BufReader::new(&theirs);
            let mut asked = Vec::new();
            while let Some(line) = read_line(&mut reader).unwrap() {
                (&theirs).write_all(b"\"Done\"\n").unwrap();
                asked.push(line.trim_end().to_owned());
            }
            asked
        });
        let keep = |path: &str| {
            let file = std::fs::File::open("/dev/null").unwrap();
            let kept = Kept {
                broker: Arc::clone(&broker),
                path: path.into(),
                is_let_go: AtomicBool::new(false),
            };
            Handed::new(file.into(), None, kept)
        };
        drop(keep("/declined"));
        let written = keep("/written");
        assert!(written.keeper.let_go(true));
        drop(written);
        drop(broker);
        let wanted = [
            r#"{"LetGo":["/declined",false]}"#,
            r#"{"LetGo":["/written",true]}"#,
        ];
        assert_eq!(asked.join().unwrap(), wanted);
    }
}
