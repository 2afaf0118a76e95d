//! The user, the keys and the locale that a manifest gives.

use std::process::Command;

use super::*;

#[test]
fn the_user_is_none_that_the_system_has_itself() {
    let bench = Bench::new();
    let named = |name: &str| {
        let user = format!("[user]\nname = \"{name}\"");
        bench.parse(&sound(1).replace("[user]\nname = \"pi\"", &user))
    };
    for name in [
        "games",
        "www-data",
        "nobody",
        "gnats",
        "audio",
        "users",
        "nogroup",
        "sshd",
        "ssh",
        "clock",
        "dnsmasq",
        "gpio",
        "systemd-network",
    ] {
        let problems = named(name).unwrap_err();
        let [problem] = &problems[..] else {
            panic!("{name}: {problems:?}");
        };
        assert!(problem.message.contains("has for itself"), "{problem:?}");
        let help = problem.help.as_deref().unwrap_or_default();
        assert!(help.contains("another name"), "{problem:?}");
    }
    for name in ["pi", "admin", "ubuntu", "rpi", "game", "mailer", "docker"] {
        let cluster = named(name).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert_eq!(cluster.nodes[0].user.name, name);
    }
}

/// Debian has the list itself, as of this machine's release.
#[test]
fn every_name_of_debian_is_refused() {
    let bench = Bench::new();
    for file in ["passwd.master", "group.master"] {
        // Not there where this machine is no Debian.
        let path = Path::new("/usr/share/base-passwd").join(file);
        let text = fs::read_to_string(path).unwrap_or_default();
        for name in text.lines().filter_map(|line| line.split(':').next()) {
            let user = format!("[user]\nname = \"{name}\"");
            let text = sound(1).replace("[user]\nname = \"pi\"", &user);
            assert!(bench.parse(&text).is_err(), "{name}");
        }
    }
}

#[test]
fn keys_keep_their_options_and_comments() {
    let bench = Bench::new();
    let line = format!("from=\"10.0.0.0/8\",command=\"echo hi there\",no-pty {KEY} again");
    let text = sound(1).replace("\"key.pub\"", &format!("'{line}', \"key.pub\", '{KEY}'"));
    let cluster = bench.parse(&text).unwrap();
    assert_eq!(cluster.nodes[0].user.authorized_keys, [line.as_str(), KEY]);
    bench.write("id", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", 0o600);
    let problems = bench.parse(&sound(1).replace("key.pub", "id")).unwrap_err();
    assert!(problems[0].message.contains("PRIVATE key"), "{problems:?}");
    assert_eq!(problems.len(), 1);
}

/// As `ssh-keygen` tells, which reads them as sshd does.
#[test]
fn options_end_where_sshd_ends_them() {
    let bench = Bench::new();
    let line = |options: &str| format!("{options} {KEY}");
    for text in [
        line(r#"command="echo \"hi there\"""#),
        line(r#"command="a \" b""#),
        line(r#"environment="A=\"",no-pty"#),
        line(r#"command="a \\ b""#),
        line(r#"command="a \\" b""#),
        line(r#"command="a b"#),
        line(r#"a\"b"#),
        line(r#"a"b"#),
        line("no-pty, no-X11-forwarding"),
        format!("no-pty\t{KEY}"),
        KEY.replacen(' ', "  ", 1),
        KEY.replace(' ', "\t"),
    ] {
        bench.write("line", &format!("{text}\n"), 0o600);
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-lf").arg(bench.0.path().join("line"));
        let theirs = keygen
            .output()
            .expect("ssh-keygen; `tests/run` installs openssh");
        let ours = bench.parse(&sound(1).replace("key.pub", "line"));
        assert_eq!(ours.is_ok(), theirs.status.success(), "{text:?}");
        if let Ok(cluster) = ours {
            assert_eq!(cluster.nodes[0].user.authorized_keys, [text]);
        }
    }
    // sshd skips what ssh-keygen stumbles over here.
    bench.write("line", &line("no-pty "), 0o600);
    let ours = bench.parse(&sound(1).replace("key.pub", "line"));
    assert!(ours.is_ok(), "{ours:?}");
}

#[test]
fn a_file_of_the_node_takes_the_place_of_one_of_all() {
    let bench = Bench::new();
    bench.write("own", "mine\n", 0o644);
    let cluster = bench.accept(
        "[first_boot]\nfiles = [{ source = \"motd\", path = \"/etc/motd\", owner = \"pi\" },\n\
         { source = \"motd\", path = \"/etc/issue\" }]\n\
         [node.10]\nfiles = [{ source = \"own\", path = \"/etc/motd\" }]\n",
    );
    let files = |index: usize| -> Vec<(&str, &[u8])> {
        let files = &cluster.nodes[index].first_boot.files;
        files
            .iter()
            .map(|file| (file.path.as_str(), &file.bytes[..]))
            .collect()
    };
    let shared: &[u8] = b"hello\n";
    assert_eq!(files(0), [("/etc/motd", shared), ("/etc/issue", shared)]);
    assert_eq!(files(1), [("/etc/issue", shared), ("/etc/motd", b"mine\n")]);
}

#[test]
fn no_file_is_in_the_way_of_the_folder_of_another() {
    let bench = Bench::new();
    let file = |path: &str| format!("{{ source = \"motd\", path = \"{path}\" }}");
    let list = |paths: &[&str]| {
        let files: Vec<String> = paths.iter().map(|path| file(path)).collect();
        format!("files = [{}]\n", files.join(", "))
    };
    let both = |all: &[&str], own: &[&str]| {
        let (all, own) = (list(all), list(own));
        format!("[first_boot]\n{all}[node.10]\n{own}")
    };
    for extra in [
        both(&["/srv/a", "/srv/a/b/c"], &[]),
        both(&["/srv/a/b/c", "/srv/a"], &[]),
        both(&["/srv/a"], &["/srv/a/b/c"]),
        both(&["/srv/a/b/c"], &["/srv/a"]),
    ] {
        let problems = bench.problems(&extra);
        assert_eq!(
            problems,
            ["/srv/a/b/c would need a folder where /srv/a is a file"],
            "{extra}"
        );
    }
    bench.accept(&both(&["/srv/a/b", "/srv/ab"], &["/srv/a/c", "/srv/a/b"]));
}

#[test]
fn a_locale_has_the_name_that_systems_know_it_by() {
    let bench = Bench::new();
    let named = |name: &str| {
        let text = sound(1) + &format!("[locale]\nlocale = \"{name}\"\n");
        bench.parse(&text)
    };
    for (name, own) in [
        ("pt_PT.utf8", "pt_PT.UTF-8"),
        ("pt_PT.utf-8", "pt_PT.UTF-8"),
        ("ca_ES.utf8@valencia", "ca_ES.UTF-8@valencia"),
    ] {
        let problems = named(name).unwrap_err();
        let help = problems[0].help.as_deref().unwrap_or_default();
        assert_eq!(help, format!("write it as {own}"));
    }
    for name in [
        "pt_PT.UTF-8",
        "pt_PT",
        "ru_RU.KOI8-R",
        "ca_ES.UTF-8@valencia",
    ] {
        assert!(named(name).is_ok(), "{name}");
    }
}
