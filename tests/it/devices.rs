use std::fs;

use crate::harness::{Loop, Mounted, Scratch, base, tool};

fn entry(scratch: &Scratch, path: &str) -> serde_json::Value {
    let told = scratch.cardmint(&["devices", "--json"]).expect(0).json();
    let devices = told["devices"].as_array().expect("an array");
    devices
        .iter()
        .find(|device| device["path"] == path)
        .cloned()
        .expect("the loop device is listed")
}

#[test]
fn loop_device_is_told_and_wants_a_second_word() {
    let scratch = Scratch::new();
    let image = scratch.write("card.img", fs::read(base("trixie-arm64")).expect("a base"));
    let Some(device) = Loop::attach(&image) else {
        return;
    };
    let told = entry(&scratch, device.path());
    assert_eq!(told["kind"], "loop device");
    assert_eq!(told["len"], fs::metadata(&image).expect("a file").len());
    assert_eq!(told["backing"], image.to_str().expect("UTF-8"));
    assert_eq!(told["refusals"][0]["reason"], "fixed", "{told:#}");
    assert_eq!(told["refusals"][1], serde_json::Value::Null);
    let content = told["content"].as_str().expect("text");
    assert!(content.contains("not cardmint's"), "{content}");

    let text = scratch.cardmint(&["devices"]).expect(0).stdout;
    assert!(text.contains("--allow-fixed if you are sure"), "{text}");
}

#[test]
fn mounted_loop_device_is_refused_by_its_mount_point() {
    let scratch = Scratch::new();
    let image = scratch.write("card.img", vec![0; 16 << 20]);
    let Some(device) = Loop::attach(&image) else {
        return;
    };
    assert_eq!(entry(&scratch, device.path())["content"], "nothing (blank)");
    tool("mkfs.ext4", &["-q", "-L", "photos", device.path()]).expect(0);
    let at = scratch.path("mount point");
    fs::create_dir(&at).expect("a directory");
    let at = at.to_str().expect("UTF-8").to_owned();
    let _mounted = Mounted::at(&device, &at);
    let told = entry(&scratch, device.path());
    assert_eq!(told["content"], "ext4 `photos`, without partitions");
    assert_eq!(told["refusals"][0]["reason"], "mounted", "{told:#}");
    assert_eq!(told["refusals"][0]["can_unmount"], false);
    let message = told["refusals"][0]["message"].as_str().expect("text");
    assert!(message.contains(&format!("umount '{at}'")), "{message}");
}

#[test]
fn disk_of_the_running_system_is_never_offered() {
    let scratch = Scratch::new();
    let told = scratch.cardmint(&["devices", "--json"]).expect(0).json();
    let devices = told["devices"].as_array().expect("an array");
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("a table");
    let root = mountinfo
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let source = root.and_then(|line| line.split(" - ").nth(1)?.split(' ').nth(1));
    let Some(device) = devices
        .iter()
        .find(|device| Some(device["path"].as_str().expect("text")) == source)
    else {
        eprintln!("skipped: / is on no whole disk here");
        return;
    };
    assert_eq!(device["refusals"][0]["reason"], "system", "{device:#}");
}
