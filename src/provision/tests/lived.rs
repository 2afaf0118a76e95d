//! What becomes of a node: the scripts are run, on a machine made of a folder.

use base64::Engine as _;

use super::fixtures::{HASH, PRIVATE, full, identity, minimal, system};
use super::machine::{KEPT, Machine};
use crate::cluster::{Identity, Node};
use crate::layout::Os;
use crate::provision::report::{Outcome, Report};
use crate::provision::root_files::RootFiles;
use crate::provision::{BootFiles, Settings, Templates, provision};

pub(super) const FINISH: &str = "/usr/local/lib/cardmint/finish";

/// Writes the boot files where the system will find them.
pub(super) fn minted(machine: &Machine, node: &Node, os: &Os, identity: &Identity) -> BootFiles {
    let files = provision(node, os, identity, &Templates::embedded()).unwrap();
    for file in &files.files {
        let path = format!("{}/{}", os.boot_mount, file.name);
        machine.write(&path, &file.bytes);
        machine.keep(&path);
    }
    files
}

pub(super) fn report(machine: &Machine, os: &Os) -> Report {
    let text = machine.read(&format!("{}/cardmint-report.txt", os.boot_mount));
    Report::parse(&text).unwrap()
}

pub(super) fn outcome(report: &Report, name: &str) -> Option<Outcome> {
    let step = report.steps.iter().find(|step| step.name == name);
    step.map(|step| step.outcome)
}

/// Everything that is on the boot partition, as one text: in files, and in what files
/// had that are gone.
fn boot_text(machine: &Machine, os: &Os) -> String {
    let folders = [os.boot_mount, KEPT].map(|folder| machine.at(folder));
    let entries = folders.iter().flat_map(|folder| folder.read_dir().unwrap());
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
        .collect()
}

fn assert_no_secret(text: &str) {
    let key = base64::engine::general_purpose::STANDARD.encode(PRIVATE);
    assert!(!text.contains(HASH) && !text.contains(&key), "{text}");
}

#[test]
fn firstrun_sets_a_bookworm_node_up() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    machine.write("/nm", b"");
    let files = minted(&machine, &full(), &os, &identity(true));
    let output = machine.run("/boot/firmware/firstrun.sh");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    assert_eq!(machine.read("/etc/hostname"), "pi0\n");
    assert_eq!(
        machine.read("/etc/hosts"),
        "127.0.0.1\tlocalhost\n127.0.1.1\tpi0.lan pi0\n10.0.0.14 pi1.lan pi1 # cardmint\n"
    );
    assert!(
        machine
            .read("/etc/passwd")
            .contains("\nalice:x:1000:1000:,,,:/home/alice:/bin/bash\n")
    );
    assert_eq!(machine.read("/chpasswd"), format!("alice:{HASH}\n"));
    let keys = "/home/alice/.ssh/authorized_keys";
    assert_eq!(
        machine.read(keys),
        full().user.authorized_keys.join("\n") + "\n"
    );
    assert_eq!(
        (machine.mode(keys), machine.mode("/home/alice/.ssh")),
        (0o600, 0o700)
    );
    assert!(!machine.has("/etc/sudoers.d/010_pi-nopasswd"));
    assert_eq!(machine.read("/etc/ssh/cardmint_host_ed25519_key"), PRIVATE);
    assert_eq!(machine.mode("/etc/ssh/cardmint_host_ed25519_key"), 0o600);
    assert!(
        machine
            .read("/etc/ssh/sshd_config.d/10-cardmint.conf")
            .contains("PasswordAuthentication yes")
    );
    for name in ["wifi", "eth0"] {
        let path = format!("/etc/NetworkManager/system-connections/cardmint-{name}.nmconnection");
        assert_eq!(machine.mode(&path), 0o600);
    }
    assert!(
        machine
            .read("/var/lib/NetworkManager/NetworkManager.state")
            .contains("WirelessEnabled=true")
    );
    assert_eq!(
        machine.read("/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan"),
        "0\n"
    );
    assert_eq!(machine.read("/etc/timezone"), "Europe/Lisbon\n");
    assert!(
        machine
            .read("/etc/default/keyboard")
            .contains("XKBLAYOUT=\"pt\"")
    );
    assert!(
        machine
            .read("/etc/locale.gen")
            .ends_with("pt_PT.UTF-8 UTF-8\n")
    );
    assert_eq!(machine.read("/etc/default/locale"), "LANG=pt_PT.UTF-8\n");
    assert_eq!(machine.read("/etc/motd"), "It's 🍓\n\0binary");
    assert_eq!(machine.mode("/etc/motd"), 0o640);
    assert_eq!(machine.read("/etc/empty"), "");
    assert!(machine.has("/etc/systemd/system/multi-user.target.wants/cardmint-finish.service"));

    let left: Vec<_> = files
        .added_tokens
        .iter()
        .filter(|t| !t.starts_with("systemd."))
        .cloned()
        .collect();
    let cmdline = format!("{} {}\n", os.cmdline.trim_end(), left.join(" "));
    assert_eq!(machine.read("/boot/firmware/cmdline.txt"), cmdline);
    assert!(!machine.has("/boot/firmware/firstrun.sh"));
    assert!(!machine.has("/boot/firmware/userconf.txt"));
    assert_no_secret(&boot_text(&machine, &os));
}

