//! The first boot of each generation keeps every promise of the manifest, the
//! second changes nothing, and the card holds no secret afterwards.

use std::fs;

use crate::card::{GIB, Generation};
use crate::cluster::{Cluster, PASSPHRASE, PASSWORD, STATIC};
use crate::facts::Facts;
use crate::harness::{boot_file, boot_names, boot_text, extract, tool};
use crate::machine::Machine;
use crate::secrets::Secrets;

const MANIFEST: &str = r#"
[cluster]
name = "boot"
hostname = "pi{n}"
first = 7
count = 1
domain = "lan"
image = "@IMAGE@"
gateway = "10.0.2.2"
dns = ["10.0.2.3"]

[user]
name = "alice"
authorized_keys = ["id.pub"]
password_file = "pw"
sudo = "nopasswd"

[locale]
timezone = "Asia/Tokyo"
keymap = "pt"
locale = "pt_PT.UTF-8"

[wifi]
ssid = "Net; of things"
psk_file = "psk"
country = "PT"

[first_boot]
packages = ["cardmint-hello"]
files = [
    { source = "motd", path = "/etc/motd", mode = "0640" },
    { source = "motd", path = "/motd" },
    { source = "note", path = "/home/alice/.config/deep/note", mode = "0600", owner = "alice" },
    { source = "hello.deb", path = "/srv/archive/hello.deb" },
    { source = "Packages", path = "/srv/archive/Packages" },
    { source = "local.list", path = "/etc/apt/sources.list.d/local.list" },
]
run = ["echo one >>/root/order", "echo two >>/root/order; test -e /usr/share/cardmint-hello/hello"]

[node.7]
address = "10.0.2.77/24"
interface = "eth0"
"#;

/// What the last command of changed settings says on the console.
const MARK: &str = "All commands were run";

#[test]
#[ignore = "boots machines; tests/run boot"]
fn trixie() {
    promises_are_kept(Generation::Trixie);
}

#[test]
#[ignore = "boots machines; tests/run boot"]
fn bookworm() {
    promises_are_kept(Generation::Bookworm);
}

#[test]
#[ignore = "boots machines; tests/run boot"]
fn bullseye() {
    promises_are_kept(Generation::Bullseye);
}

fn promises_are_kept(generation: Generation) {
    let manifest = match generation {
        // A name that it knows no longer.
        Generation::Trixie => MANIFEST.replace("Asia/Tokyo", "Japan"),
        _ => MANIFEST.to_owned(),
    };
    let cluster = Cluster::new(&generation.base(), &manifest);
    let len = 4 * GIB;
    let mut machine = cluster.machine(
        generation,
        len,
        STATIC,
        &format!("first-{}", generation.name()),
    );
    let secrets = Secrets::on(&machine);

    machine.log_in();
    let first = Facts::of(&machine, generation, "alice");
    promised(&first, &cluster, generation);
    first.fills(len);
    strangers_stay_out(&machine, &cluster);
    secrets.are_roots_alone(&machine);
    let before = everything(&machine, generation);
    // What its owner does later is not undone.
    machine.root("echo renamed >/etc/hostname; cp -p /etc/shadow /tmp-shadow; usermod -p X alice");
    machine.power_off();
    let boots = machine.boots();
    secrets.are_gone(&machine);
    file_systems_are_sound(&machine);
    let seen = cluster.inspect(machine.card());
    assert_eq!(seen["report"]["ok"], true, "{seen}");

    machine.log_in();
    assert_eq!(machine.boots(), boots + 1, "the second boot rebooted");
    let second = Facts::of(&machine, generation, "alice");
    second.is("report", first.get("report"));
    second.is("order", "one\ntwo");
    second.is("hostname", "renamed");
    second.is("failed", "");
    second.is("shadow", "X");
    machine.root("echo pi7 >/etc/hostname; mv /tmp-shadow /etc/shadow");
    assert_eq!(before, everything(&machine, generation));

    // Bullseye would show what Bookworm shows.
    if generation == Generation::Bullseye {
        return;
    }
    changed_settings_take_effect(&mut machine, &cluster, generation);
}

fn promised(facts: &Facts, cluster: &Cluster, generation: Generation) {
    facts.is("hostname", "pi7");
    facts.is("etc-hostname", "pi7");
    facts.has("hosts", "127.0.1.1\tpi7.lan pi7");
    facts.lacks("hosts", "raspberrypi");
    facts.has("self", "pi7");
    for group in ["sudo", "video", "gpio", "i2c", "spi", "netdev", "dialout"] {
        assert!(
            facts.get("groups").split(' ').any(|name| name == group),
            "{group} is not among {}",
            facts.get("groups")
        );
    }
    facts.is("home", "/home/alice");
    facts.is("shell", "/bin/bash");
    facts.has("shadow", "$6$");
    let public = fs::read_to_string(cluster.path("id.pub")).expect("a key");
    facts.has("authorized", public.trim());
    facts.is("ssh-modes", "700 alice:alice\n600 alice:alice");
    facts.is("sudo", "");
    facts.has("timezone", "/usr/share/zoneinfo/Asia/Tokyo");
    facts.is("date", "JST");
    facts.has("locale", "LANG=pt_PT.UTF-8");
    facts.has("locales", "pt_PT.utf8");
    facts.has("keyboard", "XKBLAYOUT=\"pt\"");
    facts.is("motd", "640 root:root 8\n644 root:root 8");
    facts.is("note", "600 alice:alice 8");
    facts.is("note-folders", "alice\nalice\nalice");
    facts.is("order", "one\ntwo");
    facts.is("hello", "hello");
    radio(facts, generation);
    facts.has("address", "inet 10.0.2.77/24");
    facts.has("route", "default via 10.0.2.2");
    facts.has("sshd", "hostkey /etc/ssh/cardmint_host_ed25519_key");
    facts.has("sshd", "passwordauthentication no");
    facts.has("banner", "No such file");
    facts.is("multi-user", "active");
    facts.is("wizard", "inactive");
    facts.is("wizard-enabled", "disabled");
    facts.is("getty", "enabled");
    facts.is("ssh-enabled", "enabled");
    facts.is("failed", "");
    facts.is("state", "running");
    facts.has("report", "result ok");
    facts.lacks("report", " failed ");
    for word in ["systemd.run", "systemd.unit", " resize", "init="] {
        facts.lacks("cmdline.txt", word);
    }
    for name in [
        "firstrun.sh",
        "userconf",
        "ssh\n",
        "cardmint-report.txt.new",
    ] {
        facts.lacks("boot-names", name);
    }
}

