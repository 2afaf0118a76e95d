//! The cluster on one page: who is who, how to reach it, and labels for the
//! cases. Pure: facts in, text out.
//!
//! Where things lie is computed here (`drawing`, `label`); what they look
//! like stands in `templates/cluster.svg` and `templates/cluster.html`.

mod card;
mod drawing;
mod label;
mod qr;
mod text;

#[cfg(test)]
mod tests;

use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::url_host;
use crate::provision::{ProvisionError, Templates};

/// What the page tells.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Domain of the nodes: `lan`.
    pub domain: Option<&'a str>,
    /// Every node, in the order in which they are drawn.
    pub nodes: Vec<PageNode<'a>>,
    /// Where Prometheus answers: `http://raspberrypi0.lan:9090`.
    pub prometheus: Option<String>,
    /// Where Grafana answers: `http://raspberrypi0.lan:3000`.
    pub grafana: Option<String>,
}

/// What the page tells of one node.
#[derive(Clone, Debug, Serialize)]
pub struct PageNode<'a> {
    /// Number within the cluster.
    pub number: u32,
    /// RFC 1123 label; what the label on the case says.
    pub hostname: &'a str,
    /// What to connect to: full name, fixed address or bare hostname.
    pub name: String,
    /// The board, as on its box, where the manifest names one.
    pub board: Option<&'static str>,
    /// A fixed address with the length of its network: `10.0.0.13/24`. By DHCP
    /// where `None`.
    pub address: Option<String>,
    /// Whether the node joins by Wi-Fi, not by cable.
    pub wifi: bool,
    /// The login user.
    pub user: &'a str,
    /// Of the SSH host key: `SHA256:…`, as ssh shows it.
    pub fingerprint: &'a str,
    /// The card last written, in words; `None` before that.
    pub card: Option<String>,
    /// Where the node exporter answers: `http://raspberrypi0.lan:9100/metrics`.
    pub exporter: Option<String>,
    /// Whether Prometheus and Grafana run on this node.
    pub is_monitoring_host: bool,
}

impl PageNode<'_> {
    /// `ssh://pi@raspberrypi0.lan`: what the links open and the labels hold.
    #[must_use]
    pub fn ssh_url(&self) -> String {
        format!("ssh://{}@{}", self.user, url_host(&self.name))
    }
}

/// Why the page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A template failed.
    #[error(transparent)]
    Template(#[from] ProvisionError),
    /// No QR code holds so much.
    #[error("`{url}` is too long for a QR code")]
    Label {
        /// What the code should have said.
        url: String,
    },
}

/// `cluster.svg`: the network drawn, a file of its own.
///
/// The same page gives the same bytes.
pub fn svg(page: &Page<'_>, templates: &Templates) -> Result<String, PageError> {
    let context = minijinja::context! { standalone => true, ..values(page) };
    Ok(templates.render("cluster.svg", &context)?)
}

/// `cluster.html`: the drawing, a table, and labels to print. It loads nothing
/// and runs nothing.
///
/// The same page gives the same bytes.
pub fn html(page: &Page<'_>, templates: &Templates) -> Result<String, PageError> {
    let labels = page
        .nodes
        .iter()
        .map(label::Label::of)
        .collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<Row<'_, '_>> = page.nodes.iter().map(Row::of).collect();
    let context = minijinja::context! {
        standalone => false,
        nodes => Serde(rows),
        labels => Serde(labels),
        ..values(page)
    };
    Ok(templates.render("cluster.html", &context)?)
}

fn values(page: &Page<'_>) -> Value {
    minijinja::context! {
        cluster => page.cluster,
        domain => page.domain,
        count => page.nodes.len(),
        prometheus => page.prometheus.as_deref(),
        grafana => page.grafana.as_deref(),
        drawing => Serde(drawing::Drawing::of(page)),
    }
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'p, 'a> {
    #[serde(flatten)]
    node: &'p PageNode<'a>,
    ssh: String,
    /// What to connect to and the address, as far as they tell something new.
    names: Vec<String>,
}

impl<'p, 'a> Row<'p, 'a> {
    fn of(node: &'p PageNode<'a>) -> Self {
        Self {
            node,
            ssh: node.ssh_url(),
            names: card::names(node),
        }
    }
}
