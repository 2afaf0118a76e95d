//! Questions at a terminal: what they leave on it, and how one gets away from them.

use std::num::NonZero;
use std::process::{Command, Stdio};

use crate::harness::{Run, Scratch, tool};

/// Runs `init` in a new directory, at a terminal on which `steps` are answered as
/// tests/faults/answer.py takes them. A shell tells afterwards whether the terminal
/// shows what is typed.
fn init(scratch: &Scratch, steps: &str) -> Run {
    let line = "\"$0\" init new --image practice --count 2 --hostname 'n{n}' --user pi; code=$?; \
                stty -a | grep -o -e '-\\?isig' -e '-\\?\\becho\\b'; exit $code";
    answered(scratch, line, steps)
}

/// Runs a line of shell, with the program as `$0`, at a terminal.
fn answered(scratch: &Scratch, line: &str, steps: &str) -> Run {
    let answer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/answer.py");
    let mut command = Command::new("python3");
    command
        .args([answer, "--size=100x40", steps, "sh", "-c", line])
        .arg(env!("CARGO_BIN_EXE_cardmint"))
        .current_dir(scratch.path("c"))
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .stdin(Stdio::null());
    Run::of(&command.output().expect("python3 runs"))
}

const COLUMNS: NonZero<u16> = NonZero::new(100).expect("not zero");
const ROWS: NonZero<u16> = NonZero::new(40).expect("not zero");

