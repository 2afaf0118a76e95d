//! docs/json.md names every field that `--json` prints, and none that it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::harness::{Loop, Run, Scratch, tool};

/// Fields of the page, by command.
fn page() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let text = fs::read_to_string(path).expect("a page");
    let mut commands: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            current = quoted(heading);
        } else if line.starts_with("| `") {
            let cell = line.split('|').nth(1).expect("a cell");
            for command in &current {
                let fields = commands.entry(command.clone()).or_default();
                fields.extend(quoted(cell));
            }
        }
    }
    commands
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Puts the paths of a value's fields into `leaves`, those that are null into `nulls`.
fn walk(value: &Value, path: &str, leaves: &mut BTreeSet<String>, nulls: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // Keyed by hostname.
                let name = if path == "prometheus.up" { "*" } else { name };
                let dot = if path.is_empty() { "" } else { "." };
                walk(field, &format!("{path}{dot}{name}"), leaves, nulls);
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(item, &format!("{path}[]"), leaves, nulls);
            }
        }
        Value::Null => {
            nulls.insert(path.to_owned());
        }
        _ => {
            leaves.insert(path.to_owned());
        }
    }
}

/// Compares what commands that share a section of the page printed with that section.
#[track_caller]
pub(crate) fn judge(command: &str, printed: &[Value]) {
    let page = page();
    let named = page
        .get(command)
        .unwrap_or_else(|| panic!("docs/json.md has no section `{command}`"));
    let (mut leaves, mut nulls) = (BTreeSet::new(), BTreeSet::new());
    for value in printed {
        walk(value, "", &mut leaves, &mut nulls);
    }
    let is_within = |null: &str| {
        named.contains(null)
            || named
                .iter()
                .any(|name| name.starts_with(&format!("{null}.")))
    };
    let unnamed: Vec<_> = leaves.difference(named).collect();
    let unnamed_nulls: Vec<_> = nulls.iter().filter(|null| !is_within(null)).collect();
    assert!(
        unnamed.is_empty() && unnamed_nulls.is_empty(),
        "`{command}` prints what docs/json.md does not name: {unnamed:?} {unnamed_nulls:?}"
    );
    let never: Vec<_> = named
        .iter()
        .filter(|name| !leaves.contains(*name) && !nulls.contains(*name))
        .collect();
    assert!(
        never.is_empty(),
        "docs/json.md names what `{command}` does not print: {never:?}"
    );
}

/// The lines of a command that prints one object on each.
fn lines(run: &Run) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).expect("a line of JSON");
    run.stdout.lines().map(line).collect()
}

const EVERYTHING: &str = "
[monitoring]
node_exporter = true
host = 0
[boot]
cmdline = [\"cgroup_enable=memory\"]
config = [\"dtoverlay=disable-bt\"]
[node.0]
board = \"pi-zero-w\"
[node.1]
address = \"10.0.0.13/24\"
";

#[test]
fn plan_and_build_print_what_the_page_names() {
    let scratch = Scratch::cluster("trixie-armhf", |text| text + EVERYTHING);
    let plan = scratch.cardmint(&["plan", "--json"]).expect(0).json();
    judge("plan", &[plan]);
    let build = scratch.cardmint(&["build", "--json"]).expect(0).json();
    judge("build", &[build]);
}

#[test]
fn flash_and_replace_print_what_the_page_names() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let card = scratch.path("card");
    File::create(&card)
        .and_then(|file| file.set_len(160 << 20))
        .expect("a card");
    let card = card.to_str().expect("UTF-8");
    let card = ["--to", card, "--yes", "--json"];
    let run = |args: &[&str]| lines(&scratch.cardmint(&[args, &card].concat()).expect(0));
    // What is on the card the second time is worth a notice.
    let all = [
        run(&["flash", "0"]),
        run(&["flash", "1"]),
        run(&["replace", "1"]),
    ]
    .concat();
    for command in ["flash", "replace"] {
        judge(command, &all);
    }
}

#[test]
fn verify_and_inspect_print_what_the_page_names() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let image = scratch.path("c/images/raspberrypi1.img");
    let report = "cardmint report 1\nnode raspberrypi1\ninstance cardmint-0\n\
                  step hostname ok 0\nresult ok\n";
    let report = scratch.write("report", report);
    let boot = format!("{}@@8M", image.display());
    let report = report.to_str().expect("UTF-8");
    tool("mcopy", &["-i", &boot, report, "::cardmint-report.txt"]).expect(0);
    let image = image.to_str().expect("UTF-8");
    let inspect = scratch.cardmint(&["inspect", image, "--json"]).expect(0);
    judge("inspect", &[inspect.json()]);
    let verify = scratch
        .cardmint(&["verify", "0", image, "--json"])
        .expect(4);
    judge("verify", &[verify.json()]);
}

#[test]
fn handover_prints_what_the_page_names() {
    let scratch = Scratch::cluster("trixie-arm64", |text| {
        text + "\n[monitoring]\nnode_exporter = true\n"
    });
    scratch.cardmint(&["handover"]).expect(0);
    let path = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&path).expect("a manifest");
    fs::write(path, text.replace("= true\n", "= false\n")).expect("a manifest");
    let less = scratch.cardmint(&["handover", "--json"]).expect(0);
    judge("handover", &[less.json()]);
}

#[test]
fn devices_prints_what_the_page_names() {
    let scratch = Scratch::new();
    let file = scratch.path("disk");
    File::create(&file)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file");
    let Some(_device) = Loop::attach(&file) else {
        return;
    };
    let devices = scratch.cardmint(&["devices", "--json"]).expect(0);
    judge("devices", &[devices.json()]);
}

/// Commands and subcommands, from the help of one.
fn commands(scratch: &Scratch, of: &[&str]) -> Vec<String> {
    let help = scratch
        .cardmint(&[of, &["--help"]].concat())
        .expect(0)
        .stdout;
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["help", ""].contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_command_that_prints_json_has_a_section_and_no_other_has() {
    let scratch = Scratch::new();
    let mut all: BTreeSet<String> = commands(&scratch, &[]).into_iter().collect();
    let images = commands(&scratch, &["images"]);
    all.extend(images.iter().map(|name| format!("images {name}")));
    all.retain(|name| {
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        scratch.cardmint(&words).expect(0).stdout.contains("--json")
    });
    let mut sections: BTreeSet<String> = page().into_keys().collect();
    assert!(sections.remove("images list --from"));
    assert_eq!(all, sections);
}
