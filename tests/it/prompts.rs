//! Questions at a terminal: what they leave on it, and how one gets away from them.

use std::num::NonZero;
use std::process::{Command, Stdio};

use crate::harness::{Run, Scratch};

/// Runs `init` in a new directory, at a terminal on which `steps` are answered as
/// tests/faults/answer.py takes them. A shell tells afterwards whether the terminal
/// shows what is typed.
fn init(scratch: &Scratch, steps: &str) -> Run {
    let answer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/answer.py");
    let line = "\"$0\" init new --image practice --count 2 --hostname 'n{n}' --user pi; code=$?; \
                stty -a | grep -o -e '-\\?isig' -e '-\\?\\becho\\b'; exit $code";
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
