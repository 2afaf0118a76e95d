//! The manifest, the record, and the exporters that a manifest names.

use std::io::Read as _;
use std::path::Path;

use crate::cluster::exporter::{ExporterFile, ExporterKind};
use crate::cluster::manifest::StandIn;
use crate::cluster::{Cluster, HostKey, Identity, ManifestErrors, Record};
use crate::layout::{Arch, Generation, Mechanism, Os};
use crate::provision::{Templates, provision};

/// Text as a manifest; no file that it names is there.
///
/// # Panics
/// Where it is refused without a reason, or for something behind its end, and where
/// nodes share a number or a name, or cannot be rendered twice to the same bytes.
pub(super) fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let dir = Path::new("/nonexistent/cardmint");
    let cluster = match Cluster::parse(&text, dir, &mut StandIn) {
        Ok(cluster) => cluster,
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.matches('\n').count() + 1;
            assert!(problems.iter().all(|problem| problem.line <= lines));
            let path = dir.join("cluster.toml");
            drop(ManifestErrors { path, problems }.to_string());
            return;
        }
    };
    let mut names: Vec<_> = cluster.nodes.iter().map(|node| &node.hostname).collect();
    names.sort();
    assert!(!names.is_empty() && names.windows(2).all(|pair| pair[0] != pair[1]));
    let numbers = cluster.nodes.windows(2);
    assert!(
        numbers
            .into_iter()
            .all(|pair| pair[0].number < pair[1].number)
    );
    let templates = Templates::embedded();
    let identity = identity();
    for node in cluster.nodes.iter().take(2) {
        for os in systems() {
            let Ok(rendered) = provision(node, &os, &identity, &templates) else {
                continue;
            };
            let files = &rendered.files;
            assert!(files.windows(2).all(|pair| pair[0].name < pair[1].name));
            let again = provision(node, &os, &identity, &templates).unwrap();
            assert_eq!(again.instance_id, rendered.instance_id);
            let bytes = |files: &crate::provision::BootFiles| -> Vec<Vec<u8>> {
                files.files.iter().map(|file| file.bytes.clone()).collect()
            };
            assert!(bytes(&again) == bytes(&rendered));
        }
    }
}

fn identity() -> Identity {
    Identity {
        generation: 1,
        host_key: HostKey {
            private: "-----BEGIN OPENSSH PRIVATE KEY-----\n".into(),
            public: "ssh-ed25519 AAAAhost root@pi0".to_owned(),
            fingerprint: "SHA256:fingerprint".to_owned(),
        },
        password_hash: Some("$6$salt$hash".into()),
        network_uuid: "6f9619ff-8b86-4011-b42d-00c04fc964ff".to_owned(),
        instance_seed: [7; 32],
    }
}

fn systems() -> [Os; 2] {
    let os = |generation, mechanism, boot_mount| Os {
        generation: Some(generation),
        mechanism,
        boot_mount,
        release: None,
        stage: Some(2),
        arch: Arch::Arm64,
        userconf: true,
        booted: false,
        cmdline: "console=tty1 root=PARTUUID=0badc0de-02 rootwait\n".to_owned(),
        config: "arm_boost=1\n\n[cm5]\ndtoverlay=dwc2\n".to_owned(),
    };
    [
        os(Generation::Trixie, Mechanism::CloudInit, "/boot/firmware"),
        os(Generation::Buster, Mechanism::Firstrun, "/boot"),
    ]
}

/// Text as `cluster.lock`.
///
/// # Panics
/// Where it is another record once it was written, and where a new identity is the
/// old one.
pub(super) fn record(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(record) = Record::parse(&text, Path::new("cluster.lock")) else {
        return;
    };
    let written = record.to_text().unwrap();
    let mut again = Record::parse(&written, Path::new("cluster.lock")).unwrap();
    assert_eq!(again, record);
    for number in 0..4 {
        let generation = again.generation(number);
        again.renew(number);
        let is_known = again.entry(number).is_some();
        assert_eq!(again.generation(number), generation + u32::from(is_known));
        if let Some(card) = record.card(number) {
            let mut twice = record.clone();
            let noted = twice.set_card(number, card.clone(), None);
            twice.unset_cards(&[&noted], &[]);
            assert_eq!(twice.card(number), Some(card));
        }
    }
}

/// Bytes as an exporter, and as the control archive of a package.
///
/// # Panics
/// Where it is carried as something else.
pub(super) fn exporter(bytes: &[u8]) {
    carry(bytes);
    for name in [
        "control.tar",
        "control.tar.gz",
        "control.tar.xz",
        "control.tar.zst",
    ] {
        let mut deb = b"!<arch>\n".to_vec();
        for (name, content) in [("debian-binary", &b"2.0\n"[..]), (name, bytes)] {
            let len = content.len();
            let header = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`\n",
                0, 0, 0, 100_644
            );
            deb.extend(header.bytes());
            deb.extend(content);
            deb.extend(std::iter::repeat_n(b'\n', len % 2));
        }
        carry(&deb);
    }
}

fn carry(bytes: &[u8]) {
    let Ok(file) = ExporterFile::new("exporter", bytes.to_vec()) else {
        return;
    };
    let carried = match file.kind {
        ExporterKind::Deb => file.packed().to_vec(),
        ExporterKind::Program => {
            let mut program = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(file.packed());
            decoder.read_to_end(&mut program).unwrap();
            program
        }
    };
    assert!(carried == bytes);
}
