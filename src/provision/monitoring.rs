//! What a node needs to be watched, and what the monitoring host needs to watch:
//! packages, carried files, and the settings of Prometheus and Grafana, which
//! the operator gets with the hand-over as well.

use std::sync::Arc;

use minijinja::context;
use minijinja::value::{Serde, Value};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;

use super::root_files::RootFile;
use super::{BootFile, ProvisionError, Settings, Templates};
use crate::cluster::exporter::{Carried, ExporterArch, ExporterFile, ExporterKind};
use crate::cluster::monitoring::{EXPORTER_PORT, Jobs, Monitoring, MonitoringHost, Target};
use crate::cluster::{Exporter, Node};
use crate::layout::{Arch, Board, Generation, Os};

/// Where the distribution's Prometheus reads its settings.
const PROMETHEUS: &str = "/etc/prometheus";
/// Where the containers find theirs.
const CONTAINERS: &str = "/etc/cardmint/monitoring";

/// A file of settings, for a folder of them.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Path within the folder.
    pub path: &'static str,
    /// Contents.
    pub text: String,
}

/// A node to scrape, as templates see it.
#[derive(Serialize)]
struct Scraped<'a> {
    hostname: &'a str,
    target: String,
    board: Option<&'static str>,
}

impl<'a> Scraped<'a> {
    fn new(target: &'a Target) -> Self {
        Self {
            hostname: &target.hostname,
            target: format!("{}:{EXPORTER_PORT}", target.name),
            board: target.board.map(Board::name),
        }
    }
}

/// Settings of Prometheus: `prometheus.yml` and `targets.json`.
///
/// # Errors
/// Where a template, or one that replaces it, fails.
pub fn prometheus_files(
    monitoring: &Monitoring,
    templates: &Templates,
) -> Result<Vec<ConfigFile>, ProvisionError> {
    let nodes: Vec<Scraped<'_>> = monitoring.targets.iter().map(Scraped::new).collect();
    let targets: Vec<serde_json::Value> = nodes
        .iter()
        .map(|node| {
            let mut labels = json!({ "instance": node.hostname });
            if let Some(board) = node.board {
                labels["board"] = board.into();
            }
            json!({ "targets": [node.target], "labels": labels })
        })
        .collect();
    let per_node = monitoring.jobs == Jobs::PerNode;
    let context = context! {
        cluster => &*monitoring.cluster,
        per_node,
        nodes => Serde(&nodes),
    };
    Ok(vec![
        ConfigFile {
            path: "prometheus.yml",
            text: templates.render("prometheus.yml", &context)?,
        },
        ConfigFile {
            path: "targets.json",
            text: format!("{:#}\n", serde_json::Value::from(targets)),
        },
    ])
}

/// Settings of Prometheus and Grafana in containers. `old_compose`: for a Compose
/// that wants to be told a version of the format (before 1.27).
///
/// # Errors
/// Where a template, or one that replaces it, fails.
pub fn container_files(
    monitoring: &Monitoring,
    old_compose: bool,
    templates: &Templates,
) -> Result<Vec<ConfigFile>, ProvisionError> {
    let host = monitoring.host.as_ref();
    let context = context! {
        grafana_password => host.is_some_and(|host| host.grafana_password.is_some()),
        version_key => old_compose,
    };
    let mut files = prometheus_files(monitoring, templates)?;
    for (path, template) in [
        ("compose.yml", "compose.yml"),
        (
            "grafana/provisioning/datasources/prometheus.yml",
            "grafana-datasource.yml",
        ),
        (
            "grafana/provisioning/dashboards/cardmint.yml",
            "grafana-dashboards.yml",
        ),
        ("grafana/dashboards/cluster.json", "dashboard.json"),
    ] {
        let text = templates.render(template, &context)?;
        files.push(ConfigFile { path, text });
    }
    Ok(files)
}

/// Packages to install on first boot: the manifest's, then monitoring's, each once.
pub(super) fn packages(node: &Node) -> Vec<&str> {
    let mut packages: Vec<&str> = Vec::new();
    let exporter = matches!(node.exporter, Some(Exporter::Package));
    let host: &[&str] = match host(node) {
        Some(host) if host.docker => &["docker.io", "docker-compose"],
        Some(_) => &["prometheus"],
        None => &[],
    };
    let wanted = node
        .first_boot
        .packages
        .iter()
        .map(String::as_str)
        .chain(exporter.then_some("prometheus-node-exporter"))
        .chain(host.iter().copied());
    for package in wanted {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

/// What the node is as the monitoring host, if it is that.
pub(super) fn host(node: &Node) -> Option<&MonitoringHost> {
    node.monitoring.as_deref()?.host.as_ref()
}

/// Lines for `/etc/hosts` of the monitoring host: nodes whose addresses are fixed
/// are found although no name server knows them.
pub(super) fn host_lines(node: &Node) -> Vec<String> {
    let others = node.monitoring.iter().flat_map(|all| &all.fixed);
    let others = others.filter(|other| other.hostname != node.hostname);
    others.map(|other| other.line()).collect()
}

/// How the node comes to its exporter, for templates.
pub(super) fn exporter_word(node: &Node, file: Option<&ExporterFile>) -> Option<&'static str> {
    node.exporter.as_ref()?;
    Some(match file.map(|file| file.kind) {
        None => "package",
        Some(ExporterKind::Deb) => "deb",
        Some(ExporterKind::Program) => "program",
    })
}

/// The exporter that the card carries, if it carries one.
pub(super) fn carried<'a>(
    node: &'a Node,
    os: &Os,
) -> Result<Option<&'a Arc<ExporterFile>>, ProvisionError> {
    match &node.exporter {
        Some(Exporter::Carried(files)) => choose(files, os.arch, node.board).map(Some),
        _ => Ok(None),
    }
}

