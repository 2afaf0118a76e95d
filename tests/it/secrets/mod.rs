//! Secrets are found on cards and in the files that are meant to hold them, and nowhere
//! else: not in what is printed, logged, recorded or left behind, whatever goes wrong.

/// Cards that were somebody else's.
mod cards;
/// Programs that cardmint starts.
mod children;
/// What is printed and left when something is wrong.
mod errors;
/// What a dump of the process would hold.
mod memory;
/// Who may read what is made.
mod modes;
mod needles;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use self::needles::{Needles, unpacked};
use crate::harness::{Run, Scratch, boot_file};

const PASSWORD: &str = "tr0ub4dor&3";
const PASSPHRASE: &str = "correct horse battery";
const TOKEN: &str = "K10deadbeefcafe";
const GRAFANA: &str = "l00k-at-my-pis";
/// What `wpa_passphrase net 'correct horse battery'` prints.
const PSK: &str = "5ca3560ccee6eb38439238b5f2d1b8a2dff67a39726e83bb501701aa60172844";

/// Files of a cluster that are meant to hold secrets.
const MEANT: [&str; 6] = [
    "cluster.key",
    "password",
    "wifi.psk",
    "token",
    "grafana",
    "id_ed25519",
];

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
    fs::create_dir(scratch.path("tmp")).expect("a directory");
    scratch
}

/// The command, asked to say as much as it can, with its temporary files where they are
/// looked for.
fn talkative(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = scratch.command(args);
    command
        .env("TMPDIR", scratch.path("tmp"))
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full");
    command
}

fn run(scratch: &Scratch, args: &[&str]) -> Run {
    Run::of(&talkative(scratch, args).output().expect("the binary runs"))
}

#[track_caller]
fn assert_clean(needles: &Needles, what: &str, bytes: &[u8]) {
    let found = needles.found(bytes);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(20_000)]);
    assert!(found.is_empty(), "{found:?} in {what}:\n{text}");
}

#[track_caller]
fn assert_run_clean(needles: &Needles, args: &[&str], run: &Run) {
    assert!(!run.stderr.contains("panicked"), "{args:?}: {}", run.stderr);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_clean(needles, &format!("{args:?}"), said.as_bytes());
}

/// Everything below the scratch directory but images and the files meant for secrets.
#[track_caller]
fn assert_nothing_is_left(needles: &Needles, scratch: &Scratch) {
    let mut looked_at = 0;
    for folder in ["c", "cache", "home", "tmp"] {
        for (path, _) in scratch.snapshot(folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_image = path.starts_with(scratch.path("c/images"))
                && name.contains(".img")
                && [".img", ".img.xz", ".img.zst", ".partial"]
                    .iter()
                    .any(|end| name.ends_with(end));
            if is_image || MEANT.contains(&&*name) {
                continue;
            }
            looked_at += 1;
            assert_clean(needles, &path.display().to_string(), &unpacked(&path));
        }
    }
    assert!(looked_at > 10, "{looked_at} files looked at");
    let left = scratch.snapshot("tmp");
    assert!(left.is_empty(), "left in the temporary directory: {left:?}");
}

