pub(crate) mod network;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use network::Network;
use serde_json::Value;

use crate::harness::Scratch;
use crate::json_page;

fn state<'a>(report: &'a Value, hostname: &str) -> &'a Value {
    let nodes = report["nodes"].as_array().expect("nodes");
    let is_it = |node: &&Value| node["hostname"] == hostname;
    nodes.iter().find(is_it).expect("a node")
}

/// One network for all of it, since it takes a while to make.
#[test]
fn nodes_are_told_apart_by_what_is_the_matter_with_them() {
    let Some(network) = Network::start() else {
        return;
    };
    let all = network.status(&["--json"]);
    assert_eq!(all.code, 1, "{}", all.stderr);
    let report = all.json();
    a_node_that_is_well(&report);
    first_boots_that_failed_or_go_on(&report);
    strangers(&network, &report);
    let gone = state(&report, "raspberrypi3");
    assert_eq!(gone["state"], "not-there");
    assert_eq!(
        gone["problem"],
        "no address for raspberrypi3.lan or raspberrypi3.local"
    );
    assert_eq!(report["prometheus"]["up"]["raspberrypi0"], true);
    assert_eq!(report["prometheus"]["up"]["raspberrypi3"], false);
    for secret in ["PRIVATE KEY", "open-sesame"] {
        assert!(!all.stdout.contains(secret) && !all.stderr.contains(secret));
    }
    let elsewhere = a_stranger_watches_nothing(&network);
    a_monitoring_host_that_is_another_is_told_beside_others(&network);
    json_page::judge("status", &[report, elsewhere, no_grafana(&network)]);
    what_a_person_reads(&network);
    an_address_may_be_given(&network);
    waiting_ends_when_all_is_well(&network);
}

fn a_node_that_is_well(report: &Value) {
    let node = state(report, "raspberrypi0");
    assert_eq!(node["state"], "ready", "{report:#}");
    assert_eq!(node["address"], "127.0.0.2");
    assert_eq!(node["found_by"], "name");
    assert_eq!(node["calls_itself"], "raspberrypi0");
    assert_eq!(node["exporter"], true);
    assert_eq!(node["scraped"], true);
    // A node without an exporter is not Prometheus' to reach.
    assert_eq!(state(report, "raspberrypi4")["scraped"], Value::Null);
    assert_eq!(node["report"]["ok"], true);
    assert_eq!(node["problem"], Value::Null);
    assert!(node["uptime"].as_u64().expect("seconds") > 0);
    assert!(node["root_len"].as_u64().expect("bytes") > 1 << 20);
    assert_eq!(node["millidegrees"], 48_312);
}

fn first_boots_that_failed_or_go_on(report: &Value) {
    let failed = state(report, "raspberrypi1");
    assert_eq!(failed["state"], "first-boot-failed", "{failed:#}");
    assert_eq!(failed["problem"], "packages: no default route");
    // Only multicast DNS knows it.
    let starting = state(report, "raspberrypi4");
    assert_eq!(starting["state"], "starting", "{starting:#}");
    assert_eq!(starting["found_by"], "mdns");
    assert_eq!(starting["address"], "10.88.0.2");
    assert_eq!(starting["problem"], "no report of its first boot yet");
}

/// Another node's card is in it.
fn strangers(network: &Network, report: &Value) {
    let swapped = state(report, "raspberrypi2");
    assert_eq!(swapped["state"], "wrong-identity", "{swapped:#}");
    let other = state(report, "raspberrypi3");
    assert_eq!(swapped["offered_host_key"], other["host_key"]);
    assert_ne!(swapped["offered_host_key"], swapped["host_key"]);
    assert_eq!(swapped["calls_itself"], Value::Null, "it was talked to");
    let alone = network.status(&["raspberrypi2"]);
    assert_eq!(alone.code, 4, "{}", alone.stderr);
    let (expected, offered) = (&swapped["host_key"], &swapped["offered_host_key"]);
    alone.says(&[
        "raspberrypi2 IS NOT WHO IT SHOULD BE!",
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
        &format!("expected  {}", expected.as_str().expect("a fingerprint")),
        &format!("offered   {}", offered.as_str().expect("a fingerprint")),
        "That is the key of raspberrypi3",
    ]);
}

