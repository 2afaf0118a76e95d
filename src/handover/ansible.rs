//! `inventory.yml`: the nodes for Ansible, in groups.

use std::collections::BTreeMap;

use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::{Handover, Host};
use crate::provision::{ProvisionError, Templates};

/// A node, as the template sees it.
#[derive(Serialize)]
struct Managed<'a> {
    hostname: &'a str,
    target: String,
    number: u32,
    board: Option<&'static str>,
    fingerprint: &'a str,
    mac: Vec<String>,
}

impl<'a> Managed<'a> {
    fn new(host: &'a Host<'_>) -> Self {
        let node = host.node;
        Self {
            hostname: &node.hostname,
            target: host.target(),
            number: node.number,
            board: node.board.map(crate::layout::Board::name),
            fingerprint: &host.fingerprint,
            mac: node.mac.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Hostnames of a group, by the group's name.
#[derive(Serialize)]
struct Group<'a> {
    name: String,
    hosts: Vec<&'a str>,
}

/// The inventory: a group of the cluster, one of the monitoring host, and one for
/// each board.
pub(super) fn inventory(
    handover: &Handover<'_>,
    templates: &Templates,
) -> Result<String, ProvisionError> {
    let nodes: Vec<Managed<'_>> = handover.hosts.iter().map(Managed::new).collect();
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in &nodes {
        if let Some(board) = node.board {
            let name = format!("board_{}", identifier(board));
            groups.entry(name).or_default().push(node.hostname);
        }
    }
    let watcher = handover
        .hosts
        .iter()
        .find(|host| host.node.monitoring.is_some());
    if let Some(watcher) = watcher {
        // A host of that name would be mistaken for the group.
        let is_taken = nodes.iter().any(|node| node.hostname == "monitoring");
        let name = if is_taken {
            "monitoring_host"
        } else {
            "monitoring"
        };
        groups.insert(name.to_owned(), vec![&watcher.node.hostname]);
    }
    let taken = |name: &str| {
        groups.contains_key(name)
            || ["all", "ungrouped", "monitoring"].contains(&name)
            || nodes.iter().any(|node| node.hostname == name)
    };
    let mut name = identifier(&handover.cluster.name);
    while taken(&name) {
        name.push_str("_cluster");
    }
    let groups: Vec<Group<'_>> = groups
        .into_iter()
        .map(|(name, hosts)| Group { name, hosts })
        .collect();
    let user = handover
        .hosts
        .first()
        .map(|host| host.node.user.name.as_str());
    let context = context! {
        group => name,
        user,
        nodes => Serde(&nodes),
        groups => Serde(&groups),
    };
    templates.render("inventory.yml", &context)
}

/// Ansible wants names of groups to be Python's identifiers.
fn identifier(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut text: String = name.chars().map(word).collect();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '_');
    }
    text
}
