//! What a node needs to watch and to be watched: Debian's own packages.

use crate::cluster::Node;

/// Where Prometheus of the distribution reads its settings.
pub(super) const PROMETHEUS_YML: &str = "/etc/prometheus/prometheus.yml";

/// Packages to install on first boot: the manifest's, then monitoring's, each once.
pub(super) fn packages(node: &Node) -> Vec<&str> {
    let mut packages: Vec<&str> = Vec::new();
    let wanted = node
        .first_boot
        .packages
        .iter()
        .map(String::as_str)
        .chain(node.node_exporter.then_some("prometheus-node-exporter"))
        .chain(node.scrape.is_some().then_some("prometheus"));
    for package in wanted {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}
