//! Nodes: numbered, named, and with what differs on each.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Ask;
use super::check;
use super::files::Files;
use super::frame::{Frame, expand_template, read_frame};
use super::image::choose_image;
use super::monitoring::read_watch;
use super::overrides::{Override, read_overrides};
use super::read::{At, Section};
use super::shared::{judge, read_boot, read_locale, read_ssh, read_steps, read_user, read_wifi};
use crate::cluster::node::{Boot, FirstBoot, Locale, MacAddress, Node, User, Wifi};
use crate::cluster::{Cluster, Exporter};
use crate::layout::Board;

/// What all nodes share.
pub(super) struct Shared {
    pub(super) user: Arc<User>,
    pub(super) password_authentication: bool,
    pub(super) locale: Arc<Locale>,
    pub(super) wifi: Option<Arc<Wifi>>,
    pub(super) first_boot: Arc<FirstBoot>,
    pub(super) boot: Arc<Boot>,
    pub(super) exporter: Option<Exporter>,
}

/// Reads all sections. What comes of a manifest with problems is no cluster to
/// work with: it only carries the checks to the end.
pub(super) fn read_cluster(mut root: Section<'_, '_>, files: &Files, ask: &mut dyn Ask) -> Cluster {
    let mut frame = read_frame(root.section("cluster"), files);
    let (user, has_password) = read_user(root.section("user"), files);
    let password_authentication = read_ssh(root.section("ssh"), has_password);
    let locale = read_locale(root.section("locale"));
    let wifi = root
        .optional_section("wifi")
        .and_then(|wifi| read_wifi(wifi, files, ask));
    let mut first_boot = root.section("first_boot");
    let mut steps = read_steps(&mut first_boot, files, &[]);
    steps.expand = first_boot
        .boolean("expand")
        .is_none_or(|expand| expand.value);
    first_boot.finish();
    let mut boot_section = root.section("boot");
    let boot = read_boot(&mut boot_section);
    boot_section.finish();
    let (monitoring, exporter) = read_watch(root.section("monitoring"), files);
    let overrides = root.section("node");
    root.finish();
    let shared = Shared {
        user,
        password_authentication,
        locale,
        wifi,
        first_boot: Arc::new(steps),
        boot: Arc::new(boot),
        exporter,
    };
    let overrides = read_overrides(overrides, &frame, &shared, files);
    let mut notices = fill_image(&mut frame, &overrides);
    let mut nodes = number_nodes(&monitoring.section, &frame, &shared, overrides);
    notices.extend(without_gateway(&frame, &nodes));
    notices.extend(beside_gateway(&frame, &nodes));
    let monitoring = monitoring.finish(&frame, &mut nodes, &mut notices);
    let (name, dir) = (frame.name, files.dir().to_owned());
    Cluster {
        name,
        dir,
        mechanism: frame.mechanism,
        nodes,
        monitoring,
        notices,
    }
}

/// Chooses an image where neither the cluster nor each node names one.
fn fill_image(frame: &mut Frame, overrides: &BTreeMap<u32, Override>) -> Vec<String> {
    let numbers = frame.numbers.clone().into_iter().flatten();
    let open: Vec<u32> = numbers
        .filter(|number| overrides.get(number).is_none_or(|own| own.image.is_none()))
        .collect();
    if frame.names_image || open.is_empty() {
        return Vec::new();
    }
    let boards = open
        .iter()
        .filter_map(|number| Some((*number, overrides.get(number)?.board?)));
    let (image, notice) = choose_image(boards, frame.require_signature);
    frame.image = Some(image);
    vec![notice]
}

/// What to say of nodes whose fixed address leads nowhere beyond its own network. The
/// gateway itself is meant so, and one with Wi-Fi beside the cable may be. Of IPv6
/// routers tell themselves.
fn without_gateway(frame: &Frame, nodes: &[Node]) -> Option<String> {
    let is_shut_in = |node: &&Node| {
        let has_wifi = node.wifi.is_some() && node.board.is_none_or(Board::has_wifi);
        node.address.as_ref().is_some_and(|fixed| {
            let is_ordinary =
                matches!(fixed.address, IpAddr::V4(address) if !address.is_link_local());
            let is_gateway =
                (frame.gateway.as_ref()).is_some_and(|gateway| gateway.value == fixed.address);
            let is_only_way = fixed.interface.starts_with("wlan") || !has_wifi;
            fixed.gateway.is_none() && is_ordinary && !is_gateway && is_only_way
        })
    };
    let (who, they) = told_of(nodes.iter().filter(is_shut_in))?;
    let change = match &frame.gateway {
        None => "`gateway` under [cluster] or [node.N] would change that.".to_owned(),
        Some(gateway) => format!(
            "{} under [cluster] is in another; `gateway` under [node.N] would change that.",
            gateway.value
        ),
    };
    Some(format!(
        "{who} and no gateway: {they} nothing beyond the network of that address. {change}"
    ))
}