/// The profile is there, for root alone, and nothing keeps the radio off.
fn radio(facts: &Facts, generation: Generation) {
    facts.has("cmdline.txt", "cfg80211.ieee80211_regdom=PT");
    if generation == Generation::Bullseye {
        facts.is("wpa-modes", "600 root:root");
        facts.has("wpa", "country=PT");
        facts.lacks("wpa", PASSPHRASE);
        return;
    }
    facts.is("wifi-modes", "600 root:root");
    facts.has("wifi", "key-mgmt=wpa-psk");
    facts.lacks("wifi", PASSPHRASE);
    facts.has("connections", "cardmint-wifi");
    facts.has("radio", "WirelessEnabled=true");
}

fn strangers_stay_out(machine: &Machine, cluster: &Cluster) {
    let run = machine.ssh(&cluster.path("wrong"), "true", "");
    assert_ne!(run.code, 0);
    // The server names what it would take.
    assert!(
        run.stderr.contains("Permission denied (publickey)"),
        "{}",
        run.stderr
    );
}

/// Every file that setting the node up could touch, with its digest, but for
/// what each boot changes by nature.
fn everything(machine: &Machine, generation: Generation) -> String {
    machine.root(&format!(
        "find /etc /root /home /usr/local /srv /var/lib/cardmint {} -xdev -type f \
         ! -name '.bash_history' ! -name resolv.conf ! -path '/etc/*-' ! -path '/etc/console-setup/*' \
         -printf '%m %u:%g %p ' -exec sha256sum {{}} + | LC_ALL=C sort; \
         find /etc/systemd /etc/rc*.d -type l -printf '%p %l\\n' | LC_ALL=C sort",
        generation.boot()
    ))
}

fn file_systems_are_sound(machine: &Machine) {
    for (number, program) in ["fsck.vfat", "e2fsck"].into_iter().enumerate() {
        let path = machine.card().with_file_name("part.img");
        extract(machine.card(), number, &path);
        let flags = if number == 0 { "-n" } else { "-fn" };
        tool(program, &[flags, path.to_str().expect("UTF-8")]).expect(0);
        fs::remove_file(path).expect("a file");
    }
}

/// A card that went on being used gets new boot files: the new instance-id
/// makes all of it happen again.
fn changed_settings_take_effect(machine: &mut Machine, cluster: &Cluster, generation: Generation) {
    machine.power_off();
    let text = MANIFEST
        .replace("hostname = \"pi{n}\"", "hostname = \"box{n}\"")
        .replace("Asia/Tokyo", "Asia/Seoul")
        // A command restarts the machine, and the next one is run all the same.
        .replace(
            "\"echo two",
            &format!("\"reboot\", \"echo {MARK} >/dev/console; echo three"),
        )
        .replace("sudo = \"nopasswd\"", "sudo = \"password\"");
    let (start, end) = (
        text.find("[wifi]").unwrap(),
        text.find("[first_boot]").unwrap(),
    );
    let text = text[..start].to_owned() + &text[end..];
    cluster.write(&generation.base(), &text);
    let fresh = cluster.build().with_file_name("box7.img");
    let names = [
        "user-data",
        "meta-data",
        "network-config",
        "firstrun.sh",
        "cardmint.toml",
        "ssh",
    ];
    for name in boot_names(&fresh) {
        if names.contains(&name.as_str()) {
            machine.put_boot_file(&name, &boot_file(&fresh, &name));
        }
    }
    let (old, new) = (
        boot_text(machine.card(), "cmdline.txt"),
        boot_text(&fresh, "cmdline.txt"),
    );
    machine.put_boot_file("cmdline.txt", merged(&old, &new).as_bytes());
    let mut login = cluster.login();
    "box7".clone_into(&mut login.node);
    login.password = Some(PASSWORD);
    machine.set_login(login);
    machine.boot_until(MARK);
    machine.log_in();
    let facts = Facts::of(machine, generation, "alice");
    facts.is("hostname", "box7");
    facts.has("hosts", "box7.lan box7");
    facts.lacks("hosts", "pi7");
    facts.is("date", "KST");
    facts.has("sudo", "password is required");
    facts.has("wifi-modes", "No such file");
    facts.is("order", "one\ntwo\none\nthree");
    facts.has("report", "result ok");
    facts.has("report", "node box7");
    facts.is("failed", "");
}

/// The used card's line, with the root it has now, and the tokens of the new
/// line that are cardmint's.
fn merged(old: &str, new: &str) -> String {
    let ours = |token: &&str| token.starts_with("ds=") || token.starts_with("systemd.");
    let kept = old.split_whitespace().filter(|token| !ours(token));
    let added = new.split_whitespace().filter(ours);
    kept.chain(added).collect::<Vec<_>>().join(" ") + "\n"
}
