//! `known_hosts` and `ssh_config`.

use std::fmt::Write as _;
use std::path::Path;

use super::Host;

/// `known_hosts` for all nodes.
#[must_use]
pub fn known_hosts(hosts: &[Host<'_>]) -> String {
    let mut text = String::new();
    for host in hosts {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{},{} {}",
            host.node.hostname,
            host.aliases().join(","),
            public_key(&host.host_key)
        );
    }
    text
}

/// Algorithm and key, without the comment, which is of no use to a client.
#[must_use]
pub fn public_key(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    words.join(" ")
}

/// `ssh_config` for all nodes; `folder` is where it and `known_hosts` will lie.
/// `identity_file` is the private key to log in with, where cardmint made it.
///
/// # Errors
/// Where ssh could not be told of one of the paths.
pub fn ssh_config(
    hosts: &[Host<'_>],
    folder: &Path,
    identity_file: Option<&Path>,
) -> Result<String, UntoldPath> {
    let known_hosts = quoted(&folder.join("known_hosts"))?;
    let identity_file = identity_file.map(quoted).transpose()?;
    let mut text = String::from("# Written by cardmint; `cardmint handover` writes it anew.\n");
    for host in hosts {
        let node = host.node;
        let (name, aliases) = (&node.hostname, host.aliases().join(" "));
        let _ = write!(text, "\nHost {name}\n    HostName {}\n", host.target());
        let _ = write!(
            text,
            "\nHost {name} {aliases}\n    User {}\n",
            node.user.name
        );
        let _ = write!(
            text,
            // Neither are keys of the system's known, nor is an address written down (as ssh
            // does up to 8.4) that is another node's tomorrow.
            "    HostKeyAlias {name}\n    UserKnownHostsFile {known_hosts}\n    \
             GlobalKnownHostsFile /dev/null\n    CheckHostIP no\n    StrictHostKeyChecking yes\n",
        );
        if let Some(path) = &identity_file {
            let _ = writeln!(text, "    IdentityFile {path}");
        }
    }
    Ok(text)
}

/// A path that cannot be written in `ssh_config`.
#[derive(Debug, thiserror::Error)]
#[error(
    "ssh_config cannot name {path}, which has {what} in it: move the cluster's folder to a place \
     without"
)]
pub struct UntoldPath {
    path: String,
    what: &'static str,
}

/// A path as ssh_config(5) reads it: in double quotes, `%` doubled because it
/// starts a token.
///
/// # Errors
/// Where it would be read as another path: releases differ in what a backslash means,
/// and variables are filled in.
pub fn quoted(path: &Path) -> Result<String, UntoldPath> {
    let refuse = |what| UntoldPath {
        path: path
            .display()
            .to_string()
            .replace(char::is_control, "\u{fffd}"),
        what,
    };
    let text = path
        .to_str()
        .ok_or_else(|| refuse("bytes that are not UTF-8"))?;
    for (part, what) in [
        ("\"", "a double quote"),
        ("\\", "a backslash"),
        ("${", "`${`"),
    ] {
        if text.contains(part) {
            return Err(refuse(what));
        }
    }
    if text.contains(char::is_control) {
        return Err(refuse("a control character"));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}
