//! At a terminal: cards that are confirmed, and cards that are waited for.

use std::process::Command;

use serde_json::json;

use crate::harness::{Loop, Run, Scratch, tool};
use crate::rig::{Card, alone, garbage, state};

/// A question, what happens before it is answered, and the answer.
type Step<'a> = (&'a str, &'a str, &'a str);

/// Runs cardmint on a terminal; standard error is in `stdout`, too.
fn answer(scratch: &Scratch, args: &[&str], steps: &[Step<'_>]) -> Run {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/answer.py");
    let command = scratch.command(args);
    let mut python = Command::new("python3");
    python
        .arg(script)
        .arg(json!(steps).to_string())
        .arg(command.get_program())
        .args(args)
        .current_dir(scratch.path("c"))
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Run::of(&python.output().expect("python3"))
}

#[track_caller]
fn shows(run: &Run, code: i32, texts: &[&str]) {
    assert_eq!(run.code, code, "{}", run.stdout);
    for text in texts {
        assert!(run.stdout.contains(text), "no {text:?} in:\n{}", run.stdout);
    }
}

const NAME: Step<'_> = ("Type (loop[0-9]+) to overwrite it", "", r"\1\r");

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_card_that_is_swapped_after_it_was_confirmed() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let card = Card::good(&scratch, "card");
    let other = scratch.path("other");
    garbage(&other);
    let device = card.path().to_owned();
    let swap = format!("losetup -d {device}; losetup {device} {}", other.display());
    let target = format!("0={device}");
    let args = ["flash", "--allow-fixed", &target];
    let run = answer(&scratch, &args, &[NAME, (r"Overwrite \S+\?", &swap, "y")]);
    let texts = [
        "is not the card that it was a moment ago",
        "another card was inserted",
    ];
    shows(&run, 3, &texts);
    let bytes = std::fs::read(&other).expect("a card");
    assert!(
        bytes.iter().all(|&byte| byte == 0xa5),
        "the other card was written"
    );
    let run = answer(&scratch, &args, &[NAME, (r"Overwrite \S+\?", "", "y")]);
    shows(&run, 0, &["something unknown", "verified"]);
}