#[test]
fn finish_completes_a_bookworm_node_and_a_second_boot_changes_nothing() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    machine.write("/nm", b"");
    let files = minted(&machine, &full(), &os, &identity(true));
    machine.run("/boot/firmware/firstrun.sh");
    machine.calls();
    machine.run(FINISH);
    let calls = machine.calls();
    assert!(
        calls.contains(" install -- vim prometheus-node-exporter prometheus"),
        "{calls}"
    );
    assert_eq!(machine.read("/home/alice/.config/app/it's.toml"), "a = 1\n");
    assert!(calls.contains(&format!(
        "chown alice: {}/home/alice/.config\n",
        machine.root().display()
    )));

    let first = report(&machine, &os);
    assert_eq!(first.unreadable, 0);
    assert_eq!(first.instance.as_deref(), Some(&*files.instance_id));
    for step in [
        "files", "hostname", "user", "keys", "sudo", "sshd", "wifi", "address", "locale", "expand",
        "packages",
    ] {
        assert_eq!(
            outcome(&first, step),
            Some(Outcome::Ok),
            "{step}: {first:?}"
        );
    }
    // The fixture's commands fail here: there is no raspi-config, and `false` is false.
    assert_eq!(outcome(&first, "run-1"), Some(Outcome::Failed));
    assert_eq!(outcome(&first, "run-2"), Some(Outcome::Failed));
    assert_eq!(first.ok, Some(false));

    // What went well is not done again; what failed is, five times in all.
    for boot in 2..=5 {
        machine.run(FINISH);
        let calls = machine.calls();
        assert!(!calls.contains("apt-get"), "boot {boot}: {calls}");
    }
    assert!(machine.has("/var/lib/cardmint/done"));
    assert!(!machine.has("/etc/systemd/system/multi-user.target.wants/cardmint-finish.service"));
    let before = boot_text(&machine, &os);
    machine.run(FINISH);
    assert_eq!(boot_text(&machine, &os), before);
}

#[test]
fn without_network_packages_are_tried_again_at_the_next_boot() {
    let (machine, os) = (Machine::new(), system("bullseye-b"));
    let mut node = full();
    let mut first_boot = (*node.first_boot).clone();
    first_boot.run = vec![format!("echo ran >>{}", machine.at("/ran").display())];
    node.first_boot = first_boot.into();
    minted(&machine, &node, &os, &identity(true));
    machine.run("/boot/firstrun.sh");
    machine.write("/no-network", b"");
    assert!(!machine.run(FINISH).status.success());
    let report_of_first = report(&machine, &os);
    assert_eq!(report_of_first.ok, Some(false));
    assert_eq!(outcome(&report_of_first, "run-1"), Some(Outcome::Ok));
    std::fs::remove_file(machine.at("/no-network")).unwrap();
    assert!(machine.run(FINISH).status.success());
    assert_eq!(report(&machine, &os).ok, Some(true));
    assert_eq!(machine.read("/ran"), "ran\n");
}

