//! Two nodes boot side by side on one network, are found by `cardmint status` and
//! by Ansible under the names that the hand-over gives them, and watch themselves.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::card::{Card, GIB, Generation};
use crate::cluster::Cluster;
use crate::dashboard::{Dashboard, Selection};
use crate::facts::report;
use crate::harness::{Run, tool};
use crate::lan::{HERE, Lan};
use crate::machine::Machine;
use crate::wire::Wire;

const MANIFEST: &str = r#"
[cluster]
name = "pair"
count = 2
domain = "lan"
image = "@IMAGE@"

[user]
name = "alice"
authorized_keys = ["id.pub", "id_ed25519.pub"]

[first_boot]
files = [
    { source = "lan.list", path = "/etc/apt/sources.list.d/lan.list" },
    { source = "vcgencmd", path = "/usr/local/bin/vcgencmd", mode = "0755" },
]

[monitoring]
node_exporter = true
host = 0
docker = false

[node.0]
mac = "52:54:00:77:00:00"

[node.1]
mac = "52:54:00:77:00:01"
node_exporter = "exporter.deb"
"#;

/// Name and MAC address of each node.
const NODES: [(&str, &str); 2] = [
    ("raspberrypi0", "52:54:00:77:00:00"),
    ("raspberrypi1", "52:54:00:77:00:01"),
];

/// How long a service may take to be up, or to be seen, once its machine is.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(2);

#[test]
#[ignore = "boots machines; tests/run boot"]
fn trixie() {
    let mut pair = Pair::switched_off(Generation::Trixie);
    let nobody = pair.status(&[], 1);
    assert_eq!(states(&nobody), ["not-there", "not-there"]);
    pair.machines.iter_mut().for_each(Machine::power_on);
    let all = pair.status(&["--wait", "15m"], 0);
    assert_eq!(states(&all), ["ready", "ready"]);
    for node in all["nodes"].as_array().expect("nodes") {
        assert_eq!(node["found_by"], "name", "{node:#}");
        assert_eq!(node["millidegrees"], 48_312, "{node:#}");
        assert_eq!(node["report"]["ok"], true, "{node:#}");
        let len = node["root_len"].as_u64().expect("bytes");
        assert!(len > 3 * GIB, "{node:#}");
    }
    pair.come_up();
    pair.ansible_reaches_all();
    for (name, _) in NODES {
        pair.exports(
            name,
            &[
                &format!("cardmint_node_info{{model=\"\",node=\"{name}\""),
                "cardmint_first_boot_ok 1\n",
                &format!("nodename=\"{name}\""),
                "node_thermal_zone_temp{type=\"cpu-thermal\",zone=\"0\"} 48.312\n",
            ],
        );
    }
    pair.prometheus_sees_all();
    pair.dashboard_has_something_to_show();

    let booted = booted_at(&pair.metrics("raspberrypi1"));
    let node = &mut pair.machines[1];
    let enabled = node.root("systemctl is-enabled prometheus-node-exporter");
    assert_eq!(enabled, "enabled\n");
    node.root("systemctl reboot --no-block");
    node.await_off();
    node.power_on();
    let again = pair.status(&["--wait", "5m", "raspberrypi1"], 0);
    assert_eq!(states(&again), ["ready"]);
    pair.machines[1].log_in();
    assert_ne!(booted_at(&pair.metrics("raspberrypi1")), booted);
    pair.prometheus_sees_all();
}

fn states(report: &serde_json::Value) -> Vec<&str> {
    let nodes = report["nodes"].as_array().expect("nodes");
    nodes
        .iter()
        .map(|node| node["state"].as_str().expect("a state"))
        .collect()
}

/// Two machines on one network. They go before it does.
struct Pair {
    machines: [Machine; 2],
    lan: Lan,
    generation: Generation,
    cluster: Cluster,
}

impl Pair {
    /// Fresh cards in both. The second carries its exporter, the first takes it,
    /// and Prometheus, from the network.
    fn switched_off(generation: Generation) -> Self {
        let cluster = Cluster::new(&generation.base(), MANIFEST);
        let list = format!("deb [trusted=yes] http://{HERE}/ ./\n");
        fs::write(cluster.path("lan.list"), list).expect("a file");
        // The firmware's word, which an emulated machine has not.
        fs::write(
            cluster.path("vcgencmd"),
            "#!/bin/sh\necho throttled=0x50005\n",
        )
        .expect("a file");
        let archive = generation.archive();
        let exporter = archive.join("prometheus-node-exporter.deb");
        for_any_machine(&exporter, &cluster.path("exporter.deb"));
        cluster.build();
        let mut lan = Lan::new(&cluster.path("handover/dnsmasq.conf"));
        lan.serve(&archive);
        let machines = NODES.map(|(name, mac)| {
            let image = cluster.path(&format!("images/{name}.img"));
            let place = format!("pair-{}-{name}", generation.name());
            let card = Card::with(generation, &image, 4 * GIB, &place);
            let login = cluster.login_to(name);
            Machine::new(card, login, Wire::Lan(lan.plug(mac)))
        });
        Self {
            machines,
            lan,
            generation,
            cluster,
        }
    }

    /// Waits until both are set up, and went through it well.
    fn come_up(&mut self) {
        for machine in &mut self.machines {
            machine.log_in();
        }
        for ((name, _), machine) in NODES.iter().zip(&self.machines) {
            let said = report(machine, self.generation);
            assert!(said.contains(&format!("node {name}\n")), "{said}");
            assert!(said.contains("step exporter ok"), "{said}");
            let installs = said.contains("step packages ok");
            assert_eq!(installs, *name == "raspberrypi0", "{said}");
            if !said.contains("result ok\n") {
                panic!("{said}{}", machine.root("cat /var/log/cardmint.log"));
            }
        }
    }

