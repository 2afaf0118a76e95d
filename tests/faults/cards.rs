use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::base;
use crate::rig::{Rig, until, with_faults};

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_write_error() {
    let rig = with_faults(|rig| json!({ "write_error": rig.used_byte() }));
    rig.flash(&[]).expect(1).says(&[
        "raspberrypi0 on",
        "writing failed at byte",
        "partition 2",
        "another reader",
    ]);
    assert!(rig.bad.is_headless());
    assert_eq!(rig.state("0"), "failed");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_read_error() {
    let rig = with_faults(|rig| json!({ "read_error": rig.used_byte() }));
    rig.flash(&[])
        .expect(1)
        .says(&["reading back failed at byte", "partition 2"]);
    assert!(rig.bad.is_headless());
    assert_eq!(rig.state("0"), "failed");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_bit_that_flips_once_is_written_again() {
    let rig = with_faults(|rig| json!({ "flip": [rig.used_byte(), 1] }));
    let run = rig.flash(&["--no-probe"]).expect(0);
    run.says(&["read back wrong; written once more", "partition 2"]);
    rig.scratch
        .cardmint(&["verify", "0", rig.bad.path()])
        .expect(0);
    assert_eq!(rig.state("0"), "verified");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_bit_that_keeps_flipping_makes_a_bad_card() {
    let rig = with_faults(|rig| json!({ "flip": [rig.used_byte(), 1000] }));
    let byte = format!("byte {} (partition 2) reads back wrong", rig.used_byte());
    rig.flash(&[]).expect(4).says(&[
        "the card is bad",
        &byte,
        "written twice",
        "Use another card",
    ]);
    assert!(rig.bad.is_headless());
    assert_eq!(rig.state("0"), "failed");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_counterfeit_that_wraps_around() {
    for (holds, told) in [(64 << 20, "67.1 MB"), (151 << 19, "79.1 MB")] {
        let rig = Rig::new(&json!({ "holds": holds, "wraps": true }));
        let message = format!("a counterfeit: it claims 268.4 MB and holds about {told}");
        rig.flash(&[]).expect(4).says(&[&message]);
        assert_eq!(rig.state("0"), "failed");
        assert!(rig.bad.is_headless());
        rig.assert_good();
    }
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_counterfeit_that_drops_what_it_cannot_hold() {
    let rig = Rig::new(&json!({ "holds": 40 << 20 }));
    rig.flash(&[])
        .expect(4)
        .says(&["a counterfeit", "and holds about"]);
    rig.assert_good();
    // Without the probe reading back finds it as well.
    rig.flash(&["--no-probe"])
        .expect(4)
        .says(&["the card is bad"]);
    assert!(rig.bad.is_headless());
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_reader_that_drops_off_the_bus_while_writing() {
    let rig = with_faults(|rig| json!({ "die_at_write": rig.used_byte() }));
    let run = rig.flash(&[]).expect(1);
    assert!(run.stderr.contains("raspberrypi0 on"), "{}", run.stderr);
    assert!(rig.bad.is_headless());
    assert_eq!(rig.state("0"), "failed");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_reader_that_drops_off_the_bus_while_reading_back() {
    let rig = with_faults(|rig| json!({ "die_at_read": rig.used_byte() }));
    let run = rig.flash(&[]).expect(1);
    assert!(run.stderr.contains("raspberrypi0 on"), "{}", run.stderr);
    assert_eq!(rig.state("0"), "failed");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_stall_of_half_a_minute_delays_nobody_else() {
    let rig = with_faults(|rig| json!({ "stall": [rig.used_byte(), 30] }));
    let start = Instant::now();
    let run = rig.flash(&["--json"]).expect(0);
    assert!(start.elapsed() > Duration::from_secs(30));
    let last: serde_json::Value =
        serde_json::from_str(run.stdout.lines().last().expect("lines")).expect("JSON");
    let seconds = |index: usize| {
        last["nodes"][index]["writing_seconds"]
            .as_f64()
            .expect("a number")
    };
    assert!(seconds(0) > 29.0, "{last}");
    assert!(seconds(1) < 25.0, "{last}");
    rig.scratch
        .cardmint(&["verify", "0", rig.bad.path()])
        .expect(0);
    assert_eq!(rig.state("0"), "verified");
    rig.assert_good();
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_base_that_turns_out_corrupt_makes_no_good_card() {
    let rig = Rig::new(&json!({}));
    let image = rig.scratch.path("base.img.xz");
    let raw = base("trixie-arm64");
    let xz = Command::new("xz")
        .args(["-T1", "--block-size=4MiB", "-1", "-c"])
        .arg(&raw)
        .output()
        .expect("xz");
    let mut bytes = xz.stdout;
    // Far behind what a plan looks at.
    let at = bytes.len() - 3000;
    bytes[at] ^= 0x40;
    std::fs::write(&image, bytes).expect("a file");
    let manifest = rig.scratch.path("c/cluster.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let text = text.replace(raw.to_str().expect("UTF-8"), image.to_str().expect("UTF-8"));
    std::fs::write(&manifest, text).expect("a manifest");
    rig.flash(&[]).expect(1).says(&["is damaged"]);
    for card in [&rig.bad, &rig.good] {
        assert!(card.is_headless());
    }
    assert_eq!(
        (rig.state("0"), rig.state("1")),
        ("failed".into(), "failed".into())
    );
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn two_cardmints_on_one_card() {
    let rig = Rig::new(&json!({ "delay": 0.3 }));
    let target = format!("0={}", rig.bad.path());
    let args = ["flash", "--yes", "--allow-fixed", "--no-probe", &target];
    let mut first = rig.scratch.command(&args).spawn().expect("it runs");
    // It is noted once the card is open.
    let record = rig.scratch.path("c/cluster.lock");
    until("the card is open", || {
        std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"writing\""))
    });
    assert!(
        first.try_wait().expect("a child").is_none(),
        "too quick to share"
    );
    let second = format!("1={}", rig.bad.path());
    rig.scratch
        .cardmint(&["flash", "--yes", "--allow-fixed", &second])
        .expect(3)
        .says(&["is in use by another program"]);
    assert!(first.wait().expect("a child").success());
    rig.scratch
        .cardmint(&["verify", "0", rig.bad.path()])
        .expect(0);
    assert_eq!(rig.state("0"), "verified");
}
