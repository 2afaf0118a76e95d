//! What the operator gets with the cards. Pure: nodes in, file contents out.
//!
//! Host keys are derived, so `known_hosts` is complete before a node first
//! boots, and the first login never asks. Everything here follows from the
//! manifest, `cluster.key` and the record: the same of these, the same bytes, and
//! one more node changes only what tells of it.

mod ansible;
mod names;
pub mod page;
pub mod ssh;

use std::path::Path;

use indicatif::DecimalBytes;

use crate::cluster::monitoring::{EXPORTER_PORT, GRAFANA_PORT, PROMETHEUS_PORT};
use crate::cluster::{CardEntry, CardState, Cluster, HostKey, Node};
use crate::layout::Board;
use crate::provision::Templates;
use crate::provision::monitoring::{self, ConfigFile};
use page::{Page, PageError, PageNode};

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

    fn on_page(&self) -> PageNode<'_> {
        let node = self.node;
        let address = node.address.as_ref();
        let wifi = match address {
            Some(fixed) => fixed.interface.starts_with("wlan"),
            None => node.wifi.is_some() && node.board.is_none_or(Board::has_wifi),
        };
        let name = self.target();
        let exporter = node.exporter.as_ref();
        PageNode {
            number: node.number,
            hostname: &node.hostname,
            board: node.board.map(Board::model),
            address: address.map(|fixed| format!("{}/{}", fixed.address, fixed.prefix_len)),
            wifi,
            user: &node.user.name,
            fingerprint: &self.fingerprint,
            card: self.card.map(describe_card),
            exporter: exporter
                .map(|_| format!("http://{}:{EXPORTER_PORT}/metrics", url_host(&name))),
            is_monitoring_host: node.monitoring.is_some(),
            name,
        }
    }
}

/// An address of IPv6 stands in brackets in a URL: its colons would be taken for a
/// port.
fn url_host(name: &str) -> String {
    match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    }
}

/// `SanDisk SC32G, 31.9 GB, serial 0x1234, written 2026-11-26`.
fn describe_card(card: &CardEntry) -> String {
    let serial = card.serial.iter().map(|serial| format!("serial {serial}"));
    let day = card.at.get(..10).unwrap_or(&card.at);
    let state = match card.state {
        CardState::Verified => format!("written {day}"),
        CardState::Unverified => format!("written {day}, not read back"),
        CardState::Writing | CardState::Failed => format!("not finished on {day}"),
        CardState::Overwritten => format!("written {day}, another node's since"),
    };
    let model = (!card.model.is_empty()).then(|| card.model.clone());
    let parts: Vec<String> = model
        .into_iter()
        .chain([DecimalBytes(card.len).to_string()])
        .chain(serial)
        .chain([state])
        .collect();
    parts.join(", ")
}

impl Handover<'_> {
    /// `ssh_config`.
    ///
    /// # Errors
    /// Where ssh could not be told where the files lie.
    pub fn ssh_config(&self) -> Result<String, ssh::UntoldPath> {
        ssh::ssh_config(&self.hosts, self.folder, self.identity_file)
    }

    /// Every file that can be made, by its path within the folder: without
    /// [`Self::ssh_config`] where that is an error.
    ///
    /// # Errors
    /// Where a template, or one that replaces it, fails, and where a name is too
    /// long for a label.
    pub fn files(&self, templates: &Templates) -> Result<Vec<ConfigFile>, PageError> {
        let text = |path, text| ConfigFile { path, text };
        let mut files = vec![text("known_hosts", ssh::known_hosts(&self.hosts))];
        let config = self.ssh_config().ok();
        files.extend(config.map(|config| text("ssh_config", config)));
        files.extend([
            text("inventory.yml", ansible::inventory(self, templates)?),
            text("hosts", names::hosts(self, templates)?),
            text("dnsmasq.conf", names::dnsmasq(self, templates)?),
        ]);
        if let Some(all) = &self.cluster.monitoring {
            files.extend(monitoring::container_files(all, false, templates)?);
        }
        let page = self.page();
        files.push(text("cluster.html", page::html(&page, templates)?));
        files.push(text("cluster.svg", page::svg(&page, templates)?));
        debug_assert!(files.iter().all(|file| FILES.contains(&file.path)));
        Ok(files)
    }

    fn page(&self) -> Page<'_> {
        let first = self.cluster.nodes.first();
        let (prometheus, grafana) = self.watchers();
        Page {
            cluster: &self.cluster.name,
            domain: first.and_then(|node| node.domain.as_deref()),
            nodes: self.hosts.iter().map(Host::on_page).collect(),
            prometheus,
            grafana,
        }
    }

    /// Addresses of Prometheus and Grafana, where they run.
    fn watchers(&self) -> (Option<String>, Option<String>) {
        let is_host = |host: &&Host<'_>| host.node.monitoring.is_some();
        let Some(host) = self.hosts.iter().find(is_host) else {
            return (None, None);
        };
        let at = |port: u16| format!("http://{}:{port}", url_host(&host.target()));
        let watch = host.node.monitoring.as_ref();
        let watch = watch.and_then(|all| all.host.as_ref());
        let has_grafana = watch.is_some_and(|host| host.docker);
        (
            Some(at(PROMETHEUS_PORT)),
            has_grafana.then(|| at(GRAFANA_PORT)),
        )
    }
}
