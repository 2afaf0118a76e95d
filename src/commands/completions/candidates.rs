//! What a word of the command line may be, as far as this computer tells at once.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};

use crate::base::Cache;
use crate::base::catalogue::Catalogue;
use crate::base::fetch::ImageStore;
use crate::card::{Size, System, printable};
use crate::cluster::Cluster;
use crate::cluster::manifest::StandIn;
use crate::cluster::node::PRACTICE;
use crate::commands::workspace::MANIFEST;
use crate::layout::{Generation, Mechanism};
use crate::plan::guard::{self, Demands};
use crate::provision::BOOT_TEXTS;

/// What was typed elsewhere on the line and matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// `-C`.
    dir: Option<PathBuf>,
    /// `--allow-fixed`.
    allow_fixed: bool,
}

impl Typed {
    /// Reads the words that the shell handed over, behind `--` and the program's name.
    pub(super) fn from_environment() -> Self {
        let words = std::env::args_os().skip_while(|word| word != "--").skip(2);
        Self::read(words)
    }

    fn read(words: impl Iterator<Item = OsString>) -> Self {
        let mut typed = Self::default();
        let mut is_dir = false;
        for word in words {
            let word = word.to_string_lossy();
            if std::mem::take(&mut is_dir) {
                typed.dir = Some(unquoted(&word));
            } else if word == "-C" || word == "--directory" {
                is_dir = true;
            } else if let Some(dir) = word
                .strip_prefix("--directory=")
                .or_else(|| word.strip_prefix("-C"))
            {
                typed.dir = Some(unquoted(dir));
            } else if word == "--allow-fixed" {
                typed.allow_fixed = true;
            }
        }
        typed
    }
}

/// A path as it was typed: shells hand words over with quotes and `~`.
fn unquoted(word: &str) -> PathBuf {
    let bare: String = word.chars().filter(|c| !"'\"\\".contains(*c)).collect();
    match (bare.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => bare.into(),
    }
}

fn candidate(value: impl Into<OsString>, help: impl Into<String>) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.into().into()))
}

/// Those of `values` that begin with `word`, with what is said of each.
fn matching<H: Into<String>>(
    word: &str,
    values: impl IntoIterator<Item = (String, H)>,
) -> Vec<CompletionCandidate> {
    let values = values.into_iter();
    let matching = values.filter(|(value, _)| value.starts_with(word));
    matching
        .map(|(value, help)| candidate(value, help))
        .collect()
}

fn prefixed(prefix: &str, list: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let list = list.into_iter();
    list.map(|one| one.add_prefix(prefix)).collect()
}

/// Names of all nodes, then their numbers; none where the manifest is not right.
fn all_nodes(typed: &Typed) -> Vec<(String, String)> {
    let dir = typed.dir.as_deref().unwrap_or(Path::new("."));
    let Ok(cluster) = Cluster::load(&dir.join(MANIFEST), &mut StandIn) else {
        return Vec::new();
    };
    let nodes = cluster.nodes.iter();
    let names = nodes.map(|node| (node.hostname.clone(), format!("node {}", node.number)));
    let nodes = cluster.nodes.iter();
    let numbers = nodes.map(|node| (node.number.to_string(), node.hostname.clone()));
    names.chain(numbers).collect()
}

/// One node.
pub(super) fn nodes(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    matching(word, all_nodes(typed))
}

/// A set of nodes: the last of those that commas separate.
pub(super) fn node_set(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let start = word.rfind(',').map_or(0, |comma| comma + 1);
    let (before, last) = word.split_at(start);
    prefixed(before, nodes(typed, last))
}

/// A node, and once it is whole, with its card.
pub(super) fn nodes_with_cards(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let (node, card) = word.split_once('=').unwrap_or((word, ""));
    let all = all_nodes(typed);
    let is_whole = all.iter().any(|(name, _)| name == node);
    let mut list = match word.contains('=') {
        true => Vec::new(),
        false => matching(word, all),
    };
    if is_whole {
        list.extend(prefixed(&format!("{node}="), cards(typed, card)));
    }
    list
}

/// A card that may be written, or the file that stands in for one.
pub(super) fn cards(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let mut list = matching(word, devices(typed, word));
    if list.is_empty() && !word.is_empty() {
        list = PathCompleter::any().complete(OsStr::new(word));
    }
    list
}

