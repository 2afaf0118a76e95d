use std::fs;

use crate::build::Mount;
use crate::harness::{Run, Scratch, base, tool};

/// Runs the binary with a cache that is a disk of its own, in `mnt`.
fn cramped(mount: &Mount, args: &[&str]) -> Run {
    let cache = mount.scratch.path("c/mnt");
    let mut command = mount.scratch.command(args);
    let output = command.env("XDG_CACHE_HOME", cache).output();
    Run::of(&output.expect("cardmint"))
}

/// A cluster whose base does not shrink, and a cache that is smaller than it.
fn on_noise() -> Option<Mount> {
    let scratch = Scratch::new();
    let noise = scratch.path("noise.img");
    let script = format!(
        "cp '{}' '{path}' && head -c 8M /dev/urandom >> '{path}'",
        base("trixie-arm64").display(),
        path = noise.display()
    );
    tool("bash", &["-c", &script]).expect(0);
    scratch.init(&noise, 1);
    Mount::new(scratch, &["-t", "tmpfs", "-o", "size=4M", "tmpfs"])
}

/// What is told is the cache's name and what moves it; `--out` does not.
#[track_caller]
fn told(run: Run, dir: &str) {
    let run = run.expect(1);
    assert!(!run.stderr.contains("--out"), "{}", run.stderr);
    run.says(&[dir, "Free some space there, or set XDG_CACHE_HOME"]);
}

#[test]
fn a_full_cache_is_told_as_such_where_a_base_is_compressed_anew() {
    let Some(mount) = on_noise() else { return };
    for format in ["img.xz", "img.zst"] {
        let run = cramped(&mount, &["build", "--format", format, "--level", "1"]);
        told(run, "c/mnt/cardmint/blocks");
    }
    let cache = mount.scratch.path("c/mnt/cardmint/blocks");
    assert_eq!(fs::read_dir(cache).expect("a cache").count(), 0);
    // Images that need no cache are made all the same.
    cramped(&mount, &["build"]).expect(0);
}

#[test]
fn verify_unpacks_in_the_cache_and_leaves_nothing_there() {
    let Some(mount) = on_noise() else { return };
    let args = ["build", "--format", "img.zst", "--level", "1"];
    mount.scratch.cardmint(&args).expect(0);
    let verify = ["verify", "0", "images/raspberrypi0.img.zst"];
    told(cramped(&mount, &verify), "c/mnt/cardmint/spool");
    let spooled = |cache: &str| {
        let dir = mount.scratch.path(cache).join("cardmint/spool");
        fs::read_dir(dir).expect("a cache").count()
    };
    assert_eq!(spooled("c/mnt"), 0);
    // Nothing goes elsewhere.
    let mut command = mount.scratch.command(&verify);
    let output = command.env("TMPDIR", "/nowhere").output();
    Run::of(&output.expect("cardmint")).expect(0);
    assert_eq!(spooled("cache"), 0);
}

#[test]
fn a_cache_that_cannot_be_made_is_told_as_such() {
    let scratch = Scratch::cluster("tiny", |text| text);
    fs::create_dir_all(scratch.path("cache/cardmint")).expect("a directory");
    scratch.write("cache/cardmint/blocks", "in its way");
    let run = scratch.cardmint(&["build", "--format", "img.xz"]);
    told(run, "cache/cardmint");
}
