//! `flash`, `replace` and `verify` on what stands in for cards: files full of
//! old bytes, and loop devices where there is root.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{
    Loop, Mounted, Run, Scratch, base, boot_names, boot_text, extract, is_root, partitions, skip,
    tool,
};

pub(crate) const GARBAGE: u8 = 0xa5;

/// A card in a file: `len` bytes, none of them zero.
pub(crate) fn card(scratch: &Scratch, name: &str, len: usize) -> PathBuf {
    let path = scratch.path(name);
    let mut file = File::create(&path).expect("a file");
    for _ in 0..len >> 20 {
        file.write_all(&[GARBAGE; 1 << 20]).expect("room");
    }
    path
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

pub(crate) fn flash(scratch: &Scratch, args: &[&str]) -> Run {
    let all: Vec<&str> = ["flash", "--yes"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    scratch.cardmint(&all)
}

/// The partitions of a card, judged by those who know their file systems.
#[track_caller]
fn judge(scratch: &Scratch, card: &Path) {
    assert_eq!(partitions(card), partitions(&base("trixie-arm64")));
    for (number, judge, args) in [(0, "fsck.vfat", ["-n"]), (1, "e2fsck", ["-fn"])] {
        let part = scratch.path("part");
        extract(card, number, &part);
        let all = [args[0], utf8(&part)];
        tool(judge, &all).expect(0);
    }
}

fn record(scratch: &Scratch) -> toml::Table {
    let text = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    text.parse().expect("TOML")
}

fn state_of(scratch: &Scratch, node: &str) -> String {
    let record = record(scratch);
    let state = &record["card"][node]["state"];
    state.as_str().expect("text").to_owned()
}

fn last_line(run: &Run) -> serde_json::Value {
    let line = run.stdout.lines().last().expect("lines");
    serde_json::from_str(line).expect("a line of JSON")
}

#[test]
fn cards_full_of_old_bytes_hold_sound_file_systems() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let cards = [
        card(&scratch, "a", 160 << 20),
        card(&scratch, "b", 160 << 20),
    ];
    let run = flash(
        &scratch,
        &[
            "--json",
            &format!("0={}", utf8(&cards[0])),
            &format!("raspberrypi1={}", utf8(&cards[1])),
        ],
    )
    .expect(0);
    for (number, path) in cards.iter().enumerate() {
        judge(&scratch, path);
        let marker = boot_text(path, "cardmint.toml");
        assert!(marker.contains(&format!("raspberrypi{number}")), "{marker}");
        assert!(boot_names(path).contains(&"user-data".to_owned()));
        let number = number.to_string();
        let node = format!("raspberrypi{number}");
        scratch.cardmint(&["verify", &node, utf8(path)]).expect(0);
        assert_eq!(state_of(&scratch, &number), "verified");
    }
    let done = last_line(&run);
    assert_eq!(done["event"], "done");
    let image = base("trixie-arm64");
    let len = fs::metadata(image).expect("a base").len();
    for node in done["nodes"].as_array().expect("nodes") {
        assert_eq!(node["result"], "verified");
        // The free blocks were left alone.
        assert!(node["written"].as_u64().expect("a number") < len, "{node}");
    }
    // The card and the image of a node are the same node.
    let flashed = record(&scratch)["node"]["0"].clone();
    scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
    assert_eq!(record(&scratch)["node"]["0"], flashed);
    assert!(scratch.path("c/handover/known_hosts").exists());
}

#[test]
fn a_block_map_tells_what_an_unknown_file_system_uses() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let original = base("trixie-arm64");
    let image = scratch.path("base.img");
    tool("cp", &["--sparse=always", utf8(&original), utf8(&image)]).expect(0);
    // A feature from the future: ext4's INCOMPAT bits, at 0x60 of its superblock.
    let (root, _) = partitions(&image)[1];
    let file = File::options().write(true).open(&image).expect("a base");
    file.write_all_at(&[0xff; 4], root + 1024 + 0x60)
        .expect("written");
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replace(utf8(&original), utf8(&image))).expect("a manifest");
    let written = |name: &str| {
        let path = card(&scratch, name, 160 << 20);
        let run = flash(&scratch, &["0", "--to", utf8(&path), "--json"]).expect(0);
        scratch.cardmint(&["verify", "0", utf8(&path)]).expect(0);
        let written = last_line(&run)["nodes"][0]["written"].as_u64();
        (run, written.expect("a number"))
    };
    let (_, whole) = written("a");
    let map = scratch.path("base.bmap");
    tool("bmaptool", &["create", utf8(&image), "-o", utf8(&map)]).expect(0);
    let (run, mapped) = written("b");
    assert!(
        run.stdout.contains("base.bmap tells what"),
        "{}",
        run.stdout
    );
    assert!(mapped < whole - (3 << 20), "{mapped} of {whole}");
    // The map of something else is told, and left aside.
    file.write_all_at(&[1; 512], root + 512).expect("written");
    let (run, other) = written("other");
    assert!(
        run.stdout.contains("base.bmap is left aside"),
        "{}",
        run.stdout
    );
    assert_eq!(other, whole);
    // One that lists nothing there vouches for nothing.
    let len = fs::metadata(&image).expect("a base").len();
    let text = format!(
        "<bmap version=\"1.2\"><ImageSize>{len}</ImageSize><BlockSize>4096</BlockSize>\
         <BlocksCount>{}</BlocksCount><BlockMap><Range sha1=\"00\">0-100</Range></BlockMap></bmap>",
        len.div_ceil(4096)
    );
    fs::write(&map, text).expect("a map");
    let (run, stale) = written("stale");
    let told = run.stdout.contains("base.bmap is left aside");
    assert!(told && stale == whole, "{stale}: {}", run.stdout);
}

