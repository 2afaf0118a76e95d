//! `expand.sh`, run.

use super::machine::Machine;
use crate::provision::Templates;

const EXPAND: &str = "/usr/local/sbin/cardmint-expand";

fn machine() -> Machine {
    let machine = Machine::new();
    let (_, text) = Templates::all()
        .find(|(name, _)| *name == "expand.sh")
        .unwrap();
    machine.write(EXPAND, text.as_bytes());
    machine
}

fn said(machine: &Machine) -> (bool, String) {
    let output = machine.run(EXPAND);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), text.trim_end().to_owned())
}

#[test]
fn a_small_partition_grows_to_the_end_of_the_card() {
    let machine = machine();
    let expected = "/dev/mmcblk0p2 grown; the file system fills /dev/mmcblk0p2";
    assert_eq!(said(&machine), (true, expected.to_owned()));
    assert_eq!(
        machine.read("/sfdisk"),
        format!(",{}\n", 60_000_000 - 1_064_960)
    );
    let calls = machine.calls();
    assert!(
        calls.contains("sfdisk -N 2 --no-reread --force /dev/mmcblk0\n"),
        "{calls}"
    );
    assert!(
        calls.contains("partx --update --nr 2 /dev/mmcblk0\n"),
        "{calls}"
    );
}

#[test]
fn a_full_card_is_left_as_it_is() {
    let machine = machine();
    machine.disk_sectors(1_064_960 + 5_000_000 + 16_384);
    assert_eq!(
        said(&machine),
        (true, "the file system fills /dev/mmcblk0p2".to_owned())
    );
    assert!(!machine.has("/sfdisk"));
}

#[test]
fn an_mbr_ends_at_two_tebibytes() {
    let machine = machine();
    machine.disk_sectors(8_000_000_000);
    assert!(said(&machine).0);
    assert_eq!(
        machine.read("/sfdisk"),
        format!(",{}\n", u32::MAX - 1_064_960)
    );
}

#[test]
fn a_partition_behind_the_root_is_not_overwritten() {
    let machine = machine();
    machine.write("/sys/devices/mmcblk0/mmcblk0p3/start", b"9000000\n");
    let (ok, text) = said(&machine);
    assert!(
        ok && text.starts_with("another partition follows"),
        "{text}"
    );
    assert!(!machine.has("/sfdisk"));
}

#[test]
fn a_resize_already_under_way_is_waited_for() {
    let machine = machine();
    machine.write("/busy", b"");
    assert!(said(&machine).0);
    let calls = machine.calls();
    assert_eq!(
        calls.matches("resize2fs").count(),
        3,
        "one is named to systemctl: {calls}"
    );
}
