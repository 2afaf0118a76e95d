//! `[monitoring]`: which exporter the nodes get, and who watches.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::check::Complaint;
use super::files::Files;
use super::frame::Frame;
use super::read::{At, Form, Section};
use super::shared::judge;
use crate::cluster::exporter::{Carried, ExporterArch, ExporterFile};
use crate::cluster::monitoring::{Jobs, MonitoringHost};
use crate::cluster::{Exporter, Monitoring, Node};

/// `[monitoring]` as it stands; who is watched shows when the nodes are there.
pub(super) struct Watch<'a, 't> {
    pub(super) section: Section<'a, 't>,
    host: Option<At<u32>>,
    docker: Option<At<bool>>,
    jobs: Jobs,
    grafana_password: Option<At<SecretString>>,
    /// Whether there is an exporter, if only one that was complained about.
    has_exporter: bool,
}

/// Reads the section, and the exporter of all nodes.
pub(super) fn read_watch<'a, 't>(
    mut section: Section<'a, 't>,
    files: &Files,
) -> (Watch<'a, 't>, Option<Exporter>) {
    let exporter = read_exporter(&mut section, files);
    let gave_wrongly = exporter.is_none() && section.gives("node_exporter");
    let exporter = exporter.flatten();
    let host = section.number("host");
    let docker = section.boolean("docker");
    let jobs = read_jobs(&mut section);
    let grafana_password = section.string("grafana_password_file").and_then(|file| {
        let secret = judge(&section, &file, files.read_secret(&file.value))?;
        judge(&section, &file, check_grafana_password(&secret))?;
        Some(file.with(secret))
    });
    let has_exporter = exporter.is_some() || gave_wrongly;
    let watch = Watch {
        section,
        host,
        docker,
        jobs,
        grafana_password,
        has_exporter,
    };
    (watch, exporter)
}

/// `node_exporter`, here or under `[node.N]`; `None` where nothing, or nothing
/// that can be used, is said.
#[expect(clippy::option_option, reason = "said to be none, and not said")]
pub(super) fn read_exporter(
    section: &mut Section<'_, '_>,
    files: &Files,
) -> Option<Option<Exporter>> {
    let wanted = "true, false, a file, or files by processor";
    match section.form("node_exporter", wanted)? {
        Form::Switch(on) => Some(on.value.then_some(Exporter::Package)),
        Form::Text(file) => {
            let any = read_file(section, &file, files, None)?;
            let carried = Carried {
                any: Some(any),
                ..Carried::default()
            };
            Some(Some(Exporter::Carried(Arc::new(carried))))
        }
        Form::Table(table) => read_files(table, files),
    }
}

#[expect(clippy::option_option, reason = "as in read_exporter")]
fn read_files(mut table: Section<'_, '_>, files: &Files) -> Option<Option<Exporter>> {
    let before = table.problems();
    if table.is_empty() {
        let help = "write node_exporter = { arm64 = \"…\", armv6 = \"…\" }";
        table.problem(&table.span, "`node_exporter` names no file", help);
    }
    let mut file = |key, arch| {
        let path = table.string(key)?;
        read_file(&table, &path, files, Some(arch))
    };
    let carried = Carried {
        any: None,
        armv6: file("armv6", ExporterArch::Arm32),
        armv7: file("armv7", ExporterArch::Arm32),
        arm64: file("arm64", ExporterArch::Arm64),
    };
    let is_good = table.problems() == before;
    table.finish();
    is_good.then(|| Some(Exporter::Carried(Arc::new(carried))))
}

fn read_file(
    section: &Section<'_, '_>,
    path: &At<String>,
    files: &Files,
    arch: Option<ExporterArch>,
) -> Option<Arc<ExporterFile>> {
    let bytes = judge(section, path, files.read(&path.value))?;
    let name = path.value.rsplit('/').next().unwrap_or(&path.value);
    let file = judge(section, path, ExporterFile::new(name, bytes))?;
    if let Some(arch) = arch
        && file.arch != arch
        && file.arch != ExporterArch::All
    {
        let message = format!("{name} is for other processors than it is named for");
        section.problem(
            &path.span,
            message,
            "`file` and `dpkg-deb --info` tell what it is for",
        );
        return None;
    }
    Some(Arc::new(file))
}

