//! Outside judges: the shell, shellcheck, cloud-init, a YAML parser.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use proptest::prelude::*;

use super::fixtures::{full, identity, masked, minimal, systems, watchful, wireless};
use super::tool;
use crate::cluster::exporter::ExporterKind;
use crate::cluster::node::WifiSecurity;
use crate::cluster::{Identity, Node};
use crate::provision::root_files::RootFiles;
use crate::provision::{Settings, Templates, provision, quote};

/// Runs `command` over `input`; its output, or what it complains about.
fn fed(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&complaint).into_owned())
}

/// Nodes that between them use every branch, with awkward values.
fn nodes() -> Vec<(Node, Identity)> {
    vec![
        (minimal(), identity(false)),
        (minimal(), identity(true)),
        (full(), identity(true)),
        (full(), identity(false)),
        (wireless(WifiSecurity::Open), identity(false)),
        (
            wireless(WifiSecurity::Sae("it's \\ \"$x\" `y`".into())),
            identity(true),
        ),
        masked(),
        (watchful(ExporterKind::Deb), identity(false)),
        (watchful(ExporterKind::Program), identity(false)),
    ]
}

/// Every script that lands on a node, with the text it is part of.
fn scripts() -> Vec<(String, String)> {
    let templates = Templates::embedded();
    let mut scripts = Vec::new();
    for (name, os) in systems() {
        for (index, (node, identity)) in nodes().into_iter().enumerate() {
            let label = format!("{name} {index}");
            for file in provision(&node, &os, &identity, &templates).unwrap().files {
                if file.name == "firstrun.sh" {
                    let text = String::from_utf8(file.bytes).unwrap();
                    scripts.push((format!("{label} firstrun.sh"), text));
                }
            }
            let settings = Settings {
                node: &node,
                os: &os,
                identity: &identity,
                instance: "cardmint-0",
            };
            let values = settings.values().unwrap();
            let bootcmd = templates.render("bootcmd.sh", &values).unwrap();
            scripts.push((format!("{label} bootcmd"), format!("#!/bin/sh\n{bootcmd}")));
            for file in RootFiles::render(&settings, &values, &templates)
                .unwrap()
                .files
            {
                if file.path.ends_with("/finish") || file.path.ends_with("-expand") {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(file.base64);
                    let text = String::from_utf8(bytes.unwrap()).unwrap();
                    scripts.push((format!("{label} {}", file.path), text));
                }
            }
        }
    }
    scripts.sort_by(|a, b| a.1.cmp(&b.1));
    scripts.dedup_by(|a, b| a.1 == b.1);
    scripts
}

