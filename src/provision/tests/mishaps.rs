//! First boots on which something goes wrong, or is done twice.

use super::fixtures::{full, identity, system};
use super::lived::{FINISH, minted, outcome, report, seeded};
use super::machine::Machine;
use crate::cluster::Node;
use crate::cluster::node::NodeFile;
use crate::provision::report::{Outcome, Report};

fn file(path: &str, owner: Option<&str>) -> NodeFile {
    NodeFile {
        path: path.to_owned(),
        bytes: (*b"ours\n").into(),
        mode: 0o644,
        owner: owner.map(str::to_owned),
    }
}

/// A node with these files and commands.
fn node(files: Vec<NodeFile>, run: Vec<String>) -> Node {
    let mut node = full();
    let mut first_boot = (*node.first_boot).clone();
    (first_boot.files, first_boot.run) = (files, run);
    node.first_boot = first_boot.into();
    node
}

/// How a step went, and what it said.
#[track_caller]
fn step<'a>(report: &'a Report, name: &str) -> (Outcome, &'a str) {
    let step = report.steps.iter().find(|step| step.name == name);
    let step = step.unwrap_or_else(|| panic!("no {name} in {report:?}"));
    (step.outcome, &step.detail)
}

#[test]
fn files_that_cannot_be_written_are_named_and_cost_no_others() {
    let files = vec![
        file("/etc/before", None),
        file("/opt", None),
        file("/etc/after", None),
        file("/home/alice", Some("alice")),
    ];
    let node = node(files, Vec::new());
    let (machine, os) = (Machine::new(), system("bookworm"));
    machine.write("/opt/x", b"");
    machine.write("/home/alice/x", b"");
    minted(&machine, &node, &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    machine.run(FINISH);
    let told = report(&machine, &os);
    assert_eq!(step(&told, "files"), (Outcome::Failed, " /opt"));
    assert_eq!(
        step(&told, "owned-files"),
        (Outcome::Failed, " /home/alice")
    );
    assert_eq!(machine.read("/etc/before"), "ours\n");
    assert_eq!(machine.read("/etc/after"), "ours\n");
    for within in ["/opt/opt.cardmint", "/home/alice/1"] {
        assert!(!machine.has(within), "{within}");
    }

    let (machine, os) = (Machine::new(), system("trixie"));
    machine.write("/opt/x", b"");
    seeded(&machine, &os, &node);
    machine.run(FINISH);
    let told = report(&machine, &os);
    let named = (Outcome::Failed, " /opt /etc/after");
    assert_eq!(step(&told, "files"), named);
    assert_eq!(outcome(&told, "clean"), Some(Outcome::Ok));
}

#[test]
fn what_cloud_init_did_not_set_is_told() {
    let (machine, os) = (Machine::new(), system("trixie"));
    seeded(&machine, &os, &full());
    std::fs::remove_file(machine.at("/usr/share/zoneinfo/Europe/Lisbon")).unwrap();
    machine.write("/etc/default/locale", b"LANG=en_GB.UTF-8\n");
    machine.write("/etc/default/keyboard", b"XKBLAYOUT=\"gb\"\n");
    machine.run(FINISH);
    let told = report(&machine, &os);
    for (name, detail) in [
        ("timezone", "this system has no time zone Europe/Lisbon"),
        ("keymap", "the keyboard is not pt"),
        ("locale", "the locale is not pt_PT.UTF-8"),
    ] {
        assert_eq!(step(&told, name), (Outcome::Failed, detail));
    }
}

#[test]
fn an_owner_may_come_with_a_package() {
    let node = node(vec![file("/etc/broker.conf", Some("broker"))], Vec::new());
    let (machine, os) = (Machine::new(), system("bookworm"));
    machine.stub(
        "chown",
        "case $1 in broker:) [ -e $R/installed ] || exit 1 ;; esac",
    );
    machine.stub(
        "apt-get",
        "case \"$*\" in *install*) : >$R/installed ;; esac",
    );
    minted(&machine, &node, &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    assert!(machine.run(FINISH).status.success());
    let told = report(&machine, &os);
    assert_eq!(outcome(&told, "owned-files"), Some(Outcome::Ok));
    assert_eq!(told.ok, Some(true));
    assert!(machine.has("/var/lib/cardmint/done"));
}

/// Seven times, where a first boot that is cut short is given up after five.
#[test]
fn a_command_may_restart_the_machine() {
    const RESTARTS: usize = 7;
    let (machine, os) = (Machine::new(), system("bookworm"));
    let root = machine.root().display().to_string();
    // systemd ends the script while it notes how the command went.
    let restart = format!("echo down >>{root}/ran; : >{root}/stopping; kill -TERM $PPID");
    let mut run = vec![restart; RESTARTS];
    run.push(format!("echo up >>{root}/ran"));
    minted(&machine, &node(Vec::new(), run), &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    for restart in 1..=RESTARTS {
        assert!(machine.run(FINISH).status.success());
        let told = report(&machine, &os);
        assert_eq!(told.ok, None, "{told:?}");
        assert_eq!(machine.read("/ran").lines().count(), restart);
        std::fs::remove_file(machine.at("/stopping")).unwrap();
    }
    assert!(machine.run(FINISH).status.success());
    let told = report(&machine, &os);
    assert_eq!(told.ok, Some(true), "{told:?}");
    assert_eq!(outcome(&told, "run-1"), Some(Outcome::Ok));
    assert_eq!(machine.read("/ran"), "down\n".repeat(RESTARTS) + "up\n");
}

#[test]
fn a_command_that_fails_and_restarts_the_machine_does_not_do_so_for_ever() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    let root = machine.root().display().to_string();
    let run = vec![format!(
        "echo down >>{root}/ran; : >{root}/stopping; exit 1"
    )];
    minted(&machine, &node(Vec::new(), run), &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    for _ in 0..8 {
        machine.run(FINISH);
    }
    assert_eq!(machine.read("/ran"), "down\n".repeat(5));
    assert_eq!(report(&machine, &os).ok, Some(false));
}
