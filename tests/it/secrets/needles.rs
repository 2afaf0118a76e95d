//! What to look for, in every form that a program may give it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::{GRAFANA, PASSPHRASE, PASSWORD, PSK, TOKEN};
use crate::harness::{Scratch, node_file};

const ZEROS: [u8; 4096] = [0; 4096];

/// A secret in one of its forms.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// Secrets, and what is derived from them.
pub(super) struct Needles {
    all: Vec<Needle>,
    /// Whether a needle begins with these two bytes.
    begins: Vec<bool>,
}

impl Needles {
    /// Those of a cluster: what the user gave, `cluster.key`, and node 0's host key and
    /// password hash, which are taken from an image of it.
    pub(super) fn of(scratch: &Scratch) -> Self {
        let mut needles = Self::given();
        let key = fs::read_to_string(scratch.path("c/cluster.key")).expect("a key");
        let key = hex::decode(key.lines().last().expect("a key")).expect("hex");
        needles.add("cluster.key", &key);
        let image = scratch.path("needles/raspberrypi0.img");
        let to = scratch.path("needles");
        let args = ["--mechanism", "firstrun", "--nodes", "0", "--out"];
        let args = [&["build"], &args[..], &[to.to_str().expect("UTF-8")]].concat();
        scratch.cardmint(&args).expect(0);
        let private = node_file(&image, "/etc/ssh/cardmint_host_ed25519_key");
        needles.add("a host key's file", &private);
        needles.add("a host key", &seed(&String::from_utf8_lossy(&private)));
        let userconf = crate::harness::boot_text(&image, "userconf.txt");
        let (_, hash) = userconf.trim().split_once(':').expect("a hash");
        needles.add("a password hash", hash.as_bytes());
        // Nothing of it may tell, and nothing is to be found there.
        fs::remove_dir_all(to).expect("a directory");
        fs::remove_file(scratch.path("c/cluster.lock")).expect("a record");
        fs::remove_dir_all(scratch.path("c/handover")).expect("a directory");
        needles
    }

    /// What the user gave.
    pub(super) fn given() -> Self {
        let mut needles = Self::none();
        for (what, secret) in [
            ("the password", PASSWORD),
            ("the passphrase", PASSPHRASE),
            ("the token", TOKEN),
            ("Grafana's password", GRAFANA),
            ("any private key", "PRIVATE KEY"),
            ("the Wi-Fi key", PSK),
        ] {
            needles.add(what, secret.as_bytes());
        }
        needles.add("the Wi-Fi key's bytes", &hex::decode(PSK).expect("hex"));
        needles
    }

    pub(super) fn none() -> Self {
        Self {
            all: Vec::new(),
            begins: vec![false; 1 << 16],
        }
    }

    /// Looks for one more, in all its forms.
    pub(super) fn add(&mut self, what: &str, secret: &[u8]) {
        for (form, bytes) in forms(secret) {
            let place = begin([bytes[0], bytes[1]]);
            self.begins[place] = true;
            let what = format!("{what} ({form})");
            self.all.push(Needle { what, bytes });
        }
    }

    /// What of them is in `bytes`.
    pub(super) fn found<'a>(&'a self, bytes: &'a [u8]) -> Vec<&'a str> {
        self.places(bytes).map(|(_, what)| what).collect()
    }

    /// Where, and what.
    pub(super) fn places<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, &'a str)> {
        // Most of a card is zeros, in which nothing begins.
        let blocks = bytes.chunks(ZEROS.len()).enumerate();
        let blocks = blocks.filter(|(_, block)| *block != &ZEROS[..block.len()]);
        let places = blocks.flat_map(|(number, block)| {
            let start = number * ZEROS.len();
            start..start + block.len()
        });
        let begun = places.filter(|at| {
            let pair = bytes.get(*at..*at + 2);
            pair.is_some_and(|pair| self.begins[begin([pair[0], pair[1]])])
        });
        begun.flat_map(move |at| {
            let here = self.all.iter();
            let here = here.filter(move |needle| bytes[at..].starts_with(&needle.bytes));
            here.map(move |needle| (at, needle.what.as_str()))
        })
    }
}

fn begin(pair: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(pair))
}

/// Raw, hex, base64 wherever in a longer text it may begin, and as in an address.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex::encode(secret).into_bytes()),
        ("hex", hex::encode_upper(secret).into_bytes()),
    ];
    for shift in 0..3 {
        let text = BASE64.encode([&[0; 2][..shift], secret].concat());
        // Without what depends on the neighbours.
        let start = (shift * 8).div_ceil(6);
        let end = (shift + secret.len()) * 8 / 6;
        forms.push(("base64", text.as_bytes()[start..end].to_vec()));
        let safe = text[start..end].replace('+', "-").replace('/', "_");
        forms.push(("base64 for addresses", safe.into_bytes()));
    }
    let percent = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let percent: String = secret.iter().map(percent).collect();
    forms.push(("percent", percent.to_lowercase().into_bytes()));
    forms.push(("percent", percent.into_bytes()));
    forms.sort_by(|a, b| a.1.cmp(&b.1));
    forms.dedup_by(|a, b| a.1 == b.1);
    forms
}

/// The 32 bytes of an ed25519 key, out of OpenSSH's file: they stand before the public
/// half's last occurrence.
fn seed(file: &str) -> Vec<u8> {
    let text: String = file.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = BASE64.decode(text).expect("base64");
    let head = b"ssh-ed25519\0\0\0 ";
    let at = bytes.windows(head.len()).position(|window| window == head);
    let at = at.expect("a public key") + head.len();
    let public = &bytes[at..at + 32];
    let last = bytes.windows(32).rposition(|window| window == public);
    let last = last.expect("the key itself");
    bytes[last - 32..last].to_vec()
}

#[test]
fn secrets_are_found_in_every_form() {
    let mut needles = Needles::given();
    needles.add("k", &[0xff, 0, 0x7f, 0x80, 1, 2]);
    let texts: [&[u8]; 8] = [
        b"x tr0ub4dor&3 y",
        b"x tr0ub4dor%263 y",
        b"(747230756234646f722633)",
        b"https://u:correct%20horse%20battery@h/",
        &BASE64.encode("a tr0ub4dor&3 z").into_bytes(),
        &BASE64.encode("ab tr0ub4dor&3").into_bytes(),
        &BASE64.encode("abc tr0ub4dor&3!").into_bytes(),
        &[9, 0xff, 0, 0x7f, 0x80, 1, 2, 9],
    ];
    for text in texts {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(
            needles.found(text).len(),
            1,
            "{shown}: {:?}",
            needles.found(text)
        );
    }
    assert!(needles.found(b"tr0ub4dor&").is_empty());
}

/// Bytes of a file, unpacked where it is compressed: xz and zstd would hide what is in it.
pub(super) fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_default();
    let tool = match bytes.get(..4) {
        Some([0xfd, b'7', b'z', b'X']) => "xz",
        Some([0x28, 0xb5, 0x2f, 0xfd]) => "zstd",
        _ => return bytes,
    };
    let path = path.to_str().expect("UTF-8");
    let output = std::process::Command::new(tool)
        .args(["-dc", path])
        .output()
        .expect("the tool");
    [bytes, output.stdout].concat()
}
