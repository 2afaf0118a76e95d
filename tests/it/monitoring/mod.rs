//! A real Prometheus scrapes two real node_exporters, and every query of the
//! dashboard has something to show.

mod dashboard;
mod stack;

use std::collections::BTreeSet;

use dashboard::{Dashboard, Selection};
use stack::{Jobs, Series, Stack, cluster, handed_over};

use crate::harness::{has, tool};

#[test]
fn the_dashboard_shows_what_prometheus_scraped() {
    let Some(stack) = Stack::start() else {
        return;
    };
    let dashboard = Dashboard::read();
    every_query_returns_data(&dashboard, &stack);
    what_is_wrong_with_a_node_is_shown(&dashboard, &stack);
    the_selectors_offer_jobs_and_their_nodes(&dashboard, &stack);
}

fn every_query_returns_data(dashboard: &Dashboard, stack: &Stack) {
    let queries = dashboard.queries();
    assert!(queries.len() > 20, "{queries:?}");
    let both = &["raspberrypi0", "raspberrypi1"][..];
    for (jobs, job, instance, shown) in [
        (Jobs::PerNode, ".*", ".*", both),
        (Jobs::PerNode, "raspberrypi0", ".*", &both[..1]),
        (Jobs::PerNode, "raspberrypi1", ".*", &both[1..]),
        (Jobs::PerNode, "(raspberrypi0|raspberrypi1)", ".*", both),
        (Jobs::Single, ".*", ".*", both),
        (Jobs::Single, "picluster", ".*", both),
        (Jobs::Single, "picluster", "raspberrypi1", &both[1..]),
    ] {
        let selection = Selection { job, instance };
        for query in &queries {
            stack.expect(jobs, &selection.fill(query), |found| {
                let nodes: BTreeSet<_> = found.iter().filter_map(Series::node).collect();
                // Sums over the cluster name no node, and the extremes name one.
                if nodes.is_empty() || query.contains("topk(1, ") || query.contains("bottomk(1, ") {
                    found.len() == 1 && nodes.iter().all(|node| shown.contains(node))
                } else {
                    nodes == shown.iter().copied().collect()
                }
            });
        }
    }
}

fn what_is_wrong_with_a_node_is_shown(dashboard: &Dashboard, stack: &Stack) {
    let all = Selection {
        job: ".*",
        instance: ".*",
    };
    let cluster = |value: f64| vec![(None, value)];
    let node = |number: u32, value: f64| (Some(format!("raspberrypi{number}")), value);
    for jobs in [Jobs::PerNode, Jobs::Single] {
        for (title, wanted) in [
            ("Nodes up", cluster(2.0)),
            ("Nodes down", cluster(0.0)),
            ("Hottest node", vec![node(1, 83.5)]),
            (
                "Temperature per board",
                vec![node(0, 48.312), node(1, 83.5)],
            ),
            // By the kernel's word on one, by the firmware's on the other.
            ("Undervoltage now", cluster(2.0)),
            (
                "Undervoltage and throttling",
                vec![node(0, 4.0), node(1, 4.0)],
            ),
            ("First boots failed", cluster(1.0)),
        ] {
            let query = all.fill(&dashboard.query(title));
            stack.expect(jobs, &query, |found| {
                let name = |series: &Series| series.node().map(str::to_owned);
                let mut found: Vec<_> = found.iter().map(|s| (name(s), s.value)).collect();
                found.sort_by(|a, b| a.0.cmp(&b.0));
                found == wanted
            });
        }
    }
}

fn the_selectors_offer_jobs_and_their_nodes(dashboard: &Dashboard, stack: &Stack) {
    let both = &["raspberrypi0", "raspberrypi1"][..];
    for (jobs, variable, job, offered) in [
        (Jobs::PerNode, "job", ".*", both),
        (Jobs::PerNode, "instance", ".*", both),
        (Jobs::PerNode, "instance", "raspberrypi1", &both[1..]),
        (Jobs::Single, "job", ".*", &["picluster"]),
        (Jobs::Single, "instance", "picluster", both),
    ] {
        let instance = ".*";
        let (selector, label) = dashboard.label_values(variable);
        let selector = Selection { job, instance }.fill(&selector);
        let query = format!("group by ({label}) ({selector})");
        stack.expect(jobs, &query, |found| {
            let value = |series: &Series| series.labels.get(&label).cloned();
            let values: BTreeSet<_> = found.iter().filter_map(value).collect();
            values == offered.iter().map(|&value| value.to_owned()).collect()
        });
    }
}

#[test]
fn promtool_accepts_the_configuration() {
    if !has("promtool") {
        return;
    }
    for jobs in [Jobs::PerNode, Jobs::Single] {
        let scratch = cluster(jobs);
        let config = handed_over(&scratch).join("prometheus.yml");
        let config = config.to_str().expect("UTF-8");
        tool("promtool", &["check", "config", config]).expect(0);
    }
}

#[test]
fn the_dashboard_is_well_made() {
    let dashboard = Dashboard::read();
    dashboard.assert_panels_are_apart();
    dashboard.assert_one_source("prometheus");
    dashboard.assert_selectors_are_obeyed();
}

#[test]
fn the_provisioned_source_is_the_dashboards() {
    let python = "/usr/bin/python3";
    let template = |name: &str| format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"));
    let program =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let read = |name| {
        tool(python, &["-c", program, &template(name)])
            .expect(0)
            .json()
    };
    let sources = read("grafana-datasource.yml");
    let source = &sources["datasources"][0];
    assert_eq!(source["uid"], "prometheus");
    assert_eq!(source["type"], "prometheus");
    assert_eq!(source["url"], "http://localhost:9090");
    assert_eq!(source["isDefault"], true);
    let folder = read("grafana-dashboards.yml")["providers"][0]["options"]["path"].clone();
    let compose = std::fs::read_to_string(template("compose.yml")).expect("a template");
    let folder = folder.as_str().expect("a path");
    for used in [
        format!("- ./grafana/dashboards:{folder}:ro\n"),
        format!("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: {folder}/cluster.json\n"),
    ] {
        assert!(compose.contains(&used), "{used}");
    }
}
