//! `[monitoring]`, and what it makes of nodes.

use super::*;
use crate::cluster::Exporter;
use crate::cluster::exporter::tests::elf;
use crate::cluster::monitoring::Jobs;

/// A bench with exporters for a Pi's processors.
fn bench() -> Bench {
    let bench = Bench::new();
    let write = |name: &str, bytes: &[u8]| fs::write(bench.0.path().join(name), bytes).unwrap();
    write("exporter-arm64", &elf(183));
    write("exporter-armv7", &elf(40));
    write("exporter-pc", &elf(62));
    bench.write("grafana", "opensesame\n", 0o600);
    bench.write("grafana-$", "open$esame\n", 0o600);
    bench
}

#[test]
fn exporters_come_as_package_as_file_or_by_processor() {
    let bench = bench();
    let cluster = bench.accept(
        "[monitoring]\nnode_exporter = { arm64 = \"exporter-arm64\", armv7 = \"exporter-armv7\" }\n\
         [node.10]\nnode_exporter = true\n[node.11]\nnode_exporter = false\n",
    );
    let [nine, ten, eleven] = cluster.nodes.as_slice() else {
        panic!("three nodes");
    };
    let Some(Exporter::Carried(files)) = &nine.exporter else {
        panic!("{:?}", nine.exporter);
    };
    assert!(files.arm64.is_some() && files.armv7.is_some() && files.armv6.is_none());
    assert!(matches!(ten.exporter, Some(Exporter::Package)));
    assert!(eleven.exporter.is_none());
    let watched = cluster.monitoring.unwrap();
    let names: Vec<_> = watched
        .targets
        .iter()
        .map(|target| &target.hostname)
        .collect();
    assert_eq!(names, ["pi09", "pi10"]);
    assert!(watched.host.is_none());
}

#[test]
fn a_cluster_without_exporters_is_not_watched() {
    assert!(bench().accept("").monitoring.is_none());
    assert!(bench().accept("[monitoring]\n").monitoring.is_none());
    // One node is enough.
    let cluster = bench().accept("[monitoring]\nhost = 9\n[node.10]\nnode_exporter = true\n");
    assert_eq!(cluster.monitoring.unwrap().targets.len(), 1);
}

#[test]
fn the_host_knows_whom_to_watch_and_how() {
    let cluster = bench().accept(
        "[monitoring]\nnode_exporter = true\nhost = 10\njobs = \"one\"\n\
         grafana_password_file = \"grafana\"\n[node.11]\naddress = \"10.0.0.11/24\"\n",
    );
    let on_host = cluster.nodes[1].monitoring.as_ref().unwrap();
    assert!(cluster.nodes[0].monitoring.is_none());
    assert_eq!((on_host.targets.len(), on_host.jobs), (3, Jobs::One));
    assert_eq!(on_host.fixed[0].line(), "10.0.0.11 pi11.lan pi11");
    let host = on_host.host.as_ref().unwrap();
    assert!(host.docker);
    let password = host.grafana_password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "opensesame");
    assert!(!format!("{:?}", cluster.nodes).contains("opensesame"));
}

#[test]
fn an_old_board_watches_without_containers_and_says_so() {
    let image = "\nimage = \"practice\"\n";
    let text =
        format!("[monitoring]\nnode_exporter = true\nhost = 9\n[node.9]\nboard = \"pi-1b\"{image}");
    let cluster = bench().accept(&text);
    assert!(!cluster.monitoring.unwrap().host.as_ref().unwrap().docker);
    assert_eq!(cluster.notices.len(), 1, "{:?}", cluster.notices);
    let problems = bench().problems(&text.replace("host = 9", "host = 9\ndocker = true"));
    assert_eq!(problems, ["Raspberry Pi 1 B is too old for the containers"]);
}

#[test]
fn what_is_wrong_with_it_is_said_once() {
    let bench = bench();
    for (extra, said) in [
        ("node_exporter = 7", "must be true, false, a file"),
        (
            "node_exporter = \"motd\"",
            "neither a Debian package nor a program",
        ),
        ("node_exporter = \"gone\"", "cannot be read"),
        ("node_exporter = \"exporter-pc\"", "another kind of machine"),
        ("node_exporter = {}", "names no file"),
        (
            "node_exporter = { arm65 = \"exporter-arm64\" }",
            "unknown key `arm65`",
        ),
        (
            "node_exporter = { armv6 = \"exporter-arm64\" }",
            "other processors",
        ),
        ("node_exporter = true\njobs = \"all\"", "per-node"),
        ("node_exporter = true\ndocker = true", "there is none"),
        (
            "node_exporter = true\ngrafana_password_file = \"grafana\"",
            "there is none",
        ),
        (
            "node_exporter = true\nhost = 9\ngrafana_password_file = \"grafana-$\"",
            "a quote",
        ),
        (
            "node_exporter = true\nhost = 9\ngrafana_password_file = \"motd\"",
            "other users",
        ),
        (
            "node_exporter = true\nhost = 9\ndocker = false\ngrafana_password_file = \"grafana\"",
            "no Grafana",
        ),
        (
            "node_exporter = true\n[node.9]\nmac = \"dc:a6:32:01:02\"",
            "no MAC address",
        ),
        (
            "node_exporter = true\n[node.9]\nmac = \"01:00:5e:01:02:03\"",
            "no MAC address",
        ),
        (
            "[node.9]\nmac = \"dc:a6:32:01:02:03\"\n[node.10]\nmac = \"DC-A6-32-01-02-03\"",
            "have the MAC address dc:a6:32:01:02:03",
        ),
    ] {
        let problems = bench.problems(&format!("[monitoring]\n{extra}"));
        assert_eq!(problems.len(), 1, "{extra}: {problems:?}");
        assert!(problems[0].contains(said), "{extra}: {problems:?}");
    }
}
