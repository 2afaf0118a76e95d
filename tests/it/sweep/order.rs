//! What no `kill` shows: that after a power failure a name stands for all of its bytes.
//! The system calls tell: a file is synced, then renamed, and then its folder is synced.

use std::fs;
use std::path::{Path, PathBuf};

use super::BASE;
use crate::harness::{Run, Scratch, base, has};
use crate::images::Publisher;

/// A system call that matters, with absolute paths.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// The calls of a command, by strace.
fn calls(scratch: &Scratch, command: &std::process::Command) -> Vec<Call> {
    let log = scratch.path("calls");
    let mut traced = std::process::Command::new("strace");
    traced
        .args([
            "-f",
            "-y",
            "-s",
            "4096",
            "-e",
            "trace=fsync,rename,renameat,renameat2",
            "-o",
        ])
        .arg(&log)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(scratch.path("c"))
        .env_clear();
    for (name, value) in command.get_envs() {
        traced.env(name, value.expect("a value"));
    }
    Run::of(&traced.output().expect("strace")).expect(0);
    let text = fs::read_to_string(log).expect("a log");
    let dir = fs::canonicalize(scratch.path("c")).expect("a directory");
    text.lines().filter_map(|line| parse(line, &dir)).collect()
}

/// `123 fsync(4</a/b>) = 0` and `123 rename("a", "b") = 0`.
fn parse(line: &str, dir: &Path) -> Option<Call> {
    let (_, call) = line.trim_start().split_once(char::is_whitespace)?;
    let call = call.trim_start();
    // Split where another thread comes between.
    let call = call.trim_end_matches(" <unfinished ...>");
    if let Some(rest) = call.strip_prefix("fsync(") {
        let (_, path) = rest.split_once('<')?;
        return Some(Call::Sync(path.split('>').next()?.into()));
    }
    if !call.starts_with("rename") || call.ends_with("ENOENT") {
        return None;
    }
    let mut names = call.split('"').skip(1).step_by(2);
    let absolute = |name: &str| dir.join(name.trim_start_matches("./"));
    Some(Call::Rename(
        absolute(names.next()?),
        absolute(names.next()?),
    ))
}

/// Each rename comes after a sync of what is renamed, and before one of its folder.
#[track_caller]
fn assert_ordered(calls: &[Call], wanted: &[&str]) {
    let mut found = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let Call::Rename(from, to) = call else {
            continue;
        };
        found.push(
            to.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
        );
        let is_synced = |path: &Path, calls: &[Call]| {
            calls
                .iter()
                .any(|call| matches!(call, Call::Sync(synced) if synced == path))
        };
        // Cells are found out by their own digest.
        if to.extension().is_none_or(|end| end != "cells") {
            assert!(
                is_synced(from, &calls[..at]),
                "{} is not synced",
                from.display()
            );
        }
        // An unpacked base whose name is lost is unpacked again.
        if !to.parent().is_some_and(|dir| dir.ends_with("spool")) {
            let folder = to.parent().expect("a folder");
            assert!(is_synced(folder, &calls[at..]), "that of {}", to.display());
        }
    }
    for name in wanted {
        assert!(
            found.iter().any(|found| found == name),
            "{name} of {found:?}"
        );
    }
}

#[test]
fn nothing_has_its_name_before_it_is_on_the_disk() {
    if !has("strace") {
        return;
    }
    let scratch = Scratch::new();
    let image = base(BASE);
    let image = image.to_str().expect("UTF-8");
    let traced = |args: &[&str], wanted: &[&str]| {
        assert_ordered(&calls(&scratch, &scratch.command(args)), wanted);
    };
    let init = ["init", "--yes", "--count", "2", "--image", image];
    traced(
        &init,
        &[
            "cluster.key",
            "cluster.toml",
            "id_ed25519",
            "id_ed25519.pub",
        ],
    );
    let images = [
        "raspberrypi0.img",
        "raspberrypi1.img",
        "cluster.lock",
        "ssh_config",
    ];
    traced(&["build"], &images);
    let packed = [
        "raspberrypi1.img.zst",
        "raspberrypi1.img.zst.sha256",
        "cluster.lock",
    ];
    traced(&["build", "--format", "img.zst"], &packed);
    let publisher = Publisher::new();
    let fetch = publisher.command(&["images", "fetch", "raspios-lite-arm64"]);
    let calls = calls(&publisher.scratch, &fetch);
    assert_ordered(&calls, &["note.json"]);
    let is_entry = |call: &Call| matches!(call, Call::Rename(_, to) if to.parent().is_some_and(|dir| dir.ends_with("images")));
    assert!(calls.iter().any(is_entry), "{calls:?}");
}
