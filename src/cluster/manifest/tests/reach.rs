//! Fixed addresses that lead nowhere else.

use std::net::IpAddr;

use super::*;
use crate::cluster::Node;

#[test]
fn addresses_without_a_gateway_are_told_of_once() {
    let bench = Bench::new();
    let told = |extra: &str| bench.accept(extra).notices;
    let fixed = |number: u32| format!("[node.{number}]\naddress = \"10.0.0.{number}/24\"\n");
    let notices = told(&fixed(9));
    let [one] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(
        one.starts_with("pi09 has a fixed address and no gateway: it reaches nothing"),
        "{one}"
    );
    let all: String = [9, 10, 11].map(fixed).concat();
    let notices = told(&all);
    let [one] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(one.starts_with("pi09 and 2 more have"), "{one}");
    // All of these reach something.
    let wifi = "[wifi]\nssid = \"x\"\ncountry = \"PT\"\nopen = true\n";
    for extra in [
        format!("{}gateway = \"10.0.0.1\"\n", fixed(9)),
        format!("{wifi}{}interface = \"eth0\"\n", fixed(9)),
        "[node.9]\naddress = \"169.254.7.9/16\"\n".to_owned(),
        "[node.9]\naddress = \"fd00::9/64\"\n".to_owned(),
    ] {
        assert_eq!(told(&extra), Vec::<String>::new(), "{extra}");
    }
    assert_eq!(told(&format!("{wifi}{}", fixed(9))).len(), 1);
    // The gateway of the others is one of them.
    let text = sound(3).replace("count = 3", "count = 3\ngateway = \"10.0.0.9\"");
    let cluster = bench.parse(&format!("{text}{all}")).unwrap();
    assert_eq!(cluster.notices, Vec::<String>::new());
}

#[test]
fn the_gateway_of_the_cluster_is_for_the_nodes_of_its_network() {
    let bench = Bench::new();
    let with = |gateway: &str, nodes: &str| {
        let text = sound(3).replace("count = 3", &format!("count = 3\ngateway = \"{gateway}\""));
        bench.parse(&format!("{text}{nodes}"))
    };
    let mixed = "[node.9]\naddress = \"10.0.0.9/24\"\n[node.10]\naddress = \"fd00::5/64\"\n\
                 [node.11]\naddress = \"192.168.50.3/24\"\n";
    let gateways = |cluster: &Cluster| -> Vec<Option<IpAddr>> {
        let gateway = |node: &Node| node.address.as_ref().and_then(|fixed| fixed.gateway);
        cluster.nodes.iter().map(gateway).collect()
    };
    let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    for (gateway, wanted, told) in [
        (
            "10.0.0.1",
            [ip("10.0.0.1"), None, None],
            &[
                "pi11 has a fixed address and no gateway: it reaches nothing beyond the network of \
               that address. 10.0.0.1 under [cluster] is in another; `gateway` under [node.N] \
               would change that.",
            ] as &[&str],
        ),
        (
            "fd00::1",
            [None, ip("fd00::1"), None],
            &[
                "pi09 and another node have fixed addresses and no gateway: they reach nothing \
               beyond the network of that address. fd00::1 under [cluster] is in another; \
               `gateway` under [node.N] would change that.",
            ],
        ),
        (
            "fe80::1",
            [None, ip("fe80::1"), None],
            &["pi09 and another"],
        ),
        (
            "fd01::1",
            [None, None, None],
            &[
                "pi09 and another",
                "pi10 has a fixed address, and fd01::1 under [cluster] is in another network: it \
             reaches what is beyond by routers that announce themselves. `gateway` under [node.N] \
             would change that.",
            ],
        ),
    ] {
        let cluster = with(gateway, mixed).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(gateways(&cluster), wanted, "{gateway}");
        assert_eq!(cluster.notices.len(), told.len(), "{:?}", cluster.notices);
        for (notice, told) in cluster.notices.iter().zip(told) {
            assert!(notice.starts_with(told), "{notice}");
        }
    }
    // A gateway of the node's own is meant for it.
    let own = "[node.9]\naddress = \"10.0.0.9/24\"\ngateway = \"10.0.1.1\"\n";
    let problems = with("10.0.0.1", own).unwrap_err();
    assert!(
        problems[0].message.contains("not in the network of"),
        "{problems:?}"
    );
}
