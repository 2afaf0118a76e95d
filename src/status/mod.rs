//! Asks the nodes how they are: where they answer, whether they are who they
//! should be, how their first boot went, and whether they are watched.
//!
//! [`watch()`] asks many at a time, again and again until all is well or the time
//! is up. It prints nothing; what it finds is a [`Found`] for each node, and what
//! that means a [`State`].

mod ask;
mod http;
mod names;
mod probe;
mod ssh;
mod state;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

#[cfg(any(test, fuzzing))]
pub(crate) use http::up;
pub use probe::Told;
#[cfg(any(test, fuzzing))]
pub(crate) use ssh::what_ssh_said;
pub use state::State;
pub use watch::{Changed, Options, Outcome, Watch, Watcher, watch};

/// What is expected of a node.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Number within the cluster.
    pub number: u32,
    /// Hostname.
    pub hostname: String,
    /// `raspberrypi0.lan`.
    pub name: String,
    /// The login user.
    pub user: String,
    /// `ssh-ed25519 AAAA…`: the host key that it must have.
    pub host_key: String,
    /// `SHA256:…` of that key.
    pub fingerprint: String,
    /// Address in the manifest.
    pub fixed: Option<IpAddr>,
    /// Name or address that the user gave.
    pub given: Option<String>,
    /// The private key to log in with, where cardmint made it.
    pub identity_file: Option<PathBuf>,
    /// The instance-ids of which its report may be; any, where there are none.
    pub instances: Vec<String>,
    /// Whether it should have a node exporter.
    pub exporter: bool,
}

/// How an address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The user gave it, or a name for it.
    Given,
    /// The manifest fixes it.
    Manifest,
    /// The system's resolver knows the name.
    Name,
    /// The node answers to its name by multicast DNS.
    Mdns,
}

/// Where a node may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Route {
    /// The address.
    pub address: IpAddr,
    /// How it was found.
    pub by: By,
}

/// How far one gets with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No address is known; what was tried.
    NoAddress(String),
    /// Nothing answers at the address.
    Silent,
    /// A machine is there, and no sshd that talks yet.
    NotYet(String),
    /// The right machine, which does not let us in.
    LockedOut(String),
    /// Another machine, or one with another identity; its key's fingerprint.
    Impostor(Option<String>),
    /// It let us in.
    In,
}

/// What was found out about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it was asked.
    pub route: Option<Route>,
    /// How far that went.
    pub reach: Reach,
    /// What it said of itself.
    pub told: Option<Told>,
    /// Whether its exporter answers; why not.
    pub exporter: Option<Result<(), String>>,
    /// Where another machine answered to its name.
    pub strangers: Vec<Route>,
    /// Whether Prometheus reaches it; `None` where nobody asked, or Prometheus
    /// does not answer.
    pub scraped: Option<bool>,
}
