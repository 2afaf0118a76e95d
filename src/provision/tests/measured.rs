//! What a node tells of itself, and what the monitoring host runs: the script
//! is run, on a machine made of a folder, and outside judges read the rest.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

use minijinja::context;
use minijinja::value::Value;

use super::fixtures::{full, identity, minimal, system, systems};
use super::lived::minted;
use super::machine::Machine;
use super::tool;
use crate::cluster::Node;
use crate::layout::Os;
use crate::provision::{Settings, Templates};

const METRICS: &str = "/usr/local/lib/cardmint/metrics";
const PROM: &str = "/var/lib/prometheus/node-exporter/cardmint.prom";
const FIRMWARE: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

fn rendered(node: &Node, os: &Os) -> String {
    let settings = Settings {
        node,
        os,
        identity: &identity(false),
        instance: "cardmint-0",
    };
    let values = settings.values().unwrap();
    Templates::embedded().render("metrics.sh", &values).unwrap()
}

/// A machine where `vcgencmd` answers like this.
fn machine(vcgencmd: &str) -> Machine {
    let machine = Machine::new();
    let script = rendered(&minimal(), &system("bookworm"));
    machine.write(METRICS, script.as_bytes());
    machine.write(
        "/stubs/vcgencmd",
        format!("#!/bin/sh\n{vcgencmd}\n").as_bytes(),
    );
    machine.chmod("/stubs/vcgencmd", 0o755);
    machine
}

/// As where there is no firmware to ask.
fn elsewhere() -> Machine {
    machine("echo \"Can't open device file: /dev/vcio\"; exit 255")
}

/// The lines of the file that are no comments, after a run.
fn measured(machine: &Machine) -> Vec<String> {
    let output = machine.run(METRICS);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!machine.has(&format!("{PROM}.new")));
    let text = machine.read(PROM);
    if tool("promtool") {
        let input = std::fs::File::open(machine.at(PROM)).unwrap();
        let judged = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(input)
            .output()
            .unwrap();
        assert!(judged.status.success(), "{text}\n{}", complaint(&judged));
    }
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned()
}

/// The lines that 0x50005 stands for.
fn undervolted() -> Vec<String> {
    let mut lines = Vec::new();
    for name in ["cardmint_throttled", "cardmint_throttled_since_boot"] {
        for (flag, set) in [
            ("under_voltage", 1),
            ("frequency_capped", 0),
            ("throttled", 1),
            ("soft_temperature_limit", 0),
        ] {
            lines.push(format!("{name}{{flag=\"{flag}\"}} {set}"));
        }
    }
    lines
}

#[test]
fn what_a_node_cannot_know_is_left_out() {
    assert_eq!(
        measured(&elsewhere()),
        ["cardmint_node_info{node=\"pi0\",number=\"0\",model=\"\"} 1"]
    );
}

#[test]
fn throttling_is_what_the_firmware_says() {
    let tool = machine("echo throttled=0x50005");
    // What the kernel keeps is older, and not of the whole time.
    tool.write(FIRMWARE, b"0\n");
    assert_eq!(measured(&tool)[1..], undervolted());

    let file = elsewhere();
    file.write(FIRMWARE, b"50005\n");
    assert_eq!(measured(&file)[1..], undervolted());

    for nonsense in ["", "x\n", "error=1 error_msg=\"Command not registered\"\n"] {
        file.write(FIRMWARE, nonsense.as_bytes());
        assert_eq!(measured(&file).len(), 1, "{nonsense}");
    }

    let (now, before) = (
        machine("echo throttled=0x8"),
        machine("echo throttled=0x80000"),
    );
    let flag = |metric: &str| format!("{metric}{{flag=\"soft_temperature_limit\"}} 1");
    assert!(measured(&now).contains(&flag("cardmint_throttled")));
    assert!(measured(&before).contains(&flag("cardmint_throttled_since_boot")));
}

#[test]
fn a_model_with_quotes_is_one_label() {
    let machine = elsewhere();
    machine.write(
        "/proc/device-tree/model",
        b"Raspberry \"Pi\" 4 \\ Model B\n\0",
    );
    assert_eq!(
        measured(&machine),
        [
            "cardmint_node_info{node=\"pi0\",number=\"0\",model=\"Raspberry \\\"Pi\\\" 4 \\\\ Model B\"} 1"
        ]
    );
}

