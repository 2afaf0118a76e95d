//! What is rendered: snapshots, determinism, secrets.

use std::fmt::Write as _;

use super::fixtures::{full, identity, masked, minimal, system, systems, wireless};
use crate::cluster::node::{StaticAddress, WifiSecurity};
use crate::cluster::{Identity, Node};
use crate::layout::{Generation, Os};
use crate::provision::{BootFiles, Marker, Templates, marker, provision};

fn made(node: &Node, os: &Os, identity: &Identity) -> BootFiles {
    provision(node, os, identity, &Templates::embedded()).unwrap()
}

fn text<'a>(files: &'a BootFiles, name: &str) -> &'a str {
    let file = files.files.iter().find(|file| file.name == name);
    std::str::from_utf8(&file.unwrap_or_else(|| panic!("no {name}")).bytes).unwrap()
}

/// All boot files as one text. What base64 hides has snapshots of its own, and
/// an id that changes with every word of a template says nothing.
fn page(files: &BootFiles) -> String {
    let mut page = String::new();
    for file in &files.files {
        let secret = if file.secret { ", secret" } else { "" };
        writeln!(page, "=== {} ({}{secret})", file.name, file.why).unwrap();
        for line in std::str::from_utf8(&file.bytes).unwrap().lines() {
            let encoded = line.rsplit(' ').next().unwrap();
            let line = match encoded.len() > 100 && !encoded.contains(';') {
                true => line.replace(encoded, "<base64>"),
                false => line.to_owned(),
            };
            writeln!(page, "{}", line.replace(&files.instance_id, "<instance>")).unwrap();
        }
    }
    writeln!(page, "=== notices\n{}", files.notices.join("\n")).unwrap();
    page
}

#[test]
fn every_generation_is_among_the_systems() {
    for generation in Generation::ALL {
        let is_there = systems()
            .iter()
            .any(|(_, os)| os.generation == Some(*generation));
        assert!(is_there, "{generation} is in no row of fixtures::systems");
    }
}

#[test]
fn every_system_with_little_and_with_everything() {
    for (name, os) in systems() {
        insta::assert_snapshot!(
            format!("{name}_minimal"),
            page(&made(&minimal(), &os, &identity(false)))
        );
        insta::assert_snapshot!(
            format!("{name}_full"),
            page(&made(&full(), &os, &identity(true)))
        );
    }
}

#[test]
fn wifi_in_its_three_kinds() {
    use crate::provision::tests::fixtures::PSK;
    for (name, security) in [
        ("open", WifiSecurity::Open),
        ("psk", WifiSecurity::Psk(PSK.into())),
        ("sae", WifiSecurity::Sae(" pass\\word \"x\"; ".into())),
    ] {
        let node = wireless(security);
        let identity = identity(false);
        let os = system("bookworm");
        let settings = crate::provision::Settings {
            node: &node,
            os: &os,
            identity: &identity,
            instance: "",
        };
        let templates = Templates::embedded();
        let mut page = String::new();
        for template in ["wifi.nmconnection", "wpa_supplicant.conf", "dhcpcd.conf"] {
            writeln!(page, "=== {template}").unwrap();
            page.push_str(
                &templates
                    .render(template, &settings.values().unwrap())
                    .unwrap(),
            );
        }
        let notices = settings.notices();
        assert_eq!(
            notices.iter().any(|notice| notice.contains("WPA3")),
            name == "sae"
        );
        insta::assert_snapshot!(format!("wifi_{name}"), page);
    }
}

