//! Nodes that carry their exporter, and the one that watches: what lands on
//! them, and what their scripts do with it.

use super::fixtures::{identity, minimal, system, watchful, watching};
use super::lived::{FINISH, minted, outcome, report};
use super::machine::Machine;
use crate::cluster::exporter::ExporterKind;
use crate::cluster::exporter::tests::elf;
use crate::cluster::monitoring::Jobs;
use crate::cluster::{Exporter, Node};
use crate::layout::{Arch, Os};
use crate::provision::monitoring::container_files;
use crate::provision::report::Outcome;
use crate::provision::{ProvisionError, Templates, provision};

/// A Bookworm machine after its first-run script.
fn set_up(node: &Node) -> (Machine, Os) {
    let (machine, os) = (Machine::new(), system("bookworm"));
    minted(&machine, node, &os, &identity(false));
    assert!(machine.run("/boot/firmware/firstrun.sh").status.success());
    machine.calls();
    (machine, os)
}

#[test]
fn a_carried_package_is_installed_without_network_and_leaves_the_card() {
    let (machine, os) = set_up(&watchful(ExporterKind::Deb));
    machine.write("/no-network", b"");
    machine.run(FINISH);
    let calls = machine.calls();
    assert!(calls.contains("--install"), "{calls}");
    assert_eq!(
        outcome(&report(&machine, &os), "exporter"),
        Some(Outcome::Ok)
    );
    assert!(!machine.has("/boot/firmware/cardmint-exporter.deb"));
    assert!(
        calls.contains("systemctl enable --now cardmint-metrics.timer"),
        "{calls}"
    );
    assert!(machine.has("/etc/systemd/system/cardmint-metrics.timer"));
}

#[test]
fn a_package_that_cannot_be_installed_is_taken_out_again_and_reported() {
    let (machine, os) = set_up(&watchful(ExporterKind::Deb));
    machine.write("/no-dpkg", b"");
    machine.run(FINISH);
    let calls = machine.calls();
    assert!(
        calls.contains("dpkg --remove prometheus-node-exporter"),
        "{calls}"
    );
    let report = report(&machine, &os);
    let step = report
        .failed()
        .find(|step| step.name == "exporter")
        .unwrap();
    assert!(step.detail.contains("could not install"), "{step:?}");
    assert!(machine.has("/boot/firmware/cardmint-exporter.deb"));
}

#[test]
fn a_carried_program_is_unpacked_tried_and_made_a_service() {
    let (machine, os) = set_up(&watchful(ExporterKind::Program));
    // What the fixture carries is no program that runs here, which is noticed.
    machine.run(FINISH);
    let first = report(&machine, &os);
    let step = first.failed().find(|step| step.name == "exporter").unwrap();
    assert_eq!(step.detail, "this processor cannot run the node exporter");
    assert!(machine.has("/boot/firmware/cardmint-exporter.gz"));
    assert_eq!(machine.mode("/usr/local/bin/node_exporter"), 0o755);
    assert_eq!(
        machine.read("/usr/local/bin/node_exporter").as_bytes()[..4],
        elf(183)[..4]
    );

    let program = machine.at("/program");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let gzip = format!(
        "gzip -c '{}' >'{}'",
        program.display(),
        machine.at("/boot/firmware/cardmint-exporter.gz").display()
    );
    assert!(machine.shell(&["-c", &gzip]).status.success());
    machine.run(FINISH);
    let calls = machine.calls();
    assert!(
        calls.contains("systemctl restart node_exporter.service"),
        "{calls}"
    );
    assert_eq!(
        outcome(&report(&machine, &os), "exporter"),
        Some(Outcome::Ok)
    );
    assert!(!machine.has("/boot/firmware/cardmint-exporter.gz"));
    assert!(machine.has("/etc/systemd/system/node_exporter.service"));
}

/// As a package for a later processor does, which dpkg installs all the same.
#[test]
fn an_exporter_that_does_not_answer_is_a_failure() {
    let (machine, os) = set_up(&watchful(ExporterKind::Deb));
    std::fs::remove_file(machine.at("/proc/net/tcp6")).unwrap();
    machine.run(FINISH);
    let report = report(&machine, &os);
    let step = report.failed().find(|step| step.name == "exporter");
    assert!(step.unwrap().detail.contains("does not answer"), "{step:?}");
    assert!(machine.has("/boot/firmware/cardmint-exporter.deb"));
}

#[test]
fn what_made_a_used_card_watch_goes_with_its_settings() {
    let (machine, os) = set_up(&watchful(ExporterKind::Program));
    machine.run(FINISH);
    assert!(machine.has("/etc/cardmint/monitoring/compose.yml"));
    machine.calls();
    minted(&machine, &minimal(), &os, &identity(false));
    assert!(machine.run("/boot/firmware/firstrun.sh").status.success());
    for path in [
        "/etc/systemd/system/cardmint-metrics.timer",
        "/etc/systemd/system/node_exporter.service",
        "/usr/local/bin/node_exporter",
        "/boot/firmware/cardmint-report.txt",
    ] {
        assert!(!machine.has(path), "{path}");
    }
    assert!(!machine.read("/etc/hosts").contains("pi1"));
    machine.run(FINISH);
    assert!(
        machine
            .calls()
            .contains("docker rm --force cardmint-prometheus cardmint-grafana")
    );
    assert!(!machine.has("/etc/cardmint/monitoring"));
    assert_eq!(report(&machine, &os).ok, Some(true));
}

