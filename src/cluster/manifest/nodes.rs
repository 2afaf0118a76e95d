//! Nodes: numbered, named, and with what differs on each.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Ask;
use super::check;
use super::files::Files;
use super::read::{At, Section, nearest};
use super::shared::{
    checked, judge, read_boot, read_locale, read_ssh, read_steps, read_user, read_wifi,
};
use crate::base::Sha256Digest;
use crate::cluster::Cluster;
use crate::cluster::node::{
    Boot, FirstBoot, Image, ImageSource, Locale, Node, StaticAddress, User, Wifi,
};
use crate::layout::{Board, Mechanism};

/// More nodes than this are a slip of the finger; `--nodes` spreads clusters
/// over several manifests' worth of machines long before.
const MAX_COUNT: u32 = 10_000;
/// Port of the node exporter.
const EXPORTER_PORT: u16 = 9100;

/// `[cluster]`.
struct Frame {
    name: String,
    hostname: At<String>,
    count: u32,
    first: u32,
    domain: Option<Arc<str>>,
    image: Option<Arc<Image>>,
    mechanism: Option<Mechanism>,
    gateway: Option<At<IpAddr>>,
    dns: Vec<IpAddr>,
}

/// What all nodes share.
struct Shared {
    user: Arc<User>,
    password_authentication: bool,
    locale: Arc<Locale>,
    wifi: Option<Arc<Wifi>>,
    first_boot: Arc<FirstBoot>,
    boot: Arc<Boot>,
    node_exporter: bool,
}

/// What `[node.N]` says.
#[derive(Default)]
struct Override {
    hostname: Option<At<String>>,
    board: Option<Board>,
    image: Option<Arc<Image>>,
    address: Option<At<StaticAddress>>,
    steps: FirstBoot,
    boot: Boot,
}

pub(super) fn read_cluster(
    mut root: Section<'_, '_>,
    files: &Files,
    ask: &mut dyn Ask,
) -> Option<Cluster> {
    let frame = read_frame(root.section("cluster"), files);
    let (user, has_password) = read_user(root.section("user"), files);
    let password_authentication = read_ssh(root.section("ssh"), has_password);
    let locale = read_locale(root.section("locale"));
    let wifi = root
        .optional_section("wifi")
        .and_then(|wifi| read_wifi(wifi, files, ask));
    let mut first_boot = root.section("first_boot");
    let mut steps = read_steps(&mut first_boot, files);
    steps.expand = first_boot
        .boolean("expand")
        .is_none_or(|expand| expand.value);
    first_boot.finish();
    let mut boot_section = root.section("boot");
    let boot = read_boot(&mut boot_section);
    boot_section.finish();
    let mut monitoring = root.section("monitoring");
    let node_exporter = monitoring
        .boolean("node_exporter")
        .is_some_and(|on| on.value);
    let host = monitoring.number("host");
    let overrides = root.section("node");
    root.finish();
    let shared = Shared {
        user: user?,
        password_authentication,
        locale,
        wifi,
        first_boot: Arc::new(steps),
        boot: Arc::new(boot),
        node_exporter,
    };
    let frame = frame?;
    let overrides = read_overrides(overrides, &frame, &shared, files);
    let mut nodes = number_nodes(&monitoring, &frame, &shared, overrides);
    if let Some(host) = host {
        set_host(&monitoring, &host, &mut nodes);
    }
    monitoring.finish();
    let (name, dir) = (frame.name, files.dir().to_owned());
    Some(Cluster {
        name,
        dir,
        mechanism: frame.mechanism,
        nodes,
        notices: Vec::new(),
    })
}

fn read_frame(mut section: Section<'_, '_>, files: &Files) -> Option<Frame> {
    let span = section.span.clone();
    let name = checked(&mut section, "name", check::hostname);
    let hostname = section.string("hostname");
    let count = section.number("count");
    let first = section.number("first");
    let domain = checked(&mut section, "domain", check::domain);
    let image = read_image(&mut section, files, None);
    let mechanism = section.string("mechanism").and_then(|text| {
        let parsed = text.value.parse::<Mechanism>();
        judge(
            &section,
            &text,
            parsed.map_err(|error| (error.to_string(), String::new())),
        )
    });
    let gateway = read_ip(&mut section, "gateway");
    let dns = read_dns(&mut section);
    let need = |key: &str, given: bool, example: &str| {
        if !given {
            section.problem(&span, format!("[cluster] needs `{key}`"), example);
        }
    };
    need("name", name.is_some(), "name = \"picluster\"");
    need("count", count.is_some(), "count = 4");
    need(
        "image",
        image.is_some(),
        "image = \"raspios-lite-arm64\", or the path of an image",
    );
    let hostname = hostname.unwrap_or(At {
        value: "raspberrypi{n}".to_owned(),
        span,
    });
    if let Some(count) = &count {
        check_count(
            &section,
            count,
            first.as_ref().map_or(0, |first| first.value),
            &hostname,
        );
    }
    section.finish();
    let count = count?.value;
    Some(Frame {
        name: name?.value,
        hostname,
        count: count.min(MAX_COUNT),
        first: first.map_or(0, |first| first.value),
        domain: domain.map(|domain| domain.value.into()),
        image,
        mechanism,
        gateway,
        dns,
    })
}

