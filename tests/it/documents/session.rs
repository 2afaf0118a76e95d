//! Sessions: what is typed, what is shown, and whether it is so.

use std::sync::LazyLock;

use regex::Regex;

use super::markdown::Block;
use super::programs::{Program, program};
use super::stage::Stage;

/// A command of a block, and what is shown below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) shown: String,
}

/// The commands of a `console` block: `$ ` begins one, `\` at the end continues it.
pub(super) fn commands(block: &Block) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut goes_on = false;
    for (number, line) in block.text.lines().enumerate() {
        let (typed, is_new) = match line.strip_prefix("$ ") {
            Some(typed) if !goes_on => (typed, true),
            _ => (line, false),
        };
        if is_new {
            commands.push(Command {
                line: block.line + number,
                text: String::new(),
                shown: String::new(),
            });
        }
        let last = commands.last_mut().ok_or_else(|| {
            let line = block.line;
            format!("{line}: a session begins with `$ ` and a command")
        })?;
        if is_new || goes_on {
            goes_on = typed.ends_with('\\');
            let typed = typed.trim_end_matches('\\').trim();
            let space = if last.text.is_empty() { "" } else { " " };
            last.text += &format!("{space}{typed}");
        } else {
            last.shown += &format!("{line}\n");
        }
    }
    Ok(commands)
}

/// What differs from run to run and from image to image, and what stands for it.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"SHA256:[\w+/…]+", "SHA256:KEY"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?", "TIME"),
        (r"\b[0-9a-f]{16,}…?", "DIGEST"),
        (r"\b[\d.,]+ ?([KMGT]i?)?B(/s)?\b", "SIZE"),
        (r"\b(\d+ [dh] )*[\d.]+ (ms|s|min|h|days?)\b", "TIME"),
        (r"\b\d+[smh]\b", "TIME"),
        (r"\b\d+(\.\d+)? °C", "DEGREES"),
        (r"\b\d+%", "PERCENT"),
        ("[█▓▒░]+", "BAR"),
        // Columns are as wide as what is in them.
        (r" +", " "),
    ]
    .map(|(pattern, mask)| (Regex::new(pattern).expect("a pattern"), mask))
    .into()
});

pub(super) fn masked(text: &str) -> String {
    let masked = MASKS.iter().fold(text.to_owned(), |text, (regex, mask)| {
        regex.replace_all(&text, *mask).into_owned()
    });
    let lines: Vec<_> = masked.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}

/// Whether `real` is what is shown: `…` on a line of its own stands for any lines,
/// within a line for any text.
pub(super) fn is_as_shown(shown: &str, real: &str) -> bool {
    let mut pattern = "(?s)^".to_owned();
    for line in masked(shown).lines() {
        if line == "…" {
            pattern += "(?:[^\n]*\n)*?";
        } else {
            let pieces: Vec<_> = line.split('…').map(regex::escape).collect();
            pattern += &format!("{}\n", pieces.join("[^\n]*?"));
        }
    }
    let regex = Regex::new(&format!("{pattern}$")).expect("a pattern");
    regex.is_match(&format!("{}\n", masked(real)))
}

/// Runs a block's commands. Gives what is not as it says.
pub(super) fn run(block: &Block, stage: &mut Stage<'_>) -> Vec<String> {
    let commands = match commands(block) {
        Ok(commands) => commands,
        Err(problem) => return vec![problem],
    };
    let (mut stand_ins, mut problems) = (stand_ins(block), Vec::new());
    let count = commands.len();
    for (number, command) in commands.iter().enumerate() {
        let stand_in = stand_ins
            .iter()
            .position(|it| stands_for(it, &command.text));
        let typed = match stand_in {
            Some(at) => stand_ins.remove(at),
            None => command.text.clone(),
        };
        let code = block.directive("exits").filter(|_| number + 1 == count);
        let code = code.map_or(0, |code| code.parse().expect("an exit code"));
        if let Err(problem) = run_one(block, command, &typed, code, stage) {
            problems.push(format!("{}: `{}`: {problem}", command.line, command.text));
            // The rest would only fail for that.
            break;
        }
    }
    if problems.is_empty() {
        let left = stand_ins.iter();
        problems.extend(left.map(|it| format!("{}: `{it}` stands for no command", block.line)));
    }
    problems
}

fn stand_ins(block: &Block) -> Vec<String> {
    let is_one = |entry: &&(String, String)| entry.0 == "runs as";
    let found = block.directives.iter().filter(is_one);
    found.map(|(_, text)| text.clone()).collect()
}

/// A stand-in keeps the program, the subcommand and every flag.
fn stands_for(stand_in: &str, shown: &str) -> bool {
    let words = |text: &str| shlex::split(text).unwrap_or_default();
    // What Ansible does is in its values: nothing may be left out, only added.
    if shown.starts_with("ansible") {
        return stand_in.starts_with(shown);
    }
    let (stand_in, shown) = (words(stand_in), words(shown));
    let flag = |word: &&String| word.starts_with('-');
    let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
    let plain = |words: &[String]| -> Vec<String> {
        let many = if words.get(1).is_some_and(|word| word == "images") {
            3
        } else {
            2
        };
        let until = if program_has_subcommands(&words[0]) {
            many
        } else {
            1
        };
        words.iter().take(until).cloned().collect()
    };
    if stand_in.is_empty() || shown.is_empty() {
        return false;
    }
    let kept: Vec<_> = stand_in.iter().filter(flag).map(name).collect();
    plain(&stand_in) == plain(&shown)
        && shown
            .iter()
            .filter(flag)
            .all(|word| kept.contains(&name(word)))
}

fn program_has_subcommands(name: &str) -> bool {
    matches!(name, "cardmint" | "cargo" | "apt" | "docker" | "systemctl")
}

fn run_one(
    block: &Block,
    command: &Command,
    typed: &str,
    code: i32,
    stage: &mut Stage<'_>,
) -> Result<(), String> {
    match program(typed)? {
        Program::Runs => {}
        Program::NotHere => return Ok(()),
        Program::Only(check) => return check(typed),
    }
    let run = match block.directive("answers") {
        Some(steps) => stage.run_at_terminal(typed, steps, None),
        None => stage.run(typed),
    };
    if run.code != code {
        return Err(format!("exits with {}:\n{}", run.code, run.stdout));
    }
    if !command.shown.trim().is_empty() && !is_as_shown(&command.shown, &run.stdout) {
        return Err(format!("shows something else:\n{}", run.stdout));
    }
    Ok(())
}