/// What is on the screen in the end.
fn screen(run: &Run) -> String {
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    parser.process(run.stdout.as_bytes());
    assert!(!parser.screen().hide_cursor(), "{}", run.stdout);
    let screen = parser.screen().contents();
    let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Keys are typed when the terminal is ready for them: dialoguer prepares it only after
/// it has asked.
#[test]
fn whoever_is_asked_can_stop_with_ctrl_c() {
    let unanswered = "Password of that user (empty: log in with a key only) ›";
    for (steps, last) in [
        (r#"[["Password", "", "\u0003"]]"#, unanswered),
        (r#"[["Password", "", "abc\u0003"]]"#, unanswered),
        (r#"[["Password", "", "\u0004"]]"#, unanswered),
        (
            r#"[["Password", "", "\r"], ["Join", "raw", "\u0003"]]"#,
            "Join a Wi-Fi network (y/n) › no",
        ),
        (
            r#"[["Password", "", "\r"], ["Join", "raw", "y"], ["Name of", "raw", "x\u0003"]]"#,
            "Name of the network › x",
        ),
    ] {
        let scratch = Scratch::new();
        let run = init(&scratch, steps).expect(130);
        let screen = screen(&run);
        let wanted = format!("{last}\nerror: interrupted; nothing unfinished was kept\nisig\necho");
        assert!(screen.contains(&wanted), "{screen}");
        assert!(!scratch.path("c/new").exists());
    }
}

#[test]
fn a_summary_tells_a_password_from_none() {
    for (steps, told) in [
        (r#"[["Password", "", "\r"], ["Join", "raw", "n"]]"#, "none"),
        (
            r#"[["Password", "", "abd\u007fc\r"], ["once more", "", "abd\r"],
                ["Password", "", "abc\r"], ["once more", "", "abc\r"], ["Join", "raw", "n"]]"#,
            "********",
        ),
    ] {
        let scratch = Scratch::new();
        let run = init(&scratch, steps).expect(0);
        let screen = screen(&run);
        let summary = format!("✔ Password of that user (empty: log in with a key only) · {told}\n");
        assert!(screen.contains(&summary), "{screen}");
        assert!(
            !screen.contains("once more") && !screen.contains("abc"),
            "{screen}"
        );
        assert_eq!(
            screen.contains("the two differ"),
            told != "none",
            "{screen}"
        );
    }
}

/// Who typed something wrong hears so at once, not after the last question.
#[test]
fn what_is_answered_wrong_is_asked_again() {
    let steps = r#"[
        ["How many", "raw", "x\r"], ["(?s)`x` is no number.*How many", "raw", "0\r"],
        ["(?s)no nodes.*How many", "raw", "2\r"],
        ["Their", "raw", "n_{n}\r"], ["(?s)`n_0` is no hostname.*Their", "raw", "n{n}\r"],
        ["Image", "raw", "typo.img\r"], ["(?s)no image typo.img.*Image", "raw", "practice\r"],
        ["User", "raw", "root\r"], ["(?s)cannot be root.*User", "raw", "pi\r"],
        ["Password", "", "\r"], ["Join", "raw", "y"],
        ["Name of", "raw", "\r"], ["(?s)1 to 32 bytes.*Name of", "raw", "home\r"],
        ["Country", "raw", "uk\r"], ["(?s)is GB.*Country", "raw", "gb\r"],
        ["Passphrase", "", "short\r"], ["once more", "", "short\r"],
        ["(?s)8 to 63.*Passphrase", "", "long enough\r"], ["once more", "", "long enough\r"]
    ]"#;
    let scratch = Scratch::new();
    let run = answered(&scratch, "\"$0\" init new", steps).expect(0);
    let screen = screen(&run);
    assert!(screen.ends_with("cd new && cardmint plan"), "{screen}");
    let text = std::fs::read_to_string(scratch.path("c/new/cluster.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    assert_eq!(manifest["cluster"]["hostname"].as_str(), Some("n{n}"));
    assert_eq!(manifest["cluster"]["count"].as_integer(), Some(2));
    assert_eq!(manifest["wifi"]["ssid"].as_str(), Some("home"));
    scratch.cardmint(&["plan", "-C", "new"]).expect(0);
}

#[test]
fn a_hostname_without_a_number_is_for_one_node() {
    let steps = r#"[
        ["How many", "raw", "\r"], ["(?s)called `solo`.*How many", "raw", "1\r"],
        ["Password", "", "\r"], ["Join", "raw", "n"]
    ]"#;
    let scratch = Scratch::new();
    let line = "\"$0\" init new --hostname solo --image practice --user pi";
    answered(&scratch, line, steps).expect(0);
    scratch.cardmint(&["plan", "-C", "new"]).expect(0);
}

/// Standard output is for the program that reads JSON, also where somebody is asked.
#[test]
fn whoever_is_asked_with_json_sees_what_it_is_about() {
    let scratch = Scratch::new();
    let partial = scratch.path("cache/cardmint/images/.partial-0");
    std::fs::create_dir_all(&partial).expect("a directory");
    std::fs::write(partial.join("half.img"), "half").expect("a file");
    let out = scratch.path("out.json");
    let json = || -> serde_json::Value {
        let text = std::fs::read_to_string(&out).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    };
    let line = "\"$0\" images prune --all --json >../out.json";
    for (answer, count) in [("n", 0), ("y", 1)] {
        let steps = format!(r#"[["(?s)half.img.*Remove these", "raw", "{answer}"]]"#);
        answered(&scratch, line, &steps).expect(0);
        let json = json();
        assert_eq!(json["removed"].as_array().expect("a list").len(), count);
    }
    let key = scratch.path("key.asc");
    let gpg = format!(
        "export GNUPGHOME=$(mktemp -d /tmp/gXXXXXX) && gpg --batch --quiet --passphrase '' \
         --quick-generate-key Me ed25519 sign never && gpg --armor --export >'{}' && \
         gpgconf --kill all && rm -r \"$GNUPGHOME\"",
        key.display()
    );
    tool("sh", &["-c", &gpg]).expect(0);
    let line = format!(
        "\"$0\" images trust '{}' --json >../out.json",
        key.display()
    );
    for (answer, count) in [("n", 0), ("y", 1)] {
        let steps = format!(r#"[["(?s)[0-9A-F]{{40}}.*Is this", "raw", "{answer}"]]"#);
        answered(&scratch, &line, &steps).expect(0);
        assert_eq!(json().as_array().expect("a list").len(), count);
    }
    let fingerprint = json()[0]["fingerprint"].as_str().expect("text").to_owned();
    let run = scratch.cardmint(&["images", "trust", "--remove", &fingerprint, "--json"]);
    assert_eq!(run.expect(0).json(), serde_json::json!([]));
}

/// Whichever directory the image is in and the cluster will be in, Enter takes the image
/// that was found, and what is said to come next works.
#[test]
fn an_image_that_is_offered_is_named_as_the_manifest_reads_it() {
    const IMAGE: &str = "2026-06-18-raspios-trixie-arm64-lite.img.xz";
    let steps = r#"[["Image", "raw", "\r"], ["Password", "", "\r"], ["Join", "raw", "n"]]"#;
    for (args, image, dir, next) in [
        ("init", "c", "c", "cardmint plan"),
        ("init new", "c", "c/new", "cd new && cardmint plan"),
        (
            "init 'my own'",
            "c",
            "c/my own",
            "cd 'my own' && cardmint plan",
        ),
        (
            "-C ../there init",
            "c",
            "there",
            "cardmint -C ../there plan",
        ),
        (
            "-C ../there init",
            "there",
            "there",
            "cardmint -C ../there plan",
        ),
        (
            "-C ../there init new",
            "c",
            "there/new",
            "cardmint -C ../there/new plan",
        ),
    ] {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path("there")).expect("a directory");
        scratch.write(&format!("{image}/{IMAGE}"), "an image");
        // The name of one in the cluster's own directory is not that of another.
        if image == "there" {
            scratch.write(&format!("c/{IMAGE}"), "another");
        }
        let line = format!("\"$0\" {args} --count 2 --hostname 'n{{n}}' --user pi");
        let run = answered(&scratch, &line, steps).expect(0);
        let screen = screen(&run);
        assert!(screen.ends_with(&format!("Next: {next}")), "{screen}");
        let dir = scratch.path(dir);
        let text = std::fs::read_to_string(dir.join("cluster.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        let named = dir.join(manifest["cluster"]["image"].as_str().expect("text"));
        let found = std::fs::canonicalize(&named).expect("the image is there");
        let wanted = std::fs::canonicalize(scratch.path(image)).expect("a directory");
        assert_eq!(found, wanted.join(IMAGE), "{args}: {text}");
    }
}
