//! Every command of every document is run, and every link, flag and key in it exists.
//!
//! A document is one session, from top to bottom, in a home of its own (`/home/ana`
//! to the reader) with the `cardmint` that was built, and an internet that has the
//! images of Raspberry Pi. Blocks are tested by their language:
//!
//! - `console`: `$ ` begins a command, which `\` at the end of a line continues; what
//!   follows, if anything, must be what it prints, standard error included. There `…` on a
//!   line of its own stands for any lines, and within a line for any text. Sizes, times,
//!   fingerprints and spaces between columns may differ. A command that fails ends the
//!   document.
//! - `sh`: a script, judged by shellcheck and run by bash.
//! - `toml`: keys of a manifest; together with those that every manifest needs, `plan` takes
//!   them.
//! - `yaml`, `json`, `hcl`: their parsers take it.
//! - `text`, `ini`: shown, not tested. A block of no or any other language is an error.
//!
//! Comments before a block direct what is done with it, one in each:
//!
//! - `<!-- stage: WORDS -->` begins a new session, where all of this is so: `empty`, or
//!   `cluster` (in `~/picluster`, made by `init`, its image here), `monitoring` (node 0 watches),
//!   `built`, `handover`, `flashed` (four cards; `cluster.lock` knows them), `card` or
//!   `cards` (`/dev/sda`, or also b, c and d, are what stands in for cards: they want
//!   `--allow-fixed`). Or `nodes`: four that are well, in a network in which the session
//!   takes place; `ssh`, `ansible` and `status` reach them, without rights to `sudo`.
//! - `<!-- runs as: COMMAND -->` is run instead of the first command that it can stand for:
//!   one of the same program and subcommand, all of whose flags it has. So what
//!   wants hardware, a terminal or nodes runs with other values or more flags, and
//!   fails all the same when a flag is renamed.
//! - `<!-- answers: [[PATTERN, COMMAND, ANSWER]…] -->`: the block runs at a terminal; see
//!   tests/faults/answer.py. What it shows is not compared.
//! - `<!-- exits: N -->`: the block's last command ends with N, not with 0.
//! - `<!-- files: NAME… -->`: these files are there, of one line, for their owner only.
//! - `<!-- merge: FILE -->`: a `toml` block goes into this file of the session, key by key.
//! - `<!-- write: FILE -->`: a block of any language becomes this file of the session.
//! - `<!-- run by: FILE -->`: a script that this test runs; here it is only judged.
//! - `<!-- toml: other -->`: keys of something else than a manifest.
//!
//! `CARDMINT_DOCUMENT=docs/images.md cargo test --test it documents` runs one document.
//!
//! The pictures of docs/screens are made of what the program shows at a terminal, and
//! compared with it; `CARDMINT_SCREENS=new cargo test --test it screens` makes them anew.

mod blocks;
mod markdown;
mod names;
mod programs;
mod screens;
mod session;
mod stage;
mod terminal;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use markdown::{Block, Document};
use stage::{Internet, Stage};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents: everything in Markdown that users or contributors read.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    for folder in ["", "docs", "fuzz", "images"] {
        collect(&root().join(folder), folder == "docs", &mut found);
    }
    found.sort();
    // What changed is history: names in it need not exist any longer.
    found.retain(|path| !path.ends_with("CHANGELOG.md"));
    assert!(found.len() > 8, "{found:?}");
    found
        .into_iter()
        .map(|path| Document::read(root(), path))
        .collect()
}

fn collect(folder: &Path, goes_down: bool, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if goes_down && path.is_dir() {
            collect(&path, true, found);
        } else if path.extension().is_some_and(|it| it == "md") {
            found.push(path);
        }
    }
}

/// Fails with all problems at once.
#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn what_documents_show_is_so() {
    let wanted = std::env::var("CARDMINT_DOCUMENT").ok();
    let is_wanted = |it: &Document| wanted.as_ref().is_none_or(|name| it.name == *name);
    let (internet, mut problems) = (Internet::new(), Vec::new());
    let queue: Vec<_> = documents().into_iter().filter(is_wanted).collect();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        let work = || {
            let mut problems = Vec::new();
            loop {
                let next = queue.lock().expect("the queue").pop();
                match next {
                    Some(document) => problems.extend(play(&document, &internet)),
                    None => return problems,
                }
            }
        };
        for worker in [scope.spawn(work), scope.spawn(work)] {
            problems.extend(worker.join().expect("a worker"));
        }
    });
    none(&problems);
}

/// Plays a document. Gives what is not as it says.
fn play(document: &Document, internet: &Internet) -> Vec<String> {
    let mut problems = document.problems.clone();
    let mut stage = None;
    for block in &document.blocks {
        if let Some(words) = block.directive("stage") {
            stage = Stage::set(internet, words);
        } else if stage.is_none() {
            stage = Stage::set(internet, "empty");
        }
        let Some(stage) = &mut stage else {
            eprintln!("skipped: the rest of {}", document.name);
            break;
        };
        problems.extend(unknown(block));
        blocks::write_files(block, stage);
        let found = match block.language.as_str() {
            "console" => session::run(block, stage),
            _ => blocks::check(block, stage).err().into_iter().collect(),
        };
        if !found.is_empty() {
            problems.extend(found);
            break;
        }
    }
    let name = &document.name;
    problems
        .iter()
        .map(|problem| format!("{name}:{problem}"))
        .collect()
}

fn unknown(block: &Block) -> Option<String> {
    const KNOWN: [&str; 9] = [
        "stage", "runs as", "run by", "answers", "exits", "files", "merge", "write", "toml",
    ];
    let mut names = block.directives.iter().map(|(name, _)| name.as_str());
    let odd = names.find(|name| !KNOWN.contains(name))?;
    Some(format!("{}: there is no directive `{odd}`", block.line))
}

#[test]
fn links_lead_somewhere() {
    let (documents, mut problems) = (documents(), Vec::new());
    for document in &documents {
        for link in &document.links {
            let elsewhere = ["https://", "http://", "mailto:"];
            if elsewhere.iter().any(|start| link.starts_with(start)) {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.path.parent().expect("a folder");
            let target = match path {
                "" => document.path.clone(),
                path => folder.join(path),
            };
            let target = target.canonicalize().unwrap_or_default();
            let its = documents.iter().find(|it| it.path == target);
            let is_there = target.exists()
                && (anchor.is_empty()
                    || its.is_some_and(|it| it.anchors.iter().any(|found| found == anchor)));
            if !is_there {
                problems.push(format!("{}: {link} leads nowhere", document.name));
            }
        }
    }
    none(&problems);
}

#[test]
fn shown_output_is_told_from_other_output() {
    for (shown, real, is_so) in [
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…\nd", "a\nb\nc", false),
        ("base  …\n", "base  x.img, 3.5 GiB\n", true),
        ("2.87 GiB  12 s", "44.00 MiB   3.1 s", true),
        ("3 nodes", "4 nodes", false),
        ("a", "a\nb", false),
        ("(a|b)", "a", false),
    ] {
        assert_eq!(
            session::is_as_shown(shown, real),
            is_so,
            "{shown:?} {real:?}"
        );
    }
}