#[test]
fn shellcheck_finds_nothing_in_any_script() {
    if !tool("shellcheck") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("shellcheck");
    command.args(["--shell=sh", "--format=gcc"]);
    for (index, (name, text)) in scripts().iter().enumerate() {
        let file = format!("{index} {}", name.replace('/', "_"));
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn every_shell_reads_every_script() {
    for shell in ["sh", "dash", "bash"] {
        if !tool(shell) {
            continue;
        }
        for (name, text) in scripts() {
            let read = fed(Command::new(shell).arg("-n"), text.as_bytes());
            assert!(read.is_ok(), "{shell}, {name}: {read:?}");
        }
    }
}

#[test]
fn cloud_init_accepts_user_data() {
    if !tool("cloud-init") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let os = super::fixtures::system("trixie");
    for (index, (node, identity)) in nodes().into_iter().enumerate() {
        let files = provision(&node, &os, &identity, &Templates::embedded()).unwrap();
        let user_data = files
            .files
            .iter()
            .find(|file| file.name == "user-data")
            .unwrap();
        let path = dir.path().join("user-data");
        std::fs::write(&path, &user_data.bytes).unwrap();
        let output = Command::new("cloud-init")
            .args(["schema", "--config-file"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "node {index}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A Python with PyYAML, which is what cloud-init reads with.
fn python() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let found = Command::new(python).args(["-c", "import yaml"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn every_yaml_file_is_yaml() {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "no python3 with yaml");
        return;
    };
    let os = super::fixtures::system("trixie");
    for (node, identity) in nodes() {
        let files = provision(&node, &os, &identity, &Templates::embedded()).unwrap();
        for file in files.files {
            if ["user-data", "meta-data", "network-config"].contains(&&*file.name) {
                let program =
                    "import sys, yaml; assert isinstance(yaml.safe_load(sys.stdin.buffer), dict)";
                let read = fed(Command::new(python).args(["-c", program]), &file.bytes);
                assert!(read.is_ok(), "{}: {read:?}", file.name);
            }
        }
    }
}

#[test]
fn cloud_init_reads_what_was_meant() {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "no python3 with yaml");
        return;
    };
    let os = super::fixtures::system("trixie");
    let (node, identity, templates) = (full(), identity(true), Templates::embedded());
    let files = provision(&node, &os, &identity, &templates).unwrap();
    let user_data = files
        .files
        .iter()
        .find(|file| file.name == "user-data")
        .unwrap();
    let program = "import sys, yaml, json; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
    let read = fed(Command::new(python).args(["-c", program]), &user_data.bytes).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&read).unwrap();

    let settings = Settings {
        node: &node,
        os: &os,
        identity: &identity,
        instance: &files.instance_id,
    };
    let values = settings.values().unwrap();
    let bootcmd = templates.render("bootcmd.sh", &values).unwrap();
    let command = serde_json::json!(["sh", "-c", bootcmd]);
    assert_eq!(read["bootcmd"], serde_json::json!([command]));
    let keys = serde_json::json!(node.user.authorized_keys);
    assert_eq!(read["user"]["ssh_authorized_keys"], keys);
    assert_eq!(read["user"]["hashed_passwd"], super::fixtures::HASH);
    assert!(read["user"].as_object().unwrap()["sudo"].is_null());
    let written = read["write_files"].as_array().unwrap();
    let root = RootFiles::render(&settings, &values, &templates).unwrap();
    for file in root.files.iter().chain(&root.own) {
        let found = written
            .iter()
            .find(|entry| entry["path"] == *file.path)
            .unwrap();
        assert_eq!(found["content"], *file.base64);
        assert_eq!(found["permissions"], *file.mode);
    }
    // cloud-init leaves out what is behind a file that it cannot write.
    let last = written[written.len() - root.own.len()..].iter();
    assert!(
        last.map(|entry| &entry["path"])
            .eq(["/etc/empty", "/etc/motd"])
    );
}

#[test]
fn yaml_of_every_character_is_read_as_written() {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "no python3 with yaml");
        return;
    };
    // Each character of the planes in use, alone and between two others.
    let mut texts: Vec<String> = (0..=0x2_ffff_u32)
        .filter_map(char::from_u32)
        .collect::<Vec<_>>()
        .chunks(64)
        .map(|chunk| chunk.iter().collect())
        .collect();
    for awkward in [
        "",
        " ",
        "no",
        "~",
        "# a",
        "a: b",
        "\\",
        "\"",
        "\u{feff}a",
        "a\u{85}b",
        "🍓",
    ] {
        texts.push(awkward.to_owned());
    }
    let list: String = texts
        .iter()
        .map(|text| format!("- {}\n", quote::yaml(text)))
        .collect();
    let program = "import sys, yaml, json; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
    let read = fed(Command::new(python).args(["-c", program]), list.as_bytes()).unwrap();
    let read: Vec<String> = serde_json::from_slice(&read).unwrap();
    for (was, is) in texts.iter().zip(&read) {
        assert_eq!(was, is);
    }
}

/// What GKeyFile makes of a value.
fn unkey(value: &str) -> String {
    let mut out = String::new();
    let mut chars = value.trim_matches(' ').chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('s') => ' ',
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                other => other.unwrap(),
            },
            c => c,
        });
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_shell_prints_a_quoted_word_as_it_was(text in "[^\0]{0,60}") {
        let script = format!("printf %s {}", quote::sh(&text).unwrap());
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    }

    #[test]
    fn a_keyfile_value_is_one_line_and_comes_back(text in "([^\0]| |\\\\){0,40}") {
        let value = quote::keyfile(&text).unwrap();
        prop_assert!(!value.contains('\n'));
        prop_assert_eq!(unkey(&value), text);
    }

    #[test]
    fn an_ssid_comes_back_as_text_or_bytes(ssid in "\\PC{1,32}|[0-9 ]{1,8}") {
        let value = quote::keyfile_ssid(&ssid);
        if value.ends_with(';') {
            let bytes: Vec<u8> = value.split_terminator(';').map(|b| b.parse().unwrap()).collect();
            prop_assert_eq!(bytes, ssid.as_bytes());
        } else {
            prop_assert_eq!(value, ssid);
        }
    }

    #[test]
    fn a_yaml_block_holds_what_yaml_holds(text in "([ -~]|\n|é|\t){0,60}") {
        let block = quote::yaml_block(&text, 4);
        if let Some(body) = block.strip_prefix("|\n") {
            let lines: Vec<_> = body.split('\n').map(|l| l.strip_prefix("    ").unwrap_or(l)).collect();
            prop_assert_eq!(lines.join("\n") + "\n", text);
        } else {
            prop_assert_eq!(block, quote::yaml(&text));
        }
    }
}

#[test]
fn what_a_syntax_cannot_hold_is_refused() {
    assert!(quote::sh("a\0b").is_err());
    assert!(quote::keyfile("a\0b").is_err());
    assert!(quote::wpa_psk("a\nb").is_err());
    assert!(quote::sudoers("a b").is_err());
    assert!(quote::sudoers("ALL,root").is_err());
    assert!(quote::base64_text("END\n$(x)").is_err());
    assert!(quote::line("a\nb").is_err());
}