/// A card in a file, which holds nothing yet.
fn blank_card(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.path(name);
    let file = fs::File::create(&path).expect("a file");
    file.set_len(160 << 20).expect("room");
    path
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn nothing_printed_or_left_holds_a_secret() {
    for kind in ["trixie-arm64", "bookworm-arm64"] {
        let scratch = cluster(kind);
        let needles = Needles::of(&scratch);
        let card = blank_card(&scratch, "card");
        let shown = match kind {
            "trixie-arm64" => "user-data",
            _ => "firstrun.sh",
        };
        let card = utf8(&card);
        let commands: &[&[&str]] = &[
            &["plan", "-v"],
            &["plan", "--json"],
            &["plan", "--show", shown, "-v"],
            &["plan", "--show", "userconf.txt"],
            &["build", "-v", "--sums", "--imager-manifest"],
            &["build", "--json"],
            &["build", "--force", "--format", "img.xz", "--json"],
            &["build", "--force", "--format", "img.zst", "-v"],
            &["verify", "0", "images/raspberrypi0.img", "-v"],
            &["verify", "0", "images/raspberrypi1.img"],
            &["verify", "0", "images/raspberrypi1.img", "--json"],
            &["verify", "0", "images/raspberrypi0.img.zst"],
            &["flash", "0", "--to", card, "--yes", "-v"],
            &["flash", "1", "--to", card, "--yes", "--json"],
            &["replace", "1", "--to", card, "--yes", "-v"],
            &["verify", "1", card, "--json"],
            &["inspect", "images/raspberrypi0.img", "-v"],
            &["inspect", card, "--json"],
            &["handover", "-v"],
            &["handover", "--json"],
            &["devices", "--json"],
            &["images", "list", "-v"],
            &["images", "verify", "--json"],
            &["images", "prune", "--dry-run", "--json"],
            &["images", "trust", "--json"],
            &["demo", "../demo", "-v"],
            &["completions", "bash"],
            &["man"],
        ];
        for args in commands {
            let run = run(&scratch, args);
            assert!([0, 1, 4].contains(&run.code), "{args:?}: {}", run.stderr);
            assert_run_clean(&needles, args, &run);
        }
        assert_nothing_is_left(&needles, &scratch);
        // Last, because node 1 is another machine then.
        let args = ["replace", "1", "--new-identity", "--to", card, "--yes"];
        assert_run_clean(&needles, &args, &run(&scratch, &args));
        assert_nothing_is_left(&needles, &scratch);
    }
}

#[test]
fn an_interrupted_run_leaves_no_secret_behind() {
    let scratch = cluster("trixie-arm64");
    let needles = Needles::of(&scratch);
    let card = blank_card(&scratch, "card");
    for args in [
        &["build", "-v", "--out", "images"][..],
        &["build", "--force", "--format", "img.xz", "--out", "images"],
        &["flash", "0", "--to", utf8(&card), "--yes", "--full", "-v"],
    ] {
        for pause in [50, 200, 600] {
            let child = talkative(&scratch, args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary runs");
            std::thread::sleep(Duration::from_millis(pause));
            let pid = child.id().to_string();
            crate::harness::tool("kill", &["-INT", &pid]);
            let run = Run::of(&child.wait_with_output().expect("its end"));
            // Without a code, where the signal came before cardmint minded it.
            assert!(
                [-1, 0, 1, 3, 130].contains(&run.code),
                "{args:?}: {}",
                run.stderr
            );
            assert_run_clean(&needles, args, &run);
        }
    }
    assert_nothing_is_left(&needles, &scratch);
}

#[test]
fn password_passphrase_and_cluster_key_never_reach_a_card() {
    for kind in ["trixie-arm64", "bookworm-arm64", "buster"] {
        let scratch = cluster(kind);
        scratch.cardmint(&["build"]).expect(0);
        let bytes = fs::read(scratch.path("c/images/raspberrypi0.img")).expect("an image");
        let mut never = Needles::none();
        never.add("the password", PASSWORD.as_bytes());
        never.add("the passphrase", PASSPHRASE.as_bytes());
        let key = fs::read_to_string(scratch.path("c/cluster.key")).expect("a key");
        let key = hex::decode(key.lines().last().expect("a key")).expect("hex");
        never.add("cluster.key", &key);
        let found = never.found(&bytes);
        assert!(found.is_empty(), "{found:?} on the card of {kind}");
    }
    let scratch = cluster("trixie-arm64");
    scratch.cardmint(&["build"]).expect(0);
    let data = boot_file(&scratch.path("c/images/raspberrypi0.img"), "user-data");
    assert!(
        String::from_utf8_lossy(&data).contains("$6$"),
        "the hash is there"
    );
    assert!(
        !Needles::given().found(&data).is_empty(),
        "the token is there"
    );
}
