//! What the operator gets with the cards. Pure: nodes in, file contents out.
//!
//! Host keys are derived, so `known_hosts` is complete before a node first
//! boots, and the first login never asks. Everything here follows from the
//! manifest, `cluster.key` and the record: the same of these, the same bytes, and
//! one more node changes only what tells of it.

mod ansible;
mod names;
pub mod ssh;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::cluster::monitoring::{EXPORTER_PORT, GRAFANA_PORT, PROMETHEUS_PORT};
use crate::cluster::{CardEntry, Cluster, HostKey, Node};
use crate::provision::monitoring::{self, ConfigFile, For};
use crate::provision::{ProvisionError, Templates};

/// A node, the public half of its host key, and its card.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// The node.
    pub node: &'a Node,
    /// `ssh-ed25519 AAAA… root@raspberrypi0`.
    pub host_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The card that was last written for it, where one was.
    pub card: Option<&'a CardEntry>,
}

/// All that the hand-over is made of.
#[derive(Clone, Debug)]
pub struct Handover<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Every node of it.
    pub hosts: Vec<Host<'a>>,
    /// Where the files will lie.
    pub folder: &'a Path,
    /// The private key to log in with, where cardmint made it.
    pub identity_file: Option<&'a Path>,
}

/// Every name that a file of the hand-over may have, so that those which no
/// longer apply can be told from what is somebody else's.
pub const FILES: [&str; 13] = [
    "known_hosts",
    "ssh_config",
    "inventory.yml",
    "hosts",
    "dnsmasq.conf",
    "prometheus.yml",
    "targets.json",
    "compose.yml",
    "grafana/provisioning/datasources/prometheus.yml",
    "grafana/provisioning/dashboards/cardmint.yml",
    "grafana/dashboards/cluster.json",
    "cluster.html",
    "cluster.svg",
];

impl<'a> Host<'a> {
    /// A node with the key that it will have.
    #[must_use]
    pub fn new(node: &'a Node, key: HostKey, card: Option<&'a CardEntry>) -> Self {
        Self {
            node,
            host_key: key.public,
            fingerprint: key.fingerprint,
            card,
        }
    }

    /// Where to connect to: the fixed address, or the name.
    fn target(&self) -> String {
        match &self.node.address {
            Some(address) => address.address.to_string(),
            None => self.node.fqdn(),
        }
    }

    /// Names and addresses, beside the hostname, under which the node may be
    /// called: each leads where it says.
    fn aliases(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.node.domain.is_some() {
            names.push(self.node.fqdn());
        }
        // What multicast DNS calls it, unless that is its domain anyway.
        let local = format!("{}.local", self.node.hostname);
        if !names.contains(&local) {
            names.push(local);
        }
        if let Some(address) = &self.node.address {
            names.push(address.address.to_string());
        }
        names
    }
}

impl Handover<'_> {
    /// Every file, by its path within the folder.
    ///
    /// # Errors
    /// Where a template, or one that replaces it, fails.
    pub fn files(&self, templates: &Templates) -> Result<Vec<ConfigFile>, ProvisionError> {
        let text = |path, text| ConfigFile { path, text };
        let mut files = vec![
            text("known_hosts", ssh::known_hosts(&self.hosts)),
            text(
                "ssh_config",
                ssh::ssh_config(&self.hosts, self.folder, self.identity_file),
            ),
            text("inventory.yml", ansible::inventory(self, templates)?),
            text("hosts", names::hosts(self, templates)?),
            text("dnsmasq.conf", names::dnsmasq(self, templates)?),
        ];
        if let Some(all) = &self.cluster.monitoring {
            files.extend(monitoring::container_files(all, For::Operator, templates)?);
        }
        debug_assert!(files.iter().all(|file| FILES.contains(&file.path)));
        Ok(files)
    }

    /// Address of Prometheus on the monitoring host.
    #[must_use]
    pub fn prometheus_url(&self) -> Option<String> {
        let host = self.cluster.monitoring.as_ref()?.host.as_ref()?;
        Some(format!("http://{}:{PROMETHEUS_PORT}/", host.name))
    }

    /// Address of Grafana on the monitoring host.
    #[must_use]
    pub fn grafana_url(&self) -> Option<String> {
        let host = self.cluster.monitoring.as_ref()?.host.as_ref()?;
        host.docker
            .then(|| format!("http://{}:{GRAFANA_PORT}/", host.name))
    }

    /// Address of a node's exporter.
    fn exporter_url(node: &Node) -> Option<String> {
        let name = node.fqdn();
        node.exporter
            .as_ref()
            .map(|_| format!("http://{name}:{EXPORTER_PORT}/metrics"))
    }
}
