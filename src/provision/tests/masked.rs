//! What a panic, or a log, would show of the types that hold secrets.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;

use super::fixtures::{HASH, PRIVATE, PSK, full, identity, system, watchful};
use crate::base::read_at::MemBase;
use crate::cluster::exporter::ExporterKind;
use crate::cluster::node::{Password, User, Wifi, WifiSecurity};
use crate::cluster::{ClusterKey, Node};
use crate::layout::disk::Partition;
use crate::output::AlignedBuf;
use crate::overlay::Overlay;
use crate::overlay::view::CowView;
use crate::plan::{Card, Order};
use crate::provision::{Templates, provision};

const PASSPHRASE: &str = "correct horse battery";

/// A node whose secrets could not be derived from others.
fn plain() -> Node {
    let mut node = watchful(ExporterKind::Deb);
    let user = User {
        password: Password::Plain(PASSPHRASE.into()),
        ..User::clone(&node.user)
    };
    node.user = Arc::new(user);
    node.wifi = Some(Arc::new(Wifi {
        ssid: "net".to_owned(),
        security: WifiSecurity::Sae(PASSPHRASE.into()),
        country: "PT".to_owned(),
        hidden: false,
    }));
    node
}

fn view_of(bytes: &[u8]) -> String {
    let base = MemBase(vec![0; 8192]);
    let partition = Partition {
        number: 1,
        offset: 0,
        len: 8192,
        type_id: "0c".to_owned(),
    };
    let mut view = CowView::new(&base, &partition);
    view.write_all(bytes).unwrap();
    format!("{view:?} {view:#?}")
}

/// Two lines of text, or numbers as a vector of bytes is printed.
fn forms(secret: &str) -> [String; 4] {
    let numbers = format!("{:?}", secret.as_bytes());
    [
        secret.to_owned(),
        base64::engine::general_purpose::STANDARD.encode(secret),
        numbers.trim_matches(['[', ']']).to_owned(),
        numbers.trim_matches(['[', ']']).replace(", ", ",\n    "),
    ]
}

#[test]
fn no_type_shows_a_secret_when_it_is_printed() {
    let (os, identity, dir) = (
        system("trixie"),
        identity(true),
        tempfile::tempdir().unwrap(),
    );
    let key = ClusterKey::create(dir.path()).unwrap();
    let key_bytes = std::fs::read_to_string(dir.path().join("cluster.key")).unwrap();
    let mut shown = format!("{key:?} {:?} {}", plain(), view_of(PRIVATE.as_bytes()));
    for node in [full(), plain()] {
        let boot_files = provision(&node, &os, &identity, &Templates::embedded()).unwrap();
        let user_data = boot_files
            .files
            .iter()
            .find(|file| file.name == "user-data");
        let sectors = user_data.unwrap().bytes[..4096].chunks(512);
        let overlay = Overlay::from_sectors((0..).step_by(512).zip(sectors));
        let buf = AlignedBuf::copy_of(&user_data.unwrap().bytes);
        let order = Order {
            node: node.clone(),
            base: 0,
            identity: identity.clone(),
            path: "x.img".into(),
        };
        let card = Card {
            node,
            base: 0,
            generation: 1,
            host_key: identity.host_key.clone(),
            boot_files,
            overlay,
            path: "x.img".into(),
        };
        shown.push_str(&format!("{order:?} {order:#?} {card:?} {card:#?} {buf:?}"));
    }
    assert!(
        shown.contains("REDACTED") && shown.contains("user-data"),
        "{shown}"
    );
    let hex = key_bytes.lines().last().unwrap();
    for secret in [
        HASH,
        PSK,
        PRIVATE,
        PASSPHRASE,
        "open-sesame",
        "#cloud-config",
        hex,
    ] {
        for form in forms(secret) {
            assert!(!shown.contains(&form), "{form} is in {shown}");
        }
    }
}
