//! Generations of Raspberry Pi OS and boards stand in lists that no compiler asks for. Each
//! must be in all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cardmint::layout::{Board, Generation};

use crate::minted::KINDS;

/// Documents and scripts, and how each names a generation: `{Name}` and `{name}` stand for it.
const PLACES: [(&str, &str); 9] = [
    // The sentence that tells what is known.
    ("README.md", "{Name}"),
    // A row of the table of signs.
    ("docs/first-boot.md", "\n| {Name} | "),
    // Values of `os.generation`.
    ("docs/json.md", "`{name}`"),
    // Names of files to download.
    ("images/catalog.toml", "current = \"{name}\""),
    // A base as it lies on a boot partition, for the tests.
    ("tests/bases/make-small", "\n    {name}"),
    // What is booted under QEMU.
    ("tests/boot/make-base", "\n        {name})\n"),
    ("tests/run", " {name}"),
    ("tests/boot/card.rs", "Self::{Name} => \"{name}\""),
    ("tests/boot/first_boot.rs", "(Generation::{Name})"),
];

/// Too old for what `tests/boot` makes its bases of.
const NOT_BOOTED: [Generation; 1] = [Generation::Buster];

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(file)).expect("a file")
}

#[test]
fn every_generation_is_in_every_list() {
    let mut missing = Vec::new();
    for generation in Generation::ALL {
        let name = generation.to_string();
        let small = name.to_lowercase();
        for (file, form) in PLACES {
            let wanted = form.replace("{Name}", &name).replace("{name}", &small);
            let is_booted = file.starts_with("tests/boot") || file == "tests/run";
            let is_exempt = is_booted && NOT_BOOTED.contains(generation);
            if !is_exempt && !read(file).contains(&wanted) {
                missing.push(format!("{file} has no {wanted:?}"));
            }
        }
        if !KINDS.iter().any(|kind| kind.starts_with(&small)) {
            missing.push(format!("KINDS of tests/it/minted.rs has no {small}"));
        }
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn the_documents_name_every_board_and_no_other() {
    let known: BTreeSet<String> = Board::all().map(|board| board.name().to_owned()).collect();
    let boards = |text: &str| -> BTreeSet<String> {
        let names = text.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    let manifest = read("docs/manifest.md");
    let (_, rest) = manifest.split_once("`board` is one of ").expect("a list");
    let (list, _) = rest.split_once(".\n\n").expect("its end");
    assert_eq!(boards(list), known, "docs/manifest.md");
    let first_boot = read("docs/first-boot.md");
    let (_, rest) = first_boot
        .split_once("| boards | kernel |")
        .expect("a table");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let first: Vec<_> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    assert_eq!(boards(&first.join(",")), known, "docs/first-boot.md");
}
