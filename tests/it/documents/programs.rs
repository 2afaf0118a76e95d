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
const LOOKED_AT: [(&str, &str, Check); 8] = [
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
    ("git clone", "the network", nothing),
    ("sudo apt install", "installs", nothing),
    ("kubectl", "a cluster of Kubernetes", nothing),
    ("nomad", "a cluster of Nomad", nothing),
];

fn nothing(_: &str) -> Result<(), String> {
    Ok(())
}

/// cargo has this subcommand, and it these flags.
fn cargo_knows(command: &str) -> Result<(), String> {
    let words = shlex::split(command).ok_or("is no shell")?;
    let help = tool("cargo", &[&words[1], "--help"]);
    let ours = words.iter().skip(2).take_while(|word| *word != "--");
    for flag in ours.filter(|word| word.starts_with("--")) {
        if !help.stdout.contains(flag.as_str()) {
            return Err(format!("cargo {} has no {flag}", words[1]));
        }
    }
    Ok(())
}

/// What becomes of this command: of each program in it.
pub(super) fn program(command: &str) -> Result<Program, String> {
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
