//! Every target over the bytes that are stored for it in `fuzz/corpus`, and over what
//! becomes of them when a few bytes are changed, the same ones each time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{NAMES, run};

/// Changed copies of each stored input, unless `CARDMINT_FUZZ_MUTANTS` says otherwise.
const MUTANTS: u64 = 8;
/// Longer inputs are not changed: they are slow, and a byte of them says little.
const MAX_MUTANT_LEN: usize = 16 << 10;

/// The folder of the fuzz targets; a published crate has none.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let is_there = folder.join("Cargo.toml").is_file();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "no {folder:?}"
    );
    is_there.then_some(folder)
}

fn stored(folder: &Path, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = folder.join("corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Gives `bytes` to a target; where a promise is broken, says by which input.
fn give(target: &str, bytes: &[u8], path: &Path) {
    if let Err(panic) = std::panic::catch_unwind(|| run(target, bytes)) {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let (what, path) = (what.unwrap_or("a panic"), path.display());
        panic!(
            "{target}, {path} or a copy of it: {what}\n{}",
            hex::encode(bytes)
        );
    }
}

/// A copy with some bytes changed, left out or repeated.
fn mutant(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(4) {
        let at = next(bytes.len());
        let end = (at + 1 + next(8)).min(bytes.len());
        match next(5) {
            0 => drop(bytes.splice(at..end, [])),
            1 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            2 => bytes[at..end].fill(0xff),
            _ if bytes.is_empty() => bytes.push(0),
            3 => bytes[at] ^= 1 << next(8),
            _ => bytes[at] = next(256) as u8,
        }
    }
    bytes
}

#[test]
fn what_is_stored_breaks_no_promise() {
    let Some(folder) = folder() else { return };
    for target in NAMES {
        let inputs = stored(&folder, target);
        assert!(!inputs.is_empty(), "nothing is stored for {target}");
        assert!(inputs.len() <= 60, "too much is stored for {target}");
        for (path, bytes) in inputs {
            give(target, &bytes, &path);
        }
    }
}

#[test]
fn what_is_stored_and_then_damaged_breaks_no_promise() {
    let Some(folder) = folder() else { return };
    let mutants = std::env::var("CARDMINT_FUZZ_MUTANTS").ok();
    let mutants = mutants.map_or(MUTANTS, |number| number.parse().unwrap());
    for target in NAMES {
        for (number, (path, bytes)) in (1..).zip(stored(&folder, target)) {
            if bytes.len() > MAX_MUTANT_LEN {
                continue;
            }
            for seed in 0..mutants {
                give(target, &mutant(&bytes, number << 32 | seed), &path);
            }
        }
    }
}

#[test]
fn each_target_is_a_program_and_has_a_corpus_and_a_row_in_the_readme() {
    let Some(folder) = folder() else { return };
    let ours: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(ours.len(), NAMES.len());
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter();
    let programs: BTreeSet<String> = programs
        .map(|program| program["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(programs, ours);
    let entries = fs::read_dir(folder.join("corpus")).unwrap();
    let corpora: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(corpora, ours);
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    for name in ours {
        assert!(
            readme.contains(&format!("| `{name}` |")),
            "no row for {name}"
        );
    }
}

#[test]
fn the_lock_of_the_targets_has_every_dependency() {
    let Some(folder) = folder() else { return };
    let read = |path: PathBuf| -> toml::Table {
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let lock = read(folder.join("Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();
    let ours = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("cardmint"))
        .unwrap();
    // Where a name is there twice, its version follows.
    let locked: BTreeSet<&str> = ours["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| name.as_str()?.split(' ').next())
        .collect();
    let manifest = read(folder.join("../Cargo.toml"));
    for (name, value) in manifest["dependencies"].as_table().unwrap() {
        let package = value.get("package").and_then(toml::Value::as_str);
        assert!(
            locked.contains(package.unwrap_or(name)),
            "fuzz/Cargo.lock has no {name}: cargo update --workspace --manifest-path fuzz/Cargo.toml"
        );
    }
}
