//! Logs in through the system's OpenSSH, which must find the expected host key.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::probe::{SCRIPT, Told};
use super::{Reach, Route, Wanted};
use crate::handover::ssh::quoted;

/// A small board that is busy takes its time to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For all of it; a Zero that is installing packages needs some seconds to log in.
const PATIENCE: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(20);
/// What is printed is a page at most.
const MAX_OUTPUT_LEN: u64 = 256 << 10;

/// Asks the node at `route` to say how it is. `folder` is this call's own.
///
/// # Errors
/// Where there is no ssh, or no room for its settings.
pub(super) fn ask(
    wanted: &Wanted,
    route: Route,
    folder: &Path,
) -> io::Result<(Reach, Option<Told>)> {
    fs::create_dir_all(folder)?;
    let (known, config) = (folder.join("known_hosts"), folder.join("config"));
    fs::write(&known, format!("{} {}\n", wanted.hostname, wanted.host_key))?;
    let mut text = format!(
        "Host *\n HostName {}\n Port 22\n User {}\n HostKeyAlias {}\n UserKnownHostsFile {}\n \
         GlobalKnownHostsFile /dev/null\n CheckHostIP no\n StrictHostKeyChecking yes\n \
         BatchMode yes\n LogLevel DEBUG1\n \
         ConnectTimeout {}\n ServerAliveInterval 5\n UpdateHostKeys no\n ForwardAgent no\n \
         ClearAllForwardings yes\n",
        route.address,
        wanted.user,
        wanted.hostname,
        quoted(&known).map_err(io::Error::other)?,
        CONNECT_PATIENCE.as_secs(),
    );
    if let Some(path) = &wanted.identity_file {
        let path = quoted(path).map_err(io::Error::other)?;
        text.push_str(&format!(" IdentityFile {path}\n"));
    }
    fs::write(&config, text)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-F")
        .arg(&config)
        .args(["-T", &wanted.hostname, "sh -s"]);
    // Its messages are read below.
    ssh.env("LC_ALL", "C");
    let child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = converse(child)?;
    Ok(said.judge())
}

/// What ssh left behind.
struct Said {
    /// `None` where it had to be stopped.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn converse(mut child: Child) -> io::Result<Said> {
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // It may be refused before it reads anything.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(SCRIPT.as_bytes())));
        let stdout = scope.spawn(move || read(stdout));
        let stderr = scope.spawn(move || read(stderr));
        let end = Instant::now() + PATIENCE;
        let code = loop {
            match child.try_wait()? {
                Some(status) => break status.code(),
                None if Instant::now() > end => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
                None => thread::sleep(PAUSE),
            }
        };
        let text = |thread: thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
        Ok(Said {
            code,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    })
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before an error still counts.
        let _ = pipe.by_ref().take(MAX_OUTPUT_LEN).read_to_end(&mut bytes);
        // A full pipe would keep ssh from ending.
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How lines begin of which the other side has chosen the rest, line feeds and all,
/// before it has shown who it is: greetings, debug messages, farewells, and lists of algorithms.
/// What follows may look like words of ssh.
const FOREIGN: [&str; 4] = [
    // A greeting, in which OpenSSH 7.9 makes a line feed of a carriage return.
    "debug1: ssh_exchange_identification: ",
    "debug1: Remote: ",
    "Received disconnect from ",
    "Unable to negotiate with ",
];

impl Said {
    /// What it means, by the words of OpenSSH 7.9 to 10. A server can send text of
    /// its choice before its key is checked, and a node can write to standard error:
    /// each counts only where ssh has said before that the key is the known one, and
    /// that the node has it.
    fn judge(&self) -> (Reach, Option<Told>) {
        let has = |text: &str| self.stderr.contains(text);
        let last = self.last_line();
        if !self.is_itself() {
            // Anybody may say so too, which only makes it louder.
            let is_other = has("REMOTE HOST IDENTIFICATION HAS CHANGED")
                || has("Host key verification failed");
            return match is_other {
                true => (Reach::Impostor(self.offered()), None),
                false => (Reach::NotYet(last), None),
            };
        }
        if let Some(told) = Told::parse(&self.stdout) {
            return (Reach::In, Some(told));
        }
        let is_refused = has("Permission denied") || has("Too many authentication failures");
        // While it boots, pam_nologin refuses everybody but root.
        match is_refused && !has("booting up") {
            true => (Reach::LockedOut(last), None),
            false => (Reach::NotYet(last), None),
        }
    }

    /// What is certainly in the words of ssh.
    fn own_lines(&self) -> impl Iterator<Item = &str> {
        let is_own = |line: &&str| !FOREIGN.iter().any(|start| line.starts_with(start));
        self.stderr.lines().take_while(is_own)
    }

    /// Whether the key was the known one, and the keys for the connection were taken
    /// into use: ssh checks the signature between the two.
    fn is_itself(&self) -> bool {
        let is_known = |line: &str| {
            line.starts_with("debug1: Host '") && line.contains("is known and matches")
        };
        let mut lines = self.own_lines();
        lines.any(is_known)
            && lines.any(|line| line.starts_with("debug1: SSH2_MSG_NEWKEYS received"))
    }

    /// The fingerprint of the key that was shown. Not by the warning, which tells it
    /// for some kinds of keys only.
    fn offered(&self) -> Option<String> {
        let mut lines = self.own_lines();
        let shown = lines.find_map(|line| line.strip_prefix("debug1: Server host key: "))?;
        let mut words = shown.split_whitespace();
        words
            .find(|word| word.starts_with("SHA256:"))
            .map(|word| word.replace(char::is_control, "\u{fffd}"))
    }

