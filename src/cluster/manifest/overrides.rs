//! `[node.N]`: what differs on one node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::check;
use super::files::Files;
use super::frame::{Frame, read_dns, read_ip};
use super::image::read_image;
use super::monitoring::read_exporter;
use super::nodes::Shared;
use super::read::{At, Section, nearest};
use super::shared::{checked, judge, read_boot, read_steps};
use crate::cluster::Exporter;
use crate::cluster::node::{Boot, FirstBoot, Image, MacAddress, StaticAddress};
use crate::layout::Board;

/// What `[node.N]` says.
#[derive(Default)]
pub(super) struct Override {
    pub(super) hostname: Option<At<String>>,
    pub(super) board: Option<Board>,
    pub(super) image: Option<Arc<Image>>,
    pub(super) address: Option<At<StaticAddress>>,
    pub(super) steps: FirstBoot,
    pub(super) boot: Boot,
    pub(super) mac: Vec<At<MacAddress>>,
    /// What the node has instead of the cluster's exporter, which may be none.
    pub(super) exporter: Option<Option<Exporter>>,
}

pub(super) fn read_overrides(
    section: Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    files: &Files,
) -> BTreeMap<u32, Override> {
    let mut overrides = BTreeMap::new();
    for (key, mut section) in section.subsections() {
        let Ok(number) = key.value.parse::<u32>() else {
            let message = format!("`{}` is no number of a node", key.value);
            section.problem(&key.span, message, "write [node.3]");
            continue;
        };
        if let Some(numbers) = &frame.numbers
            && !numbers.contains(&number)
        {
            let message = format!("there is no node {number}");
            let (first, last) = (numbers.start(), numbers.end());
            let help = format!("the cluster has the nodes {first} to {last}");
            section.problem(&key.span, message, &help);
        }
        let own = read_override(&mut section, frame, shared, files);
        if overrides.insert(number, own).is_some() {
            let message = format!("node {number} has two sections");
            section.problem(&key.span, message, "make one of them");
        }
        section.finish();
    }
    overrides
}

fn read_override(
    section: &mut Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    files: &Files,
) -> Override {
    let hostname = checked(section, "hostname", check::node_name);
    let board = section.string("board").and_then(|text| {
        let complaint = |_| {
            let names: Vec<&str> = Board::all().map(Board::name).collect();
            let help = match nearest(&text.value, &names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known boards: {}", names.join(", ")),
            };
            (format!("unknown board `{}`", text.value), help)
        };
        judge(
            section,
            &text,
            text.value.parse::<Board>().map_err(complaint),
        )
    });
    let image = read_image(
        section,
        files,
        frame.image.as_ref(),
        frame.require_signature,
    );
    let address = read_address(section, frame, shared, board);
    let steps = read_steps(section, files, &shared.first_boot.files);
    let boot = read_boot(section);
    let mac = section.strings("mac", true);
    let mac = mac.into_iter().filter_map(|text| {
        let mac = judge(section, &text, check::mac(&text.value))?;
        Some(text.with(mac))
    });
    let mac = mac.collect();
    let exporter = read_exporter(section, files);
    Override {
        hostname,
        board,
        image,
        address,
        steps,
        boot,
        mac,
        exporter,
    }
}

fn read_address(
    section: &mut Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    board: Option<Board>,
) -> Option<At<StaticAddress>> {
    let text = section.string("address");
    let interface = checked(section, "interface", check::interface);
    let own_gateway = read_ip(section, "gateway");
    let own_dns = read_dns(section);
    let Some(text) = text else {
        if interface.is_some() || own_gateway.is_some() || !own_dns.is_empty() {
            let message = "interface, gateway and dns go with an address";
            section.problem(
                &section.span,
                message,
                "give `address`, or leave them to DHCP",
            );
        }
        return None;
    };
    let (address, prefix_len) = judge(section, &text, check::cidr(&text.value))?;
    if let Some(gateway) = &own_gateway {
        check_gateway(section, gateway, &text, (address, prefix_len));
    }
    let gateway = own_gateway.or_else(|| {
        // The cluster's gateway may be one of its own nodes, or serve only some of them.
        (frame.gateway.clone())
            .filter(|gateway| gateway.value != address)
            .filter(|gateway| is_reached(gateway.value, address, prefix_len))
    });
    let has_wifi = shared.wifi.is_some() && board.is_none_or(Board::has_wifi);
    let interface = match interface {
        Some(interface) => {
            if interface.value.starts_with("wlan") && !has_wifi {
                let message = format!("there is no Wi-Fi for an address on {}", interface.value);
                section.problem(&interface.span, message, "set interface = \"eth0\"");
            }
            interface.value
        }
        None if has_wifi => "wlan0".to_owned(),
        None => "eth0".to_owned(),
    };
    let dns = if own_dns.is_empty() {
        frame.dns.clone()
    } else {
        own_dns
    };
    let gateway = gateway.map(|gateway| gateway.value);
    Some(text.with(StaticAddress {
        interface,
        address,
        prefix_len,
        gateway,
        dns,
    }))
}

fn check_gateway(
    section: &Section<'_, '_>,
    gateway: &At<IpAddr>,
    text: &At<String>,
    (address, prefix_len): (IpAddr, u8),
) {
    if gateway.value == address {
        section.problem(&gateway.span, "the gateway is the node itself", "");
    } else if !is_reached(gateway.value, address, prefix_len) {
        let message = format!(
            "the gateway {} is not in the network of {}",
            gateway.value, text.value
        );
        let help = "a gateway must be reachable without a gateway";
        section.problem(&gateway.span, message, help);
    }
}

/// Whether a machine of this address reaches a gateway without a gateway.
fn is_reached(gateway: IpAddr, address: IpAddr, prefix_len: u8) -> bool {
    // Routers of IPv6 are commonly known by their link-local address.
    let is_link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
    is_link_local && address.is_ipv6() || check::same_network(address, gateway, prefix_len)
}
