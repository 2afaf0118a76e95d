//! What `build` tells and leaves where something around it fails.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::harness::{Run, Scratch, base, tool};

/// Runs a command whose standard output nobody reads.
fn unread(command: &mut Command) -> Run {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Run::of(&command.stdout(writer).output().expect("the binary runs"))
}

#[test]
fn whoever_closes_the_pipe_still_gets_the_images_and_the_exit_code() {
    // Without a gateway, there is a note before anything is built.
    let scratch = Scratch::cluster("trixie-arm64", |text| {
        text + "\n[node.1]\naddress = \"10.0.0.5/24\"\n"
    });
    let note = scratch.cardmint(&["plan"]).expect(0).stdout;
    assert!(note.contains("note: "), "{note}");
    for more in [&[][..], &["--json"]] {
        let args = [&["build"], more].concat();
        unread(&mut scratch.command(&args)).expect(0);
        let image = scratch.path("c/images/raspberrypi1.img");
        assert!(image.exists(), "{more:?}");
        scratch.write("c/images/raspberrypi0.img", "another one");
        unread(&mut scratch.command(&args))
            .expect(3)
            .says(&["raspberrypi0.img exists and differs from the plan"]);
        fs::remove_dir_all(scratch.path("c/images")).expect("a folder");
    }
}

#[test]
fn a_base_is_not_replaced_by_an_image_made_of_it() {
    let scratch = Scratch::new();
    let image = scratch.path("c/raspberrypi0.img");
    fs::copy(base("trixie-arm64"), &image).expect("a base");
    scratch.init(&image, 2);
    let before = fs::read(&image).expect("a base");
    for more in [&[][..], &["--force"]] {
        let run = scratch.cardmint(&[&["build", "--out", "."], more].concat());
        run.expect(3)
            .says(&["raspberrypi0.img is the base image itself", "--out"]);
        assert!(fs::read(&image).expect("a base") == before, "{more:?}");
        assert!(!scratch.path("c/raspberrypi1.img").exists());
    }
}

#[test]
fn what_was_made_is_told_where_what_goes_beside_it_fails() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    fs::create_dir(scratch.path("c/images/raspberrypi0.img.sha256")).expect("a folder");
    let run = scratch.cardmint(&["build", "--sums"]).expect(1);
    let told = ["raspberrypi0  kept", "raspberrypi1  kept"];
    assert!(told.iter().all(|line| run.stdout.contains(line)), "{run:?}");
    run.says(&["raspberrypi0.img.sha256"]);

    fs::remove_dir_all(scratch.path("c/handover")).expect("a folder");
    scratch.write("c/handover", "in the way");
    let run = scratch.cardmint(&["build", "--json"]).expect(1);
    let report = run.json();
    assert_eq!(report["nodes"][1]["result"], "kept");
    assert!(report["handover"].is_null());
    run.says(&["handover"]);
}

/// The build is stopped where it has made its first image and recorded none.
#[test]
fn a_build_does_not_bring_an_old_identity_back() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let mut command = scratch.command(&["build", "--force", "--out", "again"]);
    let mut build = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let pid = build.id().to_string();
    let stderr = build.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let is_at = |line: String| line.starts_with("raspberrypi0: verifying");
    assert!(lines.any(is_at), "nothing was verified");
    tool("kill", &["-STOP", &pid]).expect(0);
    let card = scratch.path("card");
    fs::File::create(&card)
        .and_then(|file| file.set_len(256 << 20))
        .expect("a card");
    let to = card.to_str().expect("UTF-8");
    let args = ["replace", "0", "--new-identity", "--yes", "--to", to];
    scratch.cardmint(&args).expect(0);
    let files = ["c/cluster.lock", "c/handover/known_hosts"].map(|name| scratch.path(name));
    let read = || {
        files
            .clone()
            .map(|path| fs::read_to_string(path).expect("text"))
    };
    let [before, hosts] = read();
    assert!(before.contains("generation = 1"), "{before}");
    tool("kill", &["-CONT", &pid]).expect(0);
    let said: Vec<String> = lines.collect();
    assert!(build.wait().expect("an end").success(), "{said:?}");
    let [after, hosts_after] = read();
    let record: toml::Table = after.parse().expect("TOML");
    assert_eq!(record["node"]["0"]["generation"].as_integer(), Some(1));
    assert_eq!(hosts, hosts_after);
    let told = "raspberrypi0 was given a new identity meanwhile";
    assert!(said.iter().any(|line| line.contains(told)), "{said:?}");
}
