//! A fixed address as templates see it.

use serde::Serialize;

use crate::cluster::node::StaticAddress;

/// The values of `address.nmconnection`, `dhcpcd.conf` and `network-config.yaml`.
#[derive(Serialize)]
pub(super) struct AddressValues<'a> {
    interface: &'a str,
    address: String,
    prefix: u8,
    /// 4 or 6.
    family: u8,
    gateway: Option<String>,
    dns4: Vec<String>,
    dns6: Vec<String>,
}

impl<'a> AddressValues<'a> {
    pub(super) fn new(fixed: &'a StaticAddress) -> Self {
        let (dns4, dns6): (Vec<_>, Vec<_>) = fixed.dns.iter().partition(|server| server.is_ipv4());
        let text =
            |list: Vec<&std::net::IpAddr>| list.into_iter().map(ToString::to_string).collect();
        Self {
            interface: &fixed.interface,
            address: fixed.address.to_string(),
            prefix: fixed.prefix_len,
            family: if fixed.address.is_ipv4() { 4 } else { 6 },
            gateway: fixed.gateway.map(|gateway| gateway.to_string()),
            dns4: text(dns4),
            dns6: text(dns6),
        }
    }
}

/// Whether `fixed` belongs to the Wi-Fi profile rather than to a wired one.
pub(super) fn is_wireless(fixed: &StaticAddress) -> bool {
    fixed.interface.starts_with("wl")
}
