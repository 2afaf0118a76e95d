use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::harness::tool;
use crate::rig::{until, with_faults};

/// Interrupts a flash at each of these bytes, then flashes again.
fn interrupted(signal: &str, code: Option<i32>, state: &str) {
    for at in 0..3 {
        let mut byte = 0;
        let rig = with_faults(|rig| {
            byte = rig.writes()[at];
            json!({ "stall": [byte, 120] })
        });
        let cards = [
            format!("0={}", rig.bad.path()),
            format!("1={}", rig.good.path()),
        ];
        let args = [
            "flash",
            "--yes",
            "--allow-fixed",
            "--no-probe",
            &cards[0],
            &cards[1],
        ];
        let mut command = rig.scratch.command(&args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let stalled = rig.scratch.path("faults.json.stalled");
        until(&format!("byte {byte} is written"), || stalled.exists());
        tool("kill", &["-s", signal, &child.id().to_string()]).expect(0);
        // What is killed outright may be gone only when its write is over.
        if signal != "KILL" {
            until("the signal is heard", || !is_pending(child.id()));
        }
        rig.scratch.write("faults.json.go", "");
        let status = child.wait().expect("a child");
        assert_eq!(status.code(), code, "at {byte}");
        assert!(rig.bad.is_headless(), "at {byte}");
        assert_eq!(rig.state("0"), state, "at {byte}");
        rig.flash(&[]).expect(0);
        rig.scratch
            .cardmint(&["verify", "0", rig.bad.path()])
            .expect(0);
        assert_eq!(rig.state("0"), "verified");
        rig.assert_good();
    }
}

/// Whether a signal to the process is still to be delivered: proc_pid_status(5).
fn is_pending(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    pending
        .expect("signals")
        .contains(|bit| !"0\t".contains(bit))
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn ctrl_c_leaves_a_card_that_does_not_boot() {
    interrupted("INT", Some(130), "failed");
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn so_does_the_end_of_the_session() {
    interrupted("TERM", Some(130), "failed");
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn killed_outright_the_record_still_says_writing() {
    interrupted("KILL", None, "writing");
}
