use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cardmint::base::read_at::RawFile;
use cardmint::layout::{Disk, UsedMap};

use crate::flash::{card, flash, utf8};
use crate::harness::{Scratch, base, partitions, tool};

fn built() -> Scratch {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    scratch
}

fn flip(image: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(image)
        .expect("an image");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("a byte");
}

#[test]
fn says_so_when_every_byte_is_as_planned() {
    let scratch = built();
    let run = scratch
        .cardmint(&["verify", "raspberrypi1", "images/raspberrypi1.img"])
        .expect(0);
    assert!(
        run.stdout
            .contains("exactly what is planned for raspberrypi1"),
        "{}",
        run.stdout
    );
}

#[test]
fn names_the_file_that_differs() {
    let scratch = built();
    let image = scratch.path("c/images/raspberrypi1.img");
    let bytes = fs::read(&image).expect("an image");
    let at = bytes
        .windows(13)
        .rposition(|text| text == b"#cloud-config")
        .expect("user-data");
    flip(&image, at as u64 + 100);
    let run = scratch
        .cardmint(&["verify", "1", "images/raspberrypi1.img"])
        .expect(4);
    assert!(run.stdout.contains("user-data differs"), "{}", run.stdout);
    assert!(run.stdout.contains("the boot partition"), "{}", run.stdout);
}

#[test]
fn names_the_region_that_differs() {
    let scratch = built();
    let image = scratch.path("c/images/raspberrypi1.img");
    let (root, len) = partitions(&image)[1];
    flip(&image, root + len - 1);
    flip(&image, 5000);
    let run = scratch
        .cardmint(&["verify", "1", "images/raspberrypi1.img", "--json"])
        .expect(4);
    let report = run.json();
    let places: Vec<&str> = report["regions"]
        .as_array()
        .expect("regions")
        .iter()
        .filter_map(|r| r["place"].as_str())
        .collect();
    assert_eq!(places, ["outside the partitions", "partition 2"]);
    assert_eq!(report["files"].as_array().map(Vec::len), Some(0));
}

#[test]
fn finds_what_is_short_and_takes_what_is_long_for_a_card() {
    let scratch = built();
    let image = scratch.path("c/images/raspberrypi0.img");
    let path = image.to_str().expect("UTF-8");
    tool("truncate", &["-s", "+4096", path]).expect(0);
    let run = scratch.cardmint(&["verify", "0", path]).expect(0);
    assert!(
        run.stdout.contains("every block that the image uses"),
        "{}",
        run.stdout
    );
    tool("truncate", &["-s", "-8192", path]).expect(0);
    let args = ["verify", "0", path, "--json"];
    let report = scratch.cardmint(&args).expect(4).json();
    let regions = report["regions"].as_array().expect("regions");
    assert_eq!(regions.len(), 1, "{report}");
    let len = fs::metadata(&image).expect("an image").len();
    assert_eq!(regions[0]["offset"], len);
    tool("truncate", &["-s", "0", path]).expect(0);
    scratch.cardmint(&["verify", "0", path]).expect(4);
}

#[test]
fn a_card_that_ends_before_the_image_differs_also_where_that_is_free() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let source = fs::File::open(base("trixie-arm64")).and_then(RawFile::new);
    let source = source.expect("a base");
    let disk = Disk::read(&source).expect("partitions");
    let used = UsedMap::read(&source, &disk).expect("a map");
    let end = used.ranges().last().expect("something used").end;
    assert!(end < disk.len, "nothing is free at the end");
    let path = card(&scratch, "card", 160 << 20);
    flash(&scratch, &["0", "--to", utf8(&path)]).expect(0);
    let file = OpenOptions::new().write(true).open(&path).expect("a card");
    file.set_len(end).expect("a shorter one");
    let args = ["verify", "0", utf8(&path), "--json"];
    let report = scratch.cardmint(&args).expect(4).json();
    assert_eq!(report["regions"][0]["offset"], end);
    assert_eq!(report["regions"][0]["len"], disk.len - end);
}

#[test]
fn a_card_that_an_image_was_written_to_without_unpacking_it_differs() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let path = card(&scratch, "card", 160 << 20);
    flash(&scratch, &["0", "--to", utf8(&path)]).expect(0);
    let build = ["build", "--nodes", "0", "--format", "img.xz"];
    scratch.cardmint(&build).expect(0);
    let mut bytes = fs::read(scratch.path("c/images/raspberrypi0.img.xz")).expect("an image");
    bytes.resize(160 << 20, 0);
    fs::write(&path, bytes).expect("a card");
    let run = scratch.cardmint(&["verify", "0", utf8(&path)]).expect(4);
    assert!(
        run.stdout.contains("it begins as xz does"),
        "{}",
        run.stdout
    );
}

#[test]
fn whoever_closed_the_pipe_gets_the_exit_code() {
    let scratch = built();
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = scratch.command(args);
        let status = command.stdout(writer).status().expect("cardmint");
        status.code()
    };
    let (own, other) = ("images/raspberrypi0.img", "images/raspberrypi1.img");
    for json in [&["--json"][..], &[]] {
        let verify = |image| unread(&[&["verify", "0", image], json].concat());
        assert_eq!((verify(own), verify(other)), (Some(0), Some(4)));
        assert_eq!(unread(&[&["plan"], json].concat()), Some(0));
        // What was made before one more byte could be told.
        fs::remove_file(scratch.path("c/images/raspberrypi0.img")).expect("an image");
        assert_eq!(unread(&[&["build"], json].concat()), Some(0));
        fs::write(scratch.path("c/images/raspberrypi0.img"), "").expect("an image");
        assert_eq!(unread(&[&["build"], json].concat()), Some(3));
        assert_eq!(unread(&[&["build", "--force"], json].concat()), Some(0));
    }
}

