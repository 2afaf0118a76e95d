//! Manifests, right and wrong.

mod given;
mod identity;
mod reach;
mod watched;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;
use crate::base::images::Source;
use crate::cluster::NodeSet;
use crate::cluster::node::{ImageSource, Password, Sudo};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me@laptop";

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(TempDir::new().unwrap());
        bench.write("key.pub", &format!("# mine\n\n{KEY}\n"), 0o644);
        bench.write("password", "hunter2\n", 0o600);
        bench.write("psk", "correct horse\n", 0o600);
        bench.write("open-psk", "correct horse\n", 0o644);
        bench.write("motd", "hello\n", 0o644);
        bench
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn parse(&self, text: &str) -> Result<Cluster, Vec<Problem>> {
        Cluster::parse(text, self.0.path(), &mut Nobody)
    }

    /// The problems of a sound manifest to which `extra` is added.
    #[track_caller]
    fn problems(&self, extra: &str) -> Vec<String> {
        match self.parse(&format!("{}{extra}", sound(3))) {
            Ok(_) => panic!("accepted: {extra}"),
            Err(problems) => problems
                .into_iter()
                .map(|problem| problem.message)
                .collect(),
        }
    }

    fn accept(&self, extra: &str) -> Cluster {
        self.parse(&format!("{}{extra}", sound(3)))
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }
}

