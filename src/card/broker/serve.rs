//! The broker's side.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Answer, MAX_FILES, Request, read_line};
use crate::card::ioctl;

/// Opens cards for whoever listens on `socket`, until they hang up. `judge` says
/// which device a path leads to, or why that is not to be opened.
///
/// # Errors
/// Where the connection fails.
pub fn serve(socket: &Path, judge: &dyn Fn(&Path) -> Result<PathBuf, String>) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let mut reader = BufReader::new(&stream);
    let mut held: HashMap<PathBuf, File> = HashMap::new();
    while let Some(line) = read_line(&mut reader)? {
        match serde_json::from_str(&line)? {
            Request::Open(path) => {
                // A card that was not written after all would be busy for ever, by
                // ourselves. One that is being written is claimed by the writer's copy.
                held.remove(&path);
                match judge(&path).map(|device| open(&device)) {
                    Err(why) => send(&stream, &Answer::Refused(why), &[])?,
                    Ok(Err(error)) => {
                        let errno = error.raw_os_error().unwrap_or(5);
                        send(&stream, &Answer::Failed(errno), &[])?;
                    }
                    Ok(Ok((file, direct))) => {
                        let files: Vec<_> = [Some(&file), direct.as_ref()]
                            .into_iter()
                            .flatten()
                            .map(|file| file.as_fd())
                            .collect();
                        send(&stream, &Answer::Done, &files)?;
                        held.insert(path, file);
                    }
                }
            }
            Request::LetGo(path, eject) => {
                let answer = match held.remove(&path) {
                    Some(file) if ioctl::let_go(&file, eject) => Answer::Done,
                    Some(_) => Answer::Refused("it cannot be ejected".to_owned()),
                    None => Answer::Refused("it was not opened".to_owned()),
                };
                send(&stream, &answer, &[])?;
            }
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<(File, Option<File>)> {
    // The very node that was judged, and no link that took its place.
    let with = |flags: OFlags| {
        let flags = flags | OFlags::NOFOLLOW;
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    Ok((with(OFlags::EXCL)?, with(OFlags::DIRECT).ok()))
}

fn send(stream: &UnixStream, answer: &Answer, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // A line this short goes as a whole.
    let sent = sendmsg(
        stream.as_fd(),
        &[IoSlice::new(&line)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent == line.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
