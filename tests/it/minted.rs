use std::fs;
use std::path::Path;

use crate::harness::{
    Scratch, base, boot_file, boot_names, boot_text, extract, has, node_file, partitions, tool,
};

/// A manifest that asks for nearly everything, with values that bite.
fn full(text: &str) -> String {
    text.replace("sudo = \"nopasswd\"", "password_file = \"password\"\nsudo = \"password\"")
        .replace("password_authentication = false", "password_authentication = true")
        .replace(
            "[first_boot]\nexpand = true",
            "[locale]\ntimezone = \"Europe/Lisbon\"\nkeymap = \"pt\"\nlocale = \"pt_PT.UTF-8\"\n\
             [wifi]\nssid = \"Café \\\"$HOME\\\" \\\\ 🦊\"\npsk_file = \"wifi.psk\"\ncountry = \"PT\"\n\
             hidden = true\n\
             [monitoring]\nnode_exporter = true\nhost = 0\n\
             [boot]\ncmdline = [\"cgroup_enable=memory\"]\nconfig = [\"dtoverlay=disable-bt\"]\n\
             [node.1]\naddress = \"10.0.0.12/24\"\ngateway = \"10.0.0.1\"\ndns = \"10.0.0.1\"\n\
             [first_boot]\npackages = [\"vim\"]\n\
             run = ['''echo \"it's $5\" > '/root/a b' \\ ''']\n\
             files = [{ source = \"motd\", path = \"/etc/motd\" }]\nexpand = true",
        )
}

fn full_cluster(kind: &str) -> Scratch {
    let scratch = Scratch::cluster(kind, |text| full(&text));
    scratch.write("c/motd", "Olá 'mundo' $(reboot)\n");
    scratch.write_secret("c/password", "pass$word'\"\\ with spaces\n");
    scratch.write_secret("c/wifi.psk", "correct horse\n");
    scratch.cardmint(&["build"]).expect(0);
    scratch
}

/// Of each generation those that differ in what is read or written.
pub(crate) const KINDS: [&str; 11] = [
    "buster",
    "bullseye-a",
    "bullseye-a-userconf",
    "bullseye-b",
    "bookworm-arm64",
    "bookworm-armhf",
    "bookworm-2025",
    "trixie-arm64",
    "trixie-armhf",
    "trixie-0",
    "trixie-2025",
];

#[test]
fn every_generation_is_sound_and_keeps_what_was_there() {
    for kind in KINDS {
        let scratch = full_cluster(kind);
        for number in [0, 1] {
            let image = scratch.path(&format!("c/images/raspberrypi{number}.img"));
            judge(&scratch, &base(kind), &image);
        }
    }
}

#[test]
fn odd_file_systems_are_edited_too() {
    for kind in ["gpt", "fat16", "full-size", "booted"] {
        let scratch = full_cluster(kind);
        judge(
            &scratch,
            &base(kind),
            &scratch.path("c/images/raspberrypi1.img"),
        );
    }
}

/// Lets outside judges look at a minted image.
fn judge(scratch: &Scratch, base: &Path, image: &Path) {
    let path = image.to_str().expect("UTF-8");
    tool("sfdisk", &["--verify", path]).expect(0);
    let (fat, root) = (scratch.path("fat"), scratch.path("root"));
    extract(image, 0, &fat);
    let fsck = tool("fsck.vfat", &["-n", fat.to_str().expect("UTF-8")]).expect(0);
    assert!(
        !fsck.stdout.contains("Free cluster summary wrong"),
        "{}",
        fsck.stdout
    );
    extract(image, 1, &root);
    tool("e2fsck", &["-fn", root.to_str().expect("UTF-8")]).expect(0);
    only_the_boot_partition_differs(base, image);
    what_was_there_is_untouched(base, image);
    cmdline_keeps_its_tokens(base, image);
}

fn only_the_boot_partition_differs(base: &Path, image: &Path) {
    let (before, after) = (
        fs::read(base).expect("base"),
        fs::read(image).expect("image"),
    );
    assert_eq!(before.len(), after.len());
    let (offset, len) = partitions(base)[0];
    let end = usize::try_from(offset + len).expect("fits");
    let offset = usize::try_from(offset).expect("fits");
    assert!(
        before[..offset] == after[..offset],
        "something before the boot partition changed"
    );
    assert!(
        before[end..] == after[end..],
        "something behind the boot partition changed"
    );
}

