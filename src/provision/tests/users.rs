//! Whose account the node's user becomes.

use super::fixtures::{identity, minimal, system};
use super::lived::minted;
use super::machine::Machine;

#[test]
fn the_user_is_found_renamed_or_made() {
    for (passwd, uid) in [
        (
            "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/bash\n",
            "1000",
        ),
        (
            "root:x:0:0::/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/bash\n",
            "1000",
        ),
        ("root:x:0:0::/root:/bin/sh\n", "1001"),
    ] {
        let (machine, os) = (Machine::new(), system("bookworm"));
        machine.write("/etc/passwd", passwd.as_bytes());
        minted(&machine, &minimal(), &os, &identity(false));
        machine.run("/boot/firmware/firstrun.sh");
        let found = machine.read("/etc/passwd");
        assert!(found.contains(&format!("alice:x:{uid}:")), "{found}");
        assert!(!found.contains("pi:"), "{found}");
        assert!(machine.calls().contains("usermod --password * alice\n"));
        assert!(machine.has("/home/alice/.ssh/authorized_keys"));
        assert_eq!(machine.mode("/etc/sudoers.d/010_cardmint"), 0o440);
    }
}

#[test]
fn the_vendor_renames_where_it_can() {
    let (machine, os) = (Machine::new(), system("bookworm"));
    let helper = "/usr/lib/userconf-pi/userconf";
    let body = "#!/bin/sh\necho \"userconf $1 [$2]\" >>\"$CARDMINT_ROOT/calls\"\n\
                sed -i \"s|^pi:|$1:|; s|/home/pi|/home/$1|\" \"$CARDMINT_ROOT/etc/passwd\"\n";
    machine.write(helper, body.as_bytes());
    machine.chmod(helper, 0o755);
    minted(&machine, &minimal(), &os, &identity(false));
    machine.run("/boot/firmware/firstrun.sh");
    let calls = machine.calls();
    assert!(calls.contains("userconf alice []\n"), "{calls}");
    assert!(!calls.contains("--login"), "{calls}");
}

#[test]
fn a_rename_that_was_cut_short_is_completed() {
    for (passwd, home) in [
        ("alice:x:1000:1000::/home/pi:/bin/bash\n", "pi"),
        ("alice:x:1000:1000::/home/alice:/bin/bash\n", "pi"),
        ("alice:x:1000:1000::/home/alice:/bin/bash\n", "alice"),
    ] {
        let (machine, os) = (Machine::new(), system("bookworm"));
        let files = minted(&machine, &minimal(), &os, &identity(false));
        machine.write("/etc/passwd", passwd.as_bytes());
        machine.write("/var/lib/cardmint/instance", files.instance_id.as_bytes());
        machine.write("/var/lib/cardmint/old-user", b"pi\n");
        std::fs::rename(machine.at("/home/pi"), machine.at(&format!("/home/{home}"))).unwrap();
        machine.write(&format!("/home/{home}/.profile"), b"");
        machine.run("/boot/firmware/firstrun.sh");
        assert!(machine.read("/etc/passwd").contains(":/home/alice:"));
        assert!(machine.has("/home/alice/.profile"));
        assert!(machine.has("/home/alice/.ssh/authorized_keys"));
        assert!(!machine.has("/home/pi"));
    }
}
