use crate::harness::Scratch;

const COMMANDS: [&str; 9] = [
    "init",
    "plan",
    "build",
    "verify",
    "inspect",
    "devices",
    "demo",
    "completions",
    "man",
];

#[test]
fn help_fits_a_terminal_of_80_columns() {
    let scratch = Scratch::new();
    for command in COMMANDS {
        let help = scratch.cardmint(&[command, "--help"]).expect(0).stdout;
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
    let help = scratch.cardmint(&["--help"]).expect(0).stdout;
    for command in COMMANDS {
        assert!(
            help.contains(&format!("  {command} ")),
            "{command} is not in:\n{help}"
        );
    }
}

#[test]
fn completions_and_manual_pages_come_out_whole() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.cardmint(&["completions", shell]).expect(0).stdout;
        assert!(
            script.contains("inspect") && script.contains("mechanism"),
            "{shell}"
        );
    }
    let page = scratch.cardmint(&["man"]).expect(0).stdout;
    assert!(page.contains(".TH cardmint 1"), "{page}");
    scratch.cardmint(&["man", "pages"]).expect(0);
    for command in COMMANDS {
        assert!(
            scratch
                .path(&format!("c/pages/cardmint-{command}.1"))
                .exists(),
            "{command}"
        );
    }
}

#[test]
fn quiet_prints_nothing_but_what_was_asked_for() {
    let scratch = Scratch::new();
    scratch.init("practice".as_ref(), 1);
    let run = scratch.cardmint(&["build", "--quiet"]).expect(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let run = scratch.cardmint(&["plan", "--quiet", "--json"]).expect(0);
    assert_eq!(run.stderr, "");
    run.json();
}

#[test]
fn wrong_usage_is_told_and_has_its_own_code() {
    let scratch = Scratch::new();
    scratch.cardmint(&["mint"]).expect(2);
    scratch
        .cardmint(&["plan", "--nods", "1"])
        .expect(2)
        .says(&["--nodes"]);
    scratch.cardmint(&[]).expect(2);
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let scratch = Scratch::new();
    let run = scratch.cardmint(&["plan"]).expect(2);
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
}
