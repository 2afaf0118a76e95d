//! In real shells, on a terminal: what TAB offers.

use std::fs;
use std::path::Path;

use crate::harness::{Loop, Run, Scratch, base, has};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");

/// A cluster of two that nobody has built anything of.
fn cluster() -> Scratch {
    let scratch = Scratch::new();
    scratch.init(Path::new("practice"), 2);
    scratch
}

/// Runs a program where `cardmint` is the one that is tested.
fn run(scratch: &Scratch, program: &str, args: &[&str]) -> Run {
    let mut command = scratch.command(&[]);
    let dir = Path::new(env!("CARGO_BIN_EXE_cardmint")).parent();
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", dir.expect("a directory").display());
    let mut shell = std::process::Command::new(program);
    shell.args(args).current_dir(scratch.path("c"));
    shell.env_clear().envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.env_clear();
    Run::of(&shell.env("PATH", path).output().expect("a shell"))
}

/// The line that bash makes of `line` when it inserts all that is possible.
fn bash(scratch: &Scratch, line: &str) -> String {
    tab(scratch, "bash", "cardmint.bash", line)
}

fn tab(scratch: &Scratch, shell: &str, script: &str, line: &str) -> String {
    let tab = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/completions/tab.py");
    let script = format!("{SCRIPTS}/{script}");
    let run = run(scratch, tab, &[shell, &script, line]).expect(0);
    assert_eq!(run.stderr, "");
    run.stdout.trim_end().to_owned()
}

