//! What is derived from a manifest and a key, and what is kept of it.

use std::fs;

use secrecy::ExposeSecret as _;

use super::{Bench, sound};
use crate::base::Sha256Digest;
use crate::cluster::node::WifiSecurity;
use crate::cluster::record::{Entry, Record};
use crate::cluster::{ClusterKey, Identity, wifi_psk};

#[test]
fn a_passphrase_becomes_a_key_and_sae_keeps_it() {
    // IEEE 802.11-2020, J.4.2, first test vector.
    let psk = wifi_psk(&"password".into(), "IEEE");
    let wanted = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e";
    assert_eq!(psk.expose_secret(), wanted);
    assert_eq!(wifi_psk(&psk, "other").expose_secret(), wanted);
    let bench = Bench::new();
    let wifi = "[wifi]\nssid = \"x\"\ncountry = \"pt\"\npsk_file = \"psk\"\n";
    let node = &bench.accept(wifi).nodes[0];
    let wifi_of = |node: &crate::cluster::Node| node.wifi.clone().unwrap();
    assert_eq!(wifi_of(node).country, "PT");
    assert!(
        matches!(&wifi_of(node).security, WifiSecurity::Psk(key) if key.expose_secret().len() == 64)
    );
    let node = &bench.accept(&format!("{wifi}wpa3_only = true\n")).nodes[0];
    assert!(
        matches!(&wifi_of(node).security, WifiSecurity::Sae(key) if key.expose_secret() == "correct horse")
    );
}

#[test]
fn identities_differ_by_every_part_and_by_nothing_else() {
    let bench = Bench::new();
    let key = ClusterKey::create(bench.0.path()).unwrap();
    let text = sound(3).replace("[user]\n", "[user]\npassword_file = \"password\"\n");
    let nodes = bench.parse(&text).unwrap().nodes;
    let seen = |identity: &Identity| {
        let hash = identity
            .password_hash
            .as_ref()
            .unwrap()
            .expose_secret()
            .to_owned();
        [
            identity.host_key.private.expose_secret().to_owned(),
            hash,
            identity.network_uuid.clone(),
        ]
    };
    let one = seen(&Identity::derive(&key, &nodes[0], 0).unwrap());
    assert_eq!(one, seen(&Identity::derive(&key, &nodes[0], 0).unwrap()));
    let mut renamed = nodes[0].clone();
    renamed.cluster = "d".into();
    for other in [
        Identity::derive(&key, &nodes[1], 0).unwrap(),
        Identity::derive(&key, &nodes[0], 1).unwrap(),
        Identity::derive(&key, &renamed, 0).unwrap(),
    ] {
        assert!(one.iter().zip(seen(&other)).all(|(a, b)| *a != b));
    }
    let again = ClusterKey::load(bench.0.path()).unwrap();
    assert_eq!(one, seen(&Identity::derive(&again, &nodes[0], 0).unwrap()));
    assert!(
        ClusterKey::create(bench.0.path()).is_err(),
        "a key is never replaced"
    );
    let masked = Identity::derive(&key, &nodes[0], 0).unwrap().masked();
    assert_eq!(seen(&masked)[0], "<host private key>\n");
    assert_eq!(seen(&masked)[1], "<password hash>");
}

#[test]
fn the_password_hash_is_one_that_openssl_makes_too() {
    let bench = Bench::new();
    let key = ClusterKey::create(bench.0.path()).unwrap();
    let text = sound(1).replace("[user]\n", "[user]\npassword_file = \"password\"\n");
    let node = &bench.parse(&text).unwrap().nodes[0];
    let identity = Identity::derive(&key, node, 0).unwrap();
    let hash = identity.password_hash.unwrap().expose_secret().to_owned();
    let parts: Vec<&str> = hash.split('$').collect();
    let (salt, digest) = (parts[parts.len() - 2], parts[parts.len() - 1]);
    let output = std::process::Command::new("openssl")
        .args(["passwd", "-6", "-salt", salt, "hunter2"])
        .output()
        .expect("openssl; `tests/run` installs it");
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.trim().rsplit('$').next(), Some(digest));
}

#[test]
fn the_record_keeps_what_two_processes_write_and_the_order_of_numbers() {
    let bench = Bench::new();
    let dir = bench.0.path();
    let entry = |number: u32| Entry {
        hostname: format!("pi{number}"),
        generation: number,
        base: Sha256Digest::of(b"base"),
        base_name: "base".to_owned(),
        overlay: Sha256Digest::of(b"overlay"),
        image: "x".to_owned(),
        host_key: "SHA256:x".to_owned(),
        instance_id: "i".to_owned(),
        tool: "0".to_owned(),
    };
    std::thread::scope(|scope| {
        for half in [0, 1] {
            scope.spawn(move || {
                for number in (half..12).step_by(2) {
                    Record::update(dir, |record| {
                        assert!(record.set(number, entry(number)));
                    })
                    .unwrap();
                }
            });
        }
    });
    let record = Record::load(dir).unwrap();
    for number in 0..12 {
        assert_eq!(record.entry(number), Some(&entry(number)));
        assert_eq!(record.generation(number), number);
    }
    let text = fs::read_to_string(dir.join("cluster.lock")).unwrap();
    assert!(text.find("[node.2]") < text.find("[node.10]"));
    bench.write("cluster.lock", &text[..text.len() / 2], 0o644);
    assert!(
        Record::load(dir)
            .unwrap_err()
            .to_string()
            .contains("is damaged")
    );
    bench.write(
        "cluster.lock",
        &text.replace("version = 1", "version = 2"),
        0o644,
    );
    assert!(
        Record::load(dir)
            .unwrap_err()
            .to_string()
            .contains("later cardmint")
    );
}