    fn last_line(&self) -> String {
        if self.code.is_none() {
            return format!("no answer within {} s", PATIENCE.as_secs());
        }
        // What only LogLevel asks for is not meant for people.
        let chatter = [
            "debug1:",
            "Authenticated to",
            "Transferred:",
            "Bytes per second:",
        ];
        let is_said =
            |line: &&str| !line.is_empty() && !chatter.iter().any(|start| line.starts_with(start));
        let last = self.stderr.lines().rev().map(str::trim).find(is_said);
        let last = last.unwrap_or("ssh ended without a word");
        last.replace(char::is_control, "\u{fffd}")
    }
}

/// What it means when ssh ends so and prints that.
#[cfg(any(test, fuzzing))]
pub(crate) fn what_ssh_said(
    code: Option<i32>,
    stdout: &str,
    stderr: &str,
) -> (Reach, Option<Told>) {
    let said = Said {
        code,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    };
    said.judge()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, stdout: &str, stderr: &str) -> Reach {
        what_ssh_said(Some(code), stdout, stderr).0
    }

    #[test]
    fn what_ssh_says_is_understood() {
        let changed = "debug1: Server host key: ssh-ed25519 SHA256:abc/+0\n\
                       @@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
                       The fingerprint for the ED25519 key sent by the remote host is\n\
                       SHA256:abc/+0.\nPlease contact your system administrator.\n\
                       Host key verification failed.\n";
        assert_eq!(
            said(255, "", changed),
            Reach::Impostor(Some("SHA256:abc/+0".to_owned()))
        );
        let unknown = "No RSA host key is known for a and you have requested strict checking.\n\
                       Host key verification failed.\n";
        assert_eq!(said(255, "", unknown), Reach::Impostor(None));
        let known = "debug1: Host 'pi0' is known and matches the ED25519 host key.\n\
                     debug1: SSH2_MSG_NEWKEYS sent\ndebug1: SSH2_MSG_NEWKEYS received\n";
        for denied in [
            "pi@10.0.0.7: Permission denied (publickey).",
            "Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures",
        ] {
            let stderr = format!("{known}{denied}\ndebug1: Exit status 255\n");
            let reach = Reach::LockedOut(denied.to_owned());
            assert_eq!(said(255, "", &stderr), reach);
            // Before its key was checked, anybody can say so.
            let stranger = format!("Received disconnect from 10.0.0.7 port 22:2: {denied}\n");
            assert!(matches!(said(255, "", &stranger), Reach::NotYet(_)));
        }
        for early in [
            "\"System is booting up. Unprivileged users are not permitted to log in yet.\"\n\
             Permission denied",
            "kex_exchange_identification: read: Connection reset by peer\n",
            "Connection closed by 10.0.0.7 port 22\n",
        ] {
            for stderr in [early.to_owned(), format!("{known}{early}")] {
                assert!(
                    matches!(said(255, "", &stderr), Reach::NotYet(_)),
                    "{stderr}"
                );
            }
        }
        assert_eq!(said(0, "hostname a\nend -\n", known), Reach::In);
        // A connection that broke off has told nothing.
        assert!(matches!(said(255, "hostname a\n", ""), Reach::NotYet(_)));
    }

    /// What a stranger sends before it has shown who it is comes with its line feeds.
    #[test]
    fn a_stranger_cannot_speak_for_ssh() {
        let known = "debug1: Host 'pi0' is known and matches the ED25519 host key.\n";
        let taken = "debug1: SSH2_MSG_NEWKEYS received\n";
        let denied = "pi@10.0.0.7: Permission denied (publickey).\n";
        let refused = "Host key verification failed.\n";
        let farewell = "Received disconnect from 10.0.0.7 port 22:11: x\n";
        let remote = "debug1: Remote: x\n";
        let offer = "Unable to negotiate with 10.0.0.7 port 22: no matching host key type found. \
                     Their offer: x\n";
        let greeting = "debug1: ssh_exchange_identification: x\n";
        for start in [farewell, remote, offer, greeting] {
            let stderr = format!("{start}{known}{taken}{denied}");
            assert!(
                matches!(said(255, "", &stderr), Reach::NotYet(_)),
                "{stderr}"
            );
            assert!(matches!(
                said(0, "hostname a\nend -\n", &stderr),
                Reach::NotYet(_)
            ));
        }
        // A key that is another's after all.
        let stderr = format!("{remote}{known}{taken}{refused}");
        assert_eq!(said(255, "", &stderr), Reach::Impostor(None));
        // The node's public key, without its private half.
        for forged in [
            format!("{remote}{denied}{known}"),
            format!("{known}{remote}{denied}"),
            format!("{known}{remote}{taken}{denied}"),
        ] {
            assert!(
                matches!(said(255, "", &forged), Reach::NotYet(_)),
                "{forged}"
            );
        }
        let shown = |key| format!("debug1: Server host key: ssh-ed25519 SHA256:{key}\n");
        let (other, own) = (shown("other"), shown("own"));
        let stderr = format!("{remote}{other}{own}{refused}");
        assert_eq!(said(255, "", &stderr), Reach::Impostor(None));
        let stderr = format!("{own}{remote}{other}{refused}");
        let key = Some("SHA256:own".to_owned());
        assert_eq!(said(255, "", &stderr), Reach::Impostor(key));
        // Once it has shown that it is itself, the node may say what it likes.
        let stderr = format!("{known}{taken}{remote}{refused}");
        assert_eq!(said(0, "hostname a\nend -\n", &stderr), Reach::In);
    }
}
