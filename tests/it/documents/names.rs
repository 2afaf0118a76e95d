//! Subcommands and flags: those that documents name exist, and those that exist are
//! named in some document.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{documents, none};
use crate::harness::Scratch;

/// Flags of other programs that stand alone in a text.
const OF_OTHERS: [&str; 1] = ["--list-hosts"];

/// Each command as it is typed, with its flags; `cardmint` itself has the empty name.
fn commands(scratch: &Scratch) -> BTreeMap<String, BTreeSet<String>> {
    let flag = Regex::new(r"(?m)^ +(-\w)?(?:, )?(--[a-z0-9-]+)?").expect("a pattern");
    let entry = Regex::new(r"(?m)^  ([a-z-]+)  ").expect("a pattern");
    let (mut found, mut queue) = (BTreeMap::new(), vec![String::new()]);
    while let Some(name) = queue.pop() {
        let mut args: Vec<&str> = name.split_whitespace().collect();
        args.push("--help");
        let help = scratch.cardmint(&args).expect(0).stdout;
        let (before, options) = help.split_once("Options:").expect("options");
        let flags = flag.captures_iter(options).flat_map(|found| {
            let texts = [found.get(1), found.get(2)].into_iter().flatten();
            texts
                .map(|text| text.as_str().to_owned())
                .collect::<Vec<_>>()
        });
        let flags = flags.collect();
        if let Some((_, list)) = before.split_once("Commands:") {
            let below = entry.captures_iter(list).map(|found| found[1].to_owned());
            let below = below.filter(|name| name != "help");
            queue.extend(below.map(|below| format!("{name} {below}").trim().to_owned()));
        }
        found.insert(name, flags);
    }
    found
}

/// What is wrong with `words`, which follow `cardmint`. Words in capitals stand for others.
fn check(words: &[&str], commands: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut name = String::new();
    for (number, word) in words.iter().enumerate() {
        let flag = word.split('=').next().unwrap_or_default();
        let flag = flag.trim_matches(|c| c == '[' || c == ']');
        if flag.starts_with('-') && flag.len() > 1 {
            let known = commands[&name].contains(flag) || commands[""].contains(flag);
            if !known {
                return Some(format!("`cardmint {name}` has no {flag}"));
            }
            continue;
        }
        let longer = format!("{name} {word}").trim().to_owned();
        let is_value = number > 0 && words[number - 1].starts_with('-');
        let prefix = format!("{name} ");
        let has_more = name.is_empty() || commands.keys().any(|it| it.starts_with(&prefix));
        if commands.contains_key(&longer) {
            name = longer;
        } else if has_more && !is_value && word.chars().all(|c| c.is_ascii_lowercase()) {
            return Some(format!("there is no `cardmint {longer}`"));
        }
    }
    None
}

#[test]
fn what_documents_name_exists_and_what_exists_is_named() {
    let scratch = Scratch::new();
    let commands = commands(&scratch);
    assert!(commands.contains_key("images fetch"), "{commands:?}");
    let all: BTreeSet<&String> = commands.values().flatten().collect();
    let (mut problems, mut named) = (Vec::new(), BTreeSet::new());
    for document in documents() {
        let blocks = document.blocks.iter().flat_map(|block| {
            let lines = block
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("$ "));
            lines.map(|line| (block.line, line))
        });
        let code = document.code.iter().map(|(line, code)| (*line, &**code));
        for (line, code) in blocks.chain(code) {
            let words: Vec<&str> = code.split_whitespace().collect();
            let first = words.first().copied().unwrap_or_default();
            let problem = match first {
                "cardmint" => check(&words[1..], &commands),
                // `build --force`, as texts about cardmint say it.
                _ if commands.contains_key(first) && words.len() > 1 => check(&words, &commands),
                flag if flag.starts_with("--") => {
                    let flag = flag.split('=').next().unwrap_or_default().to_owned();
                    let known = all.contains(&flag) || OF_OTHERS.contains(&&*flag);
                    (!known).then(|| format!("nothing has the flag {flag}"))
                }
                _ => None,
            };
            problems.extend(problem.map(|it| format!("{}:{line}: {it}", document.name)));
            let flags = words.iter().filter(|word| word.starts_with('-'));
            named.extend(
                flags
                    .filter_map(|word| word.split('=').next())
                    .map(str::to_owned),
            );
        }
    }
    for (name, flags) in &commands {
        let long = flags.iter().filter(|flag| flag.starts_with("--"));
        for flag in long.filter(|flag| !["--help", "--version"].contains(&&***flag)) {
            if !named.contains(flag) {
                problems.push(format!("no document names {flag} of `cardmint {name}`"));
            }
        }
    }
    none(&problems);
}
