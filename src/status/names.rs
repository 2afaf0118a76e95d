//! From a node to its addresses.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};

use super::{By, Route, Wanted};

/// A node on the same network answers within milliseconds; on Wi-Fi, a second.
const MDNS_PATIENCE: Duration = Duration::from_secs(2);

/// Every address at which the node may be, best first; where there is none, what
/// was tried.
pub(super) fn routes(wanted: &Wanted) -> Result<Vec<Route>, String> {
    if let Some(given) = &wanted.given {
        return found(given, By::Given).ok_or_else(|| format!("no address for {given}"));
    }
    if let Some(address) = wanted.fixed {
        let by = By::Manifest;
        return Ok(vec![Route { address, by }]);
    }
    if let Some(routes) = found(&wanted.name, By::Name) {
        return Ok(routes);
    }
    // By the system's resolver, where it speaks multicast DNS, or by ourselves.
    let local = format!("{}.local", wanted.hostname);
    if let Some(routes) = found(&local, By::Mdns) {
        return Ok(routes);
    }
    let routes = by_mdns(&local);
    if routes.is_empty() {
        return Err(format!("no address for {} or {local}", wanted.name));
    }
    Ok(routes)
}

fn found(name: &str, by: By) -> Option<Vec<Route>> {
    let addresses = (name, 22).to_socket_addrs().ok()?;
    let mut routes: Vec<Route> = Vec::new();
    for address in addresses.map(|socket| socket.ip()).filter(is_usable) {
        let route = Route { address, by };
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    (!routes.is_empty()).then_some(routes)
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
