use std::fs;
use std::time::Duration;

use crate::build::Mount;
use crate::harness::{Run, Scratch, base, tool};
use crate::server::{Answer, Content, Server};

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

/// A cache with so much room, on a disk of its own.
fn small_disk(size: &str) -> Option<Mount> {
    let scratch = Scratch::new();
    Mount::new(scratch, &["-t", "tmpfs", "-o", size, "tmpfs"])
}

#[test]
fn what_is_unpacked_on_the_way_takes_no_room_from_what_is_to_come() {
    let Some(mount) = small_disk("size=80M") else {
        return;
    };
    // Unpacks to more than there is room for long before its end.
    let packed = mount.scratch.path("a.img.gz");
    let script = format!(
        "(yes cardmint | head -c 100M; head -c 2M /dev/urandom) | gzip -1 > '{}'",
        packed.display()
    );
    tool("bash", &["-c", &script]).expect(0);
    let server = Server::http();
    let answer = Answer::content(Content::file(&packed)).pause(Duration::from_millis(40));
    server.serve("/a.img.gz", answer);
    let sum = tool("sha256sum", &[packed.to_str().expect("UTF-8")]).stdout;
    let url = server.url("/a.img.gz");
    let fetch = ["images", "fetch", &url, "--sha256", &sum[..64]];
    let run = cramped(&mount, &fetch).expect(0);
    assert!(
        run.stdout.contains("a.img.gz has arrived"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_download_whose_length_nobody_tells_leaves_room_on_the_disk() {
    let Some(mount) = small_disk("size=90M") else {
        return;
    };
    let server = Server::http();
    let noise = Content::Noise {
        seed: 3,
        len: 100 << 20,
    };
    server.serve("/a.img", Answer::content(noise).chunked());
    let url = server.url("/a.img");
    let fetch = ["images", "fetch", &url, "--sha256", &"0".repeat(64)];
    cramped(&mount, &fetch).expect(1).says(&[
        "there is no room for a.img",
        "more is still to come, 64.00 MiB are to stay free",
        "cardmint images prune",
    ]);
    let free = rustix::fs::statvfs(mount.scratch.path("c/mnt")).expect("a file system");
    assert!(free.f_bavail * free.f_frsize > 16 << 20);
}

#[test]
fn a_cache_that_cannot_be_made_is_told_as_such() {
    let scratch = Scratch::cluster("tiny", |text| text);
    fs::create_dir_all(scratch.path("cache/cardmint")).expect("a directory");
    scratch.write("cache/cardmint/blocks", "in its way");
    let run = scratch.cardmint(&["build", "--format", "img.xz"]);
    told(run, "cache/cardmint");
}
