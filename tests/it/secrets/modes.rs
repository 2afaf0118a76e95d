use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{blank_card, cluster, utf8};
use crate::harness::{Run, Scratch, base};

/// Permission bits of everything below a folder, and of itself.
fn modes(folder: &Path, found: &mut BTreeMap<String, u32>) {
    let metadata = fs::symlink_metadata(folder).expect("metadata");
    if metadata.is_symlink() {
        return;
    }
    let mode = metadata.permissions().mode() & 0o7777;
    found.insert(utf8(folder).to_owned(), mode);
    if metadata.is_dir() {
        for entry in fs::read_dir(folder).expect("a directory") {
            modes(&entry.expect("an entry").path(), found);
        }
    }
}

/// Runs cardmint as somebody whose umask takes nothing away.
fn openly(scratch: &Scratch, args: &[&str]) -> Run {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_cardmint");
    command
        .args(["-c", "umask 000; exec \"$@\"", "sh", binary])
        .args(args)
        .current_dir(scratch.path("c"))
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .env("TMPDIR", scratch.path("tmp"))
        .env("CARDMINT_OS_LIST", "https://127.0.0.1:1/list.json");
    Run::of(&command.output().expect("sh"))
}

/// What may hold secrets is its owner's alone; nothing can be written by others.
#[track_caller]
fn judge(found: &BTreeMap<String, u32>, scratch: &Scratch) {
    let root = scratch.path("");
    for (path, mode) in found {
        let name = path.strip_prefix(utf8(&root)).unwrap_or(path);
        let last = name.rsplit('/').next().unwrap_or(name);
        let is_image = name.contains("/images/")
            && last.contains(".img")
            && !last.ends_with(".bmap")
            && !last.ends_with(".sha256");
        let is_secret = is_image
            || ["cluster.key", "id_ed25519", "wifi.psk"].contains(&last)
            || last.contains(".partial")
            || name.starts_with("cache/");
        let forbidden = if is_secret { 0o077 } else { 0o002 };
        assert_eq!(mode & forbidden, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn only_the_owner_reads_what_holds_secrets_whatever_the_umask() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("tmp")).expect("a directory");
    let image = base("trixie-arm64");
    let xz = scratch.path("base.img.gz");
    let packed = fs::File::create(&xz).expect("a file");
    let gzip = Command::new("gzip")
        .args(["-1", "-c", utf8(&image)])
        .stdout(packed)
        .status();
    assert!(gzip.expect("gzip").success());
    let card = blank_card(&scratch, "card");
    for args in [
        &["init", "--yes", "--count", "2", "--image", utf8(&xz)][..],
        &["plan"],
        &["build", "--sums", "--imager-manifest"],
        &["build", "--force", "--format", "img.xz", "--nodes", "0"],
        &[
            "build",
            "--force",
            "--format",
            "img.zst",
            "--out",
            "deep/er/images",
        ],
        &["flash", "0", "--to", utf8(&card), "--yes"],
        &["handover"],
        &["demo", "../c/demo"],
        &["man", "manual"],
        &["init", "--yes", "other"],
    ] {
        openly(&scratch, args).expect(0);
    }
    openly(&scratch, &["images", "verify"]);
    let mut found = BTreeMap::new();
    for folder in ["c", "cache", "tmp"] {
        // The folders themselves are the test's.
        for entry in fs::read_dir(scratch.path(folder)).expect("a directory") {
            modes(&entry.expect("an entry").path(), &mut found);
        }
    }
    for name in [
        "c/cluster.key",
        "c/id_ed25519",
        "c/images/raspberrypi0.img",
        "c/images/raspberrypi0.img.xz",
        "c/images/raspberrypi0.img.xz.bmap",
        "c/deep/er/images/raspberrypi1.img.zst",
        "c/other/cluster.key",
        "c/demo/cluster.key",
        "c/handover/known_hosts",
        "c/cluster.lock",
        "cache/cardmint/digests",
        "cache/cardmint/spool",
    ] {
        assert!(
            found.contains_key(utf8(&scratch.path(name))),
            "{name} is missing: {found:#?}"
        );
    }
    judge(&found, &scratch);
}

/// Temporary files are made in their last place, beside what others may read.
#[test]
fn images_in_the_making_are_their_owners_alone() {
    let scratch = cluster("bookworm-arm64");
    let mut child = scratch
        .command(&["build"])
        .spawn()
        .expect("the binary runs");
    let mut seen = BTreeMap::new();
    while child.try_wait().expect("a process").is_none() {
        let Ok(folder) = fs::read_dir(scratch.path("c/images")) else {
            continue;
        };
        for entry in folder.flatten() {
            // It may have got its name meanwhile.
            if let Ok(metadata) = entry.metadata() {
                let mode = metadata.permissions().mode() & 0o7777;
                seen.insert(utf8(&entry.path()).to_owned(), mode);
            }
        }
    }
    assert!(
        seen.keys().any(|path| path.contains(".partial")),
        "{seen:?}"
    );
    judge(&seen, &scratch);
}
