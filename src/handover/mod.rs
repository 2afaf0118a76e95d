//! What the operator gets with the cards. Pure: nodes in, file contents out.
//!
//! Host keys are derived, so `known_hosts` is complete before a node first
//! boots, and the first login never asks.

pub mod page;

use std::fmt::Write as _;
use std::path::Path;

use crate::cluster::Node;

/// A node and the public half of its host key.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// The node.
    pub node: &'a Node,
    /// `ssh-ed25519 AAAA… root@raspberrypi0`.
    pub host_key: String,
}

impl Host<'_> {
    /// Names and addresses, beside the hostname, under which the node may be
    /// called: each leads where it says.
    fn aliases(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.node.domain.is_some() {
            names.push(self.node.fqdn());
        }
        names.push(format!("{}.local", self.node.hostname));
        if let Some(address) = &self.node.address {
            names.push(address.address.to_string());
        }
        names
    }
}

/// `known_hosts` for all nodes.
#[must_use]
pub fn known_hosts(hosts: &[Host<'_>]) -> String {
    let mut text = String::new();
    for host in hosts {
        // Algorithm and key; the comment is of no use here.
        let key: Vec<&str> = host.host_key.split_whitespace().take(2).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{},{} {}",
            host.node.hostname,
            host.aliases().join(","),
            key.join(" ")
        );
    }
    text
}

/// `ssh_config` for all nodes; `folder` is where it and `known_hosts` will lie.
/// `identity_file` is the private key to log in with, where cardmint made it.
#[must_use]
pub fn ssh_config(hosts: &[Host<'_>], folder: &Path, identity_file: Option<&Path>) -> String {
    let mut text = String::from("# Written by cardmint; `cardmint build` writes it anew.\n");
    for host in hosts {
        let node = host.node;
        let target = match &node.address {
            Some(address) => address.address.to_string(),
            None => node.fqdn(),
        };
        let (name, aliases) = (&node.hostname, host.aliases().join(" "));
        let _ = write!(text, "\nHost {name}\n    HostName {target}\n");
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
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}