#[test]
fn every_byte_is_written_on_demand() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "a", 160 << 20);
    flash(&scratch, &["0", "--to", utf8(&path), "--full"]).expect(0);
    scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
    let image = fs::read(scratch.path("c/images/raspberrypi0.img")).expect("an image");
    let card = fs::read(&path).expect("a card");
    assert!(card[..image.len()] == image);
    assert!(card[image.len()..].iter().all(|&byte| byte == GARBAGE));
}

#[test]
fn a_second_time_little_is_written_and_other_nodes_are_pointed_out() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "a", 160 << 20);
    flash(&scratch, &["0", "--to", utf8(&path)]).expect(0);
    let again = flash(&scratch, &["0", "--to", utf8(&path), "--json"]).expect(0);
    assert_eq!(last_line(&again)["nodes"][0]["written"], 0);
    // One byte that went wrong since is mended.
    let (root, _) = partitions(&path)[1];
    let file = File::options().write(true).open(&path).expect("a card");
    file.write_all_at(&[1, 2, 3], root + 1024 + 120)
        .expect("written");
    let mended = flash(&scratch, &["0", "--to", utf8(&path), "--json"]).expect(0);
    assert_ne!(last_line(&mended)["nodes"][0]["written"], 0);
    scratch.cardmint(&["verify", "0", utf8(&path)]).expect(0);

    flash(&scratch, &["1", "--to", utf8(&path)])
        .expect(0)
        .says(&["holds raspberrypi0 of this very cluster, not raspberrypi1"]);
    judge(&scratch, &path);
    scratch.cardmint(&["verify", "1", utf8(&path)]).expect(0);
    assert_eq!(state_of(&scratch, "0"), "overwritten");
    assert_eq!(state_of(&scratch, "1"), "verified");
}

#[test]
fn a_stand_in_as_long_as_the_image_is_verified_as_a_card() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let len = fs::metadata(base("trixie-arm64")).expect("a base").len();
    let path = card(&scratch, "a", usize::try_from(len).expect("small"));
    flash(&scratch, &["0", "--to", utf8(&path)]).expect(0);
    scratch.cardmint(&["verify", "0", utf8(&path)]).expect(0);
    scratch.cardmint(&["verify", "1", utf8(&path)]).expect(4);
}

