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
