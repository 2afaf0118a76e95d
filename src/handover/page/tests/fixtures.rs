//! Clusters to draw.

use crate::handover::page::{Page, PageNode};

const KEYS: [&str; 3] = [
    "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDiuTQKdEyMVtkK9wM",
    "SHA256:br9IjFspm1vxR3iA35FWE+4VTyz1hYVLIE2t1/CeyWQ",
    "SHA256:p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
];
const BOARDS: [&str; 4] = [
    "Raspberry Pi 4 B",
    "Raspberry Pi 5",
    "Raspberry Pi Zero 2 W",
    "Compute Module 5",
];
const NAMES: [&str; 10] = [
    "raspberrypi0",
    "raspberrypi1",
    "raspberrypi2",
    "raspberrypi3",
    "raspberrypi4",
    "raspberrypi5",
    "raspberrypi6",
    "raspberrypi7",
    "raspberrypi8",
    "raspberrypi9",
];

/// `count` nodes such as people have: the first one watches the others, some
/// are on Wi-Fi, some have a fixed address, some have no card yet.
pub(super) fn usual(count: u32) -> Page<'static> {
    let nodes: Vec<_> = (0..count).map(usual_node).collect();
    Page {
        cluster: "picluster",
        domain: Some("lan"),
        nodes,
        prometheus: Some("http://raspberrypi0.lan:9090".to_owned()),
        grafana: Some("http://raspberrypi0.lan:3000".to_owned()),
    }
}

fn usual_node(number: u32) -> PageNode<'static> {
    let index = number as usize;
    // Kept for the length of a test; names are borrowed from a manifest elsewhere.
    let hostname = match NAMES.get(index) {
        Some(name) => *name,
        None => String::leak(format!("raspberrypi{number}")),
    };
    let fixed = number % 4 == 3;
    PageNode {
        number,
        hostname,
        name: match fixed {
            true => format!("10.0.0.{number}"),
            false => format!("{hostname}.lan"),
        },
        board: (number % 5 != 4).then(|| BOARDS[index % BOARDS.len()]),
        address: fixed.then(|| format!("10.0.0.{number}/24")),
        wifi: number % 3 == 2,
        user: "pi",
        fingerprint: KEYS[index % KEYS.len()],
        card: (number % 7 != 6).then(|| {
            let serial = 0x1234 + number;
            format!("SanDisk SC32G, 31.9 GB, serial {serial:#x}, written 2026-11-26")
        }),
        exporter: Some(format!("http://{hostname}.lan:9100/metrics")),
        is_monitoring_host: number == 0,
    }
}

/// The longest names that a manifest allows, with and without places to break
/// them, and as little known of the nodes as possible.
pub(super) fn long() -> Page<'static> {
    let hostnames = [
        "a-node-with-a-very-long-name-in-the-third-rack-of-the-west-wing",
        "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww",
        "n",
        "gateway-of-the-west-wing",
        "eleven-more",
    ];
    let domain = "the-department-of-rather-long-names.faculty.university.example";
    let node = |(number, hostname): (u32, &'static str)| PageNode {
        number: 9_995 + number,
        hostname,
        name: format!("{hostname}.{domain}"),
        board: None,
        address: (number == 1).then(|| "fd00:1234:5678:9abc:def0:1234:5678:9abc/64".to_owned()),
        wifi: true,
        user: "a-login-name-of-32-characters-00",
        fingerprint: KEYS[0],
        card: (number == 2).then(|| "W".repeat(200)),
        exporter: (number != 2).then(|| format!("http://{hostname}.{domain}:9100/metrics")),
        is_monitoring_host: number == 1,
    };
    Page {
        cluster: "the-cluster-of-the-department-of-rather-long-names-and-numbers",
        domain: Some(domain),
        nodes: (0..).zip(hostnames).map(node).collect(),
        prometheus: Some("http://n:9090".to_owned()),
        grafana: None,
    }
}

/// One node of which nothing is known but how to reach it.
pub(super) fn bare() -> Page<'static> {
    Page {
        cluster: "one",
        domain: None,
        nodes: vec![PageNode {
            number: 0,
            hostname: "raspberrypi0",
            name: "raspberrypi0".to_owned(),
            board: None,
            address: None,
            wifi: false,
            user: "pi",
            fingerprint: KEYS[1],
            card: None,
            exporter: None,
            is_monitoring_host: false,
        }],
        prometheus: None,
        grafana: None,
    }
}