#[test]
fn firstrun_never_loops() {
    let (machine, os) = (Machine::new(), system("bullseye-b"));
    minted(&machine, &minimal(), &os, &identity(false));
    let script = machine.read("/boot/firstrun.sh");
    machine.run("/boot/firstrun.sh");
    machine.calls();

    // A second run of the same script sets nothing up, and still cleans up.
    machine.write("/boot/firstrun.sh", script.as_bytes());
    machine.write("/etc/hostname", b"by-hand\n");
    assert!(machine.run("/boot/firstrun.sh").status.success());
    assert_eq!(machine.read("/etc/hostname"), "by-hand\n");
    assert!(!machine.has("/boot/firstrun.sh"));

    // With a boot partition that takes no writes, the system is started
    // instead of rebooted.
    machine.write("/boot/firstrun.sh", script.as_bytes());
    machine.write("/boot/cmdline.txt", b"a systemd.run=/boot/firstrun.sh\n");
    machine.write("/stubs/sed", b"#!/bin/sh\nexit 1\n");
    machine.chmod("/stubs/sed", 0o755);
    machine.run("/boot/firstrun.sh");
    let calls = machine.calls();
    assert!(
        calls.contains("systemctl --no-block start multi-user.target\nsleep infinity\n"),
        "{calls}"
    );
    assert!(machine.read("/boot/cmdline.txt").starts_with("a "));
}

#[test]
fn buster_gets_its_settings_without_drop_ins_and_without_network_manager() {
    let (machine, os) = (Machine::new(), system("buster"));
    machine.write(
        "/etc/ssh/sshd_config",
        b"PasswordAuthentication no\nUsePAM yes\n",
    );
    minted(&machine, &full(), &os, &identity(true));
    machine.run("/boot/firstrun.sh");
    let config = machine.read("/etc/ssh/sshd_config");
    assert!(
        config.contains("HostKey /etc/ssh/cardmint_host_ed25519_key\nPasswordAuthentication yes\n")
    );
    assert!(
        config.ends_with("PasswordAuthentication no\nUsePAM yes\n"),
        "{config}"
    );
    assert!(
        machine
            .read("/etc/wpa_supplicant/wpa_supplicant.conf")
            .contains("country=PT")
    );
    assert!(
        machine
            .read("/etc/dhcpcd.conf")
            .contains("static ip_address=10.0.0.13/24\n")
    );
    assert!(!machine.has("/etc/NetworkManager"));
}

/// What cloud-init forgets that it has done, where it was cut short.
const CUT_SHORT: &str = "/var/lib/cloud/instance/sem/config_users_groups";

/// A Trixie machine after cloud-init, as far as it concerns us: bootcmd, `write_files`,
/// user and locale. The command of bootcmd, and the instance-id.
pub(super) fn seeded(machine: &Machine, os: &Os, node: &Node) -> (String, String) {
    let identity = identity(true);
    let files = minted(machine, node, os, &identity);
    let settings = Settings {
        node,
        os,
        identity: &identity,
        instance: &files.instance_id,
    };
    let (values, templates) = (settings.values().unwrap(), Templates::embedded());
    let bootcmd = templates.render("bootcmd.sh", &values).unwrap();
    machine.write(CUT_SHORT, b"");
    assert!(machine.shell(&["-c", &bootcmd]).status.success());
    assert!(
        !machine.has(CUT_SHORT),
        "cloud-init would not make the user"
    );
    let root = RootFiles::render(&settings, &values, &templates).unwrap();
    for file in root.files.iter().chain(&root.own) {
        // Where cloud-init cannot write one, it leaves out all that are behind it.
        if machine.at(&file.path).is_dir() {
            break;
        }
        machine.put(&file.path, &file.mode, &file.base64);
    }
    machine.write("/etc/passwd", b"alice:x:1000:1000::/home/alice:/bin/bash\n");
    machine.write("/etc/localtime", b"TZif");
    machine.write("/etc/default/locale", b"LANG=pt_PT.UTF-8\n");
    machine.write("/etc/default/keyboard", b"XKBLAYOUT=\"pt\"\n");
    (bootcmd, files.instance_id.to_string())
}

