use std::fs;
use std::path::{Path, PathBuf};

/// A longer file is a room that wants a wall.
const MAX_LINES: usize = 420;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file up to the tests within it. `mod tests;` names another file, and what follows counts.
fn without_tests(text: &str) -> &str {
    const TESTS: &str = "#[cfg(test)]\nmod ";
    let mut from = 0;
    while let Some(at) = text[from..].find(TESTS).map(|at| from + at) {
        let line = text[at + TESTS.len()..].lines().next().unwrap_or_default();
        if line.ends_with('{') {
            return &text[..at];
        }
        from = at + TESTS.len();
    }
    text
}

#[test]
fn only_tests_are_left_out() {
    let text =
        "//! x\n#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\nmod more {\nfn b() {}\n}\n";
    let left = without_tests(text);
    assert!(left.contains("fn a") && !left.contains("fn b"));
}

/// Every source file below `src` but tests, with its path from there on.
fn each_source(mut check: impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40);
    for file in files {
        let name = file
            .strip_prefix(&root)
            .expect("below src")
            .to_str()
            .expect("UTF-8")
            .to_owned();
        if name.contains("test") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file");
        check(&name, without_tests(&text));
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 250);
    for file in files {
        let lines = fs::read_to_string(&file).expect("a file").lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", file.display());
    }
}

#[test]
fn pure_rooms_touch_neither_files_nor_clocks_nor_the_terminal() {
    const PURE: [&str; 6] = [
        "provision/",
        "plan/",
        "handover/",
        "layout/",
        "overlay/",
        "report/",
    ];
    const EFFECTS: [&str; 7] = [
        "std::fs",
        "std::env",
        "std::process",
        "std::time",
        "getrandom",
        "println!",
        "stderr()",
    ];
    each_source(|name, text| {
        for effect in EFFECTS {
            let pure = PURE.iter().any(|room| name.starts_with(room));
            assert!(!pure || !text.contains(effect), "{name} uses {effect}");
        }
    });
}

/// The rooms from the ground up. Each uses only those before it, so that there are no
/// circles, and whoever reads them in this order meets nothing unknown.
const FLOORS: [&str; 19] = [
    "exit",
    "interrupt",
    "owner",
    "whole",
    "report",
    "base",
    "layout",
    "cluster",
    "provision",
    "overlay",
    "output",
    "card",
    "plan",
    "handover",
    "status",
    "cli",
    "ui",
    "commands",
    "fuzzing",
];

/// The rooms that the code of a file names by `crate::`; comments and tests do not count.
fn used_rooms(text: &str) -> impl Iterator<Item = &str> {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
        })
        .filter(|room| !room.is_empty())
}

#[test]
fn each_room_uses_only_the_rooms_below_it() {
    let floor = |room: &str| FLOORS.iter().position(|&name| name == room);
    let mut uses = 0;
    each_source(|name, text| {
        let room = name.split(['/', '.']).next().unwrap_or_default();
        if ["lib", "main"].contains(&room) {
            return;
        }
        let own = floor(room).unwrap_or_else(|| panic!("{name} is in no room of the design"));
        for used in used_rooms(text) {
            let used_floor =
                floor(used).unwrap_or_else(|| panic!("{name} uses crate::{used}, no room"));
            assert!(used_floor <= own, "{name} looks up to crate::{used}");
            uses += 1;
        }
    });
    assert!(uses > 300, "only {uses} uses were found");
}

#[test]
fn every_room_is_on_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file");
    let (picture, map) = (read("src/lib.rs"), read("docs/design.md"));
    for entry in fs::read_dir(root.join("src")).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.path().is_dir() && name != "fuzzing" {
            assert!(
                picture.contains(&format!("| [`{name}`] |")),
                "{name}, lib.rs"
            );
            assert!(map.contains(&format!("| `{name}` |")), "{name}, design.md");
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    each_source(|name, text| {
        let opening = text.lines().next().unwrap_or_default();
        assert!(opening.starts_with("//! "), "{name} opens without a word");
    });
}

#[test]
fn no_file_is_a_drawer_for_anything() {
    each_source(|name, _| {
        for drawer in ["util", "helper", "common", "misc"] {
            assert!(!name.contains(drawer), "{name}");
        }
    });
}

#[test]
fn nobody_prints_but_the_commands_and_the_terminal() {
    each_source(|name, text| {
        for word in [
            "println!",
            "eprintln!",
            "print!(",
            "process::exit",
            "dbg!",
            "todo!",
        ] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    });
}