fn check_count(section: &Section<'_, '_>, count: &At<u32>, first: u32, hostname: &At<String>) {
    match count.value {
        0 => section.problem(
            &count.span,
            "a cluster of no nodes",
            "set count to 1 or more",
        ),
        1..=MAX_COUNT => {}
        n => {
            let message = format!("{n} nodes are more than the {MAX_COUNT} that cardmint numbers");
            section.problem(
                &count.span,
                message,
                "split the cluster into several directories",
            );
        }
    }
    if first.checked_add(count.value).is_none() {
        section.problem(
            &count.span,
            "the numbers of the nodes grow too large",
            "lower `first`",
        );
    }
    match expand_template(&hostname.value, 0) {
        Err(what) => section.problem(&hostname.span, what, "use {n}, or {n:02} for two digits"),
        Ok(name) if name == hostname.value && count.value > 1 => section.problem(
            &hostname.span,
            format!("all {} nodes would be called `{name}`", count.value),
            "put {n} where the node's number goes, as in \"raspberrypi{n}\"",
        ),
        Ok(_) => {}
    }
}

/// Puts a node's number into a hostname template.
fn expand_template(template: &str, number: u32) -> Result<String, String> {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        name.push_str(before);
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{template}` has a {{ without its }}"))?;
        let width = match inside {
            "n" => 1,
            _ => inside
                .strip_prefix("n:0")
                .and_then(|width| width.parse::<usize>().ok())
                .filter(|width| (1..=9).contains(width))
                .ok_or_else(|| format!("`{{{inside}}}` in `{template}` is not known"))?,
        };
        name.push_str(&format!("{number:0width$}"));
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// `image` and `sha256`; a digest alone is for `inherited`.
fn read_image(
    section: &mut Section<'_, '_>,
    files: &Files,
    inherited: Option<&Arc<Image>>,
) -> Option<Arc<Image>> {
    let image = section.string("image");
    let sha256 = section.string("sha256").and_then(|text| {
        let digest = text.value.parse::<Sha256Digest>();
        judge(
            section,
            &text,
            digest.map_err(|error| (error.to_string(), String::new())),
        )
    });
    let source = match image {
        Some(image) => judge(section, &image, image_source(&image.value, files))?,
        None if sha256.is_some() => inherited?.source.clone(),
        None => return None,
    };
    Some(Arc::new(Image { source, sha256 }))
}

fn image_source(text: &str, files: &Files) -> Result<ImageSource, check::Complaint> {
    if let Some((scheme, _)) = text.split_once("://") {
        return match scheme {
            "http" | "https" => Ok(ImageSource::Url(text.to_owned())),
            _ => Err((
                format!("`{scheme}://` is no address of an image"),
                "use https".to_owned(),
            )),
        };
    }
    let path = files.resolve(text);
    if text.is_empty() || text.contains('\0') {
        return Err((
            "an empty image".to_owned(),
            "give the path of an image".to_owned(),
        ));
    }
    let is_path = text.contains(['/', '.']) || path.is_file();
    Ok(if is_path {
        ImageSource::Path(path)
    } else {
        ImageSource::Catalogue(text.to_owned())
    })
}

fn read_ip(section: &mut Section<'_, '_>, key: &'static str) -> Option<At<IpAddr>> {
    let text = section.string(key)?;
    let parsed = text.value.parse();
    let complaint = |_| (format!("`{}` is no address", text.value), String::new());
    Some(text.with(judge(section, &text, parsed.map_err(complaint))?))
}

fn read_dns(section: &mut Section<'_, '_>) -> Vec<IpAddr> {
    let servers = section.strings("dns", true);
    let parse = |text: At<String>| {
        let complaint = |_| (format!("`{}` is no address", text.value), String::new());
        judge(section, &text, text.value.parse().map_err(complaint))
    };
    servers.into_iter().filter_map(parse).collect()
}

