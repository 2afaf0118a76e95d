//! The clusters that are minted.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::card::{Card, Generation};
use crate::harness::{Run, Scratch, tool};
use crate::machine::{Login, Machine};
use crate::wire::Wire;

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const PASSPHRASE: &str = "a passphrase for the radio";
/// What QEMU's own DHCP server gives.
pub(crate) const BY_DHCP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(crate) const STATIC: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// A scratch cluster, of one node `pi7` unless its manifest says otherwise.
pub(crate) struct Cluster {
    scratch: Scratch,
}

impl Cluster {
    /// Keys, secrets and files are there; the manifest is `text`, whose
    /// `@IMAGE@` becomes the path of `base`.
    pub(crate) fn new(base: &Path, text: &str) -> Self {
        let scratch = Scratch::new();
        scratch.init(base, 1);
        for name in ["id", "wrong"] {
            let path = scratch.path(&format!("c/{name}"));
            let path = path.to_str().expect("UTF-8");
            tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path]).expect(0);
        }
        scratch.write_secret("c/pw", PASSWORD);
        scratch.write_secret("c/psk", PASSPHRASE);
        scratch.write("c/motd", "Minted.\n");
        scratch.write("c/note", "A note.\n");
        make_package(&scratch);
        let cluster = Self { scratch };
        cluster.write(base, text);
        cluster
    }

    /// Another manifest for the same cluster.
    pub(crate) fn write(&self, base: &Path, text: &str) {
        let image = base.to_str().expect("UTF-8");
        self.scratch
            .write("c/cluster.toml", text.replace("@IMAGE@", image));
    }

    /// `cardmint build`; the node's image.
    pub(crate) fn build(&self) -> PathBuf {
        self.scratch.cardmint(&["build", "--force"]).expect(0);
        self.path("images/pi7.img")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path("c").join(name)
    }

    pub(crate) fn login(&self) -> Login {
        self.login_to("pi7")
    }

    /// The user's way into another node than `pi7`.
    pub(crate) fn login_to(&self, node: &str) -> Login {
        Login {
            node: node.to_owned(),
            ssh_config: self.path("handover/ssh_config"),
            key: self.path("id"),
            password: None,
        }
    }

    /// A machine, switched off, with what `flash` makes of a card of `len` bytes
    /// that was full of something else.
    pub(crate) fn machine(
        &self,
        generation: Generation,
        len: u64,
        address: Ipv4Addr,
        name: &str,
    ) -> Machine {
        let card = Card::full_of_garbage(generation, len, name);
        let path = card.path.to_str().expect("UTF-8");
        self.scratch
            .cardmint(&["flash", "pi7", "--yes", "--to", path])
            .expect(0);
        Machine::new(card, self.login(), Wire::alone(address))
    }

    /// `cardmint status --json`, run by `env`, which may be on another network.
    pub(crate) fn status(&self, mut env: Command, args: &[&str]) -> Run {
        let inner = self.scratch.command(&[]);
        // Not cleared: it may have to find its own programs first.
        let set = inner.get_envs();
        let set = set.filter_map(|(name, value)| Some((name, value?)));
        env.arg(inner.get_program())
            .args(["status", "--json"])
            .args(args);
        env.envs(set).current_dir(self.path(""));
        Run::of(&env.output().expect("cardmint"))
    }

    /// `cardmint inspect --json` of a card.
    pub(crate) fn inspect(&self, card: &Path) -> serde_json::Value {
        let path = card.to_str().expect("UTF-8");
        self.scratch
            .cardmint(&["inspect", "--json", path])
            .expect(0)
            .json()
    }
}

/// A Debian package and its index: an archive that is a folder on the node.
fn make_package(scratch: &Scratch) {
    let root = scratch.path("package");
    fs::create_dir_all(root.join("DEBIAN")).expect("a directory");
    fs::create_dir_all(root.join("usr/share/cardmint-hello")).expect("a directory");
    fs::write(root.join("usr/share/cardmint-hello/hello"), "hello\n").expect("a file");
    let control = "Package: cardmint-hello\nVersion: 1\nArchitecture: all\n\
                   Maintainer: nobody <nobody@localhost>\nDescription: a test\n";
    fs::write(root.join("DEBIAN/control"), control).expect("a file");
    let package = scratch.path("c/hello.deb");
    let (root, to) = (
        root.to_str().expect("UTF-8"),
        package.to_str().expect("UTF-8"),
    );
    tool("dpkg-deb", &["--build", "--root-owner-group", root, to]).expect(0);
    let len = fs::metadata(&package).expect("a package").len();
    let sum = tool("sha256sum", &[to]).expect(0).stdout;
    let sum = sum.split(' ').next().expect("a digest");
    scratch.write(
        "c/Packages",
        format!("{control}Filename: ./hello.deb\nSize: {len}\nSHA256: {sum}\n"),
    );
    scratch.write("c/local.list", "deb [trusted=yes] file:/srv/archive ./\n");
}
