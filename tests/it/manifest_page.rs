//! docs/manifest.md names every key that a manifest may have, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::Scratch;

/// A key that is none, and far from all that are.
const NO_KEY: &str = "qqqqqqqqqqqqqqqq";

/// Keys of the page by the name of their section; `first_boot.files` for the keys
/// of a table within one.
fn page() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.md");
    let text = fs::read_to_string(path).expect("a page");
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading
                .strip_prefix("`[")
                .and_then(|rest| rest.strip_suffix("]`"));
            current = name.map(str::to_owned);
        } else if line.starts_with("| `")
            && let Some(section) = &current
        {
            for key in line
                .split('|')
                .nth(1)
                .expect("a cell")
                .split('`')
                .skip(1)
                .step_by(2)
            {
                let (section, key) = match key.rsplit_once('.') {
                    Some((table, key)) => {
                        (format!("{section}.{}", table.trim_end_matches("[]")), key)
                    }
                    None => (section.clone(), key),
                };
                sections.entry(section).or_default().insert(key.to_owned());
            }
        }
    }
    sections
}

/// Keys that a section knows, as it says where one is given that it does not.
fn known(manifest: &str) -> BTreeSet<String> {
    let scratch = Scratch::new();
    scratch.write("c/cluster.toml", manifest);
    let said = scratch.cardmint(&["plan"]).expect(2).stderr;
    let mut lines = said.lines().skip_while(|line| !line.contains(NO_KEY));
    let help = lines.nth(1).unwrap_or_else(|| panic!("{said}"));
    let (_, keys) = help
        .split_once(" knows ")
        .unwrap_or_else(|| panic!("{said}"));
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn each_key_that_a_manifest_may_have_is_on_the_page_and_no_other_is() {
    let page = page();
    let all = known(&format!("{NO_KEY} = 1\n"));
    let mut of_page: BTreeSet<String> = page
        .keys()
        .filter(|name| !name.contains('.'))
        .cloned()
        .collect();
    of_page.insert("node".to_owned());
    of_page.remove("node.N");
    assert_eq!(all, of_page);
    for (section, keys) in page {
        let manifest = match section.as_str() {
            "first_boot.files" => format!("[first_boot]\nfiles = [{{ {NO_KEY} = 1 }}]\n"),
            "monitoring.node_exporter" => {
                format!("[monitoring]\nnode_exporter = {{ {NO_KEY} = 1 }}\n")
            }
            "node.N" => format!("[cluster]\nname = \"c\"\ncount = 1\n[node.0]\n{NO_KEY} = 1\n"),
            plain => format!("[{plain}]\n{NO_KEY} = 1\n"),
        };
        assert_eq!(known(&manifest), keys, "[{section}]");
    }
}
