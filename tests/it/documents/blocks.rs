//! Blocks that are no sessions: scripts, manifests, other files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use toml::{Table, Value};

use super::markdown::Block;
use super::stage::Stage;
use crate::harness::{Run, has, tool};

/// Files that a block wants, or that it is.
pub(super) fn write_files(block: &Block, stage: &Stage<'_>) {
    if let Some(names) = block.directive("files") {
        for name in names.split_whitespace() {
            let path = stage.at.join(name);
            fs::write(&path, "something of eight letters or more\n").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        }
    }
    if let Some(name) = block.directive("write") {
        let path = stage.at.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
        fs::write(path, &block.text).expect("a file");
    }
}

/// Whether a block is what its language says, and the manifest a manifest.
pub(super) fn check(block: &Block, stage: &mut Stage<'_>) -> Result<(), String> {
    let problem = |text: String| format!("{}: {text}", block.line);
    match block.language.as_str() {
        "sh" => script(block, stage),
        "toml" => toml(block, stage),
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "yaml" => {
            let read = "import sys, yaml; list(yaml.safe_load_all(sys.argv[1]))";
            fails(&tool("/usr/bin/python3", &["-c", read, &block.text]))
        }
        "hcl" if has("hcl2tojson") => {
            let path = stage.at.join("block.hcl");
            fs::write(&path, &block.text).expect("a file");
            fails(&tool("hcl2tojson", &[path.to_str().expect("UTF-8")]))
        }
        "text" | "ini" | "hcl" => Ok(()),
        other => Err(format!("what is to be done with `{other}`?")),
    }
    .map_err(problem)
}

fn fails(run: &Run) -> Result<(), String> {
    match run.code {
        0 => Ok(()),
        code => Err(format!("{code}\n{}{}", run.stdout, run.stderr)),
    }
}

fn script(block: &Block, stage: &mut Stage<'_>) -> Result<(), String> {
    let path = stage.at.join("block.sh");
    fs::write(&path, &block.text).expect("a file");
    let path = path.to_str().expect("UTF-8");
    if has("shellcheck") {
        fails(&tool("shellcheck", &["--shell=bash", path]))?;
    }
    if block.directive("run by").is_some() {
        return Ok(());
    }
    fails(&stage.run("bash -euo pipefail block.sh"))
}

fn toml(block: &Block, stage: &mut Stage<'_>) -> Result<(), String> {
    let fragment: Table = block.text.parse().map_err(|error| format!("{error}"))?;
    if block.directive("toml") == Some("other") {
        return Ok(());
    }
    let file = block.directive("merge");
    let path = stage.at.join(file.unwrap_or("block/cluster.toml"));
    if file.is_none() {
        let init = "rm -rf block; cardmint init --yes block; sed -i /^image/d block/cluster.toml";
        fails(&stage.run(init))?;
        // What the fragment names lies beside it.
        fails(&stage.run("find . -maxdepth 1 -type f -exec cp -p -t block {} +"))?;
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
    let mut manifest: Table = text.parse().expect("a manifest");
    merge(&mut manifest, fragment);
    fs::write(&path, manifest.to_string()).expect("a manifest");
    let folder = path.parent().expect("a folder").display();
    fails(&stage.run(&format!("cardmint plan -q -C '{folder}'")))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}
