use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Scratch, base, tool};

/// Compresses the base with `command`, under a name that says nothing.
fn packed(scratch: &Scratch, command: &str) -> PathBuf {
    let to = scratch.path("base.bin");
    let script = format!("{command} > '{}'", to.display());
    tool("bash", &["-euo", "pipefail", "-c", &script]).expect(0);
    to
}

fn image_of(base: &Path, key: &[u8]) -> (Scratch, Vec<u8>) {
    let scratch = Scratch::new();
    scratch.init(base, 1);
    fs::write(scratch.path("c/cluster.key"), key).expect("a key");
    // The login key differs from run to run; the images shall not.
    scratch.write("c/id_ed25519.pub", KEY);
    scratch.cardmint(&["build", "--quiet"]).expect(0);
    let bytes = fs::read(scratch.path("c/images/raspberrypi0.img")).expect("an image");
    (scratch, bytes)
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ a\n";

#[test]
fn every_format_gives_the_same_image_and_is_known_by_its_bytes() {
    let raw = base("trixie-arm64");
    let scratch = Scratch::new();
    scratch.init(&raw, 1);
    let key = fs::read(scratch.path("c/cluster.key")).expect("a key");
    let (_scratch, wanted) = image_of(&raw, &key);
    let path = raw.display();
    for command in [
        format!("xz -1 --block-size=4MiB -c '{path}'"),
        format!("xz -1 --block-size=4MiB -C sha256 -c '{path}'"),
        format!("xz -0 -c '{path}'"),
        format!("{{ head -c 20M '{path}' | xz -0; tail -c +20971521 '{path}' | xz -0; }}"),
        format!("gzip -1 -c '{path}'"),
        format!("zstd -q -1 -c '{path}'"),
        format!("bzip2 -1 -c '{path}'"),
        format!("(cd \"$(dirname '{path}')\" && zip -q -1 - trixie-arm64.img)"),
    ] {
        let scratch = Scratch::new();
        let (_built, found) = image_of(&packed(&scratch, &command), &key);
        assert!(found == wanted, "{command}");
    }
}

#[test]
fn a_spooled_base_is_unpacked_once() {
    let raw = base("trixie-arm64");
    let scratch = Scratch::new();
    let gz = packed(&scratch, &format!("gzip -1 -c '{}'", raw.display()));
    scratch.init(&gz, 1);
    let first = scratch.cardmint(&["plan"]).expect(0);
    assert!(first.stderr.contains("unpacking"), "{}", first.stderr);
    let second = scratch.cardmint(&["plan"]).expect(0);
    assert!(!second.stderr.contains("unpacking"), "{}", second.stderr);
}

#[test]
fn a_digest_matches_the_file_or_its_contents() {
    let raw = base("trixie-arm64");
    let sha256 = |path: &Path| {
        let run = tool("sha256sum", &[path.to_str().expect("UTF-8")]).expect(0);
        run.stdout
            .split_whitespace()
            .next()
            .expect("a digest")
            .to_owned()
    };
    let scratch = Scratch::new();
    let xz = packed(
        &scratch,
        &format!("xz -1 --block-size=4MiB -c '{}'", raw.display()),
    );
    scratch.init(&xz, 1);
    let manifest = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    for digest in [sha256(&xz), sha256(&raw)] {
        let text = manifest.replace("count    =", &format!("sha256 = \"{digest}\"\ncount    ="));
        scratch.write("c/cluster.toml", text);
        scratch.cardmint(&["plan"]).expect(0);
    }
    let wrong = "0".repeat(64);
    let text = manifest.replace("count    =", &format!("sha256 = \"{wrong}\"\ncount    ="));
    scratch.write("c/cluster.toml", text);
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&[&wrong, &sha256(&xz), &sha256(&raw)]);
    assert!(!scratch.path("c/images").exists());
}

#[test]
fn a_note_of_the_cache_that_rotted_counts_for_nothing() {
    let scratch = Scratch::cluster("tiny", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let record = || fs::read(scratch.path("c/cluster.lock")).expect("a record");
    let (note, text) = scratch.snapshot("cache/cardmint/digests").remove(0);
    let text = String::from_utf8(text).expect("JSON");
    let at = text.find("\"raw\":\"").expect("a digest") + "\"raw\":\"".len();
    let other = if text[at..].starts_with('0') {
        "1"
    } else {
        "0"
    };
    let mut rotten = text;
    rotten.replace_range(at..=at, other);
    let before = record();
    fs::write(&note, rotten).expect("a note");
    let run = scratch.cardmint(&["build", "--force"]).expect(0);
    assert!(record() == before, "{}", run.stderr);
}
