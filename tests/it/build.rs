use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Scratch, base, boot_text, tool};

#[test]
fn resumes_by_keeping_what_already_verifies() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build", "--nodes", "1"]).expect(0);
    let inode = |n| {
        fs::metadata(scratch.path(&format!("c/images/raspberrypi{n}.img")))
            .expect("an image")
            .ino()
    };
    let before = inode(1);
    let run = scratch.cardmint(&["build", "--json"]).expect(0);
    let results: Vec<_> = run.json()["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["result"].clone())
        .collect();
    assert_eq!(results, ["built", "kept"]);
    assert_eq!(before, inode(1));
}

#[test]
fn replaces_another_image_only_when_forced() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    fs::create_dir(scratch.path("c/images")).expect("a directory");
    let image = scratch.write("c/images/raspberrypi0.img", "precious");
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&["raspberrypi0.img", "--force replaces it"]);
    assert_eq!(fs::read(&image).expect("a file"), b"precious");
    // The other node's image was made all the same.
    scratch
        .cardmint(&["verify", "1", "images/raspberrypi1.img"])
        .expect(0);
    scratch.cardmint(&["build", "--force"]).expect(0);
    scratch
        .cardmint(&["verify", "0", "images/raspberrypi0.img"])
        .expect(0);
}

#[test]
fn a_changed_manifest_gives_a_new_instance_id_and_the_same_host_key() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let image = scratch.path("c/images/raspberrypi0.img");
    let id = |image: &Path| {
        let meta = boot_text(image, "meta-data");
        meta.lines()
            .find(|line| line.starts_with("instance-id:"))
            .expect("an id")
            .to_owned()
    };
    let (before, known) = (
        id(&image),
        fs::read(scratch.path("c/handover/known_hosts")).expect("hosts"),
    );
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest") + "\n[locale]\nkeymap = \"pt\"\n";
    fs::write(&manifest, text).expect("a manifest");
    scratch.cardmint(&["build"]).expect(3);
    scratch.cardmint(&["build", "--force"]).expect(0);
    assert_ne!(before, id(&image));
    assert_eq!(
        known,
        fs::read(scratch.path("c/handover/known_hosts")).expect("hosts")
    );
}

#[test]
fn two_halves_built_at_the_same_time_are_one_whole() {
    let scratch = Scratch::new();
    scratch.init(&base("bookworm-arm64"), 6);
    let mut halves: Vec<_> = ["0-2", "3-5"]
        .map(|set| {
            scratch
                .command(&["build", "--quiet", "--nodes", set])
                .spawn()
                .expect("runs")
        })
        .into();
    for half in &mut halves {
        assert!(half.wait().expect("ends").success());
    }
    let lock = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    for number in 0..6 {
        assert!(lock.contains(&format!("[node.{number}]")), "{lock}");
        let image = format!("images/raspberrypi{number}.img");
        scratch
            .cardmint(&["verify", &number.to_string(), &image])
            .expect(0);
    }
}

#[test]
fn the_digest_of_an_image_can_be_recomputed_with_standard_tools() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let image = scratch.path("c/images/raspberrypi0.img");
    let script = format!(
        "split -b 4M --filter='sha256sum | cut -c1-64 | xxd -r -p' '{}' | sha256sum | cut -c1-64",
        image.display()
    );
    let digest = tool("bash", &["-c", &script]).expect(0);
    let lock = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    let line = format!("image = \"{}\"", digest.stdout.trim());
    assert!(lock.contains(&line), "{line} is not in {lock}");
}

#[test]
fn an_interrupted_build_leaves_nothing_half_done() {
    let scratch = Scratch::new();
    // Large enough to be caught in the act: 1 GiB of data that does not shrink.
    let big = scratch.path("big.img");
    let script = format!(
        "cp --sparse=always '{}' '{path}' && head -c 1G /dev/urandom >> '{path}'",
        base("trixie-arm64").display(),
        path = big.display()
    );
    tool("bash", &["-c", &script]).expect(0);
    scratch.init(&big, 2);
    let mut child = scratch
        .command(&["build", "--quiet"])
        .spawn()
        .expect("runs");
    let images = scratch.path("c/images");
    let start = Instant::now();
    let begun = || fs::read_dir(&images).is_ok_and(|dir| dir.count() > 0);
    while !begun() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    tool("kill", &["-INT", &child.id().to_string()]).expect(0);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert_eq!(fs::read_dir(&images).expect("a directory").count(), 0);
    // What a power cut leaves is tidied up by the next build.
    fs::write(images.join(".raspberrypi0.img.Ab12Cd.partial"), "rest").expect("a file");
    scratch
        .cardmint(&["build", "--quiet", "--nodes", "0"])
        .expect(0);
    assert_eq!(fs::read_dir(&images).expect("a directory").count(), 1);
}