fn read_jobs(section: &mut Section<'_, '_>) -> Jobs {
    let Some(jobs) = section.string("jobs") else {
        return Jobs::PerNode;
    };
    match jobs.value.as_str() {
        "per-node" => return Jobs::PerNode,
        "one" => return Jobs::One,
        other => {
            let message = format!("`jobs` must be \"per-node\" or \"one\", not `{other}`");
            section.problem(&jobs.span, message, "");
        }
    }
    Jobs::PerNode
}

/// It stands in a `.env` file, whose quotes and escapes each version of Compose
/// reads in its own way.
fn check_grafana_password(secret: &SecretString) -> Result<(), Complaint> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"'\"\\$#`".contains(&byte);
    if secret.expose_secret().bytes().all(plain) {
        return Ok(());
    }
    Err((
        "Grafana's password holds a space, a quote, a backslash, `$`, `#` or a letter beyond ASCII"
            .to_owned(),
        "choose one without; length makes it strong".to_owned(),
    ))
}

impl Watch<'_, '_> {
    /// Checks the host, tells it what to watch, and notes what nobody asked for.
    pub(super) fn finish(
        self,
        frame: &Frame,
        nodes: &mut [Node],
        notices: &mut Vec<String>,
    ) -> Option<Arc<Monitoring>> {
        let has_exporter = self.has_exporter || nodes.iter().any(|node| node.exporter.is_some());
        if let Some(host) = &self.host {
            self.check_host(host, frame, has_exporter);
        } else {
            self.check_no_host();
        }
        let node = |host: &At<u32>| nodes.iter().find(|node| node.number == host.value);
        let host = self.host.as_ref().and_then(|host| {
            let node = node(host)?;
            Some(self.make_host(node, notices))
        });
        let name = &frame.name;
        let monitoring =
            has_exporter.then(|| Arc::new(Monitoring::of(name, nodes, self.jobs, host)));
        if let Some(all) = &monitoring
            && let Some(host) = &all.host
            && let Some(node) = nodes.iter_mut().find(|node| node.number == host.number)
        {
            node.monitoring = Some(Arc::clone(all));
        }
        self.section.finish();
        monitoring
    }

    /// Whether the host is a node, and has something to watch. Asks the numbers,
    /// not the nodes: a node that failed its own checks is still there.
    fn check_host(&self, host: &At<u32>, frame: &Frame, has_exporter: bool) {
        if !has_exporter {
            let message = "there is nothing for the monitoring host to watch";
            let help = "set node_exporter = true, or leave out `host`";
            self.section.problem(&host.span, message, help);
        }
        if let Some(numbers) = &frame.numbers
            && !numbers.contains(&host.value)
        {
            let message = format!("there is no node {} to be the host", host.value);
            let help = format!("the nodes are {} to {}", numbers.start(), numbers.end());
            self.section.problem(&host.span, message, &help);
        }
    }

    fn check_no_host(&self) {
        if self.section.gives("host") {
            return;
        }
        let docker = self.docker.as_ref().map(|docker| ("docker", &docker.span));
        let password = self.grafana_password.as_ref();
        let password = password.map(|file| ("grafana_password_file", &file.span));
        for (key, span) in docker.into_iter().chain(password) {
            let message = format!("`{key}` is about the monitoring host, and there is none");
            self.section
                .problem(span, message, "give `host`, the number of a node");
        }
    }

    fn make_host(&self, node: &Node, notices: &mut Vec<String>) -> MonitoringHost {
        let cannot = node.board.filter(|board| board.is_armv6());
        let docker = match (&self.docker, cannot) {
            (Some(docker), Some(board)) if docker.value => {
                let message = format!("{} is too old for the containers", board.model());
                let help = "choose another host, or set docker = false";
                self.section.problem(&docker.span, message, help);
                false
            }
            (Some(docker), _) => docker.value,
            (None, Some(board)) => {
                notices.push(format!(
                    "{} gets Debian's Prometheus and no Grafana: {} is too old for the containers",
                    node.hostname,
                    board.model()
                ));
                false
            }
            (None, None) => true,
        };
        let password = self.grafana_password.as_ref();
        if let (false, Some(file)) = (docker, password) {
            let message = "without Docker there is no Grafana to log in to";
            self.section
                .problem(&file.span, message, "leave out `grafana_password_file`");
        }
        MonitoringHost {
            number: node.number,
            docker,
            grafana_password: password.map(|file| file.value.clone()),
        }
    }
}