#[test]
fn a_first_boot_went_as_its_report_says() {
    let machine = elsewhere();
    let report = "/boot/firmware/cardmint-report.txt";
    for (text, metric) in [
        (
            "cardmint report 1\ninstance cardmint-0\nresult ok\n",
            Some("1"),
        ),
        ("instance cardmint-0\nresult failed\r\n", Some("0")),
        ("instance cardmint-0\nstep result ok 0\n", None),
        ("instance cardmint-0\nresult ok\ncut sh", None),
        // An earlier first boot's, on a used card.
        ("instance cardmint-1\nresult ok\n", None),
    ] {
        machine.write(report, text.as_bytes());
        let metric = metric.map(|value| format!("cardmint_first_boot_ok {value}"));
        assert_eq!(measured(&machine).get(1), metric.as_ref(), "{text}");
    }
}

#[test]
fn the_report_that_finish_writes_is_understood() {
    let (machine, os) = (elsewhere(), system("bookworm"));
    machine.write("/nm", b"");
    minted(&machine, &full(), &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    machine.run("/usr/local/lib/cardmint/finish");
    assert_eq!(measured(&machine)[1..], ["cardmint_first_boot_ok 0"]);
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let machine = machine("echo throttled=0x$(cat $CARDMINT_ROOT/bits)");
    let file = || std::fs::metadata(machine.at(PROM)).unwrap().ino();
    machine.write("/bits", b"0");
    measured(&machine);
    // Held open, so that its number is not given to the next file.
    let first = (std::fs::File::open(machine.at(PROM)).unwrap(), file());
    measured(&machine);
    assert_eq!(file(), first.1);
    machine.write("/bits", b"1");
    assert!(
        measured(&machine).contains(&"cardmint_throttled{flag=\"under_voltage\"} 1".to_owned())
    );
    assert_ne!(file(), first.1);
    assert_eq!(machine.mode(PROM), 0o644);
}

#[test]
fn shellcheck_finds_nothing_in_what_measures() {
    if !tool("shellcheck") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("shellcheck");
    command.args(["--shell=sh", "--format=gcc"]);
    for (name, os) in systems() {
        let path = dir.path().join(name);
        std::fs::write(&path, rendered(&full(), &os)).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
}

#[test]
fn systemd_takes_every_unit_that_measures() {
    if !tool("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    for (template, unit) in [
        ("metrics.service", "cardmint-metrics.service"),
        ("metrics.timer", "cardmint-metrics.timer"),
        ("node-exporter.service", "cardmint-node-exporter.service"),
        ("finish.service", "cardmint-finish.service"),
    ] {
        let text = Templates::embedded()
            .render(template, &Value::UNDEFINED)
            .unwrap()
            // The judge wants programs that are there.
            .replace(METRICS, "/bin/true")
            .replace("/usr/local/bin/node_exporter", "/bin/true")
            .replace("/usr/local/lib/cardmint/finish", "/bin/true");
        let path = dir.path().join(unit);
        std::fs::write(&path, text).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    // It tells of this machine's own units, too.
    let said = complaint(&output);
    assert!(!said.contains("cardmint-"), "{said}");
}

fn compose(dir: &Path, password: bool, version: bool) -> Command {
    let values = context! {
        grafana_password => password,
        version_key => version,
    };
    let text = Templates::embedded().render("compose.yml", &values);
    std::fs::write(dir.join("compose.yml"), text.unwrap()).unwrap();
    let mut command = Command::new("docker-compose");
    command
        .args(["-f", "compose.yml", "config"])
        .current_dir(dir)
        .env_remove("GRAFANA_PASSWORD");
    command
}

#[test]
fn docker_compose_takes_every_combination() {
    if !tool("docker-compose") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for version in [false, true] {
        let open = compose(dir.path(), false, version).output().unwrap();
        let said = complaint(&open);
        assert!(open.status.success(), "{said}");
        assert!(said.contains("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: \"true\""));
        assert!(said.contains("GF_AUTH_ANONYMOUS_ENABLED: \"true\""));
        assert!(!said.contains("GF_SECURITY_ADMIN_PASSWORD"));
        assert_eq!(said.matches("network_mode: host").count(), 2, "{said}");

        let unset = compose(dir.path(), true, version).output().unwrap();
        assert!(!unset.status.success());
        assert!(complaint(&unset).contains("give it in the environment or in .env"));
        std::fs::write(dir.path().join(".env"), "GRAFANA_PASSWORD='it is secret'\n").unwrap();
        let closed = compose(dir.path(), true, version).output().unwrap();
        std::fs::remove_file(dir.path().join(".env")).unwrap();
        let said = complaint(&closed);
        assert!(closed.status.success(), "{said}");
        assert!(
            said.contains("GF_SECURITY_ADMIN_PASSWORD: it is secret\n"),
            "{said}"
        );
        assert!(!said.contains("ANONYMOUS") && !said.contains("DISABLE_INITIAL_ADMIN"));
    }
}
