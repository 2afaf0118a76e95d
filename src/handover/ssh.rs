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
#[must_use]
pub fn ssh_config(hosts: &[Host<'_>], folder: &Path, identity_file: Option<&Path>) -> String {
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
            "    HostKeyAlias {name}\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n",
            quoted(&folder.join("known_hosts")),
        );
        if let Some(path) = identity_file {
            let _ = writeln!(text, "    IdentityFile {}", quoted(path));
        }
    }
    text
}

/// A path as ssh_config(5) reads it: in double quotes, `%` doubled because it
/// starts a token. ssh has no way to write a double quote inside.
#[must_use]
pub fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}
