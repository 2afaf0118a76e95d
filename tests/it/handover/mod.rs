use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Run, Scratch, base, has, tool};

const WATCHED: &str = "\n[monitoring]\nnode_exporter = true\nhost = 0\n\
    [node.1]\nhostname = \"gateway\"\naddress = \"10.0.0.13/24\"\nboard = \"pi-4b\"\n\
    mac = [\"DC:A6:32:01:02:03\", \"dc-a6-32-01-02-04\"]\n\
    [node.2]\nmac = \"b8:27:eb:01:02:03\"\nboard = \"pi-3b\"\n";

/// A cluster of `count` nodes with a hand-over.
fn cluster(count: u32, extra: &str) -> Scratch {
    let scratch = Scratch::cluster("bookworm-arm64", |text| {
        text.replace("count    = 2", &format!("count    = {count}")) + extra
    });
    scratch.cardmint(&["handover"]).expect(0);
    scratch
}

fn file(scratch: &Scratch, name: &str) -> String {
    fs::read_to_string(scratch.path("c/handover").join(name)).expect("a file")
}

fn path(scratch: &Scratch, name: &str) -> String {
    let path = scratch.path("c/handover").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn ansible_reads_groups_users_and_addresses() {
    if !has("ansible-inventory") {
        return;
    }
    let scratch = cluster(3, WATCHED);
    let run = tool(
        "ansible-inventory",
        &["-i", &path(&scratch, "inventory.yml"), "--list"],
    );
    // Names that Ansible does not like are warned of.
    assert_eq!(run.stderr, "");
    let all = run.json();
    assert_eq!(
        all["c"]["hosts"],
        serde_json::json!(["raspberrypi0", "gateway", "raspberrypi2"])
    );
    assert_eq!(
        all["monitoring"]["hosts"],
        serde_json::json!(["raspberrypi0"])
    );
    assert_eq!(all["board_pi_4b"]["hosts"], serde_json::json!(["gateway"]));
    let vars = &all["_meta"]["hostvars"];
    assert_eq!(vars["gateway"]["ansible_host"], "10.0.0.13");
    assert_eq!(vars["raspberrypi2"]["ansible_host"], "raspberrypi2.lan");
    for host in ["raspberrypi0", "gateway", "raspberrypi2"] {
        assert_eq!(vars[host]["ansible_user"], "pi");
        assert_eq!(vars[host]["ansible_python_interpreter"], "/usr/bin/python3");
    }
    let numbers: Vec<_> = ["raspberrypi0", "gateway", "raspberrypi2"]
        .map(|host| vars[host]["cardmint_number"].as_u64())
        .to_vec();
    assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
}

/// Ansible warns where a group is called like a host, or like no identifier.
#[test]
fn a_cluster_of_any_name_is_a_group() {
    if !has("ansible-inventory") {
        return;
    }
    for name in ["9-lives", "all", "monitoring", "raspberrypi0", "a-b"] {
        let scratch = cluster(1, "");
        let manifest = scratch.path("c/cluster.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let text = text.replace("name     = \"c\"", &format!("name     = \"{name}\""));
        fs::write(
            &manifest,
            text + WATCHED.split("[node.1]").next().expect("a part"),
        )
        .expect("a manifest");
        fs::remove_file(scratch.path("c/cluster.lock")).ok();
        scratch.cardmint(&["handover"]).expect(0);
        let run = tool(
            "ansible-inventory",
            &["-i", &path(&scratch, "inventory.yml"), "--list"],
        )
        .expect(0);
        assert_eq!(run.stderr, "", "{name}");
        let all = run.json();
        let vars = &all["_meta"]["hostvars"]["raspberrypi0"];
        assert_eq!(vars["ansible_user"], "pi", "{name}: {all}");
    }
}

#[test]
fn ssh_finds_key_name_and_user_for_each_name_of_a_node() {
    let scratch = cluster(3, WATCHED);
    let config = path(&scratch, "ssh_config");
    let fact = |node: &str, wanted: &str| {
        let run = tool("ssh", &["-G", "-F", &config, node]).expect(0);
        let found = run.stdout.lines().any(|line| line == wanted);
        assert!(found, "{node}: no `{wanted}` in\n{}", run.stdout);
    };
    for name in ["gateway", "gateway.lan", "gateway.local", "10.0.0.13"] {
        fact(name, "hostkeyalias gateway");
        fact(name, "user pi");
        fact(name, "stricthostkeychecking true");
        // No other key counts, and none is written down.
        fact(name, "globalknownhostsfile /dev/null");
        fact(name, "checkhostip no");
    }
    fact("gateway", "hostname 10.0.0.13");
    fact("raspberrypi2", "hostname raspberrypi2.lan");
    let known = path(&scratch, "known_hosts");
    for name in ["raspberrypi0", "raspberrypi2.lan", "10.0.0.13"] {
        let run = tool("ssh-keygen", &["-F", name, "-f", &known]).expect(0);
        assert!(run.stdout.contains("ssh-ed25519"), "{name}");
    }
}

/// Where a key is named, ssh does not try the user's own.
#[test]
fn the_key_of_the_cluster_is_named_where_the_nodes_let_it_in() {
    let scratch = cluster(1, "");
    let private = scratch.path("c/id_ed25519");
    let at = private.to_str().expect("UTF-8");
    let mut files = vec![private.clone(), scratch.path("c/id_ed25519.pub")];
    files.iter().for_each(|path| drop(fs::remove_file(path)));
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", at]).expect(0);
    let config = |scratch: &Scratch| {
        scratch.cardmint(&["handover"]).expect(0);
        file(scratch, "ssh_config")
    };
    let public = files.pop().expect("a path");
    let key = fs::read_to_string(&public).expect("a key");
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let (before, rest) = text.split_once("authorized_keys").expect("keys");
    let (_, rest) = rest.split_once(']').expect("an end");
    let with = |key: &str| format!("{before}authorized_keys = ['{key}']{rest}");
    let other =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ a";
    scratch.write("c/cluster.toml", with(other));
    assert!(!config(&scratch).contains("IdentityFile"));
    let words: Vec<&str> = key.split_whitespace().collect();
    let used = format!("no-pty {} {} me", words[0], words[1]);
    scratch.write("c/cluster.toml", with(&used));
    assert!(config(&scratch).contains(&format!("IdentityFile \"{at}\"")));
    fs::remove_file(public).expect("a file");
    assert!(config(&scratch).contains("IdentityFile"));
}

/// In `ssh_config` they would be another path, or none.
#[test]
fn paths_that_ssh_cannot_be_told_are_refused() {
    let scratch = cluster(1, "");
    for name in ["a\"b", "a\\b", "a${HOME}b", "a\nb"] {
        let dir = scratch.path(name);
        fs::rename(scratch.path("c"), &dir).expect("a directory");
        // Programs are run there.
        fs::create_dir(scratch.path("c")).expect("a directory");
        let at = dir.to_str().expect("UTF-8");
        let run = scratch.cardmint(&["handover", "-C", at]).expect(2);
        run.says(&["no ssh_config was made", "move the cluster"]);
        let run = scratch.cardmint(&["status", "-C", at]).expect(2);
        run.says(&["ssh_config cannot name", "move the cluster"]);
        assert!(!dir.join("handover/ssh_config").exists(), "{name}");
        assert!(dir.join("handover/known_hosts").exists(), "{name}");
        fs::rename(&dir, scratch.path("c")).expect("a directory");
    }
    scratch.cardmint(&["handover"]).expect(0);
}

#[test]
fn dnsmasq_takes_the_snippet() {
    if !has("dnsmasq") {
        return;
    }
    for extra in ["", WATCHED] {
        let scratch = cluster(3, extra);
        let at = path(&scratch, "dnsmasq.conf");
        tool("dnsmasq", &["--test", "-C", &at]).expect(0);
    }
    let text = file(&cluster(3, WATCHED), "dnsmasq.conf");
    for line in [
        "domain=lan",
        "local=/lan/",
        "expand-hosts",
        "host-record=gateway.lan,gateway,10.0.0.13",
        "dhcp-host=dc:a6:32:01:02:03,dc:a6:32:01:02:04,gateway,10.0.0.13",
        "dhcp-host=b8:27:eb:01:02:03,raspberrypi2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Without a domain, and with addresses of IPv6.
#[test]
fn names_without_a_domain_are_bare() {
    let extra = "\n[node.1]\naddress = \"fd00::7/64\"\nmac = \"b8:27:eb:01:02:03\"\n";
    let scratch = Scratch::cluster("bookworm-arm64", |text| {
        text.replace("domain   = \"lan\"\n", "") + extra
    });
    scratch.cardmint(&["handover"]).expect(0);
    let text = file(&scratch, "dnsmasq.conf");
    assert!(!text.contains("domain="), "{text}");
    assert!(
        text.contains("host-record=raspberrypi1,fd00::7\n"),
        "{text}"
    );
    assert!(
        text.contains("dhcp-host=b8:27:eb:01:02:03,raspberrypi1\n"),
        "{text}"
    );
    if has("dnsmasq") {
        tool(
            "dnsmasq",
            &["--test", "-C", &path(&scratch, "dnsmasq.conf")],
        )
        .expect(0);
    }
    assert!(file(&scratch, "hosts").contains("\nfd00::7 raspberrypi1\n"));
    let config = path(&scratch, "ssh_config");
    let run = tool("ssh", &["-G", "-F", &config, "raspberrypi1"]).expect(0);
    assert!(run.stdout.contains("hostname fd00::7\n"), "{}", run.stdout);
}

#[test]
fn compose_takes_the_containers_with_and_without_a_password() {
    if !has("docker-compose") {
        return;
    }
    let config = |scratch: &Scratch, password: Option<&str>| {
        let mut command = Command::new("docker-compose");
        command
            .args(["-f", &path(scratch, "compose.yml"), "config"])
            .env_remove("GRAFANA_PASSWORD")
            .envs(password.map(|password| ("GRAFANA_PASSWORD", password)));
        Run::of(&command.output().expect("docker-compose"))
    };
    let open = config(&cluster(3, WATCHED), None).expect(0);
    assert!(
        open.stdout.contains("GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer"),
        "{}",
        open.stdout
    );
    let scratch = cluster(3, "");
    scratch.write_secret("c/grafana", "open-sesame\n");
    let text = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    let watched = WATCHED.replace("host = 0", "host = 0\ngrafana_password_file = \"grafana\"");
    scratch.write("c/cluster.toml", text + &watched);
    scratch.cardmint(&["handover"]).expect(0);
    assert_ne!(config(&scratch, None).code, 0);
    let closed = config(&scratch, Some("x")).expect(0);
    assert!(
        closed.stdout.contains("GF_SECURITY_ADMIN_PASSWORD: x"),
        "{}",
        closed.stdout
    );
    for (name, bytes) in scratch.snapshot("c/handover") {
        let text = String::from_utf8(bytes).expect("text");
        assert!(!text.contains("open-sesame"), "{}", name.display());
    }
}

fn snapshot(scratch: &Scratch) -> BTreeMap<PathBuf, String> {
    let dir = scratch.path("c/handover");
    let files = scratch.snapshot("c/handover").into_iter();
    let text = |bytes| String::from_utf8(bytes).expect("text");
    files
        .map(|(path, bytes)| {
            let path = path.strip_prefix(&dir).expect("below it").to_owned();
            (path, text(bytes))
        })
        .collect()
}

#[test]
fn nothing_changes_where_nothing_changed() {
    let scratch = cluster(3, WATCHED);
    let before = snapshot(&scratch);
    let again = scratch.cardmint(&["handover", "--json"]).expect(0).json();
    for file in again["files"].as_array().expect("files") {
        assert_eq!(file["changed"], false, "{file}");
    }
    assert_eq!(
        again["files"].as_array().expect("files").len(),
        before.len()
    );
    scratch.cardmint(&["build"]).expect(0);
    assert_eq!(before, snapshot(&scratch));
}

#[test]
fn one_node_more_adds_lines_and_changes_none() {
    let scratch = cluster(4, WATCHED);
    let before = snapshot(&scratch);
    let text = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    scratch.write(
        "c/cluster.toml",
        text.replace("count    = 4", "count    = 5"),
    );
    scratch.cardmint(&["handover"]).expect(0);
    let after = snapshot(&scratch);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, old) in &before {
        let new = &after[name];
        let shown = name.display().to_string();
        if shown.starts_with("grafana/") || shown == "compose.yml" || shown == "dnsmasq.conf" {
            assert_eq!(old, new, "{shown}");
            continue;
        }
        assert_ne!(old, new, "{shown}");
        if ["cluster.html", "cluster.svg"].contains(&shown.as_str()) {
            // The drawing grows; whose node stays where it was keeps its words.
            continue;
        }
        // A comma may follow what was the last target.
        let plain = |line: &str| line.trim_end_matches(',').to_owned();
        let mut rest = new.lines().map(plain);
        for line in old.lines().map(plain) {
            assert!(rest.any(|found| found == line), "{shown}: `{line}` is gone");
        }
    }
}

#[test]
fn what_no_longer_applies_goes_and_what_is_somebody_elses_stays() {
    let scratch = cluster(3, WATCHED);
    let mine = scratch.write("c/handover/notes.txt", "mine\n");
    let text = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    scratch.write(
        "c/cluster.toml",
        text.split("\n[monitoring]").next().expect("a part"),
    );
    let run = scratch.cardmint(&["handover"]).expect(0);
    assert!(
        run.stdout.contains("removed    handover/prometheus.yml"),
        "{}",
        run.stdout
    );
    for name in [
        "prometheus.yml",
        "compose.yml",
        "grafana/dashboards/cluster.json",
    ] {
        assert!(!scratch.path("c/handover").join(name).exists(), "{name}");
    }
    assert!(mine.exists());
}

#[test]
fn the_page_shows_nodes_cards_and_links() {
    let scratch = cluster(3, WATCHED);
    let card = scratch.path("card.img");
    let image = fs::metadata(base("bookworm-arm64")).expect("a base").len();
    fs::File::create(&card)
        .and_then(|file| file.set_len(image + (8 << 20)))
        .expect("a card");
    let card = card.to_str().expect("UTF-8");
    scratch
        .cardmint(&["flash", "gateway", "--to", card, "--yes"])
        .expect(0);
    let page = file(&scratch, "cluster.html");
    for text in [
        "raspberrypi2",
        "Raspberry Pi 4 B",
        "10.0.0.13",
        "http://raspberrypi0.lan:9090",
        "http://raspberrypi0.lan:3000",
        "http://10.0.0.13:9100/metrics",
        "ssh://pi@10.0.0.13",
        "written 20",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let drawing = file(&scratch, "cluster.svg");
    roxmltree::Document::parse(&drawing).expect("XML");
    for fingerprint in fingerprints(&scratch) {
        assert!(page.contains(&fingerprint), "{fingerprint}");
    }
}

fn fingerprints(scratch: &Scratch) -> Vec<String> {
    let run = tool("ssh-keygen", &["-lf", &path(scratch, "known_hosts")]).expect(0);
    let print = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    run.stdout.lines().filter_map(print).collect()
}

/// The manifest leaves the passphrase open, and nobody can be asked.
#[test]
fn no_passphrase_is_asked_for() {
    let scratch = Scratch::cluster("bookworm-arm64", |text| {
        text + "\n[wifi]\nssid = \"net\"\ncountry = \"PT\"\n"
    });
    scratch.cardmint(&["handover"]).expect(0);
    assert!(!file(&scratch, "cluster.html").contains("a stand-in"));
    scratch
        .cardmint(&["plan"])
        .expect(2)
        .says(&["no passphrase"]);
}
