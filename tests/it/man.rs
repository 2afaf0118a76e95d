//! The manual pages that are kept in docs/man.

use std::fs;
use std::path::Path;

use crate::harness::{Scratch, has, tool};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/man");

fn pages(dir: &Path) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        pages.push((
            name.into_owned(),
            fs::read_to_string(&path).expect("a page"),
        ));
    }
    pages.sort();
    pages
}

#[test]
fn the_pages_are_those_that_the_binary_writes() {
    let scratch = Scratch::new();
    scratch.cardmint(&["man", "pages"]).expect(0);
    let (written, kept) = (pages(&scratch.path("c/pages")), pages(Path::new(KEPT)));
    let names = |pages: &[(String, String)]| -> Vec<String> {
        pages.iter().map(|(name, _)| name.clone()).collect()
    };
    let help = "`rm docs/man/*; cargo run -- man docs/man` brings them up to date";
    assert_eq!(names(&written), names(&kept), "{help}");
    for (new, old) in written.iter().zip(&kept) {
        assert!(new == old, "{} differs: {help}", new.0);
    }
    let one = scratch.cardmint(&["man"]).expect(0).stdout;
    let main = kept.iter().find(|(name, _)| name == "cardmint.1");
    assert_eq!(Some(&one), main.map(|(_, text)| text));
}

#[test]
fn every_command_for_people_has_a_page_with_the_usual_sections() {
    let kept = pages(Path::new(KEPT));
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["cardmint.1", "cardmint-images.1", "cardmint-images-fetch.1"] {
        assert!(names.contains(&name), "{name}");
    }
    for (name, text) in &kept {
        assert!(
            !name.contains("open-cards") && !text.contains("open\\-cards"),
            "{name}"
        );
        assert!(!name.contains("help"), "{name}");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            assert!(
                text.contains(&format!("\n.SH {section}\n")),
                "{name}: {section}"
            );
        }
    }
    let (_, main) = kept
        .iter()
        .find(|(name, _)| name == "cardmint.1")
        .expect("a page");
    for section in ["FILES", "ENVIRONMENT", "EXAMPLES"] {
        assert!(main.contains(&format!("\n.SH {section}\n")), "{section}");
    }
}

#[test]
fn the_day_of_a_release_is_that_of_the_changelog() {
    let changelog = include_str!("../../CHANGELOG.md");
    let start = format!("## {} - ", env!("CARGO_PKG_VERSION"));
    let released = changelog.lines().find_map(|line| line.strip_prefix(&start));
    for (name, text) in pages(Path::new(KEPT)) {
        if let Some(day) = released {
            assert!(
                text.contains(&format!(" 1 {day} ")),
                "{name} is not of {day}"
            );
        }
    }
}

#[test]
fn mandoc_and_groff_have_nothing_to_complain_of() {
    let kept = pages(Path::new(KEPT));
    for (name, _) in &kept {
        let page = format!("{KEPT}/{name}");
        if has("mandoc") {
            let run = tool("mandoc", &["-T", "lint", "-W", "warning", &page]).expect(0);
            assert_eq!(run.stdout, "", "{name}");
        }
        if has("groff") {
            let run = tool("groff", &["-Kutf8", "-man", "-Tutf8", "-ww", "-z", &page]).expect(0);
            assert_eq!(run.stderr, "", "{name}");
        }
    }
}