fn choose(
    files: &Carried,
    arch: Arch,
    board: Option<Board>,
) -> Result<&Arc<ExporterFile>, ProvisionError> {
    let wrong = |text: String| Err(ProvisionError::Exporter(text));
    if let Some(file) = &files.any {
        return match (file.arch, arch) {
            (ExporterArch::All, _)
            | (ExporterArch::Arm32, Arch::Armhf)
            | (ExporterArch::Arm64, Arch::Arm64) => Ok(file),
            _ => wrong(format!(
                "the node exporter {} does not run on an {arch} image. Name one for each: \
                 node_exporter = {{ arm64 = \"…\", armv6 = \"…\" }}",
                file.name
            )),
        };
    }
    let (file, wanted) = match (arch, board) {
        (Arch::Arm64, _) => (files.arm64.as_ref(), "arm64"),
        (Arch::Armhf, Some(board)) if !board.is_armv6() => {
            (files.armv7.as_ref().or(files.armv6.as_ref()), "armv7")
        }
        // One for ARMv7 would not run if this were a Zero.
        (Arch::Armhf, _) => (files.armv6.as_ref(), "armv6"),
    };
    match file {
        Some(file) => Ok(file),
        None if wanted == "armv6" && board.is_none() && files.armv7.is_some() => wrong(
            "`node_exporter` has a file for armv7 only, and the board of this node is not \
             known. Name its `board`, or give a file for armv6, which runs on all"
                .to_owned(),
        ),
        None => wrong(format!(
            "`node_exporter` names no file for {wanted}, which this node needs. Add {wanted} = \"…\""
        )),
    }
}

/// The carried exporter as a file of the boot partition.
pub(super) fn boot_file(file: &ExporterFile) -> BootFile {
    let name = match file.kind {
        ExporterKind::Deb => "cardmint-exporter.deb",
        ExporterKind::Program => "cardmint-exporter.gz",
    };
    BootFile {
        name: name.to_owned(),
        bytes: file.packed().to_vec(),
        why: "the node exporter, installed without network",
        secret: false,
    }
}

/// Everything of this for the root file system.
pub(super) fn root_files(
    settings: &Settings<'_>,
    base: &Value,
    templates: &Templates,
) -> Result<Vec<RootFile>, ProvisionError> {
    let mut files = Vec::new();
    let node = settings.node;
    if node.exporter.is_some() {
        let mut put = |path: &str, mode, template| -> Result<(), ProvisionError> {
            let text = templates.render(template, base)?;
            files.push(RootFile::new(path, mode, text.as_bytes()));
            Ok(())
        };
        put("/usr/local/lib/cardmint/metrics", 0o755, "metrics.sh")?;
        let units = "/etc/systemd/system";
        for (unit, template) in [
            ("cardmint-metrics.service", "metrics.service"),
            ("cardmint-metrics.timer", "metrics.timer"),
        ] {
            put(&format!("{units}/{unit}"), 0o644, template)?;
        }
        let carried = carried(node, settings.os)?;
        if carried.is_some_and(|file| file.kind == ExporterKind::Program) {
            let unit = format!("{units}/node_exporter.service");
            put(&unit, 0o644, "node-exporter.service")?;
        }
    }
    let (Some(monitoring), Some(host)) = (&node.monitoring, host(node)) else {
        return Ok(files);
    };
    let (folder, configs) = if host.docker {
        let old_compose = matches!(
            settings.os.generation,
            Some(Generation::Buster | Generation::Bullseye)
        );
        let files = container_files(monitoring, old_compose, templates)?;
        (CONTAINERS, files)
    } else {
        (PROMETHEUS, prometheus_files(monitoring, templates)?)
    };
    for ConfigFile { path, text } in configs {
        let path = format!("{folder}/{path}");
        files.push(RootFile::new(path, 0o644, text.as_bytes()));
    }
    if let Some(password) = &host.grafana_password {
        let text = format!("GRAFANA_PASSWORD={}\n", password.expose_secret());
        let path = format!("{CONTAINERS}/.env");
        files.push(RootFile::new(path, 0o600, text.as_bytes()));
    }
    Ok(files)
}
