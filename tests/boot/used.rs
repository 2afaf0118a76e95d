//! An image that has booted before, a larger card, a user without a password,
//! and steps that fail: the node answers, and says what failed.

use std::fs;
use std::rc::Rc;

use crate::card::{Card, GIB, Generation};
use crate::cluster::{BY_DHCP, Cluster};
use crate::facts::Facts;
use crate::machine::Machine;
use crate::wire::Wire;

const MANIFEST: &str = r#"
[cluster]
name = "used"
hostname = "pi{n}"
first = 7
count = 1
image = "@IMAGE@"

[user]
name = "alice"
authorized_keys = ["id.pub"]

[first_boot]
run = ["false", "echo after >>/root/order"]
"#;

/// It is asked for in vain for minutes, so that one of the tests has to do.
const PACKAGE: &str = "packages = [\"no-such-package\"]\n";

#[test]
#[ignore = "boots machines; tests/run boot"]
fn trixie() {
    a_used_image_serves(Generation::Trixie);
}

#[test]
#[ignore = "boots machines; tests/run boot"]
fn bookworm() {
    a_used_image_serves(Generation::Bookworm);
}

fn a_used_image_serves(generation: Generation) {
    let name = format!("used-{}", generation.name());
    let stock = Cluster::new(&generation.base(), MANIFEST);
    let used = used_image(generation, &stock, &name);

    let packages = generation == Generation::Bookworm;
    let manifest = format!("{MANIFEST}{}", if packages { PACKAGE } else { "" });
    let cluster = Cluster::new(&used.path, &manifest);
    let len = 16 * GIB;
    let mut machine = cluster.machine(generation, len, BY_DHCP, &format!("{name}-again"));
    machine.log_in();
    let facts = Facts::of(&machine, generation, "alice");
    facts.is("multi-user", "active");
    facts.is("hostname", "pi7");
    facts.is("sudo", "");
    facts.is("wizard", "inactive");
    facts.fills(len);
    let password = facts.get("shadow");
    assert!(password.starts_with(['!', '*']), "`{password}` lets in");
    assert!(!password.contains('$'), "a password that nobody chose");
    if packages {
        facts.has("report", "step packages failed");
    }
    facts.has("report", "step run-1 failed");
    facts.has("report", "step run-2 ok");
    facts.has("report", "result failed");
    facts.is("order", "after");
    facts.has("failed", "cardmint-finish.service");
    facts.lacks("failed", "ssh.service");
    machine.power_off();
    let seen = cluster.inspect(machine.card());
    assert_eq!(seen["report"]["ok"], false, "{seen}");
}

/// Boots the stock image on a small card, as somebody did who tried it out: the
/// vendor's first boot is done, and its wizard waits.
fn used_image(generation: Generation, cluster: &Cluster, name: &str) -> Rc<Card> {
    let base = generation.base();
    let len = fs::metadata(&base).expect("a base").len() + (64 << 20);
    let card = Card::with(generation, &base, len, name);
    let mut machine = Machine::new(card, cluster.login(), Wire::alone(BY_DHCP));
    machine.boot_until("the wizard waits for a keyboard");
    machine.press_power();
    machine.eject()
}