#[test]
fn without_reading_back_the_record_says_so() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "a", 160 << 20);
    let run = flash(&scratch, &["0", "--to", utf8(&path), "--no-verify"]).expect(0);
    assert!(run.stdout.contains("not verified"), "{}", run.stdout);
    assert_eq!(state_of(&scratch, "0"), "unverified");
}

#[test]
fn two_cardmints_do_not_share_a_card() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "a", 160 << 20);
    let held = File::open(&path).expect("a card");
    held.lock().expect("a lock");
    flash(&scratch, &["0", "--to", utf8(&path)])
        .expect(3)
        .says(&["is in use by another program"]);
    assert!(
        fs::read(&path)
            .expect("a card")
            .iter()
            .all(|&byte| byte == GARBAGE)
    );
}

#[test]
fn a_replaced_node_keeps_its_identity_unless_it_is_renewed() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let [old, new] = ["old", "new"].map(|name| card(&scratch, name, 160 << 20));
    scratch
        .cardmint(&["replace", "1", "--yes", "--to", utf8(&new)])
        .expect(2)
        .says(&["was never made"]);
    flash(&scratch, &["1", "--to", utf8(&old)]).expect(0);
    let known_hosts = || fs::read_to_string(scratch.path("c/handover/known_hosts")).expect("hosts");
    let before = known_hosts();
    scratch
        .cardmint(&["replace", "1", "--yes", "--to", utf8(&new)])
        .expect(0);
    assert_eq!(boot_text(&new, "user-data"), boot_text(&old, "user-data"));
    assert_eq!(known_hosts(), before);

    scratch.cardmint(&["build", "--nodes", "1"]).expect(0);
    let renew = [
        "replace",
        "1",
        "--yes",
        "--new-identity",
        "--to",
        utf8(&new),
    ];
    let renewed = scratch.cardmint(&renew).expect(0).stdout;
    let planned = scratch.cardmint(&["plan", "--json", "--nodes", "1"]).json();
    let fingerprint = planned["nodes"][0]["host_key"].as_str().expect("text");
    let (build, image) = (
        "cardmint build --nodes raspberrypi1 --force",
        "images/raspberrypi1.img is of the old identity",
    );
    for said in [fingerprint, "handover/known_hosts", image, build] {
        assert!(renewed.contains(said), "{renewed}");
    }
    scratch.cardmint(&["build", "--nodes", "1"]).expect(3);
    let command: Vec<&str> = build.split(' ').skip(1).collect();
    scratch.cardmint(&command).expect(0);
    assert_ne!(boot_text(&new, "user-data"), boot_text(&old, "user-data"));
    assert_ne!(known_hosts(), before);
    assert_eq!(
        record(&scratch)["node"]["1"]["generation"].as_integer(),
        Some(1)
    );
    scratch.cardmint(&["verify", "1", utf8(&new)]).expect(0);
    scratch.cardmint(&["verify", "1", utf8(&old)]).expect(4);
}

#[test]
fn what_root_makes_in_somebodys_directory_is_theirs() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "a", 160 << 20);
    if !is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    for dir in ["c", "home"] {
        tool("chown", &["-R", "nobody:", utf8(&scratch.path(dir))]).expect(0);
    }
    let cache = scratch.path("home/.cache");
    let mut command = scratch.command(&["flash", "0", "--yes", "--to", utf8(&path)]);
    let run = command.env("XDG_CACHE_HOME", &cache).output();
    Run::of(&run.expect("it runs")).expect(0);
    scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
    let found = tool("find", &[utf8(&scratch.path("c")), utf8(&cache)]).expect(0);
    let found: Vec<&Path> = found.stdout.lines().map(Path::new).collect();
    assert!(found.len() > 9, "{found:?}");
    for path in found {
        let owner = fs::metadata(path).expect("metadata").uid();
        assert_eq!(owner, NOBODY, "{}", path.display());
    }
}

