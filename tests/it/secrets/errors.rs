use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use super::{
    GRAFANA, PASSPHRASE, PASSWORD, PSK, assert_nothing_is_left, assert_run_clean, cluster, run,
    talkative,
};
use crate::harness::{Run, Scratch};
use crate::secrets::needles::Needles;

/// A manifest or file that is wrong just where a secret is.
fn spoil(scratch: &Scratch, what: &Wrong) {
    match what {
        Wrong::Line(from, to) => {
            let manifest = scratch.path("c/cluster.toml");
            let text = fs::read_to_string(&manifest).expect("a manifest");
            assert!(text.contains(from), "{from}");
            fs::write(manifest, text.replace(from, to)).expect("a manifest");
        }
        Wrong::File(name, text) => {
            scratch.write_secret(&format!("c/{name}"), text);
        }
        Wrong::Mode(name, mode) => {
            let path = scratch.path(&format!("c/{name}"));
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).expect("chmod");
        }
        Wrong::Template(text) => {
            fs::create_dir_all(scratch.path("c/templates")).expect("a directory");
            scratch.write("c/templates/user-data.yaml", text);
        }
    }
}

enum Wrong {
    Line(&'static str, String),
    File(&'static str, String),
    Mode(&'static str, u32),
    Template(&'static str),
}

fn wrongs() -> Vec<Wrong> {
    let line = |from, to: &str| Wrong::Line(from, to.to_owned());
    let password_file = "password_file = \"password\"";
    let psk_file = "psk_file = \"wifi.psk\"";
    let first_boot = "[first_boot]";
    let user = "[user]";
    vec![
        // The secret itself where its file should be named.
        line(psk_file, &format!("psk_file = \"{PASSPHRASE}\"")),
        line(psk_file, &format!("psk_file = \"{PSK}\"")),
        line(password_file, &format!("password_file = \"{PASSWORD}\"")),
        line(
            "grafana_password_file = \"grafana\"",
            &format!("grafana_password_file = \"{GRAFANA}\""),
        ),
        line(psk_file, &format!("psk_file = [\"{PASSPHRASE}\"]")),
        line(psk_file, &format!("psk_file = \"{PASSPHRASE}")),
        // In plain text.
        line(psk_file, &format!("psk = \"{PASSPHRASE}\"")),
        line(psk_file, &format!("psk_fiel = \"{PASSPHRASE}\"")),
        line(
            psk_file,
            &format!("wpa = {{ passphrase = \"{PASSPHRASE}\" }}"),
        ),
        line(password_file, &format!("password = \"{PASSWORD}\"")),
        line(password_file, &format!("password_hash = \"{PASSWORD}\"")),
        line(
            password_file,
            &format!("password_hash = \"$6$salt${PASSWORD}\""),
        ),
        line(user, &format!("{user}\npassword_hash = \"{PASSWORD}\"")),
        line(
            first_boot,
            &format!("password = \"{PASSWORD}\"\n{first_boot}"),
        ),
        // In files that are not what they should be.
        Wrong::File("wifi.psk", PASSPHRASE[..7].to_owned()),
        Wrong::File("wifi.psk", PASSPHRASE.repeat(4)),
        Wrong::File("wifi.psk", format!("{PASSPHRASE}\n{PASSPHRASE}\n")),
        Wrong::File("wifi.psk", format!("{PASSPHRASE} é")),
        Wrong::File("password", format!("{PASSWORD}\n\n")),
        Wrong::File("grafana", format!("{GRAFANA} '")),
        Wrong::File("cluster.key", "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned()),
        Wrong::Mode("wifi.psk", 0o644),
        Wrong::Mode("password", 0o640),
        Wrong::Mode("cluster.key", 0o604),
        // In addresses.
        line(
            "image    = \"",
            "image    = \"https://u:tr0ub4dor&3@127.0.0.1:1/",
        ),
        line(
            "image    = \"",
            "image    = \"http://u:tr0ub4dor&3@127.0.0.1:1/",
        ),
        line(
            "image    = \"",
            "image    = \"ftp://u:tr0ub4dor&3@127.0.0.1:1/",
        ),
        line(
            "image    = \"",
            "image    = \"https://u:tr0ub4dor&3@127.0.0.1:1/l.json#",
        ),
        // Where a parser sees its end before the password.
        line("image    = \"", "image    = \"https://u:/tr0ub4dor&3@h:1/"),
        line("image    = \"", "image    = \"https://u:1#tr0ub4dor&3@h:1/"),
        // In a template.
        Wrong::Template("{{ user.hash }}"),
        Wrong::Template("{{ user.hash|int }}"),
        Wrong::Template("{{ user.hash + 1 }}{{ wifi.key + 1 }}"),
        Wrong::Template("{{ user.hash|sudoers }}"),
        Wrong::Template("{% include user.hash %}"),
        Wrong::Template("{{ wifi.key[user.hash].x }}"),
    ]
}

#[test]
fn a_mistake_beside_a_secret_is_told_without_it() {
    let mut needles = Needles::given();
    needles.add("a part of a key", b"0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    needles.add("a part of a passphrase", &PASSPHRASE.as_bytes()[..7]);
    needles.add("a hash", b"$6$");
    let scratch = cluster("trixie-arm64");
    let names = [
        "cluster.toml",
        "wifi.psk",
        "password",
        "grafana",
        "cluster.key",
    ];
    let read = |name: &str| fs::read_to_string(scratch.path(&format!("c/{name}")));
    let sound = names.map(|name| read(name).expect("a file"));
    for (number, wrong) in wrongs().iter().enumerate() {
        spoil(&scratch, wrong);
        for args in [&["plan", "-v"][..], &["build", "--json"]] {
            let run = run(&scratch, args);
            assert_ne!(run.code, 0, "number {number} is no mistake: {}", run.stdout);
            assert_run_clean(&needles, args, &run);
        }
        for (name, text) in names.iter().zip(&sound) {
            scratch.write_secret(&format!("c/{name}"), text);
        }
        let _ = fs::remove_dir_all(scratch.path("c/templates"));
    }
    run(&scratch, &["plan"]).expect(0);
}

#[test]
fn passwords_of_mirrors_and_proxies_are_not_told() {
    let scratch = cluster("trixie-arm64");
    let needles = Needles::of(&scratch);
    let with_password = "http://u:tr0ub4dor&3@127.0.0.1:1";
    let https = "https://u:tr0ub4dor&3@127.0.0.1:1";
    let list = format!("{https}/list.json");
    let cut = "https://u:1#tr0ub4dor&3@127.0.0.1:1/a.img";
    let cases: [(&[&str], &str, &str); 10] = [
        (
            &["images", "fetch", "raspios-lite-arm64"],
            "CARDMINT_OS_LIST",
            https,
        ),
        (
            &["images", "fetch", "raspios-lite-arm64"],
            "CARDMINT_OS_LIST",
            with_password,
        ),
        (&["images", "list", "--from", &list], "X", ""),
        (&["images", "list", "--from", with_password], "X", ""),
        (&["images", "list", "--from", cut], "X", ""),
        (&["images", "fetch", https], "X", ""),
        (&["images", "fetch", cut], "X", ""),
        (&["images", "fetch", &format!("{list}#x"), "-v"], "X", ""),
        // These wait for the proxy.
        (
            &["images", "fetch", "raspios-lite-arm64", "-v"],
            "https_proxy",
            with_password,
        ),
        (
            &["images", "fetch", "raspios-lite-arm64"],
            "all_proxy",
            "socks5://u:tr0ub4dor&3@:x",
        ),
    ];
    thread::scope(|scope| {
        for (args, name, value) in cases {
            let mut command = talkative(&scratch, args);
            command.env(name, value);
            let needles = &needles;
            scope.spawn(move || {
                let run = Run::of(&command.output().expect("the binary runs"));
                assert!([1, 2, 3].contains(&run.code), "{args:?}: {}", run.stdout);
                assert_run_clean(needles, args, &run);
            });
        }
    });
    run(&scratch, &["handover"]).expect(0);
    assert_nothing_is_left(&needles, &scratch);
}
