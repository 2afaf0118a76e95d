//! Two nodes boot side by side on one network, are reached by their names, and
//! watch themselves.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::card::{Card, GIB, Generation};
use crate::cluster::Cluster;
use crate::facts::report;
use crate::harness::Run;
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
authorized_keys = ["id.pub"]

[first_boot]
files = [{ source = "lan.list", path = "/etc/apt/sources.list.d/lan.list" }]

[monitoring]
node_exporter = true
host = 0
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
    let mut pair = Pair::powered_on(Generation::Trixie);
    pair.come_up();
    for (name, _) in NODES {
        let metrics = pair.metrics(name);
        assert!(
            metrics.contains(&format!("nodename=\"{name}\"")),
            "{metrics}"
        );
        let zone = "node_thermal_zone_temp{type=\"cpu-thermal\",zone=\"0\"} 48.312";
        assert!(metrics.contains(zone), "{metrics}");
    }
    pair.prometheus_sees_all();

    let booted = booted_at(&pair.metrics("raspberrypi1"));
    let node = &mut pair.machines[1];
    let enabled = node.root("systemctl is-enabled prometheus-node-exporter");
    assert_eq!(enabled, "enabled\n");
    node.root("systemctl reboot --no-block");
    node.await_off();
    node.log_in();
    assert_ne!(booted_at(&pair.metrics("raspberrypi1")), booted);
    pair.prometheus_sees_all();
}

/// Two machines on one network. They go before it does.
struct Pair {
    machines: [Machine; 2],
    lan: Lan,
    generation: Generation,
    #[allow(dead_code, reason = "its folder holds the ssh_config in use")]
    cluster: Cluster,
}

impl Pair {
    /// Fresh cards, both booting.
    fn powered_on(generation: Generation) -> Self {
        let cluster = Cluster::new(&generation.base(), MANIFEST);
        let list = format!("deb [trusted=yes] http://{HERE}/ ./\n");
        fs::write(cluster.path("lan.list"), list).expect("a file");
        let conf = cluster.path("dnsmasq.conf");
        fs::write(&conf, names()).expect("a file");
        cluster.build();
        let mut lan = Lan::new(&conf);
        lan.serve(&generation.archive());
        let mut machines = NODES.map(|(name, mac)| {
            let image = cluster.path(&format!("images/{name}.img"));
            let place = format!("pair-{}-{name}", generation.name());
            let card = Card::with(generation, &image, 4 * GIB, &place);
            let login = cluster.login_to(name);
            Machine::new(card, login, Wire::Lan(lan.plug(mac)))
        });
        machines.iter_mut().for_each(Machine::power_on);
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
            if !said.contains("result ok\n") {
                panic!("{said}{}", machine.root("cat /var/log/cardmint.log"));
            }
        }
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

    /// Waits until the Prometheus on the first node finds both exporters up.
    #[track_caller]
    fn prometheus_sees_all(&self) {
        let wanted = NODES.map(|(name, _)| (format!("{name}.lan:9100"), "1".to_owned()));
        eventually(|| {
            let answer = self.get("http://raspberrypi0.lan:9090/api/v1/query?query=up")?;
            let mut found = values(&answer).ok_or(format!("not an answer: {answer}"))?;
            found.sort();
            if found == wanted { Ok(()) } else { Err(answer) }
        });
    }
}

/// What dnsmasq is told of the nodes.
fn names() -> String {
    let hosts = NODES.map(|(name, mac)| format!("dhcp-host={mac},{name}\n"));
    format!("domain=lan\nlocal=/lan/\nexpand-hosts\n{}", hosts.concat())
}

/// Instances and values of an answer of Prometheus.
fn values(answer: &str) -> Option<Vec<(String, String)>> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    let series = answer["data"]["result"].as_array()?.iter();
    series
        .map(|one| {
            let instance = one["metric"]["instance"].as_str()?;
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
