//! How the cluster watches itself: who is scraped, by whom, and as what.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;

use super::node::Node;
use crate::layout::Board;

/// Port of the node exporter.
pub const EXPORTER_PORT: u16 = 9100;
/// Port of Prometheus.
pub const PROMETHEUS_PORT: u16 = 9090;
/// Port of Grafana.
pub const GRAFANA_PORT: u16 = 3000;

/// `[monitoring]`, for a cluster with node exporters.
#[derive(Clone, Debug)]
pub struct Monitoring {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// The nodes that have an exporter, by number.
    pub targets: Vec<Target>,
    /// Names and addresses of the nodes whose addresses are fixed, by number: the
    /// monitoring host need not ask anybody for these.
    pub fixed: Vec<FixedHost>,
    /// What a job of Prometheus is.
    pub jobs: Jobs,
    /// The node that runs Prometheus, if one does.
    pub host: Option<MonitoringHost>,
}

/// The node that runs Prometheus.
#[derive(Clone, Debug)]
pub struct MonitoringHost {
    /// Its number.
    pub number: u32,
    /// Prometheus and Grafana in containers, or the distribution's Prometheus alone.
    pub docker: bool,
    /// Password of Grafana's `admin`; without one anybody may look, and nobody
    /// log in.
    pub grafana_password: Option<SecretString>,
}

/// A node to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Hostname: the `instance` label.
    pub hostname: String,
    /// How to reach it by name: `raspberrypi0.lan`.
    pub name: String,
    /// Board, where the manifest names one.
    pub board: Option<Board>,
}

/// A node whose address is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedHost {
    /// `raspberrypi3.lan`.
    pub name: String,
    /// `raspberrypi3`.
    pub hostname: String,
    /// Its address.
    pub address: IpAddr,
}

/// What a job of Prometheus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// Each node is a job, by its hostname.
    PerNode,
    /// The cluster is one job; `instance` tells the nodes apart.
    One,
}

impl Monitoring {
    /// Who is watched, of `nodes`.
    #[must_use]
    pub fn of(cluster: &str, nodes: &[Node], jobs: Jobs, host: Option<MonitoringHost>) -> Self {
        let watched = nodes.iter().filter(|node| node.exporter.is_some());
        Self {
            cluster: cluster.into(),
            targets: watched.map(target).collect(),
            fixed: nodes.iter().filter_map(FixedHost::of).collect(),
            jobs,
            host,
        }
    }
}

fn target(node: &Node) -> Target {
    Target {
        hostname: node.hostname.clone(),
        name: node.fqdn(),
        board: node.board,
    }
}

impl FixedHost {
    /// The node's name and address, where the address is fixed.
    #[must_use]
    pub fn of(node: &Node) -> Option<Self> {
        Some(Self {
            name: node.fqdn(),
            hostname: node.hostname.clone(),
            address: node.address.as_ref()?.address,
        })
    }

    /// A line of `/etc/hosts`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            name,
            hostname,
            address,
        } = self;
        if name == hostname {
            format!("{address} {hostname}")
        } else {
            format!("{address} {name} {hostname}")
        }
    }
}