fn sound(count: u32) -> String {
    format!(
        "[cluster]\nname = \"c\"\nhostname = \"pi{{n:02}}\"\ncount = {count}\nfirst = 9\n\
         domain = \"lan\"\nimage = \"x.img\"\n[user]\nname = \"pi\"\nauthorized_keys = [\"key.pub\"]\n"
    )
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let bench = Bench::new();
    let text = "\
[cluster]
name = \"c_c\"
hostname = \"node-{x}\"
count = \"4\"
imag = \"x.img\"
[user]
name = \"Root\"
authorized_keys = [\"gone.pub\", \"ssh-ed25519 AAAA\", 7]
password_hash = \"hunter2\"
sudo = \"maybe\"
[ssh]
password_authentication = true
[locale]
timezone = \"Europe Lisbon\"
[wifi]
ssid = \"\"
psk_file = \"open-psk\"
country = \"Portugal\"
[first_boot]
packages = [\"Vim\"]
files = [{ source = \"gone\", path = \"etc/motd\", mode = \"abc\", own = \"x\" }]
[boot]
cmdline = [\"init=/bin/sh\", \"a b\"]
[wlan]
";
    let problems = bench.parse(text).unwrap_err();
    let errors = ManifestErrors {
        path: "cluster.toml".into(),
        problems,
    };
    let shown = errors
        .to_string()
        .replace(&bench.0.path().display().to_string(), "DIR");
    insta::assert_snapshot!(shown);
}

#[test]
fn nodes_are_numbered_and_named_and_differ_where_they_shall() {
    let bench = Bench::new();
    let cluster = bench.accept(
        "[boot]\ncmdline = [\"a=1\"]\n[node.10]\nhostname = \"gateway\"\naddress = \"10.0.0.2/24\"\n\
         gateway = \"10.0.0.1\"\ndns = [\"10.0.0.1\"]\nboard = \"pi-4b\"\nimage = \"raspios-lite-armhf\"\n\
         cmdline = [\"b=2\"]\npackages = [\"vim\"]\n",
    );
    let names: Vec<String> = cluster
        .nodes
        .iter()
        .map(crate::cluster::Node::fqdn)
        .collect();
    assert_eq!(names, ["pi09.lan", "gateway.lan", "pi11.lan"]);
    let [plain, gateway, _] = &cluster.nodes[..] else {
        panic!()
    };
    assert_eq!(
        plain.image.source,
        ImageSource::Path(bench.0.path().join("x.img"))
    );
    assert_eq!(
        gateway.image.source,
        ImageSource::Download(Source::Name("raspios-lite-armhf".parse().expect("a name")))
    );
    assert_eq!(gateway.boot.cmdline, ["a=1", "b=2"]);
    assert_eq!(plain.boot.cmdline, ["a=1"]);
    assert_eq!(gateway.first_boot.packages, ["vim"]);
    assert!(plain.first_boot.expand && plain.first_boot.packages.is_empty());
    let address = gateway.address.as_ref().unwrap();
    assert_eq!(
        (address.interface.as_str(), address.prefix_len),
        ("eth0", 24)
    );
    assert_eq!(plain.user.authorized_keys, [KEY]);
    assert_eq!(plain.user.sudo, Sudo::NoPassword);
    assert!(matches!(plain.user.password, Password::None));
}

#[test]
fn every_wrong_value_is_refused() {
    let bench = Bench::new();
    for (extra, said) in [
        ("password = \"x\"", "plain text"),
        ("password_file = \"gone\"", "cannot be read"),
        ("sudo = \"password\"", "there is not"),
        (
            "[ssh]\npassword_authentication = true",
            "no password to log in",
        ),
        ("[wifi]\nssid = \"x\"\ncountry = \"PT\"", "no passphrase"),
        (
            "[wifi]\nssid = \"x\"\ncountry = \"PT\"\npsk_file = \"open-psk\"",
            "other users",
        ),
        (
            "[wifi]\nssid = \"x\"\ncountry = \"PT\"\npsk_file = \"psk\"\nopen = true",
            "open network",
        ),
        (
            "[wifi]\nssid = \"a\\nb\"\ncountry = \"PT\"\nopen = true",
            "control characters",
        ),
        ("[wifi]\nssid = \"x\"\nopen = true", "needs `country`"),
        ("[node.12]", "no node 12"),
        ("[node.nine]", "no number"),
        ("[node.9]\n[node.09]", "two sections"),
        ("[node.9]\nhostname = \"pi10\"", "both `pi10`"),
        ("[node.9]\nhostname = \"PI11\"", "both `pi11`"),
        ("[node.9]\nhostname = \"42\"", "no hostname"),
        ("[node.9]\nhostname = \"all\"", "Ansible"),
        ("[node.9]\nhostname = \"ungrouped\"", "Ansible"),
        ("[node.9]\nhostname = \"Infinite\"", "dnsmasq"),
        ("[node.9]\nhostname = \"ignore\"", "dnsmasq"),
        ("[node.9]\nhostname = \"12h\"", "dnsmasq"),
        ("[node.9]\naddress = \"10.0.0.2\"", "lacks the length"),
        ("[node.9]\naddress = \"10.0.0.0/24\"", "network itself"),
        ("[node.9]\naddress = \"10.0.0.255/24\"", "broadcast"),
        ("[node.9]\naddress = \"10.0.0.2/33\"", "33 bits"),
        (
            "[node.9]\naddress = \"10.0.0.2/24\"\ngateway = \"10.0.1.1\"",
            "not in the network",
        ),
        (
            "[node.9]\naddress = \"10.0.0.2/24\"\ngateway = \"10.0.0.2\"",
            "itself",
        ),
        (
            "[node.9]\naddress = \"10.0.0.2/24\"\ninterface = \"wlan0\"",
            "no Wi-Fi",
        ),
        (
            "[node.9]\naddress = \"10.0.0.2/24\"\n[node.10]\naddress = \"10.0.0.2/24\"",
            "same address",
        ),
        ("[node.9]\ndns = \"1.1.1.1\"", "go with an address"),
        ("[node.9]\nboard = \"pi-4\"", "unknown board"),
        ("[monitoring]\nhost = 9", "nothing for the monitoring host"),
        ("[monitoring]\nnode_exporter = true\nhost = 3", "no node 3"),
        (
            "[boot]\ncmdline = [\"xfirstbootx\"]",
            "break the first boot",
        ),
        ("[boot]\nconfig = [\"a\\nb\"]", "line break"),
        ("[first_boot]\nrun = [\" \"]", "empty command"),
        (
            "[first_boot]\nfiles = [{ source = \"motd\", path = \"/etc/../x\" }]",
            "no absolute path",
        ),
        (
            "[first_boot]\nfiles = [{ path = \"/etc/motd\" }]",
            "needs `source`",
        ),
        (
            "[first_boot]\nfiles = [{ source = \"motd\", path = \"/a\", mode = \"+644\" }]",
            "no file mode",
        ),
        (
            "[first_boot]\nfiles = [{ source = \"motd\", path = \"/a\" }, { source = \"motd\", path = \"/a\" }]",
            "written twice",
        ),
        ("[first_boot]\nexpand = \"yes\"", "must be true or false"),
    ] {
        let problems = bench.problems(extra);
        assert!(
            problems.len() == 1 && problems[0].contains(said),
            "{extra}: {problems:?}"
        );
    }
}

#[test]
fn counts_and_numbers_have_bounds() {
    let bench = Bench::new();
    for (from, to, said) in [
        ("count = 3", "count = 0", "no nodes"),
        ("count = 3", "count = 100000", "more than the 10000"),
        ("count = 3", "count = -1", "to 4294967295, not -1"),
        ("first = 9", "first = 4294967295", "end at"),
        ("pi{n:02}", "pi", "would be called `pi`"),
        ("pi{n:02}", "pi{n", "without its }"),
        ("pi{n:02}", "pi{m}", "not known"),
        ("pi{n:02}", "pi_{n}", "no hostname"),
        ("image = \"x.img\"", "image = \"raspbian\"", "unknown image"),
        (
            "image = \"x.img\"",
            "image = \"raspios-lite-arm64@yesterday\"",
            "no date",
        ),
        (
            "image = \"x.img\"",
            "image = \"file://x/y\"",
            "no address of a file",
        ),
        (
            "image = \"x.img\"",
            "sha256 = \"acff736ca7945e3b305f07cda4abdb870910e12634991da69783611756e381b3\"",
            "no `image` that it belongs to",
        ),
        (
            "image = \"x.img\"",
            "image = \"ftp://x\"",
            "no address of an image",
        ),
        (
            "image = \"x.img\"",
            "image = \"https://me:s3c/ret@h/x.img\"",
            "may be a password",
        ),
    ] {
        let problems = bench.parse(&sound(3).replace(from, to)).unwrap_err();
        assert!(problems[0].message.contains(said), "{to}: {problems:?}");
    }
}

#[test]
fn images_have_names_addresses_and_paths() {
    let bench = Bench::new();
    for (text, source) in [
        ("practice", "Practice"),
        ("file:///srv/a.img", "Path(\"/srv/a.img\")"),
        ("/srv/a.img", "Path(\"/srv/a.img\")"),
        ("https://x.org/a.img.xz", "Url(\"https://x.org/a.img.xz\")"),
        (
            "https://x.org/list.json#ubuntu",
            "Listed { list: \"https://x.org/list.json\", entry: \"ubuntu\" }",
        ),
        ("raspios-lite-arm64@2026-06-18", "date: Some(2026-06-18)"),
    ] {
        let text = sound(1).replace("x.img", text);
        let cluster = bench.parse(&text).unwrap();
        let found = format!("{:?}", cluster.nodes[0].image.source);
        assert!(found.contains(source), "{found}");
        assert!(cluster.notices.is_empty());
    }
}

#[test]
fn boards_choose_the_image_where_nobody_names_one() {
    let bench = Bench::new();
    let chosen = |more: &str| {
        let text = sound(3).replace("image = \"x.img\"\n", "");
        let cluster = bench.parse(&format!("{text}{more}")).unwrap();
        let names: Vec<String> = (cluster.nodes.iter())
            .map(|node| match &node.image.source {
                ImageSource::Download(source) => source.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        (names, cluster.notices)
    };
    let (names, notices) = chosen("");
    assert_eq!(names, ["raspios-lite-arm64"; 3]);
    assert!(notices[0].contains("for the Pi 3 and later"));
    let (names, _) = chosen("[node.9]\nboard = \"pi-5\"\n");
    assert_eq!(names, ["raspios-lite-arm64"; 3]);
    // All nodes share the image that the oldest of them boots.
    let (names, notices) = chosen("[node.9]\nboard = \"pi-5\"\n[node.11]\nboard = \"pi-zero-w\"\n");
    assert_eq!(names, ["raspios-lite-armhf"; 3]);
    assert!(
        notices[0].contains("node 11 is a Raspberry Pi Zero W"),
        "{notices:?}"
    );
    // One that has an image of its own says nothing about the others.
    let (names, _) = chosen("[node.11]\nboard = \"pi-1b\"\nimage = \"practice\"\n");
    assert_eq!(
        names,
        ["raspios-lite-arm64", "raspios-lite-arm64", "Practice"]
    );
}

#[test]
fn a_problem_of_one_section_hides_none_of_another() {
    let bench = Bench::new();
    let rest = "[monitoring]\nhst = 1\n[node.9]\nboard = \"pi-99\"\nhostnam = \"x\"\n\
                [wifi]\nssid = \"\"\ncountry = \"PT\"\npsk_file = \"gone\"\n";
    for (from, to) in [
        ("name = \"c\"", "name = \"c_c\""),
        ("name = \"c\"\n", ""),
        ("count = 3", "count = \"3\""),
        ("count = 3\n", ""),
        ("first = 9", "first = -9"),
    ] {
        let text = format!("{}{rest}", sound(3).replacen(from, to, 1));
        let problems = bench.parse(&text).unwrap_err();
        for said in [
            "`hst`",
            "`pi-99`",
            "`hostnam`",
            "1 to 32 bytes",
            "cannot be read",
        ] {
            let found = problems
                .iter()
                .any(|problem| problem.message.contains(said));
            assert!(found, "{to}: {said} is hidden by {problems:?}");
        }
        assert_eq!(problems.len(), 6, "{to}: {problems:?}");
    }
}

#[test]
fn one_mistake_is_one_problem() {
    let bench = Bench::new();
    let host = "[monitoring]\nnode_exporter = true\nhost = 9\n";
    for (from, to) in [
        ("image = \"x.img\"", "image = \"ftp://x\""),
        ("pi{n:02}", "pi{m}"),
        ("pi{n:02}", "pi_{n}"),
        ("count = 3", "count = 0"),
        ("first = 9", "first = 4000000000"),
    ] {
        let text = format!("{}{host}[node.10]\n", sound(3).replace(from, to));
        let problems = bench.parse(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{to}: {problems:?}");
    }
    for extra in [
        "password_hash = \"hunter2\"\nsudo = \"password\"\n[ssh]\npassword_authentication = true",
        "password_file = \"gone\"\nsudo = \"password\"\n[ssh]\npassword_authentication = true",
        "[monitoring]\nnode_exporter = \"yes\"\nhost = 9",
        "[monitoring]\nnode_exporter = true\nhost = 12",
        "[wifi]\nssid = \"x\"\ncountry = \"PT\"\npsk_file = 7",
        "[wifi]\nssid = \"x\"\ncountry = \"PT\"\nopen = \"yes\"",
        "[wifi]\nssid = \"\"\ncountry = \"PT\"",
    ] {
        let problems = bench.problems(extra);
        assert_eq!(problems.len(), 1, "{extra}: {problems:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s)(\\[[a-z.0-9\"]{1,12}\\]|[a-z_]{1,8} ?= ?.{0,8}|.{0,4}\n){0,20}") {
        let bench = Bench::new();
        let _ = bench.parse(&text);
        let _ = bench.parse(&format!("{}{text}", sound(2)));
    }

    #[test]
    fn a_set_of_nodes_never_panics_and_ranges_come_out_whole(first in 0u32..40, len in 0u32..40, text in ".{0,12}") {
        let _ = NodeSet::parse(&text);
        let bench = Bench::new();
        let cluster = bench.parse(&sound(80).replace("first = 9", "first = 0")).unwrap();
        let set = NodeSet::parse(&format!("{first}-{}", first + len)).unwrap();
        let numbers: Vec<u32> = cluster.select(&set).unwrap().iter().map(|node| node.number).collect();
        prop_assert_eq!(numbers, (first..=first + len).collect::<Vec<_>>());
    }
}
