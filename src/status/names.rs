//! From a node to its addresses.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};

use super::{By, Route, Wanted};

/// A node on the same network answers within milliseconds; on Wi-Fi, a second.
const MDNS_PATIENCE: Duration = Duration::from_secs(2);

/// How a node is looked for, one after the other.
pub(super) fn sources(wanted: &Wanted) -> &'static [By] {
    match (&wanted.given, wanted.fixed) {
        (Some(_), _) => &[By::Given],
        (None, Some(_)) => &[By::Manifest],
        (None, None) => &[By::Name, By::Mdns],
    }
}

/// What is said where nothing led to an address.
pub(super) fn tried(wanted: &Wanted) -> String {
    match &wanted.given {
        Some(given) => format!("no address for {given}"),
        None => format!("no address for {} or {}", wanted.name, local(wanted)),
    }
}

/// The addresses that one source has for a node.
pub(super) fn look_up(wanted: &Wanted, by: By) -> Vec<Route> {
    match by {
        By::Given => wanted
            .given
            .iter()
            .flat_map(|name| found(name, by))
            .collect(),
        By::Manifest => wanted
            .fixed
            .iter()
            .map(|&address| Route { address, by })
            .collect(),
        By::Name => found(&wanted.name, by),
        // By the system's resolver, where it speaks multicast DNS, or by ourselves.
        By::Mdns => {
            let local = local(wanted);
            let routes = found(&local, by);
            if routes.is_empty() {
                by_mdns(&local)
            } else {
                routes
            }
        }
    }
}

fn local(wanted: &Wanted) -> String {
    format!("{}.local", wanted.hostname)
}

fn found(name: &str, by: By) -> Vec<Route> {
    // Not to be resolved is to have no address.
    let addresses = (name, 22).to_socket_addrs().into_iter().flatten();
    let mut routes: Vec<Route> = Vec::new();
    for address in addresses.map(|socket| socket.ip()).filter(is_usable) {
        let route = Route { address, by };
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

/// Link-local addresses of IPv6 are left out: which interface they belong to
/// would have to go with them.
fn is_usable(address: &IpAddr) -> bool {
    !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Asks the local network.
fn by_mdns(local: &str) -> Vec<Route> {
    static DAEMON: OnceLock<Option<ServiceDaemon>> = OnceLock::new();
    let Some(daemon) = DAEMON.get_or_init(|| ServiceDaemon::new().ok()) else {
        return Vec::new();
    };
    let patience = u64::try_from(MDNS_PATIENCE.as_millis()).ok();
    let Ok(events) = daemon.resolve_hostname(&format!("{local}."), patience) else {
        return Vec::new();
    };
    let end = Instant::now() + MDNS_PATIENCE;
    let mut routes = Vec::new();
    while let Ok(event) = events.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let HostnameResolutionEvent::AddressesFound(_, addresses) = event {
            let addresses = addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
            let mut addresses: Vec<IpAddr> = addresses.filter(is_usable).collect();
            addresses.sort();
            if !addresses.is_empty() {
                let by = By::Mdns;
                routes.extend(addresses.into_iter().map(|address| Route { address, by }));
                break;
            }
        }
    }
    let _ = daemon.stop_resolve_hostname(&format!("{local}."));
    routes
}