#[test]
fn scripts_and_profiles_of_the_root_file_system() {
    let (node, identity) = (full(), identity(true));
    for name in ["trixie", "bookworm"] {
        let os = system(name);
        let settings = crate::provision::Settings {
            node: &node,
            os: &os,
            identity: &identity,
            instance: "cardmint-x",
        };
        let values = settings.values().unwrap();
        let templates = Templates::embedded();
        let owned = minijinja::context! {
            own_files => ["/etc/motd"],
            owned => minijinja::value::Serde(Vec::<String>::new()),
            ..values.clone()
        };
        let mut page = String::new();
        for template in [
            "finish.sh",
            "bootcmd.sh",
            "ethernet.nmconnection",
            "sshd.conf",
            "user-data-after.yaml",
        ] {
            writeln!(page, "=== {template}").unwrap();
            page.push_str(&templates.render(template, &owned).unwrap());
        }
        insta::assert_snapshot!(format!("root_{name}"), page);
    }
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    for (_, os) in systems() {
        let one = made(&full(), &os, &identity(true));
        let two = made(&full(), &os, &identity(true));
        assert_eq!(page(&one), page(&two));
        assert_eq!(one.instance_id, two.instance_id);
        let names: Vec<_> = one.files.iter().map(|file| &file.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}

#[test]
fn any_change_makes_a_new_instance() {
    let os = system("trixie");
    let before = made(&minimal(), &os, &identity(false)).instance_id;
    let mut node = minimal();
    node.hostname = "pi1".to_owned();
    assert_ne!(before, made(&node, &os, &identity(false)).instance_id);
    let mut other = identity(false);
    other.instance_seed = [8; 32];
    assert_ne!(before, made(&minimal(), &os, &other).instance_id);
}

#[test]
fn the_instance_stands_wherever_it_is_needed() {
    let files = made(&full(), &system("trixie"), &identity(true));
    let id = &files.instance_id;
    assert!(text(&files, "meta-data").contains(id));
    assert!(text(&files, "cmdline.txt").ends_with(&format!("ds=nocloud;i={id}\n")));
    let marker = Marker::parse(text(&files, marker::FILE_NAME)).unwrap();
    assert_eq!((&marker.instance_id, &*marker.hostname), (id, "pi0"));
}

#[test]
fn placeholders_for_secrets_render_as_well() {
    let (node, identity) = masked();
    for (_, os) in systems() {
        made(&node, &os, &identity);
    }
}

#[test]
fn a_value_that_no_syntax_holds_is_an_error_that_names_the_place() {
    let mut node = minimal();
    let mut first_boot = (*node.first_boot).clone();
    first_boot.run = vec!["a\0b".to_owned()];
    node.first_boot = first_boot.into();
    let (os, templates) = (system("bookworm"), Templates::embedded());
    let error = provision(&node, &os, &identity(false), &templates)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("template `finish.sh`, line "), "{error}");
    assert!(error.ends_with("a shell word cannot hold a NUL"), "{error}");

    let mut other = identity(true);
    other.password_hash = Some("two:fields".into());
    let error = provision(&minimal(), &os, &other, &templates)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the password hash holds a colon or a control character"
    );
}

#[test]
fn an_override_takes_the_place_of_a_template() {
    let text = "# mine\nHostKey /etc/ssh/mine\n{% if password_authentication %}x{% endif %}";
    let overrides = [("network-config.yaml".to_owned(), text.to_owned())].into();
    let templates = Templates::with_overrides(overrides).unwrap();
    let files = provision(&minimal(), &system("trixie"), &identity(false), &templates).unwrap();
    assert_eq!(
        self::text(&files, "network-config"),
        "# mine\nHostKey /etc/ssh/mine\n"
    );
}

#[test]
fn only_files_marked_secret_hold_a_secret() {
    use super::fixtures::{HASH, PSK};
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode("-----BEGIN OPENSSH PRIVATE");
    for (name, os) in systems() {
        let files = made(&full(), &os, &identity(true));
        for file in files.files.iter().filter(|file| !file.secret) {
            let text = String::from_utf8_lossy(&file.bytes);
            for secret in [HASH, PSK, &encoded[..20]] {
                assert!(!text.contains(secret), "{name}: {}", file.name);
            }
        }
    }
}

#[test]
fn no_trap_words_on_any_command_line() {
    for (name, os) in systems() {
        let files = made(&full(), &os, &identity(true));
        let added = files.added_tokens.join(" ");
        assert!(
            !added.contains("firstboot") && !added.contains("resize"),
            "{name}: {added}"
        );
        assert!(
            text(&files, "cmdline.txt").starts_with(os.cmdline.trim_end()),
            "{name}"
        );
    }
}

#[test]
fn a_gateway_that_dhcpcd_leaves_out_is_told_of() {
    for (name, os) in systems() {
        let mut node = full();
        let is_told = |node: &Node| {
            let notices = made(node, &os, &identity(true)).notices;
            notices
                .iter()
                .any(|notice| notice.contains("fd00::1 is left out"))
        };
        assert!(!is_told(&node), "{name}");
        node.address = Some(StaticAddress {
            interface: "eth0".to_owned(),
            address: "fd00::13".parse().unwrap(),
            prefix_len: 64,
            gateway: Some("fd00::1".parse().unwrap()),
            dns: Vec::new(),
        });
        let by_dhcpcd = matches!(
            os.generation,
            Some(Generation::Buster | Generation::Bullseye)
        );
        assert_eq!(is_told(&node), by_dhcpcd, "{name}");
    }
}