fn read_overrides(
    section: Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    files: &Files,
) -> BTreeMap<u32, Override> {
    let mut overrides = BTreeMap::new();
    let last = frame.first + frame.count.saturating_sub(1);
    for (key, mut section) in section.subsections() {
        let Ok(number) = key.value.parse::<u32>() else {
            let message = format!("`{}` is no number of a node", key.value);
            section.problem(&key.span, message, "write [node.3]");
            continue;
        };
        if number < frame.first || number > last {
            let message = format!("there is no node {number}");
            let help = format!("the cluster has the nodes {} to {last}", frame.first);
            section.problem(&key.span, message, &help);
        }
        overrides.insert(number, read_override(&mut section, frame, shared, files));
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
    let hostname = checked(section, "hostname", check::hostname);
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
    let image = read_image(section, files, frame.image.as_ref());
    let address = read_address(section, frame, shared, board);
    let steps = read_steps(section, files);
    let boot = read_boot(section);
    Override {
        hostname,
        board,
        image,
        address,
        steps,
        boot,
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
    let gateway = read_ip(section, "gateway").or_else(|| frame.gateway.clone());
    let own_dns = read_dns(section);
    let dns = if own_dns.is_empty() {
        frame.dns.clone()
    } else {
        own_dns
    };
    let text = text?;
    let (address, prefix_len) = judge(section, &text, check::cidr(&text.value))?;
    let fallback = if shared.wifi.is_some() {
        "wlan0"
    } else {
        "eth0"
    };
    let interface = interface.map_or_else(|| fallback.to_owned(), |found| found.value);
    if let Some(gateway) = &gateway {
        let span = &gateway.span;
        if !check::same_network(address, gateway.value, prefix_len) {
            let message = format!(
                "the gateway {} is not in the network of {}",
                gateway.value, text.value
            );
            section.problem(
                span,
                message,
                "a gateway must be reachable without a gateway",
            );
        } else if gateway.value == address {
            section.problem(span, "the gateway is the node itself", "");
        }
    }
    if interface.starts_with("wlan")
        && let Some(board) = board.filter(|board| !board.has_wifi())
    {
        let message = format!(
            "{} has no Wi-Fi for an address on {interface}",
            board.model()
        );
        section.problem(&text.span, message, "set interface = \"eth0\"");
    }
    let gateway = gateway.map(|gateway| gateway.value);
    Some(text.with(StaticAddress {
        interface,
        address,
        prefix_len,
        gateway,
        dns,
    }))
}

fn number_nodes(
    section: &Section<'_, '_>,
    frame: &Frame,
    shared: &Shared,
    mut overrides: BTreeMap<u32, Override>,
) -> Vec<Node> {
    let mut names: HashMap<String, u32> = HashMap::new();
    let mut addresses: HashMap<IpAddr, u32> = HashMap::new();
    let mut nodes = Vec::new();
    let mut complained = false;
    for number in (frame.first..).take(frame.count as usize) {
        let own = overrides.remove(&number).unwrap_or_default();
        let hostname = match &own.hostname {
            Some(hostname) => hostname.clone(),
            // A template that is wrong has been complained about.
            None => frame
                .hostname
                .with(expand_template(&frame.hostname.value, number).unwrap_or_default()),
        };
        if own.hostname.is_none() && !complained && frame.hostname.value.contains("{n") {
            complained = judge(section, &hostname, check::hostname(&hostname.value)).is_none();
        } else if own.hostname.is_none() && frame.count == 1 && number == frame.first {
            judge(section, &hostname, check::hostname(&hostname.value));
        }
        if let Some(other) = names.insert(hostname.value.to_ascii_lowercase(), number)
            && own.hostname.is_some() | frame.hostname.value.contains("{n")
        {
            let message = format!(
                "nodes {other} and {number} are both called `{}`",
                hostname.value
            );
            section.problem(&hostname.span, message, "give one of them another hostname");
        }
        if let Some(address) = &own.address
            && let Some(other) = addresses.insert(address.value.address, number)
        {
            let message = format!("nodes {other} and {number} have the same address");
            section.problem(&address.span, message, "give one of them another address");
        }
        nodes.extend(make_node(frame, shared, own, number, hostname.value));
    }
    nodes
}

fn make_node(
    frame: &Frame,
    shared: &Shared,
    own: Override,
    number: u32,
    hostname: String,
) -> Option<Node> {
    // A missing image has been complained about.
    let image = own.image.or_else(|| frame.image.clone())?;
    let mut first_boot = Arc::clone(&shared.first_boot);
    let steps = own.steps;
    if !(steps.packages.is_empty() && steps.files.is_empty() && steps.run.is_empty()) {
        let all = Arc::make_mut(&mut first_boot);
        all.packages.extend(steps.packages);
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
        node_exporter: shared.node_exporter,
        scrape: None,
    })
}

/// Prometheus runs on one node and scrapes all that have an exporter.
fn set_host(section: &Section<'_, '_>, host: &At<u32>, nodes: &mut [Node]) {
    let targets: Arc<[String]> = nodes
        .iter()
        .filter(|node| node.node_exporter)
        .map(|node| format!("{}:{EXPORTER_PORT}", node.fqdn()))
        .collect();
    match nodes.iter_mut().find(|node| node.number == host.value) {
        Some(node) => node.scrape = Some(targets),
        None => {
            let message = format!("there is no node {} to be the host", host.value);
            section.problem(&host.span, message, "give the number of a node");
        }
    }
}