#[test]
fn the_host_starts_its_containers_by_whichever_compose_there_is() {
    for v2 in [true, false] {
        let (machine, os) = set_up(&watchful(ExporterKind::Deb));
        if v2 {
            machine.write("/compose-v2", b"");
        }
        machine.run(FINISH);
        let calls = machine.calls();
        let compose = if v2 {
            "docker compose"
        } else {
            "docker-compose"
        };
        for part in ["pull", "up -d"] {
            let call = format!("{compose} --project-name cardmint {part}\n");
            assert!(calls.contains(&call), "{calls}");
        }
        assert!(
            calls.contains("install -- docker.io docker-compose"),
            "{calls}"
        );
        assert_eq!(
            outcome(&report(&machine, &os), "monitoring"),
            Some(Outcome::Ok)
        );
        let folder = "/etc/cardmint/monitoring";
        for name in ["compose.yml", "prometheus.yml", "targets.json"] {
            assert_eq!(machine.mode(&format!("{folder}/{name}")), 0o644, "{name}");
        }
        assert_eq!(
            machine.read(&format!("{folder}/.env")),
            "GRAFANA_PASSWORD=open-sesame\n"
        );
        assert_eq!(machine.mode(&format!("{folder}/.env")), 0o600);
        assert!(
            machine
                .read("/etc/hosts")
                .contains("10.0.0.14 pi1.lan pi1 # cardmint\n")
        );
    }
}

#[test]
fn containers_that_do_not_come_are_reported_and_tried_at_the_next_boot() {
    let (machine, os) = set_up(&watchful(ExporterKind::Deb));
    machine.write("/no-network", b"");
    assert!(!machine.run(FINISH).status.success());
    let first = report(&machine, &os);
    let step = first
        .failed()
        .find(|step| step.name == "monitoring")
        .unwrap();
    assert!(step.detail.contains("no default route"), "{step:?}");
    std::fs::remove_file(machine.at("/no-network")).unwrap();
    assert!(machine.run(FINISH).status.success());
    assert_eq!(report(&machine, &os).ok, Some(true));
}

#[test]
fn no_exporter_for_the_processor_is_a_problem_of_the_manifest() {
    let node = watchful(ExporterKind::Program);
    let mut os = system("bookworm");
    os.arch = Arch::Armhf;
    let error = provision(&node, &os, &identity(false), &Templates::embedded()).unwrap_err();
    assert!(
        matches!(&error, ProvisionError::Exporter(text) if text.contains("armhf")),
        "{error:?}"
    );
    let carried = |board: Option<&str>, os: &Os| {
        let Some(Exporter::Carried(files)) = watchful(ExporterKind::Program).exporter else {
            unreachable!("the fixture carries one");
        };
        let mut by_processor = crate::cluster::exporter::Carried::default();
        by_processor.armv7.clone_from(&files.any);
        let node = Node {
            exporter: Some(Exporter::Carried(by_processor.into())),
            board: board.map(|name| name.parse().unwrap()),
            ..minimal()
        };
        let made = provision(&node, os, &identity(false), &Templates::embedded());
        made.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(carried(Some("pi-3b"), &os), Ok(()));
    let unknown = carried(None, &os).unwrap_err();
    assert!(
        unknown.contains("board of this node is not known"),
        "{unknown}"
    );
    let zero = carried(Some("pi-zero"), &os).unwrap_err();
    assert!(zero.contains("no file for armv6"), "{zero}");
    os.arch = Arch::Arm64;
    let wide = carried(Some("pi-3b"), &os).unwrap_err();
    assert!(wide.contains("no file for arm64"), "{wide}");
}

#[test]
fn settings_of_the_watch() {
    let mut page = String::new();
    let mut one = watching(true, Some("secret"));
    one.jobs = Jobs::One;
    for (monitoring, old_compose) in [(watching(true, None), false), (one, true)] {
        let files = container_files(&monitoring, old_compose, &Templates::embedded()).unwrap();
        for file in files {
            // It is the same everywhere, long, and tested against a real Prometheus.
            if file.path != "grafana/dashboards/cluster.json" {
                page.push_str(&format!("=== {}\n{}", file.path, file.text));
            }
        }
    }
    assert!(!page.contains("secret"), "{page}");
    insta::assert_snapshot!("watch", page);
}

#[test]
fn the_password_of_grafana_is_masked() {
    let node = watchful(ExporterKind::Deb).masked();
    assert!(!format!("{node:?}").contains("open-sesame"));
    let files = provision(
        &node,
        &system("bookworm"),
        &identity(false).masked(),
        &Templates::embedded(),
    );
    let text: String = files
        .unwrap()
        .files
        .iter()
        .map(|file| String::from_utf8_lossy(&file.bytes).into_owned())
        .collect();
    assert!(!text.contains("open-sesame"));
}
