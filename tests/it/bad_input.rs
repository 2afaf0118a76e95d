use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Scratch, base, tool};

#[test]
fn every_problem_of_a_manifest_is_told_at_once() {
    let scratch = Scratch::cluster("trixie-arm64", |text| {
        text.replace("count    = 2", "count = 100000\nhostnam = \"x\"")
            .replace("raspberrypi{n}", "node")
            .replace("name = \"pi\"", "name = \"Pi\"\npassword = \"hunter2\"")
            + "\n[wifi]\nssid = \"x\"\npsk = \"secret passphrase\"\n[node.7]\nboard = \"pi-4\"\n"
    });
    let run = scratch.cardmint(&["plan"]).expect(2).says(&[
        "100000 nodes are more than",
        "unknown key `hostnam` in [cluster]",
        "did you mean `hostname`?",
        "would be called `node`",
        "`Pi` is no user name",
        "`password` in [user]",
        "`psk` in [wifi]",
        "[wifi] needs `country`",
        "unknown board `pi-4`",
    ]);
    assert!(
        run.stderr.contains("cluster.toml:7: unknown key `hostnam`"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("hunter2") && !run.stderr.contains("secret passphrase"));
}

#[test]
fn a_private_key_is_refused_as_an_authorized_one() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text.replace(".pub", ""));
    scratch
        .cardmint(&["build"])
        .expect(2)
        .says(&["PRIVATE key", "ends in .pub"]);
    assert!(!scratch.path("c/images").exists());
}

#[test]
fn a_missing_or_foreign_image_is_told_with_advice() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let manifest = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    let image = base("trixie-arm64").display().to_string();
    scratch.write("c/empty.img", "");
    for (name, code, said) in [
        ("gone.img", 2, "there is no image ./gone.img. "),
        ("./gone.img", 2, "there is no image ./gone.img. "),
        ("empty.img", 1, "empty.img: it is empty. "),
        ("raspbian", 2, "there is no such file either; known names: "),
        (
            "raspios-lite-arm46",
            2,
            "did you mean `raspios-lite-arm64`?",
        ),
        ("http://127.0.0.1:1/x.img", 3, "is not encrypted"),
        (".", 1, "is a directory"),
        ("cluster.toml", 1, "no disk image"),
    ] {
        scratch.write("c/cluster.toml", manifest.replace(&image, name));
        scratch.cardmint(&["plan"]).expect(code).says(&[said]);
    }
}

#[test]
fn an_image_that_is_not_a_stock_pi_is_refused() {
    for (kind, code, said) in [
        ("no-boot", 1, "no FAT boot partition"),
        ("not-pi", 1, "without cmdline.txt and config.txt"),
        ("ubuntu", 3, "user-data is already filled in"),
        ("customised", 3, "systemd.run="),
        ("filled", 3, "user-data is already filled in"),
        ("full", 1, "too few"),
    ] {
        let scratch = Scratch::cluster(kind, |text| text);
        let run = scratch.cardmint(&["build"]).expect(code);
        let run = run.says(&[said]);
        assert!(run.stderr.contains(kind), "{}", run.stderr);
        let images = scratch.path("c/images");
        assert!(!images.exists() || fs::read_dir(images).expect("images").count() == 0);
    }
}