/// A monitoring host that is somebody else is not asked what it sees.
fn a_stranger_watches_nothing(network: &Network) -> Value {
    network.edit("docker = false", "docker = true");
    let began = Instant::now();
    let run = network.status(&["--json", "--wait", "2m", "raspberrypi0=127.0.0.4"]);
    // Waiting would change nothing.
    assert!(began.elapsed() < Duration::from_secs(60));
    network.edit("docker = true", "docker = false");
    let report = run.expect(4).json();
    assert_eq!(state(&report, "raspberrypi0")["state"], "wrong-identity");
    assert_eq!(report["prometheus"]["ok"], false);
    for watcher in ["prometheus", "grafana"] {
        assert_eq!(
            report[watcher]["problem"],
            "the node itself was not reached: another host key than expected"
        );
    }
    report
}

/// Whoever is in its place matters to nodes that only others were asked about, and is
/// all that is the matter with one that is well.
fn a_monitoring_host_that_is_another_is_told_beside_others(network: &Network) {
    network.edit("host = 0", "host = 2");
    let run = network.status(&["--wait", "1m", "raspberrypi0"]);
    network.edit("host = 2", "host = 0");
    run.expect(4)
        .says(&["raspberrypi2 IS NOT WHO IT SHOULD BE!"]);
}

/// What is said of a Grafana that is not up.
fn no_grafana(network: &Network) -> Value {
    network.edit("docker = false", "docker = true");
    let report = network.status(&["--json", "raspberrypi0"]).expect(1).json();
    network.edit("docker = true", "docker = false");
    assert_eq!(report["grafana"]["ok"], false);
    report
}

fn what_a_person_reads(network: &Network) {
    let run = network.status(&["raspberrypi0", "raspberrypi1"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    for text in [
        "raspberrypi0  ready",
        "48.3 °C",
        "raspberrypi1: first boot failed at packages: no default route",
        "Prometheus reaches 1 of ",
    ] {
        assert!(run.stdout.contains(text), "{text}\n{}", run.stdout);
    }
    // Where nobody looks on, each change is a line.
    assert!(
        run.stderr.contains("raspberrypi0  ready  127.0.0.2"),
        "{}",
        run.stderr
    );
    let well = network.status(&["-q", "raspberrypi0"]);
    assert_eq!((well.code, well.stderr.as_str()), (0, ""));
}

fn an_address_may_be_given(network: &Network) {
    let run = network.status(&["--json", "raspberrypi0=127.0.0.2"]);
    let report = run.expect(0).json();
    assert_eq!(state(&report, "raspberrypi0")["found_by"], "given");
    let wrong = network.status(&["--json", "raspberrypi3=127.0.0.2"]);
    assert_eq!(
        state(&wrong.expect(4).json(), "raspberrypi3")["state"],
        "wrong-identity"
    );
    let nobody = network
        .status(&["--json", "raspberrypi3=127.0.0.77"])
        .expect(1);
    assert_eq!(state(&nobody.json(), "raspberrypi3")["state"], "starting");
    network
        .status(&["raspberrypi0=no where"])
        .expect(2)
        .says(&["neither an address nor a name"]);
}

fn waiting_ends_when_all_is_well(network: &Network) {
    let early = network.status(&["--wait", "4s", "--json", "raspberrypi4"]);
    assert_eq!(early.code, 1, "{}", early.stderr);
    let mut late = network
        .status_command(&["--wait", "2m", "0", "raspberrypi4"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nsenter");
    let (mut said, mut is_starting) = (Vec::new(), false);
    let stderr = late.stderr.take().expect("a pipe");
    for line in BufReader::new(stderr).lines() {
        said.push(line.expect("UTF-8"));
        let has = |text| said.iter().any(|line: &String| line.contains(text));
        if !is_starting && has("raspberrypi4  starting") {
            is_starting = true;
            let text = "cardmint report 1\nnode raspberrypi4\nresult ok\n";
            network.report("raspberrypi4", text);
        }
    }
    let code = late.wait().expect("an end").code();
    assert_eq!((code, is_starting), (Some(0), true), "{said:#?}");
    let is_ready = said.iter().any(|line| line.contains("raspberrypi4  ready"));
    assert!(is_ready, "{said:#?}");
}

#[test]
fn waiting_takes_times_as_people_write_them() {
    let scratch = Scratch::cluster("bookworm-arm64", |text| text);
    for (time, said) in [
        ("soon", "90s, 10m or 1h30m"),
        ("18446744073709551615", "a week is the most"),
    ] {
        let run = scratch.cardmint(&["status", "--wait", time]);
        run.expect(2).says(&[said]);
    }
    scratch
        .cardmint(&["status", "0", "raspberrypi0"])
        .expect(2)
        .says(&["raspberrypi0 is named twice"]);
}