#[test]
fn a_full_disk_under_a_file_is_told() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let Some(disk) = Loop::attach(&scratch.write("disk", vec![0; 40 << 20])) else {
        return;
    };
    tool("mkfs.ext4", &["-q", disk.path()]).expect(0);
    let at = scratch.path("mnt");
    fs::create_dir(&at).expect("a directory");
    let _mounted = Mounted::at(&disk, utf8(&at));
    let path = at.join("card");
    File::create(&path)
        .and_then(|file| file.set_len(160 << 20))
        .expect("a sparse file");
    flash(&scratch, &["0", "--to", utf8(&path), "--full"])
        .expect(1)
        .says(&["its file system is full"]);
    assert_eq!(state_of(&scratch, "0"), "failed");
}

#[test]
fn loop_devices_are_cards_when_that_is_allowed() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    // Somebody wrote an image to it as it came.
    let path = scratch.path("a");
    let image = base("trixie-arm64");
    let pack = "xz -0 --block-size=4MiB -c \"$0\" >\"$1\" && truncate -s 160M \"$1\"";
    tool("sh", &["-c", pack, utf8(&image), utf8(&path)]).expect(0);
    let Some(device) = Loop::attach(&path) else {
        return;
    };
    let verify = ["verify", "0", device.path()];
    let run = scratch.cardmint(&verify).expect(4);
    assert!(run.stdout.contains("begins as xz does"), "{}", run.stdout);
    let run = scratch.cardmint(&["inspect", device.path()]).expect(0);
    let told = run.stdout.contains("nothing boots from this card");
    assert!(told, "{}", run.stdout);
    flash(&scratch, &["0", "--to", device.path()])
        .expect(3)
        .says(&["is a fixed disk", "--allow-fixed"]);
    flash(&scratch, &["0", "--to", device.path(), "--allow-fixed"]).expect(0);
    scratch.cardmint(&["verify", "0", device.path()]).expect(0);
    let listed = scratch.cardmint(&["devices"]).expect(0);
    assert!(
        listed.stdout.contains("raspberrypi0 of c (cardmint)"),
        "{}",
        listed.stdout
    );
    drop(device);
    judge(&scratch, &path);
}

#[test]
fn a_card_is_asked_for_even_where_little_is_to_be_said() {
    // Where no card is: without a question it would take one that is in a reader here.
    let mut no_cards = vec!["unshare", "--mount"];
    if !is_root() {
        no_cards.push("--map-root-user");
    }
    let script = "mount -t tmpfs none /sys/block && exec \"$@\"";
    no_cards.extend(["sh", "-c", script, "sh"]);
    if tool(no_cards[0], &[&no_cards[1..], &["true"]].concat()).code != 0 {
        return skip("hiding the cards that are here takes root, or a namespace of users");
    }
    let scratch = Scratch::new();
    scratch.init(Path::new("practice"), 2);
    for (flag, before) in [("--quiet", ""), ("--verbose", "note: ")] {
        // The guard of the test, not part of it.
        let mut child = Command::new("timeout")
            .args(["--signal=KILL", "120"])
            .args(&no_cards)
            .args([env!("CARGO_BIN_EXE_cardmint"), flag, "flash", "--yes"])
            .current_dir(scratch.path("c"))
            .env("HOME", scratch.path("home"))
            .env("XDG_CACHE_HOME", scratch.path("cache"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("timeout runs");
        let said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let wanted = format!("{before}insert the card for raspberrypi0 (2 to go; Ctrl-C ends)");
        let asked = said.map_while(Result::ok).any(|line| line == wanted);
        let pid = child.id().to_string();
        tool("kill", &["-INT", &pid]).expect(0);
        assert_eq!(child.wait().expect("an end").code(), Some(130));
        assert!(asked, "{flag}");
    }
}