#[test]
fn our_own_images_are_no_bases() {
    let scratch = Scratch::cluster("bookworm-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let other = Scratch::new();
    other.init(&scratch.path("c/images/raspberrypi1.img"), 1);
    other
        .cardmint(&["plan"])
        .expect(3)
        .says(&["already made it the card of raspberrypi1"]);
}

#[test]
fn a_board_that_the_base_cannot_boot_is_refused_with_the_right_image() {
    let scratch = Scratch::cluster("trixie-arm64", |text| {
        text + "\n[node.1]\nboard = \"pi-1b\"\n"
    });
    scratch.cardmint(&["plan"]).expect(2).says(&[
        "raspberrypi1: Raspberry Pi 1 B cannot boot",
        "raspios-lite-armhf",
    ]);
    let armhf = Scratch::cluster("trixie-armhf", |text| {
        text + "\n[node.1]\nboard = \"pi-1b\"\n"
    });
    armhf.cardmint(&["plan"]).expect(0);
}

#[test]
fn every_cut_of_an_image_is_refused() {
    let raw = base("trixie-arm64");
    let pack = |command: &str, name: &str| {
        let scratch = Scratch::new();
        let to = scratch.path(name);
        tool(
            "bash",
            &[
                "-c",
                &format!("{command} -c '{}' > '{}'", raw.display(), to.display()),
            ],
        )
        .expect(0);
        fs::read(to).expect("a base")
    };
    for (command, name) in [
        ("cat", "raw"),
        ("xz -0 --block-size=4MiB", "xz"),
        ("gzip -1", "gz"),
        ("zstd -q -1", "zst"),
        ("bzip2 -1", "bz2"),
    ] {
        let bytes = if name == "raw" {
            fs::read(&raw).expect("a base")
        } else {
            pack(command, name)
        };
        for part in [0, 1, 2, 3] {
            let scratch = Scratch::new();
            let cut = scratch.write("base", &bytes[..bytes.len() * part / 4 + 7]);
            scratch.init(&cut, 1);
            let run = scratch.cardmint(&["build"]).expect(1);
            assert!(
                run.stderr.contains("ownload") || run.stderr.contains("no disk image"),
                "{}",
                run.stderr
            );
            let images = scratch.path("c/images");
            assert!(!images.exists() || fs::read_dir(images).expect("images").count() == 0);
        }
    }
}

#[test]
fn a_key_that_is_open_damaged_or_lost_is_refused() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let key = scratch.path("c/cluster.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
    mode(0o644);
    scratch.cardmint(&["plan"]).expect(3).says(&["chmod 600"]);
    mode(0o600);
    let text = fs::read_to_string(&key).expect("a key");
    fs::write(&key, &text[..text.len() - 9]).expect("a key");
    scratch
        .cardmint(&["plan"])
        .expect(1)
        .says(&["damaged", "not 64 hex digits", "copy"]);
    fs::write(&key, &text).expect("a key");
    scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
    let images = scratch.snapshot("c/images");
    fs::remove_file(&key).expect("gone");
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&["is lost", "restore it from a copy"]);
    let other = Scratch::cluster("trixie-arm64", |text| text);
    fs::copy(other.path("c/cluster.key"), &key).expect("another key");
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&["not the key"]);
    assert!(images == scratch.snapshot("c/images"));
}

#[test]
fn a_cluster_cannot_be_renamed_by_accident() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build", "--nodes", "0"]).expect(0);
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(
        &manifest,
        text.replace("name     = \"c\"", "name = \"other\""),
    )
    .expect("a manifest");
    scratch
        .cardmint(&["build"])
        .expect(3)
        .says(&["was called `c`", "now called `other`"]);
}

#[test]
fn names_that_are_not_utf_8_are_paths_like_any_other() {
    let scratch = Scratch::new();
    let name = std::ffi::OsStr::from_bytes(b"cl\xffster");
    let dir = scratch.path("c").join(name);
    let output = scratch
        .command(&["init", "--yes", "--image", "practice"])
        .arg(&dir)
        .output();
    assert!(output.expect("runs").status.success());
    let output = scratch
        .command(&["build", "-C"])
        .arg(&dir)
        .output()
        .expect("runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no ssh_config was made"), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ssh -F"));
    let output = scratch
        .command(&["inspect"])
        .arg(dir.join("images/raspberrypi0.img"))
        .output();
    assert!(output.expect("runs").status.success());
}

#[test]
fn where_there_is_no_cluster_the_way_to_one_is_told() {
    let scratch = Scratch::new();
    for command in [&["plan"][..], &["build"], &["verify", "0", "x"]] {
        scratch
            .cardmint(command)
            .expect(2)
            .says(&["no manifest", "cardmint init"]);
    }
}

#[test]
fn wrong_answers_to_init_leave_nothing_behind() {
    let scratch = Scratch::new();
    for (flag, value, said) in [
        ("--hostname", "bad_{n}", "bad_0"),
        ("--count", "0", "no nodes"),
        ("--user", "root", "root"),
        ("--image", "./typo.img", "no image ./typo.img"),
    ] {
        let args = ["init", "--yes", "sub", flag, value];
        scratch
            .cardmint(&args)
            .expect(2)
            .says(&["nothing was written", said]);
        assert!(!scratch.path("c/sub").exists(), "{flag}");
    }
    scratch.cardmint(&["init", "--yes", "sub"]).expect(0);
}

#[test]
fn a_directory_of_any_name_can_be_a_cluster() {
    let scratch = Scratch::new();
    let long = "long-".repeat(20);
    let cut = &long[..63];
    for (dir, name) in [
        ("2026", "cluster-2026"),
        ("---", "cluster"),
        ("my lab", "my-lab"),
        (&long, cut),
    ] {
        scratch
            .cardmint(&["init", "--yes", "--image", "practice", "--", dir])
            .expect(0);
        let path = scratch.path("c").join(dir).join("cluster.toml");
        let text = fs::read_to_string(path).expect("a manifest");
        assert!(text.contains(&format!("name     = \"{name}\"\n")), "{text}");
    }
}