    /// `cardmint status` on the network; its report.
    #[track_caller]
    fn status(&self, args: &[&str], code: i32) -> serde_json::Value {
        let run = self.cluster.status(self.lan.command("env"), args);
        run.expect(code).json()
    }

    #[track_caller]
    fn ansible_reaches_all(&self) {
        let mut ansible = self.lan.command("ansible");
        ansible
            .arg("-i")
            .arg(self.cluster.path("handover/inventory.yml"));
        ansible.args(["all", "--one-line", "-m", "ping"]);
        // Emulated machines think for a while.
        let ansible = ansible
            .args(["--timeout", "120"])
            .current_dir(self.cluster.path(""));
        let run = Run::of(&ansible.output().expect("ansible")).expect(0);
        for (name, _) in NODES {
            let pong = format!("{name} | SUCCESS => {{");
            assert!(run.stdout.contains(&pong), "{}{}", run.stdout, run.stderr);
        }
        assert_eq!(
            run.stdout.matches("\"ping\": \"pong\"").count(),
            2,
            "{}",
            run.stdout
        );
    }

    /// What an address answers, asked from the network.
    fn get(&self, address: &str) -> Result<String, String> {
        let mut curl = self.lan.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "60"]);
        let run = Run::of(&curl.arg(address).output().expect("curl"));
        if run.code == 0 {
            Ok(run.stdout)
        } else {
            Err(run.stderr)
        }
    }

    /// What a node's exporter says, once it says anything.
    #[track_caller]
    fn metrics(&self, name: &str) -> String {
        eventually(|| self.get(&format!("http://{name}.lan:9100/metrics")))
    }

    /// Waits until a node's exporter says all of this: what cardmint's own timer
    /// gives it is up to half a minute old.
    #[track_caller]
    fn exports(&self, name: &str, wanted: &[&str]) {
        eventually(|| {
            let metrics = self.metrics(name);
            let missing = wanted.iter().find(|text| !metrics.contains(**text));
            missing.map_or(Ok(()), |text| {
                Err(format!("{name} does not say {text}: {metrics}"))
            })
        });
    }

    /// Every query of the dashboard, asked of the Prometheus on the first node.
    #[track_caller]
    fn dashboard_has_something_to_show(&self) {
        let all = Selection {
            job: ".*",
            instance: ".*",
        };
        for query in Dashboard::read().queries() {
            let query = format!("query={}", all.fill(&query));
            eventually(|| {
                let mut curl = self.lan.command("curl");
                curl.args(["--silent", "--show-error", "--max-time", "60", "--get"]);
                curl.args([
                    "http://raspberrypi0.lan:9090/api/v1/query",
                    "--data-urlencode",
                ]);
                let run = Run::of(&curl.arg(&query).output().expect("curl"));
                match values(&run.stdout) {
                    Some(found) if !found.is_empty() => Ok(()),
                    _ => Err(format!("{query} returns {}{}", run.stdout, run.stderr)),
                }
            });
        }
    }

    /// Waits until the Prometheus on the first node finds both exporters up.
    #[track_caller]
    fn prometheus_sees_all(&self) {
        let wanted = NODES.map(|(name, _)| (name.to_owned(), "1".to_owned()));
        eventually(|| {
            let answer = self.get("http://raspberrypi0.lan:9090/api/v1/query?query=up")?;
            let mut found = values(&answer).ok_or(format!("not an answer: {answer}"))?;
            found.sort();
            if found == wanted { Ok(()) } else { Err(answer) }
        });
    }
}

/// The same package without a word of the processor, which here is not a Pi's.
fn for_any_machine(package: &Path, to: &Path) {
    let folder = to.with_extension("unpacked");
    let utf8 = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    tool(
        "dpkg-deb",
        &["--raw-extract", &utf8(package), &utf8(&folder)],
    )
    .expect(0);
    let control = folder.join("DEBIAN/control");
    let text = fs::read_to_string(&control).expect("a file");
    let line = text.lines().find(|line| line.starts_with("Architecture: "));
    let text = text.replace(line.expect("an architecture"), "Architecture: all");
    fs::write(control, text).expect("a file");
    let build = [
        "--build",
        "--root-owner-group",
        "-Zgzip",
        &utf8(&folder),
        &utf8(to),
    ];
    tool("dpkg-deb", &build).expect(0);
    fs::remove_dir_all(folder).expect("a folder");
}

/// Instances and values of an answer of Prometheus.
fn values(answer: &str) -> Option<Vec<(String, String)>> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    let series = answer["data"]["result"].as_array()?.iter();
    series
        .map(|one| {
            // Sums over the cluster name no node.
            let instance = one["metric"]["instance"].as_str().unwrap_or_default();
            Some((instance.to_owned(), one["value"][1].as_str()?.to_owned()))
        })
        .collect()
}

/// When the node booted, by its exporter.
#[track_caller]
fn booted_at(metrics: &str) -> String {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("node_boot_time_seconds "));
    line.unwrap_or_else(|| panic!("no time of booting in {metrics}"))
        .to_owned()
}

/// Asks until there is what is wanted; what was there instead is the failure.
#[track_caller]
fn eventually<T>(mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => assert!(began.elapsed() < PATIENCE, "{instead}"),
        }
        thread::sleep(PAUSE);
    }
}
