//! Pulls the plug at several moments of a first boot. The next boots still get
//! to the promised state, and there is an end to them.
//!
//! One moment is left out: while the vendor writes the new disk id to three
//! places. A card cut right there no longer finds its root, cardmint or not.

use std::thread;
use std::time::Duration;

use crate::card::{GIB, Generation};
use crate::cluster::{BY_DHCP, Cluster, PASSWORD};
use crate::facts::Facts;
use crate::secrets::Secrets;

const MANIFEST: &str = r#"
[cluster]
name = "cut"
hostname = "pi{n}"
first = 7
count = 1
image = "@IMAGE@"

[user]
name = "alice"
authorized_keys = ["id.pub"]
password_file = "pw"
sudo = "password"

[ssh]
password_authentication = true

[locale]
timezone = "Asia/Tokyo"

[first_boot]
files = [{ source = "note", path = "/home/alice/note", mode = "0600", owner = "alice" }]
run = ["echo one >>/root/order"]
"#;

/// What the console shows, and how much later the power goes.
struct Moment(&'static str, Duration);

impl Moment {
    const fn after(text: &'static str, millis: u64) -> Self {
        Self(text, Duration::from_millis(millis))
    }
}

#[test]
#[ignore = "boots machines; tests/run boot"]
fn trixie() {
    every_cut_is_survived(
        Generation::Trixie,
        &[
            // The partition grows.
            Moment::after("scripts/local-premount", 1000),
            // bootcmd, files, the user: what cloud-init believes it has done.
            Moment::after("running 'init'", 4000),
            Moment::after("running 'modules:config'", 1500),
            Moment::after("boot that cardmint prepared", 2000),
        ],
    );
}

#[test]
#[ignore = "boots machines; tests/run boot"]
fn bookworm() {
    every_cut_is_survived(
        Generation::Bookworm,
        &[
            // The partition and its file system grow.
            Moment::after("scripts/local-premount", 1000),
            // firstrun.sh: files, the renaming of the user, what follows.
            Moment::after("from Kernel Command Line", 1500),
            Moment::after("from Kernel Command Line", 5000),
            Moment::after("from Kernel Command Line", 10_000),
            Moment::after("boot that cardmint prepared", 2000),
        ],
    );
}

fn every_cut_is_survived(generation: Generation, moments: &[Moment]) {
    let cluster = Cluster::new(&generation.base(), MANIFEST);
    let len = 4 * GIB;
    let name = format!("cut-{}", generation.name());
    let mut machine = cluster.machine(generation, len, BY_DHCP, &name);
    let mut login = cluster.login();
    login.password = Some(PASSWORD);
    machine.set_login(login);
    let secrets = Secrets::on(&machine);
    for Moment(text, pause) in moments {
        machine.boot_until(text);
        thread::sleep(*pause);
        machine.cut_power();
    }
    machine.log_in();
    let facts = Facts::of(&machine, generation, "alice");
    facts.is("hostname", "pi7");
    facts.is("home", "/home/alice");
    facts.has("shadow", "$6$");
    facts.is("ssh-modes", "700 alice:alice\n600 alice:alice");
    facts.is("date", "JST");
    facts.is("order", "one");
    facts.has("sshd", "passwordauthentication yes");
    facts.is("multi-user", "active");
    facts.has("sudo", "password is required");
    let run = machine.ssh_by_password(PASSWORD, "id -un");
    assert_eq!(run.stdout, "alice\n", "{}", run.stderr);
    facts.is("wizard", "inactive");
    facts.has("hosts", "localhost");
    facts.has("hosts", "127.0.1.1\tpi7");
    facts.lacks("cmdline.txt", "systemd.run");
    facts.is("failed", "");
    facts.has("report", "result ok");
    facts.lacks("report", " failed ");
    facts.fills(len);
    machine.power_off();
    secrets.are_gone(&machine);
}