#[test]
fn a_trixie_node_is_finished_and_its_seed_cleaned() {
    let (machine, os) = (Machine::new(), system("trixie"));
    let (bootcmd, instance) = seeded(&machine, &os, &full());
    assert!(machine.has("/etc/systemd/system/multi-user.target.wants/cardmint-finish.service"));
    assert!(
        machine
            .read("/etc/hosts")
            .contains("127.0.1.1\tpi0.lan pi0\n")
    );
    assert_eq!(machine.read("/etc/hostname"), "pi0\n");
    machine.write(
        "/etc/sudoers.d/90-cloud-init-users",
        b"alice ALL=(ALL) NOPASSWD:ALL\n",
    );
    // The image's own first boot took a file away.
    std::fs::remove_file(machine.at("/etc/ssh/cardmint_host_ed25519_key")).unwrap();

    machine.run(FINISH);
    let report = report(&machine, &os);
    for step in [
        "hostname",
        "user",
        "timezone",
        "keymap",
        "locale",
        "files",
        "ssh",
        "ask-sudo",
        "owned-files",
        "expand",
        "clean",
        "packages",
    ] {
        assert_eq!(
            outcome(&report, step),
            Some(Outcome::Ok),
            "{step}: {report:?}"
        );
    }
    assert_eq!(machine.read("/etc/ssh/cardmint_host_ed25519_key"), PRIVATE);
    assert_eq!(machine.mode("/etc/ssh/cardmint_host_ed25519_key"), 0o600);
    assert!(!machine.has("/etc/sudoers.d/90-cloud-init-users"));
    assert!(machine.read("/boot/firmware/meta-data").contains(&instance));
    assert!(
        machine
            .read("/boot/firmware/user-data")
            .starts_with("#cloud-config\n")
    );
    assert!(
        machine
            .read("/etc/cloud/cloud.cfg.d/99-cardmint.cfg")
            .contains("preserve_hostname: true")
    );
    assert!(!machine.has("/boot/firmware/userconf.txt"));
    assert_no_secret(&boot_text(&machine, &os));

    // At later boots its owner's changes stay.
    machine.write(CUT_SHORT, b"");
    machine.write("/etc/hosts", b"127.0.0.1 localhost\n");
    assert!(machine.shell(&["-c", &bootcmd]).status.success());
    assert!(machine.has(CUT_SHORT));
    assert_eq!(machine.read("/etc/hosts"), "127.0.0.1 localhost\n");
}

#[test]
fn a_firstrun_that_was_cut_short_is_repeated_but_not_for_ever() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    minted(&machine, &minimal(), &os, &identity(false));
    let script = machine.read("/boot/firmware/firstrun.sh");
    for run in 1..=6 {
        machine.write("/boot/firmware/firstrun.sh", script.as_bytes());
        machine.write("/etc/hostname", b"cut\n");
        machine.run("/boot/firmware/firstrun.sh");
        let expected = if run <= 5 { "pi0\n" } else { "cut\n" };
        assert_eq!(machine.read("/etc/hostname"), expected, "run {run}");
        let _ = std::fs::remove_file(machine.at("/var/lib/cardmint/firstrun-done"));
    }
    let steps = machine.read("/var/lib/cardmint/steps");
    assert!(steps.contains("step firstrun failed"), "{steps}");
    let keys = machine.read("/home/alice/.ssh/authorized_keys");
    assert_eq!(keys, "ssh-ed25519 AAAAkey alice@laptop\n");
    assert_eq!(machine.read("/etc/hosts").matches("127.0.1.1").count(), 1);
}

#[test]
fn a_node_that_was_someone_else_is_set_up_anew() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    for name in ["pi0", "pi1"] {
        let node = Node {
            hostname: name.to_owned(),
            ..minimal()
        };
        minted(&machine, &node, &os, &identity(false));
        machine.run("/boot/firmware/firstrun.sh");
        assert!(machine.run(FINISH).status.success());
        assert_eq!(machine.read("/etc/hostname"), format!("{name}\n"));
        let report = report(&machine, &os);
        assert_eq!(
            (report.node.as_deref(), report.ok),
            (Some(name), Some(true))
        );
    }
}