/// A file system of its own, mounted for the length of a test; needs root.
pub(crate) struct Mount {
    pub(crate) scratch: Scratch,
}

impl Mount {
    pub(crate) fn new(scratch: Scratch, args: &[&str]) -> Option<Self> {
        fs::create_dir(scratch.path("c/mnt")).expect("a directory");
        let target = scratch.path("c/mnt");
        let mut args = args.to_vec();
        args.push(target.to_str().expect("UTF-8"));
        let run = tool("mount", &args);
        if run.code == 0 {
            return Some(Self { scratch });
        }
        assert!(std::env::var_os("CI").is_none(), "{}", run.stderr);
        eprintln!("skipped: mounting needs root: {}", run.stderr);
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let target = self.scratch.path("c/mnt");
        tool("umount", &["-l", target.to_str().expect("UTF-8")]);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let base = base("trixie-arm64");
    let big = scratch.path("big.img");
    let script = format!(
        "cp '{}' '{path}' && head -c 8M /dev/urandom >> '{path}'",
        base.display(),
        path = big.display()
    );
    tool("bash", &["-c", &script]).expect(0);
    scratch.init(&big, 3);
    let Some(mount) = Mount::new(scratch, &["-t", "tmpfs", "-o", "size=20M", "tmpfs"]) else {
        return;
    };
    let run = mount.scratch.cardmint(&["build", "--out", "mnt"]).expect(1);
    run.says(&["mnt is full", "--out"]);
    // What there was room for is complete, and nothing else is there.
    for entry in fs::read_dir(mount.scratch.path("c/mnt")).expect("a directory") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8");
        let node = name.strip_suffix(".img").expect("an image");
        mount
            .scratch
            .cardmint(&["verify", node, &format!("mnt/{name}")])
            .expect(0);
    }
}

#[test]
fn an_image_whose_digest_does_not_fit_beside_it_gets_no_name() {
    let scratch = Scratch::cluster("tiny", |text| text);
    let args = ["build", "--nodes", "0", "--format", "img.xz"];
    scratch.cardmint(&args).expect(0);
    let image = scratch.path("c/images/raspberrypi0.img.xz");
    let len = fs::metadata(image).expect("an image").len();
    let size = format!("size={}", len.next_multiple_of(4096));
    let Some(mount) = Mount::new(scratch, &["-t", "tmpfs", "-o", &size, "tmpfs"]) else {
        return;
    };
    let run = mount
        .scratch
        .cardmint(&[&args[..], &["--out", "mnt"]].concat());
    run.expect(1).says(&["is full"]);
    let left = fs::read_dir(mount.scratch.path("c/mnt")).expect("a directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn clones_where_the_file_system_can() {
    for (mkfs, name) in [("mkfs.btrfs", "btrfs"), ("mkfs.xfs", "xfs")] {
        let scratch = Scratch::new();
        scratch.init(&base("trixie-arm64"), 3);
        let disk = scratch.path("disk");
        let disk = disk.to_str().expect("UTF-8");
        tool("truncate", &["-s", "400M", disk]).expect(0);
        tool(mkfs, &["-q", disk]).expect(0);
        let Some(mount) = Mount::new(scratch, &["-t", name, "-o", "loop", disk]) else {
            return;
        };
        let run = mount.scratch.cardmint(&["build", "--out", "mnt"]).expect(0);
        for number in 0..3 {
            let image = format!("mnt/raspberrypi{number}.img");
            mount
                .scratch
                .cardmint(&["verify", &number.to_string(), &image])
                .expect(0);
        }
        assert!(run.stderr.contains("cloning"), "{}", run.stderr);
        assert_eq!(
            fs::read_dir(mount.scratch.path("c/mnt"))
                .expect("images")
                .count(),
            3
        );
    }
}

#[test]
fn a_base_that_changed_under_its_name_is_told() {
    let scratch = Scratch::new();
    let image = scratch.path("base.img");
    fs::copy(base("tiny"), &image).expect("a base");
    scratch.init(&image, 1);
    scratch.cardmint(&["build"]).expect(0);
    let told = "base.img is not what it was when raspberrypi0 was made before";
    let again = scratch.cardmint(&["build", "--force"]).expect(0);
    assert!(!again.stderr.contains(told), "{}", again.stderr);
    // The last byte belongs to no file.
    let mut bytes = fs::read(&image).expect("a base");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&image, bytes).expect("a base");
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&["differs from the plan"]);
    let forced = scratch.cardmint(&["build", "--force"]);
    forced.expect(0).says(&[told]);
    let card = scratch.write("card", vec![0; 12 << 20]);
    let mut bytes = fs::read(&image).expect("a base");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&image, bytes).expect("a base");
    let target = format!("0={}", card.to_str().expect("UTF-8"));
    let flashed = scratch.cardmint(&["flash", "--yes", &target]);
    flashed.expect(0).says(&[told]);
}
