//! Cards that the user may not open: others open them, and nothing else runs as
//! root.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::fs::OFlags;

use crate::harness::{Run, Scratch, base, tool};
use crate::rig::{Card, shared, state};

/// `nobody`, on Debian and elsewhere.
const NOBODY: u32 = 65_534;

/// A cluster that belongs to nobody, with a program and a base within his reach.
fn cluster_of_nobody() -> Scratch {
    let scratch = Scratch::new();
    let image = scratch.path("base.img");
    fs::copy(base("trixie-arm64"), &image).expect("a base");
    scratch.init(&image, 2);
    fs::create_dir(scratch.path("bin")).expect("a directory");
    let program = scratch.path("bin/cardmint");
    fs::copy(env!("CARGO_BIN_EXE_cardmint"), program).expect("a program");
    let dir = scratch.path("");
    tool("chown", &["-R", "nobody:", dir.to_str().expect("UTF-8")]).expect(0);
    scratch
}

/// Runs that program as nobody, with this system bus.
fn as_nobody(scratch: &Scratch, bus: &str, args: &[&str]) -> Run {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(scratch.path("bin/cardmint"))
        .args(args)
        .current_dir(scratch.path("c"))
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", scratch.path("bin").display()),
        )
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .stdin(Stdio::null());
    Run::of(&command.output().expect("setpriv"))
}

fn script(scratch: &Scratch, name: &str, text: &str) {
    let path = scratch.write(name, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

const NO_BUS: &str = "unix:path=/nonexistent";

#[track_caller]
fn assert_all_is_nobodys(scratch: &Scratch) {
    for dir in ["c", "c/handover", "cache"] {
        for entry in fs::read_dir(scratch.path(dir)).expect("a directory") {
            let path = entry.expect("an entry").path();
            let owner = fs::metadata(&path).expect("metadata").uid();
            assert_eq!(owner, NOBODY, "{}", path.display());
        }
    }
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn sudo_opens_the_card_and_does_nothing_else() {
    let _slots = shared();
    let scratch = cluster_of_nobody();
    let card = Card::good(&scratch, "card");
    // A sudo that asks this test, which is root.
    let fifo = scratch.path("fifo");
    tool("mkfifo", &["-m", "666", fifo.to_str().expect("UTF-8")]).expect(0);
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || exit 9\nshift 2\nprintf '%s\\n' \"$@\" >{}\n",
        fifo.display()
    );
    script(&scratch, "bin/sudo", &text);
    let root = thread::spawn(move || {
        let asked = fs::read_to_string(fifo).expect("a command");
        let words: Vec<&str> = asked.lines().collect();
        let status = Command::new(words[0]).args(&words[1..]).status();
        assert!(status.expect("it runs").success());
        asked
    });
    let args = ["flash", "0", "--to", card.path(), "--yes", "--allow-fixed"];
    as_nobody(&scratch, NO_BUS, &args).expect(0);
    let asked = root.join().expect("a command");
    assert_eq!(asked.lines().nth(1), Some("open-cards"), "{asked}");
    assert_eq!(state(&scratch, "0"), "verified");
    assert_all_is_nobodys(&scratch);
    scratch.cardmint(&["verify", "0", card.path()]).expect(0);
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_card_that_nobody_opens_stays_as_it_is() {
    let _slots = shared();
    let scratch = cluster_of_nobody();
    let card = Card::good(&scratch, "card");
    script(&scratch, "bin/sudo", "#!/bin/sh\nexit 1\n");
    let args = ["flash", "0", "--to", card.path(), "--yes", "--allow-fixed"];
    as_nobody(&scratch, NO_BUS, &args).expect(1).says(&[
        "you may not write to",
        "nobody opened it for you (udisks2: ",
        "sudo failed (exit status: 1)",
        "Run the same once more as `sudo env HOME=\"$HOME\" /",
    ]);
    as_nobody(&scratch, NO_BUS, &["verify", "0", card.path()])
        .expect(2)
        .says(&["you may not read", "as `sudo env HOME=\"$HOME\" /"]);
    assert!(!scratch.path("c/cluster.lock").exists());
}

/// A bus with a udisks on it that does what it is asked.
struct Bus {
    address: String,
    children: Vec<Child>,
}

impl Bus {
    fn start(scratch: &Scratch) -> Self {
        let address = format!("unix:path={}", scratch.path("bus").display());
        let config = scratch.write(
            "bus.conf",
            format!(
                "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>\
                 <policy context='default'><allow send_destination='*'/>\
                 <allow receive_sender='*'/><allow own='*'/><allow user='*'/></policy>\
                 </busconfig>"
            ),
        );
        let mut bus = Command::new("dbus-daemon");
        bus.arg("--nofork")
            .arg(format!("--config-file={}", config.display()))
            .arg("--print-address");
        let mut udisks = Command::new("/usr/bin/python3");
        udisks
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/faults/udisks.py"
            ))
            .arg(&address)
            .arg(scratch.path("udisks.log"));
        // Each says a line when it is ready.
        let children = [bus, udisks].map(|mut command| {
            let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
            let mut line = String::new();
            let stdout = child.stdout.take().expect("a pipe");
            BufReader::new(stdout).read_line(&mut line).expect("a line");
            assert!(!line.is_empty(), "{command:?} ended");
            child
        });
        Self {
            address,
            children: children.into(),
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn calls(log: &Path) -> String {
    fs::read_to_string(log).expect("a log")
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn udisks_opens_the_card_as_it_does_for_desktops() {
    let _slots = shared();
    let scratch = cluster_of_nobody();
    let card = Card::good(&scratch, "card");
    let bus = Bus::start(&scratch);
    let args = ["flash", "0", "--to", card.path(), "--yes", "--allow-fixed"];
    as_nobody(&scratch, &bus.address, &args).expect(0);
    assert_eq!(state(&scratch, "0"), "verified");
    assert_all_is_nobodys(&scratch);
    scratch.cardmint(&["verify", "0", card.path()]).expect(0);
    let log = calls(&scratch.path("udisks.log"));
    assert!(log.contains("OpenDevice"), "{log}");
    assert!(
        log.contains("'auth.no_user_interaction': ('b', True)"),
        "{log}"
    );
    // Again, while another program has it.
    let held = fs::File::options()
        .read(true)
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(card.path())
        .expect("a card");
    as_nobody(&scratch, &bus.address, &args)
        .expect(3)
        .says(&["is in use by another program"]);
    drop(held);
}