/// Two files, and two devices that they can be inserted into, in the order in which they
/// are looked at.
fn slots(scratch: &Scratch) -> [(Loop, String); 2] {
    let mut attached = ["a", "b"].map(|name| {
        let file = scratch.path(name);
        garbage(&file);
        let device = Loop::attach(&file).expect("a loop device; the tests need root");
        let insert = format!("losetup {} {}", device.path(), file.display());
        (device, insert)
    });
    for (device, _) in &attached {
        tool("losetup", &["--detach", device.path()]).expect(0);
    }
    attached.sort_by_key(|(device, _)| (device.path().len(), device.path().to_owned()));
    attached
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn card_after_card_as_they_are_inserted() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), (two, second)] = slots(&scratch);
    // Long enough that a busy machine sees the slot empty.
    let again = format!("losetup -d {}; sleep 6; {first}", one.path());
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .2 to go", &first, ""),
            ("Type (loop[0-9]+) to overwrite it", "", "no\r"),
            // A card that was declined is offered when it is inserted again.
            ("nothing was written", &again, ""),
            NAME,
            (r"something unknown\s+[^\n]*Write raspberrypi0 to", "", "y"),
            ("insert the card for raspberrypi1 .1 to go", &second, ""),
            NAME,
            ("Write raspberrypi1 to", "", "y"),
        ],
    );
    shows(&run, 0, &["raspberrypi0", "raspberrypi1", "label it"]);
    for (node, device) in [("0", &one), ("1", &two)] {
        scratch.cardmint(&["verify", node, device.path()]).expect(0);
        assert_eq!(state(&scratch, node), "verified");
    }
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_loop_that_is_ended_keeps_what_is_done() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), _] = slots(&scratch);
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0", &first, ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
            // The card that is still there is not asked for again.
            ("insert the card for raspberrypi1", "sleep 3", "\x03"),
        ],
    );
    shows(
        &run,
        130,
        &["not written: raspberrypi1", "label it raspberrypi0"],
    );
    scratch.cardmint(&["verify", "0", one.path()]).expect(0);
    assert_eq!(state(&scratch, "0"), "verified");
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_card_that_was_too_many_is_there_for_a_node_whose_card_fails() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), (two, second)] = slots(&scratch);
    let both = format!("{first}; {second}");
    let taken_out = format!("losetup -d {}", one.path());
    let run = answer(
        &scratch,
        &["flash", "0", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .1 to go", &both, ""),
            NAME,
            ("Write raspberrypi0 to", &taken_out, "y"),
            ("raspberrypi0 is not on a card", "", ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
        ],
    );
    shows(&run, 0, &["label it raspberrypi0"]);
    scratch.cardmint(&["verify", "0", two.path()]).expect(0);
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_card_that_is_swapped_while_another_is_asked_about_is_seen() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), (two, second)] = slots(&scratch);
    let both = format!("{first}; {second}");
    let third = scratch.path("c/third");
    garbage(&third);
    let device = one.path();
    let swap = format!("losetup -d {device}; losetup {device} {}", third.display());
    // What is typed is shown once more, so each has its own name here.
    let name = format!("Type ({}) to overwrite it", &two.path()["/dev/".len()..]);
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .2 to go", &both, ""),
            ("Type (loop[0-9]+) to overwrite it", "", "no\r"),
            (&name, &swap, r"\1\r"),
            ("Write raspberrypi0 to", "", "y"),
            ("insert the card for raspberrypi1 .1 to go", "", ""),
            NAME,
            ("Write raspberrypi1 to", "", "y"),
        ],
    );
    shows(&run, 0, &["label it raspberrypi1"]);
    for (node, device) in [("0", &two), ("1", &one)] {
        scratch.cardmint(&["verify", node, device.path()]).expect(0);
    }
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn an_older_card_of_a_node_that_was_just_written_may_be_another_node_now() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), (_two, second)] = slots(&scratch);
    let older = scratch.path("a").display().to_string();
    scratch
        .cardmint(&["flash", "--yes", "0", "--to", &older])
        .expect(0);
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .2 to go", &second, ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
            ("insert the card for raspberrypi1 .1 to go", &first, ""),
            ("unless it is an older card", "", ""),
            NAME,
            ("Write raspberrypi1 to", "", "y"),
        ],
    );
    shows(&run, 0, &["label it raspberrypi1"]);
    scratch.cardmint(&["verify", "1", one.path()]).expect(0);
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn whose_card_was_taken_for_another_node_wants_one_again() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(one, first), (two, second)] = slots(&scratch);
    let again = format!("losetup -d {}; {first}", one.path());
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .2 to go", &first, ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
            ("insert the card for raspberrypi1 .1 to go", &again, ""),
            ("holds what was written just now", "", ""),
            NAME,
            ("Write raspberrypi1 to", "", "y"),
            ("raspberrypi0 is on no card any more", "", ""),
            ("insert the card for raspberrypi0 .1 to go", &second, ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
        ],
    );
    shows(&run, 0, &["label it raspberrypi0", "label it raspberrypi1"]);
    for (node, device) in [("0", &two), ("1", &one)] {
        scratch.cardmint(&["verify", node, device.path()]).expect(0);
    }
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_record_that_cannot_be_written_is_no_interruption() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [(_one, first), (_two, second)] = slots(&scratch);
    let spoil = format!("rm cluster.lock; mkdir cluster.lock; {second}");
    let run = answer(
        &scratch,
        &["flash", "--allow-fixed"],
        &[
            ("insert the card for raspberrypi0 .2 to go", &first, ""),
            NAME,
            ("Write raspberrypi0 to", "", "y"),
            ("insert the card for raspberrypi1 .1 to go", &spoil, ""),
            NAME,
            ("Write raspberrypi1 to", "", "y"),
        ],
    );
    shows(
        &run,
        1,
        &["cluster.lock", "not written: raspberrypi1", "raspberrypi0"],
    );
    assert!(!run.stdout.contains("interrupted"), "{}", run.stdout);
}

#[test]
#[ignore = "needs root, nbdkit and FUSE: tests/run faults"]
fn a_mount_in_another_is_unmounted_first() {
    let _slots = alone();
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let card = Card::good(&scratch, "card");
    let device = card.path();
    let removable = format!("/sys/block/{}/removable", &device["/dev/".len()..]);
    let one = scratch.write("one", "1\n");
    let at = scratch.path("mnt");
    let script = format!(
        "mount --bind {one} {removable}
         echo ',8M\n,8M' | sfdisk --quiet {device}
         for n in 1 2; do partx --add --nr $n {device} || true; mkfs.ext4 -q {device}p$n; done
         mkdir {at} && mount {device}p2 {at} && mkdir {at}/boot && mount {device}p1 {at}/boot",
        one = one.display(),
        at = at.display(),
    );
    tool("sh", &["-ec", &script]).expect(0);
    let target = format!("0={device}");
    let run = scratch.cardmint(&["flash", "--yes", "--unmount", "--allow-fixed", &target]);
    tool("umount", &[&removable]).expect(0);
    tool(
        "sh",
        &["-c", &format!("umount -R {} 2>&1 || true", at.display())],
    );
    run.expect(0);
    scratch.cardmint(&["verify", "0", device]).expect(0);
}
