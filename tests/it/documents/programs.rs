//! Which programs documents may use, and which of their commands are run.

use crate::harness::{has, tool};

/// What is looked at where a command is not run.
pub(super) type Check = fn(&str) -> Result<(), String>;

/// What becomes of a command.
pub(super) enum Program {
    Runs,
    /// A tool that not everybody has, and that is skipped here.
    NotHere,
    /// Not run; looked at instead.
    Only(Check),
}

/// Commands that run as they are, or as their stand-ins say.
const RUN: [&str; 25] = [
    "cardmint",
    "cd",
    "ls",
    "cat",
    "cp",
    "mkdir",
    "mv",
    "printf",
    "echo",
    "chmod",
    "grep",
    "sed",
    "head",
    "sha256sum",
    "xz",
    "zstd",
    "xxd",
    "split",
    "jq",
    "ssh",
    "ssh-keygen",
    "diff",
    "sort",
    "openssl",
    "truncate",
];

/// The same of packages that not everybody has installed.
const TOOLS: [&str; 5] = [
    "ansible",
    "ansible-inventory",
    "bmaptool",
    "promtool",
    "parallel",
];

/// Commands that are not run, by how they begin, and why.
const LOOKED_AT: [(&str, &str, Check); 15] = [
    ("cargo build", "CI does it all day", cargo_knows),
    (
        "cargo install",
        "takes as long as a release build",
        cargo_knows,
    ),
    (
        "cargo run --release -- demo",
        "tests/it/demo.rs runs it",
        cargo_knows,
    ),
    (
        "cargo +nightly fuzz",
        "wants a nightly compiler and cargo-fuzz",
        nothing,
    ),
    ("cargo test", "would wait for this very test", tests_exist),
    (
        "cargo update",
        "changes a file of the repository",
        cargo_knows,
    ),
    (
        "rm docs/man/*; cargo run -- man docs/man",
        "tests/it/man.rs compares with what it writes",
        nothing,
    ),
    ("tests/run", "CI runs it", phases_exist),
    ("fuzz/run", "takes as long as it is told to", nothing),
    ("packaging/", "tests/package/run packages", nothing),
    ("rustup target add", "the network", nothing),
    ("git clone", "the network", nothing),
    ("sudo apt install", "installs", nothing),
    ("kubectl", "a cluster of Kubernetes", nothing),
    ("nomad", "a cluster of Nomad", nothing),
];

/// A command without the variables that are set for it.
fn without_assignments(command: &str) -> &str {
    let is_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match command.split_once(' ') {
        Some((first, rest))
            if first.split_once('=').is_some_and(|(name, value)| {
                name.chars().all(is_variable) && !value.contains('$')
            }) =>
        {
            without_assignments(rest)
        }
        _ => command,
    }
}

fn nothing(_: &str) -> Result<(), String> {
    Ok(())
}

/// cargo has this subcommand, and it these flags.
fn cargo_knows(command: &str) -> Result<(), String> {
    let words = shlex::split(without_assignments(command)).ok_or("is no shell")?;
    let help = tool("cargo", &[&words[1], "--help"]);
    let ours = words.iter().skip(2).take_while(|word| *word != "--");
    for flag in ours.filter(|word| word.starts_with("--")) {
        if !help.stdout.contains(flag.as_str()) {
            return Err(format!("cargo {} has no {flag}", words[1]));
        }
    }
    Ok(())
}

/// Like `cargo_knows`; and the modules that it selects tests by are there.
fn tests_exist(command: &str) -> Result<(), String> {
    cargo_knows(command)?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in command
        .split(' ')
        .filter_map(|word| word.strip_suffix("::"))
    {
        let is_there = ["src", "tests/it"].iter().any(|folder| {
            let file = root.join(folder).join(name);
            file.is_dir() || file.with_extension("rs").is_file()
        });
        if !is_there {
            return Err(format!("there is no module {name}"));
        }
    }
    Ok(())
}

/// tests/run has these phases.
fn phases_exist(command: &str) -> Result<(), String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
    let help = tool(script, &["--help"]).stdout;
    let known = |word: &str| {
        let mut first = help.lines().filter_map(|it| it.split_whitespace().next());
        first.any(|phase| phase == word)
    };
    let mut words = without_assignments(command).split_whitespace().skip(1);
    match words.find(|word| !known(word)) {
        Some(word) => Err(format!("there is no phase {word}")),
        None => Ok(()),
    }
}

/// What becomes of this command: of each program in it.
pub(super) fn program(command: &str) -> Result<Program, String> {
    let command = without_assignments(command);
    let looked_at = LOOKED_AT
        .iter()
        .find(|(start, ..)| command.starts_with(start));
    if let Some((_, _, check)) = looked_at {
        return Ok(Program::Only(*check));
    }
    let words = shlex::split(command).ok_or("is no shell")?;
    let mut is_first = true;
    for word in &words {
        let is_assignment = word.contains('=') && !word.starts_with('-');
        if is_first && !is_assignment {
            if TOOLS.contains(&word.as_str()) {
                if !has(word) {
                    return Ok(Program::NotHere);
                }
            } else if !RUN.contains(&word.as_str()) {
                return Err(format!(
                    "`{word}` is in no list of tests/it/documents/programs.rs"
                ));
            }
            is_first = false;
        }
        is_first |= matches!(word.as_str(), "|" | "&&" | "||" | ";");
    }
    Ok(Program::Runs)
}