#[test]
fn a_compressed_image_that_is_damaged_differs() {
    let scratch = Scratch::cluster("tiny", |text| text);
    for format in ["img.xz", "img.zst"] {
        let build = ["build", "--nodes", "0", "--format", format];
        scratch.cardmint(&build).expect(0);
        let name = format!("images/raspberrypi0.{format}");
        let verify = ["verify", "0", &name];
        scratch.cardmint(&verify).expect(0);
        let image = scratch.path(&format!("c/{name}"));
        let sound = fs::read(&image).expect("an image");
        let mut flipped = sound.clone();
        flipped[sound.len() / 2] ^= 1;
        for damaged in [&flipped, &sound[..sound.len() / 2]] {
            fs::write(&image, damaged).expect("an image");
            let run = scratch.cardmint(&verify).expect(4);
            let advice = format!("`cardmint build --nodes raspberrypi0 --format {format} --force`");
            for text in ["is damaged, and not what is planned", &advice] {
                assert!(run.stdout.contains(text), "{}", run.stdout);
            }
            assert!(!run.stdout.contains("ownload"), "{}", run.stdout);
            let args = [&verify[..], &["--json"]].concat();
            let report = scratch.cardmint(&args).expect(4).json();
            assert_eq!(report["result"], "different");
            assert!(report["damage"].is_string(), "{report}");
        }
        // What is advised helps.
        scratch
            .cardmint(&[&build[..], &["--force"]].concat())
            .expect(0);
        let args = [&verify[..], &["--json"]].concat();
        let report = scratch.cardmint(&args).expect(0).json();
        assert!(report["damage"].is_null(), "{report}");
    }
}

#[test]
fn a_damaged_base_is_no_difference() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let base = base("trixie-arm64");
    let own = scratch.path("own.img.xz");
    let pack = format!(
        "xz -T2 --block-size=1MiB -1 -c '{}' > '{}'",
        base.display(),
        own.display()
    );
    tool("sh", &["-c", &pack]).expect(0);
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let [from, to] = [&base, &own].map(|path| path.to_str().expect("UTF-8"));
    fs::write(&manifest, text.replace(from, to)).expect("a manifest");
    let build = ["build", "--nodes", "0", "--format", "img.xz"];
    scratch.cardmint(&build).expect(0);
    flip(&own, fs::metadata(&own).expect("a base").len() * 9 / 10);
    let run = scratch.cardmint(&["verify", "0", "images/raspberrypi0.img.xz"]);
    run.expect(1)
        .says(&["own.img.xz is damaged", "Download it again"]);
}

#[test]
fn one_node_is_not_another() {
    let scratch = built();
    let run = scratch
        .cardmint(&["verify", "0", "images/raspberrypi1.img"])
        .expect(4);
    assert!(
        run.stdout.contains("cardmint.toml differs"),
        "{}",
        run.stdout
    );
    scratch
        .cardmint(&["verify", "9", "images/raspberrypi1.img"])
        .expect(2)
        .says(&["0 to 1"]);
    scratch
        .cardmint(&["verify", "0", "nowhere.img"])
        .expect(2)
        .says(&["nowhere.img"]);
}

#[test]
fn what_can_be_no_image_is_told_before_anything_is_read() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    for command in ["verify 1 .", "inspect ."] {
        let args: Vec<&str> = command.split(' ').collect();
        let run = scratch.cardmint(&args).expect(2);
        run.says(&[". is a directory; give an image or a card"]);
    }
    scratch.write("c/empty.img", "");
    let run = scratch.cardmint(&["verify", "1", "empty.img"]).expect(4);
    assert!(run.stdout.contains("empty.img is empty"), "{}", run.stdout);
    let run = scratch.cardmint(&["inspect", "empty.img"]).expect(1);
    run.says(&["empty.img: it is empty"]);
    let pipe = scratch.path("c/pipe");
    tool("mkfifo", &[pipe.to_str().expect("UTF-8")]).expect(0);
    // Somebody who could write: without one, whoever opens it waits for ever.
    let _writer = OpenOptions::new().read(true).write(true).open(&pipe);
    for command in ["verify 1 pipe", "inspect pipe"] {
        let args: Vec<&str> = command.split(' ').collect();
        let run = scratch.cardmint(&args).expect(2);
        run.says(&["pipe is neither a file nor a block device; give an image or a card"]);
    }
}

#[test]
fn a_path_that_cannot_be_looked_up_is_not_told_as_missing() {
    let image = base("tiny");
    let image = image.to_str().expect("UTF-8");
    let scratch = Scratch::cluster("tiny", |text| text.replace(image, "loop.img"));
    let told = |args: &[&str]| {
        let run = scratch.cardmint(args).expect(1);
        assert!(!run.stderr.contains("there is no"), "{}", run.stderr);
        run.says(&["reading", "loop.img", "Too many levels of symbolic links"]);
    };
    std::os::unix::fs::symlink("loop.img", scratch.path("c/loop.img")).expect("a link");
    told(&["verify", "1", "loop.img"]);
    told(&["inspect", "loop.img"]);
    told(&["plan"]);
}
