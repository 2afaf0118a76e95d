//! Names for the network: lines for `/etc/hosts`, and a snippet for dnsmasq.

use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::Handover;
use crate::cluster::Node;
use crate::cluster::monitoring::FixedHost;
use crate::provision::{ProvisionError, Templates};

/// A node, as templates see it.
#[derive(Serialize)]
struct Named<'a> {
    hostname: &'a str,
    name: String,
    address: Option<String>,
    is_ipv4: bool,
    mac: Vec<String>,
    /// Its line of `/etc/hosts`.
    line: Option<String>,
}

impl<'a> Named<'a> {
    fn new(node: &'a Node) -> Self {
        let address = node.address.as_ref().map(|fixed| fixed.address);
        Self {
            hostname: &node.hostname,
            name: node.fqdn(),
            address: address.map(|address| address.to_string()),
            is_ipv4: address.is_some_and(|address| address.is_ipv4()),
            mac: node.mac.iter().map(ToString::to_string).collect(),
            line: FixedHost::of(node).map(|host| host.line()),
        }
    }
}

/// Lines for `/etc/hosts`: of the nodes whose addresses are known.
pub(super) fn hosts(
    handover: &Handover<'_>,
    templates: &Templates,
) -> Result<String, ProvisionError> {
    render("hosts", handover, templates)
}

/// A snippet for dnsmasq: the domain, fixed addresses, and leases by MAC address.
pub(super) fn dnsmasq(
    handover: &Handover<'_>,
    templates: &Templates,
) -> Result<String, ProvisionError> {
    render("dnsmasq.conf", handover, templates)
}

fn render(
    template: &'static str,
    handover: &Handover<'_>,
    templates: &Templates,
) -> Result<String, ProvisionError> {
    let nodes: Vec<Named<'_>> = handover
        .hosts
        .iter()
        .map(|host| Named::new(host.node))
        .collect();
    let domain = handover
        .hosts
        .iter()
        .find_map(|host| host.node.domain.as_deref());
    let context = context! {
        domain,
        nodes => Serde(&nodes),
    };
    templates.render(template, &context)
}
