use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Scratch, base, boot_file};

const PASSWORD: &str = "tr0ub4dor&3";
const PASSPHRASE: &str = "correct horse battery";
const TOKEN: &str = "K10deadbeefcafe";
const GRAFANA: &str = "l00k-at-my-pis";

fn cluster(kind: &str) -> Scratch {
    let scratch = Scratch::cluster(kind, |text| {
        text.replace(
            "sudo = \"nopasswd\"",
            "password_file = \"password\"\nsudo = \"password\"",
        )
        .replace(
            "[first_boot]",
            "[wifi]\nssid = \"net\"\npsk_file = \"wifi.psk\"\ncountry = \"PT\"\n\
                 [monitoring]\nnode_exporter = true\nhost = 0\ngrafana_password_file = \"grafana\"\n\
                 [first_boot]\n\
                 files = [{ source = \"token\", path = \"/etc/token\", mode = \"0600\" }]",
        )
    });
    scratch.write_secret("c/password", PASSWORD);
    scratch.write_secret("c/wifi.psk", PASSPHRASE);
    scratch.write_secret("c/token", TOKEN);
    scratch.write_secret("c/grafana", GRAFANA);
    scratch
}

/// What must not be found outside of the images: the secrets themselves, what
/// is derived from them, and the key.
fn needles(scratch: &Scratch) -> Vec<String> {
    let key = fs::read_to_string(scratch.path("c/cluster.key")).expect("a key");
    let key = key.lines().last().expect("a key").to_owned();
    let mut needles: Vec<String> = [PASSWORD, PASSPHRASE, TOKEN, GRAFANA, "$6$", "PRIVATE KEY"]
        .map(str::to_owned)
        .into();
    needles.push(key);
    needles
}

#[test]
fn nothing_printed_or_recorded_holds_a_secret() {
    for kind in ["trixie-arm64", "bookworm-arm64"] {
        let scratch = cluster(kind);
        let mut texts = Vec::new();
        for args in [
            &["plan", "-v"][..],
            &["plan", "--json"],
            &["build", "-v"],
            &["build", "--json"],
            &["verify", "0", "images/raspberrypi0.img", "-v"],
            &["verify", "0", "images/raspberrypi1.img", "--json"],
            &["inspect", "images/raspberrypi0.img"],
            &["inspect", "images/raspberrypi0.img", "--json"],
            &["handover"],
            &["handover", "--json"],
            &["status", "-v"],
            &["status", "--json"],
        ] {
            let run = scratch.cardmint(args);
            assert!([0, 1, 4].contains(&run.code), "{args:?}: {}", run.stderr);
            texts.push(run.stdout + &run.stderr);
        }
        for (_, bytes) in scratch
            .snapshot("c/handover")
            .into_iter()
            .chain(scratch.snapshot("cache"))
        {
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        texts.push(fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record"));
        for needle in needles(&scratch) {
            for text in &texts {
                assert!(!text.contains(&needle), "{needle} is in:\n{text}");
            }
        }
    }
}

#[test]
fn files_are_shown_with_their_secrets_masked() {
    for (kind, name) in [
        ("trixie-arm64", "user-data"),
        ("bookworm-arm64", "firstrun.sh"),
    ] {
        let scratch = cluster(kind);
        let shown = scratch.cardmint(&["plan", "--show", name]).expect(0).stdout;
        assert!(shown.len() > 1000);
        for needle in needles(&scratch) {
            assert!(!shown.contains(&needle), "{needle} is in:\n{shown}");
        }
    }
}

#[test]
fn the_passphrase_itself_never_reaches_a_card() {
    for kind in ["trixie-arm64", "bookworm-arm64", "buster"] {
        let scratch = cluster(kind);
        scratch.cardmint(&["build"]).expect(0);
        let bytes = fs::read(scratch.path("c/images/raspberrypi0.img")).expect("an image");
        for secret in [PASSWORD, PASSPHRASE] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is on the card of {kind}");
        }
    }
    let scratch = cluster("trixie-arm64");
    scratch.cardmint(&["build"]).expect(0);
    let data = boot_file(&scratch.path("c/images/raspberrypi0.img"), "user-data");
    assert!(
        String::from_utf8_lossy(&data).contains("$6$"),
        "the hash is there"
    );
}

#[test]
fn only_the_owner_reads_what_holds_secrets_whatever_the_umask() {
    let scratch = Scratch::new();
    let binary = env!("CARGO_BIN_EXE_cardmint");
    let image = base("trixie-arm64");
    let script = format!(
        "umask 000; '{binary}' init --yes --count 2 --image '{}' && '{binary}' build",
        image.display()
    );
    let status = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scratch.path("c"))
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .output()
        .expect("sh");
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    for name in [
        "c/cluster.key",
        "c/id_ed25519",
        "c/images/raspberrypi0.img",
        "cache/cardmint/digests",
    ] {
        let mode = fs::metadata(scratch.path(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}