/// Devices that nothing forbids to write, with what they are.
fn devices(typed: &Typed, word: &str) -> Vec<(String, String)> {
    let system = System::default();
    let (Ok(protected), Ok(devices)) = (system.protected(&[]), system.scan()) else {
        return Vec::new();
    };
    let demands = Demands {
        allow_fixed: typed.allow_fixed,
        protected,
        ..Demands::default()
    };
    let by_id = word.starts_with("/dev/disk/");
    let mut list = Vec::new();
    for device in devices {
        if !guard::refusals(&device, &demands).is_empty() {
            continue;
        }
        let path = match (by_id, &device.by_id) {
            (true, Some(by_id)) => by_id,
            _ => &device.path,
        };
        let model = printable(device.reader.as_deref().unwrap_or(&device.model));
        let parts = [
            device.kind.to_string(),
            model,
            Size(device.len()).to_string(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        list.push((path.to_string_lossy().into_owned(), parts.join(", ")));
    }
    list
}

/// An image, a compressed image or a card.
pub(super) fn images_and_cards(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let mut list = matching(word, devices(typed, word));
    list.extend(PathCompleter::any().complete(OsStr::new(word)));
    list
}

/// An image that has a name; with `@`, of a date.
pub(super) fn images(_: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let mut names = Vec::new();
    for image in Catalogue::builtin().images() {
        names.push((image.name().to_owned(), image.title().to_owned()));
        if word.contains('@') {
            let dated = |date| (format!("{}@{date}", image.name()), image.title().to_owned());
            names.extend(image.releases().iter().map(|release| dated(release.date)));
        }
    }
    matching(word, names)
}

/// What a new cluster may be built on.
pub(super) fn images_and_files(typed: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let mut list = images(typed, word);
    list.extend(matching(
        word,
        [(PRACTICE.to_owned(), "to try cardmint with")],
    ));
    list.extend(PathCompleter::any().complete(OsStr::new(word)));
    list
}

/// An image that is here.
pub(super) fn here(_: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let Ok(cache) = Cache::open_default() else {
        return Vec::new();
    };
    // Opening the store would make its folder.
    if !cache.dir().join("images").is_dir() {
        return Vec::new();
    }
    let all = ImageStore::open(&cache).and_then(|store| store.all());
    let mut names = Vec::new();
    for stored in all.unwrap_or_default() {
        names.push((stored.note.name.clone(), stored.note.url.clone()));
    }
    matching(word, names)
}

/// A file of the boot partition that is text.
pub(super) fn boot_files(_: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let files = BOOT_TEXTS.iter();
    matching(word, files.map(|(name, why)| ((*name).to_owned(), *why)))
}

/// How an image takes its settings.
pub(super) fn mechanisms(_: &Typed, word: &str) -> Vec<CompletionCandidate> {
    let ways = [(Mechanism::CloudInit, true), (Mechanism::Firstrun, false)];
    matching(
        word,
        ways.map(|(name, cloud_init)| (name.to_string(), generations(cloud_init))),
    )
}

/// The generations with or without cloud-init: `Buster to Bookworm`.
fn generations(cloud_init: bool) -> String {
    let mut all = Generation::ALL
        .iter()
        .filter(|it| it.traits().cloud_init == cloud_init);
    let first = all.next().map(ToString::to_string).unwrap_or_default();
    match all.next_back() {
        Some(last) => format!("{first} to {last}"),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mechanism_is_told_by_its_generations() {
        assert_eq!(generations(true), "Trixie");
        assert_eq!(generations(false), "Buster to Bookworm");
    }

    fn read(line: &str) -> Typed {
        Typed::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_directory_is_found_however_it_is_typed() {
        for line in [
            "-C lab flash",
            "flash -Clab",
            "--directory lab",
            "plan --directory=lab",
            "-C 'lab'",
        ] {
            assert_eq!(read(line).dir.as_deref(), Some(Path::new("lab")), "{line}");
        }
        assert_eq!(read("flash --allow-fixed").dir, None);
        assert!(read("flash --allow-fixed").allow_fixed);
    }

    #[test]
    fn a_home_is_found_behind_a_tilde() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(unquoted("~/lab"), home.join("lab"));
    }
}
