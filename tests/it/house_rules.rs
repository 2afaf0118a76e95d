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
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        check(&name, text);
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    each_source(|name, text| {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{name} has {lines} lines");
    });
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

#[test]
fn data_flows_one_way() {
    each_source(|name, text| {
        let room = name.split('/').next().unwrap_or_default();
        if !["commands", "ui", "main.rs", "lib.rs"].contains(&room) {
            assert!(
                !text.contains("crate::commands"),
                "{name} looks up to the commands"
            );
            assert!(
                !text.contains("crate::ui"),
                "{name} looks up to the terminal"
            );
        }
        if ["base", "card", "layout", "overlay"].contains(&room) {
            assert!(
                !text.contains("crate::cluster"),
                "{name} knows about clusters"
            );
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
