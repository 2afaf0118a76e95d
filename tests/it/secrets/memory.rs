use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PASSPHRASE, PSK, cluster, talkative};
use crate::harness::{Scratch, is_root, skip, tool};
use crate::secrets::needles::Needles;

const NODES: usize = 150;

/// `plan` for so many nodes that it has to wait for whoever reads what it prints; by
/// then all is rendered.
fn waiting(scratch: &Scratch) -> Child {
    let mut child = talkative(scratch, &["plan", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let pipe = child.stdout.as_mut().expect("a pipe");
    pipe.read_exact(&mut [0; 1]).expect("a plan");
    // Until the pipe is full.
    let start = Instant::now();
    while !sleeps(child.id()) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

fn sleeps(pid: u32) -> bool {
    let wait = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait.contains("pipe") || state.contains(") S ")
}

/// All that a process could write to and has.
fn memory(pid: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mem = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut bytes = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, rest) = line.split_once('-').expect("a range");
        let end = rest.split(' ').next().expect("an end");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("hex"));
        let mut part = vec![0; usize::try_from(end - start).expect("a length")];
        // Guard pages and the like cannot be read.
        if mem.read_exact_at(&mut part, start).is_ok() {
            bytes.append(&mut part);
        }
    }
    bytes
}

#[test]
fn what_is_no_longer_needed_is_wiped_from_memory() {
    if !is_root() {
        return skip("nobody but root may look at its memory");
    }
    let scratch = cluster("trixie-arm64");
    let manifest = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    let many = manifest.replace("count    = 2", &format!("count    = {NODES}"));
    assert_ne!(manifest, many);
    scratch.write("c/cluster.toml", many);
    let key = fs::read_to_string(scratch.path("c/cluster.key")).expect("a key");
    let key = key.lines().last().expect("a key").to_owned();
    let mut child = waiting(&scratch);
    let memory = memory(child.id());
    child.kill().expect("a process");
    child.wait().expect("its end");
    let count = |secret: &str| {
        let mut needles = Needles::none();
        needles.add(secret, secret.as_bytes());
        needles.places(&memory).count()
    };
    assert!(count(PSK) > 0, "the search does not find what is there");
    assert_eq!(
        count(PASSPHRASE),
        0,
        "the passphrase, of which the key was derived"
    );
    assert_eq!(count(&key), 0, "the text of cluster.key");
    // Each node's hash stands in two files, once in `userconf.txt` and twice in
    // `user-data`; these are there as files and as sectors. Whatever was on its way to
    // them is gone.
    let (hashes, needed) = (count("$6$rounds=5000$"), NODES * 3 * 2);
    // The stack is nobody's to wipe.
    assert!((needed..needed + 10).contains(&hashes), "{hashes} hashes");
}

/// How a process that would wait for ever ends when it is told to dump its memory, once
/// it has said a first line, where it `speaks`.
fn dumps_core(command: &mut Command, speaks: bool, scratch: &Scratch) -> bool {
    let mut child = command
        .current_dir(scratch.path("tmp"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program");
    // Not the shell any more.
    let exe = format!("/proc/{}/exe", child.id());
    let is_shell = || {
        let name = fs::read_link(&exe).unwrap_or_default();
        name.ends_with("sh") || name.ends_with("dash") || name.ends_with("bash")
    };
    for _ in 0..1200 {
        if !is_shell() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!is_shell(), "the program never began");
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("a pipe");
    if speaks {
        let read = BufReader::new(stderr).read_line(&mut said);
        read.expect("a first line");
        assert!(said.contains("raspberrypi"), "{said}");
    }
    tool("kill", &["-ABRT", &child.id().to_string()]).expect(0);
    let status = child.wait().expect("its end");
    assert_eq!(status.signal(), Some(6), "{status}");
    status.core_dumped()
}

#[test]
fn a_crash_writes_no_secret_to_a_core_dump() {
    let scratch = cluster("trixie-arm64");
    let with_limit = |words: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"])
            .args(words);
        command
    };
    if !dumps_core(&mut with_limit(&["sleep", "60"]), false, &scratch) {
        eprintln!("skipped: this system writes no core dumps");
        return;
    }
    let (binary, dir) = (env!("CARGO_BIN_EXE_cardmint"), scratch.path("c"));
    let dir = dir.to_str().expect("UTF-8");
    let mut cardmint = with_limit(&[binary, "-C", dir, "status", "--wait", "60s"]);
    assert!(!dumps_core(cardmint.process_group(0), true, &scratch));
}