fn what_was_there_is_untouched(base: &Path, image: &Path) {
    const OURS: [&str; 5] = [
        "cmdline.txt",
        "config.txt",
        "user-data",
        "meta-data",
        "network-config",
    ];
    let names = boot_names(base);
    assert!(names.len() > 10, "{names:?}");
    for name in names
        .iter()
        .filter(|name| !name.ends_with('/') && !OURS.contains(&name.as_str()))
    {
        assert!(
            boot_file(base, name) == boot_file(image, name),
            "{name} changed"
        );
    }
    for name in [
        "overlays/disable-bt.dtbo",
        "overlays/a-rather-long-overlay-name.dtbo",
    ] {
        assert!(
            boot_file(base, name) == boot_file(image, name),
            "{name} changed"
        );
    }
}

fn cmdline_keeps_its_tokens(base: &Path, image: &Path) {
    let (before, after) = (
        boot_text(base, "cmdline.txt"),
        boot_text(image, "cmdline.txt"),
    );
    assert_eq!(after.matches('\n').count(), 1, "{after:?}");
    assert!(after.ends_with('\n') && !after.contains("  "), "{after:?}");
    assert!(
        after.starts_with(before.trim_end()),
        "{before:?} -> {after:?}"
    );
    assert!(after.contains(" cgroup_enable=memory"), "{after:?}");
    let added = &after[before.trim_end().len()..];
    assert!(
        !added.contains("firstboot") && !added.contains(" resize"),
        "{added:?}"
    );
}

#[test]
fn cloud_init_accepts_what_it_is_given() {
    if !has("cloud-init") {
        return;
    }
    let scratch = full_cluster("trixie-arm64");
    for number in [0, 1] {
        let image = scratch.path(&format!("c/images/raspberrypi{number}.img"));
        let user_data = scratch.write("user-data", boot_file(&image, "user-data"));
        tool(
            "cloud-init",
            &["schema", "-c", user_data.to_str().expect("UTF-8")],
        )
        .expect(0);
    }
}

#[test]
fn shellcheck_accepts_the_first_run_script() {
    if !has("shellcheck") {
        return;
    }
    for kind in ["buster", "bullseye-b", "bookworm-arm64"] {
        let scratch = full_cluster(kind);
        let image = scratch.path("c/images/raspberrypi1.img");
        let script = scratch.write("firstrun.sh", boot_file(&image, "firstrun.sh"));
        tool("shellcheck", &[script.to_str().expect("UTF-8")]).expect(0);
    }
}

#[test]
fn the_host_key_on_the_card_is_the_one_known_before_power_on() {
    let scratch = full_cluster("bookworm-arm64");
    let known_hosts = scratch.path("c/handover/known_hosts");
    let known = tool("ssh-keygen", &["-lf", known_hosts.to_str().expect("UTF-8")]).expect(0);
    let image = scratch.path("c/images/raspberrypi1.img");
    let key = node_file(&image, "/etc/ssh/cardmint_host_ed25519_key");
    let key = scratch.write_secret("key", std::str::from_utf8(&key).expect("UTF-8"));
    let shown = tool("ssh-keygen", &["-lf", key.to_str().expect("UTF-8")]).expect(0);
    let fingerprint = shown
        .stdout
        .split_whitespace()
        .nth(1)
        .expect("a fingerprint");
    let line = known
        .stdout
        .lines()
        .find(|line| line.contains("raspberrypi1"))
        .expect("the node");
    assert!(line.contains(fingerprint), "{line} lacks {fingerprint}");
}

#[test]
fn ssh_reads_the_handed_over_configuration() {
    let scratch = full_cluster("trixie-arm64");
    let config = scratch.path("c/handover/ssh_config");
    let run = tool(
        "ssh",
        &["-G", "-F", config.to_str().expect("UTF-8"), "raspberrypi1"],
    )
    .expect(0);
    assert!(
        run.stdout.contains("hostname 10.0.0.12\n"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("user pi\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("stricthostkeychecking true\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_same_inputs_make_the_same_bytes_anywhere() {
    let one = full_cluster("trixie-arm64");
    let two = Scratch::new();
    for name in [
        "cluster.toml",
        "cluster.key",
        "motd",
        "password",
        "wifi.psk",
        "id_ed25519.pub",
    ] {
        fs::copy(one.path("c").join(name), two.path("c").join(name)).expect("a copy");
    }
    two.cardmint(&["build", "--nodes", "1", "--out", "elsewhere"])
        .expect(0);
    let (a, b) = (
        one.path("c/images/raspberrypi1.img"),
        two.path("c/elsewhere/raspberrypi1.img"),
    );
    assert!(fs::read(a).expect("image") == fs::read(b).expect("image"));
}