/// What to say of nodes that an IPv6 gateway of the cluster does not serve. They have a way
/// out all the same; whoever names a gateway may not think of it.
fn beside_gateway(frame: &Frame, nodes: &[Node]) -> Option<String> {
    let gateway = frame.gateway.as_ref()?.value;
    let is_beside = |node: &&Node| {
        let is_other = |address: IpAddr| address.is_ipv6() && address != gateway;
        (node.address.as_ref())
            .is_some_and(|fixed| fixed.gateway.is_none() && is_other(fixed.address))
    };
    if gateway.is_ipv4() {
        return None;
    }
    let (who, they) = told_of(nodes.iter().filter(is_beside))?;
    Some(format!(
        "{who}, and {gateway} under [cluster] is in another network: {they} what is beyond by \
         routers that announce themselves. `gateway` under [node.N] would change that."
    ))
}

/// Some nodes with fixed addresses, by the name of the first, and the verb that goes with
/// them.
fn told_of<'a>(mut nodes: impl Iterator<Item = &'a Node>) -> Option<(String, &'static str)> {
    let first = &nodes.next()?.hostname;
    Some(match nodes.count() {
        0 => (format!("{first} has a fixed address"), "it reaches"),
        1 => (
            format!("{first} and another node have fixed addresses"),
            "they reach",
        ),
        more => (
            format!("{first} and {more} more have fixed addresses"),
            "they reach",
        ),
    })
}

fn number_nodes(
    section: &Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    mut overrides: BTreeMap<u32, Override>,
) -> Vec<Node> {
    let mut taken = Taken::default();
    let mut nodes = Vec::new();
    for number in frame.numbers.clone().into_iter().flatten() {
        let own = overrides.remove(&number).unwrap_or_default();
        let hostname = own
            .hostname
            .clone()
            .or_else(|| taken.expand(section, frame, number));
        let Some(hostname) = hostname else { continue };
        taken.check(section, number, &hostname, &own);
        nodes.extend(make_node(frame, shared, own, number, hostname.value));
    }
    nodes
}

/// Names and addresses that earlier nodes have, and what was complained about
/// once for all nodes.
#[derive(Default)]
struct Taken {
    names: HashMap<String, u32>,
    addresses: HashMap<IpAddr, u32>,
    macs: HashMap<MacAddress, u32>,
    template_is_wrong: bool,
}

impl Taken {
    /// The hostname that the template gives a node; a template that is wrong has
    /// been, or is now, complained about.
    fn expand(
        &mut self,
        section: &Section<'_, '_>,
        frame: &Frame,
        number: u32,
    ) -> Option<At<String>> {
        let name = expand_template(&frame.hostname.value, number).ok()?;
        let is_one =
            (frame.numbers.as_ref()).is_some_and(|numbers| numbers.start() == numbers.end());
        if self.template_is_wrong || name == frame.hostname.value && !is_one {
            return None;
        }
        let name = frame.hostname.with(name);
        let good = judge(section, &name, check::node_name(&name.value));
        self.template_is_wrong = good.is_none();
        good.map(|()| name)
    }

    fn check(
        &mut self,
        section: &Section<'_, '_>,
        number: u32,
        hostname: &At<String>,
        own: &Override,
    ) {
        if let Some(other) = self
            .names
            .insert(hostname.value.to_ascii_lowercase(), number)
        {
            let message = format!("nodes {other} and {number} are both `{}`", hostname.value);
            section.problem(&hostname.span, message, "give one of them another hostname");
        }
        if let Some(address) = &own.address
            && let Some(other) = self.addresses.insert(address.value.address, number)
        {
            let message = format!("nodes {other} and {number} have the same address");
            section.problem(&address.span, message, "give one of them another address");
        }
        for mac in &own.mac {
            if let Some(other) = self.macs.insert(mac.value, number) {
                let message = format!(
                    "nodes {other} and {number} have the MAC address {}",
                    mac.value
                );
                section.problem(&mac.span, message, "no two machines have the same one");
            }
        }
    }
}

fn make_node(
    frame: &Frame,
    shared: &Shared,
    own: Override,
    number: u32,
    hostname: String,
) -> Option<Node> {
    // One that is wrong has been complained about.
    let image = own.image.or_else(|| frame.image.clone())?;
    let mut first_boot = Arc::clone(&shared.first_boot);
    let steps = own.steps;
    if !(steps.packages.is_empty() && steps.files.is_empty() && steps.run.is_empty()) {
        let all = Arc::make_mut(&mut first_boot);
        all.packages.extend(steps.packages);
        // What is the node's own wins, whatever the order they are put into place in.
        let is_replaced = |path: &str| steps.files.iter().any(|own| own.path == path);
        all.files.retain(|file| !is_replaced(&file.path));
        all.files.extend(steps.files);
        all.run.extend(steps.run);
    }
    let mut boot = Arc::clone(&shared.boot);
    if own.boot != Boot::default() {
        let all = Arc::make_mut(&mut boot);
        all.cmdline.extend(own.boot.cmdline);
        all.config.extend(own.boot.config);
    }
    Some(Node {
        cluster: frame.name.as_str().into(),
        number,
        hostname,
        domain: frame.domain.clone(),
        board: own.board,
        image,
        user: Arc::clone(&shared.user),
        password_authentication: shared.password_authentication,
        locale: Arc::clone(&shared.locale),
        wifi: shared.wifi.clone(),
        address: own.address.map(|address| address.value),
        first_boot,
        boot,
        mac: own.mac.into_iter().map(|mac| mac.value).collect(),
        exporter: own.exporter.unwrap_or_else(|| shared.exporter.clone()),
        monitoring: None,
    })
}