/// What fish offers, each with what it says of it.
fn fish(scratch: &Scratch, line: &str) -> Vec<String> {
    let script = format!("source {SCRIPTS}/cardmint.fish; complete --do-complete '{line}'");
    let run = run(scratch, "fish", &["--no-config", "--command", &script]).expect(0);
    assert_eq!(run.stderr, "");
    run.stdout.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_scripts_are_those_that_the_binary_prints() {
    let scratch = Scratch::new();
    for (shell, file) in [
        ("bash", "cardmint.bash"),
        ("zsh", "_cardmint"),
        ("fish", "cardmint.fish"),
    ] {
        let printed = scratch.cardmint(&["completions", shell]).expect(0).stdout;
        let kept = fs::read_to_string(Path::new(SCRIPTS).join(file)).expect("a script");
        assert_eq!(printed, kept);
    }
}

#[test]
fn bash_completes_nodes_images_and_files() {
    let scratch = cluster();
    fs::create_dir_all(scratch.path("c/my own/sub")).expect("directories");
    for (line, whole) in [
        ("cardmint repl", "cardmint replace"),
        (
            "cardmint flash ",
            "cardmint flash raspberrypi0 raspberrypi1 0 1",
        ),
        (
            "cardmint verify ras",
            "cardmint verify raspberrypi0 raspberrypi1",
        ),
        ("cardmint status 1", "cardmint status 1"),
        (
            "cardmint build --nodes 0,raspberrypi1",
            "cardmint build --nodes 0,raspberrypi1",
        ),
        (
            "cardmint build --nodes=0,",
            "cardmint build --nodes=0,raspberrypi0 0,raspberrypi1 0,0 0,1",
        ),
        (
            "cardmint plan --show user",
            "cardmint plan --show user-data userconf.txt",
        ),
        ("cardmint build --mech", "cardmint build --mechanism"),
        (
            "cardmint plan --mechanism c",
            "cardmint plan --mechanism cloud-init",
        ),
        (
            "cardmint images fetch raspios-lite-armh",
            "cardmint images fetch raspios-lite-armhf",
        ),
        (
            "cardmint images fetch raspios-lite-arm64@2026-06",
            "cardmint images fetch raspios-lite-arm64@2026-06-18",
        ),
        ("cardmint inspect my", "cardmint inspect my\\ own/"),
        (
            "cardmint inspect my\\ own/",
            "cardmint inspect my\\ own/sub/",
        ),
        (
            "cardmint init --image prac",
            "cardmint init --image practice",
        ),
    ] {
        assert_eq!(bash(&scratch, line).trim_end(), whole, "{line}");
    }
}

#[test]
fn zsh_completes_nodes_and_says_which_they_are() {
    if !has("zsh") {
        return;
    }
    let scratch = cluster();
    let zsh = |line: &str| tab(&scratch, "zsh", "_cardmint", line);
    let one = zsh("cardmint replace raspberrypi1");
    assert_eq!(one.lines().next(), Some("cardmint replace raspberrypi1 "));
    let all = zsh("cardmint replace ");
    for said in ["raspberrypi0", "-- node 0", "-- node 1", "-- raspberrypi1"] {
        assert!(all.contains(said), "{said} is not in:\n{all}");
    }
}

#[test]
fn fish_completes_nodes_and_says_which_they_are() {
    if !has("fish") {
        return;
    }
    let scratch = cluster();
    let expected = ["raspberrypi0\tnode 0", "raspberrypi1\tnode 1"];
    assert_eq!(fish(&scratch, "cardmint replace r"), expected);
    let files = fish(&scratch, "cardmint plan --show cmd");
    assert_eq!(files, ["cmdline.txt\tthe kernel\'s command line"]);
}

#[test]
fn the_directory_of_another_cluster_is_respected() {
    let scratch = cluster();
    fs::create_dir(scratch.path("c/other")).expect("a directory");
    scratch
        .cardmint(&[
            "init",
            "other/lab",
            "--yes",
            "--image",
            "practice",
            "--count",
            "1",
            "--hostname",
            "gateway",
        ])
        .expect(0);
    for line in [
        "cardmint -C other/lab replace ga",
        "cardmint --directory=other/lab status ga",
    ] {
        assert_eq!(
            bash(&scratch, line).trim_end(),
            format!("{line}teway"),
            "{line}"
        );
    }
}

#[test]
fn a_broken_manifest_completes_nothing_and_is_not_mentioned() {
    let scratch = cluster();
    scratch.write("c/cluster.toml", "[cluster\n");
    for line in [
        "cardmint flash ",
        "cardmint flash 0=",
        "cardmint plan --nodes ",
    ] {
        assert_eq!(bash(&scratch, line), line.trim_end(), "{line}");
        let mut asked = scratch.command(&["--"]);
        asked.args(line.split(' ')).env("CARDMINT_COMPLETE", "bash");
        asked.env(
            "_CLAP_COMPLETE_INDEX",
            (line.split(' ').count() - 1).to_string(),
        );
        let run = Run::of(&asked.output().expect("it runs")).expect(0);
        assert_eq!(run.stderr, "", "{line}");
        assert!(!run.stdout.contains("raspberrypi"), "{}", run.stdout);
    }
    // No manifest at all.
    fs::remove_file(scratch.path("c/cluster.toml")).expect("a manifest");
    assert_eq!(bash(&scratch, "cardmint flash "), "cardmint flash");
}

#[test]
fn completing_writes_nothing() {
    let scratch = cluster();
    let before = (scratch.snapshot("c"), scratch.snapshot("home"));
    fs::remove_dir_all(scratch.path("cache")).expect("a directory");
    for line in [
        "cardmint images verify ",
        "cardmint images fetch rasp",
        "cardmint inspect ./cl",
    ] {
        bash(&scratch, line);
    }
    assert!(!scratch.path("cache").exists());
    assert!(before == (scratch.snapshot("c"), scratch.snapshot("home")));
}

#[test]
fn cards_are_offered_where_they_may_be_written() {
    let scratch = cluster();
    let file = scratch.write("card.img", vec![0; 64 << 20]);
    let Some(card) = Loop::attach(&file) else {
        return;
    };
    let path = card.path();
    // Files below /dev are no cards, and a loop device is none that is written unasked.
    let refused = bash(&scratch, "cardmint flash 0=");
    assert!(!refused.contains(path), "{refused}");
    for line in [
        format!("cardmint flash --allow-fixed 0={path}"),
        format!("cardmint flash --allow-fixed raspberrypi1={path}"),
        format!("cardmint replace 0 --allow-fixed --to {path}"),
    ] {
        assert_eq!(bash(&scratch, &line).trim_end(), line);
    }
    let offered = bash(&scratch, "cardmint flash --allow-fixed 1=");
    assert!(offered.contains(path), "{offered}");
    if has("fish") {
        let offered = fish(&scratch, "cardmint flash --allow-fixed 0=");
        let card = format!("0={path}\tloop device, 67.1 MB");
        assert!(offered.contains(&card), "{offered:?}");
    }
}

#[test]
fn every_planned_text_is_offered_to_be_shown() {
    let offered = |scratch: &Scratch| bash(scratch, "cardmint plan --show ");
    for kind in ["trixie-arm64", "bookworm-armhf"] {
        let scratch = Scratch::new();
        scratch.init(&base(kind), 1);
        let line = offered(&scratch);
        let words: Vec<&str> = line.split(' ').collect();
        let plan = scratch.cardmint(&["plan", "--json"]).expect(0).json();
        let files = plan["nodes"][0]["files"].as_array().expect("files");
        for file in files {
            let name = file["name"].as_str().expect("a name");
            assert!(words.contains(&name), "{name} is not in {line}");
        }
    }
}
