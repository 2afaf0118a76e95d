//! The scripts and jobs of docs/guides do what the guides say, with the real GNU
//! parallel, and schemas of Kubernetes and HCL.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Run, Scratch, base, has, tool};

/// The blocks of a guide that are in this language.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
    let text = fs::read_to_string(path.join(guide)).expect("a guide");
    let fence = format!("```{language}\n");
    let block = |rest: &str| rest.split("\n```").next().map(str::to_owned);
    text.split(&fence).skip(1).filter_map(block).collect()
}

/// A cluster on a base of several blocks, which lies in its directory.
fn cluster(count: u32) -> Scratch {
    let scratch = Scratch::new();
    let image = scratch.path("c/raspios.img");
    fs::copy(base("trixie-arm64"), &image).expect("a base");
    let path = image.to_str().expect("UTF-8");
    tool("xz", &["-T2", "-1", "--block-size=8MiB", path]).expect(0);
    scratch.init(Path::new("raspios.img.xz"), count);
    scratch
}

/// Copies a cluster's directory, modes and all, without what was made from it.
fn copy(scratch: &Scratch, to: &str) {
    let (from, to) = (scratch.path("c/."), scratch.path(to));
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    tool("cp", &["-a", from, to]).expect(0);
}

/// What a shell does in a folder, with cardmint among its programs.
fn shell(scratch: &Scratch, script: &str, dir: &str, variables: &[(&str, &str)]) -> Run {
    let own = Path::new(env!("CARGO_BIN_EXE_cardmint"))
        .parent()
        .expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [scratch.path("bin"), own.to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let output = Command::new("sh")
        .args(["-euc", script, "sh", "build1", "build2"])
        .current_dir(scratch.path(dir))
        .env("PATH", std::env::join_paths(all).expect("folders"))
        .env("HOME", scratch.path("home"))
        .env("XDG_CACHE_HOME", scratch.path("cache"))
        .envs(variables.iter().copied())
        .output();
    Run::of(&output.expect("sh"))
}

fn images(scratch: &Scratch, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = scratch.path(dir);
    let relative = |(path, bytes): (PathBuf, Vec<u8>)| {
        (
            path.strip_prefix(&root).expect("below it").to_owned(),
            bytes,
        )
    };
    scratch.snapshot(dir).into_iter().map(relative).collect()
}

/// A program of ours among the others.
fn program(scratch: &Scratch, name: &str, text: &str) {
    fs::create_dir_all(scratch.path("bin")).expect("a folder");
    let path = scratch.write(&format!("bin/{name}"), text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

#[test]
fn an_image_in_the_directory_moves_with_it() {
    let scratch = cluster(2);
    copy(&scratch, "elsewhere");
    fs::remove_file(scratch.path("c/raspios.img.xz")).expect("a file");
    let mut plan = scratch.command(&["plan"]);
    let run = plan.current_dir(scratch.path("elsewhere")).output();
    Run::of(&run.expect("cardmint")).expect(0);
}

#[test]
fn a_clone_of_a_cluster_is_told_where_its_key_is() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    fs::remove_file(scratch.path("c/cluster.key")).expect("a key");
    let run = scratch.cardmint(&["plan"]).expect(1);
    run.says(&[
        "there is no ./cluster.key",
        "cloned needs it from where it was made",
    ]);
}

/// Machines are folders here; what runs on them, and how files get there, is the
/// guide's. As sshd does, ours tells what it starts which shell the user has: without
/// one parallel runs nothing and calls it success.
#[test]
fn ranges_that_parallel_builds_on_two_machines_equal_the_whole() {
    if !has("parallel") || !has("rsync") {
        return;
    }
    let scratch = cluster(8);
    copy(&scratch, "whole");
    shell(&scratch, "cardmint build --format img.xz", "whole", &[]).expect(0);
    let ssh = "#!/bin/sh\n\
        while [ \"${1#-}\" != \"$1\" ]; do\n\
            case $1 in -l | -o | -p) shift ;; esac\n\
            shift\n\
        done\n\
        mkdir -p \"$MACHINES/$1\" && cd \"$MACHINES/$1\" && shift\n\
        [ \"$1\" != -- ] || shift\n\
        SHELL=/bin/sh exec sh -c \"$*\"\n";
    program(&scratch, "ssh", ssh);
    let machines = scratch.path("machines");
    let machines = [("MACHINES", machines.to_str().expect("UTF-8"))];
    let script = &blocks("many-machines.md", "sh")[0];
    let run = shell(&scratch, script, "c", &machines).expect(0);
    assert_eq!(run.stdout.matches("  kept ").count(), 8, "{}", run.stdout);
    for machine in ["build1", "build2"] {
        let there = images(&scratch, &format!("machines/{machine}/picluster/images"));
        assert!(!there.is_empty(), "{machine} had nothing to do");
    }
    assert!(images(&scratch, "c/images") == images(&scratch, "whole/images"));
    let record = |dir| fs::read_to_string(scratch.path(dir)).expect("a record");
    assert_eq!(record("c/cluster.lock"), record("whole/cluster.lock"));
}

#[test]
fn ranges_built_at_once_in_one_directory_lose_no_entry_of_the_record() {
    if !has("parallel") {
        return;
    }
    let scratch = cluster(8);
    let command = "parallel --jobs 4 cardmint build --format img.xz --nodes {} ::: 0-1 2-3 4-5 6-7";
    shell(&scratch, command, "c", &[]).expect(0);
    let record = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    let record: toml::Table = record.parse().expect("TOML");
    assert_eq!(record["node"].as_table().expect("nodes").len(), 8);
}

#[test]
fn records_of_cards_are_carried_from_one_machine_to_another() {
    let scratch = cluster(4);
    copy(&scratch, "other");
    let flash = |node: u32| {
        format!("truncate -s 64M card && cardmint flash {node} --to card --yes && rm card")
    };
    shell(&scratch, &flash(0), "c", &[]).expect(0);
    shell(&scratch, &flash(1), "other", &[]).expect(0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/many-machines.md");
    let guide = fs::read_to_string(path).expect("a guide");
    let line = guide.lines().find_map(|line| line.strip_prefix("$ sed "));
    let line = format!("sed {}", line.expect("a command"));
    let line = line.replace("other/", "../other/");
    shell(&scratch, &line, "c", &[]).expect(0);
    shell(&scratch, "cardmint handover", "c", &[]).expect(0);
    let record = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    let record: toml::Table = record.parse().expect("TOML");
    let cards = record["card"].as_table().expect("cards");
    assert_eq!(cards.keys().collect::<Vec<_>>(), ["0", "1"]);
    // Once more, and there are two of one node.
    shell(&scratch, &line, "c", &[]).expect(0);
    let run = shell(&scratch, "cardmint handover", "c", &[]);
    assert!(
        run.code != 0 && run.stderr.contains("is damaged"),
        "{}",
        run.stderr
    );
}

/// YAML as JSON, by Python.
fn yaml(scratch: &Scratch, text: &str) -> Value {
    let path = scratch.write("block.yml", text);
    let script = "import json, sys, yaml\n\
                  print(json.dumps(yaml.load(open(sys.argv[1]), yaml.BaseLoader)))";
    let path = path.to_str().expect("UTF-8");
    let run = tool("python3", &["-c", script, path]);
    if run.code == 0 {
        return run.json();
    }
    tool("/usr/bin/python3", &["-c", script, path])
        .expect(0)
        .json()
}

/// A checkout of the hundred nodes, without its secrets.
fn checkout() -> Scratch {
    let scratch = cluster(100);
    fs::rename(scratch.path("c/id_ed25519.pub"), scratch.path("c/ops.pub")).expect("a key");
    fs::rename(scratch.path("c/cluster.key"), scratch.path("cluster.key")).expect("a key");
    let manifest = &blocks("hundred-nodes.md", "toml")[0];
    let lines = manifest.lines().filter(|line| !line.starts_with("sha256 "));
    let lines: Vec<String> = lines
        .map(|line| match line.strip_prefix("image ") {
            Some(_) => "image = \"raspios.img.xz\"".to_owned(),
            None => line.to_owned(),
        })
        .collect();
    scratch.write("c/cluster.toml", lines.join("\n"));
    scratch
}

#[test]
fn jobs_of_ci_build_their_range() {
    let scratch = checkout();
    let key = fs::read_to_string(scratch.path("cluster.key")).expect("a key");
    let blocks = blocks("hundred-nodes.md", "yaml");
    let github = yaml(&scratch, &blocks[0]);
    let job = &github["jobs"]["build"];
    let range = job["strategy"]["matrix"]["nodes"][9]
        .as_str()
        .expect("a range");
    let secrets = [
        ("CLUSTER_KEY", key.as_str()),
        ("OPS_PASSWORD", "a long one"),
    ];
    copy(&scratch, "github");
    for step in job["steps"].as_array().expect("steps") {
        let Some(script) = step["run"].as_str() else {
            continue;
        };
        let script = script.replace("${{ matrix.nodes }}", range);
        shell(&scratch, &script, "github", &secrets).expect(0);
    }
    let gitlab = yaml(&scratch, &blocks[1]);
    let job = &gitlab["images"];
    let range = job["parallel"]["matrix"][0]["NODES"][9].as_str();
    let lines = job["script"].as_array().expect("a script");
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    // Variables of type File are paths of files that everybody may read.
    let key = scratch.path("cluster.key");
    let password = scratch.write("password", "a long one");
    for path in [&key, &password] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("chmod");
    }
    let variables = [
        ("CLUSTER_KEY", key.to_str().expect("UTF-8")),
        ("OPS_PASSWORD", password.to_str().expect("UTF-8")),
        ("NODES", range.expect("a range")),
    ];
    copy(&scratch, "gitlab");
    shell(&scratch, &lines.join("\n"), "gitlab", &variables).expect(0);
    let built = images(&scratch, "github/images");
    assert_eq!(built.len(), 3 * 10);
    assert!(built == images(&scratch, "gitlab/images"));
    assert!(
        built
            .iter()
            .any(|(name, _)| name == Path::new("line099.img.xz"))
    );
}

/// Folders as the volumes of the jobs: what the guide puts into each.
fn fill_volumes(scratch: &Scratch) {
    for name in ["config", "secret", "cards", "work", "secrets"] {
        fs::create_dir(scratch.path(name)).expect("a folder");
    }
    let move_to = |name: &str, to: &str| {
        fs::rename(scratch.path("c").join(name), scratch.path(to).join(name)).expect("a file");
    };
    move_to("raspios.img.xz", "cards");
    let manifest = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    let image = scratch.path("cards/raspios.img.xz");
    let manifest = manifest.replace(
        "\"raspios.img.xz\"",
        &format!("{:?}", image.display().to_string()),
    );
    let key = fs::read_to_string(scratch.path("c/id_ed25519.pub")).expect("a key");
    scratch.write(
        "secrets/cluster.toml",
        manifest.replace("./id_ed25519.pub", key.trim()),
    );
    let master = fs::read_to_string(scratch.path("c/cluster.key")).expect("a key");
    scratch.write_secret("secrets/cluster.key", &master);
    scratch.write("c/cluster.toml", manifest);
    for name in ["cluster.toml", "id_ed25519.pub"] {
        move_to(name, "config");
    }
    move_to("cluster.key", "secret");
}

#[test]
fn the_jobs_of_kubernetes_and_nomad_are_valid_and_build_their_range() {
    if !has("kubernetes-validate") || !has("hcl2tojson") {
        return;
    }
    let scratch = cluster(100);
    let kubernetes = &blocks("job-runners.md", "yaml")[0];
    let path = scratch.write("job.yaml", kubernetes);
    let path = path.to_str().expect("UTF-8");
    tool("kubernetes-validate", &["--strict", path]).expect(0);
    let nomad = scratch.write("job.hcl", &blocks("job-runners.md", "hcl")[0]);
    let nomad = tool("hcl2tojson", &[nomad.to_str().expect("UTF-8")]).expect(0);
    let nomad = nomad.json().to_string();

    fill_volumes(&scratch);
    let job = yaml(&scratch, kubernetes);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let mut script = container["args"][0].as_str().expect("a script").to_owned();
    for name in ["config", "secret", "cards"] {
        let here = scratch.path(name).display().to_string();
        script = script.replace(&format!("/{name}/"), &format!("{here}/"));
    }
    shell(&scratch, &script, "work", &[("JOB_COMPLETION_INDEX", "3")]).expect(0);
    let built = images(&scratch, "cards/images");
    assert_eq!(built.len(), 3 * 25);

    fs::remove_dir_all(scratch.path("cards/images")).expect("a folder");
    let script = nomad.split("umask 077").nth(1).expect("a script");
    let script = script.split("first + 24))").next().expect("a script");
    let cards = scratch.path("cards").display().to_string();
    let script = format!("umask 077{script}first + 24))").replace("/cards/", &format!("{cards}/"));
    let secrets = scratch.path("secrets").display().to_string();
    let task = scratch.path("task").display().to_string();
    let variables = [
        ("NOMAD_SECRETS_DIR", secrets.as_str()),
        ("NOMAD_TASK_DIR", task.as_str()),
        ("NOMAD_ALLOC_INDEX", "3"),
    ];
    shell(&scratch, &script, "work", &variables).expect(0);
    assert!(built == images(&scratch, "cards/images"));
}
