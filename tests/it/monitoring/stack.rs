//! Two nodes and what watches them, in a network of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Run, Scratch, has, is_root, node_file, tool};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the nodes are spread over Prometheus's jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Jobs {
    /// Each node is a job.
    PerNode,
    /// The cluster is one job, whose nodes are in `targets.json`.
    Single,
}

impl Jobs {
    fn folder(self) -> &'static str {
        match self {
            Self::PerNode => "per-node",
            Self::Single => "single",
        }
    }

    /// What the manifest calls it.
    fn word(self) -> &'static str {
        match self {
            Self::PerNode => "per-node",
            Self::Single => "one",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::PerNode => 9090,
            Self::Single => 9091,
        }
    }
}

/// A cluster of two nodes that are watched, built and handed over.
pub(super) fn cluster(jobs: Jobs) -> Scratch {
    Scratch::cluster("bookworm-arm64", |text| {
        let text = text.replace("name     = \"c\"", "name     = \"picluster\"");
        assert!(text.contains("picluster"), "{text}");
        let jobs = jobs.word();
        format!("{text}\n[monitoring]\nnode_exporter = true\nhost = 0\njobs = \"{jobs}\"\n")
    })
}

/// The folder in which `prometheus.yml` and `targets.json` are.
pub(super) fn handed_over(scratch: &Scratch) -> PathBuf {
    scratch.cardmint(&["handover"]).expect(0);
    scratch.path("c/handover")
}

/// What is particular about a node.
struct Board {
    /// Thousandths of a degree Celsius.
    temperature: &'static str,
    /// The temperature is told as a thermal zone, too. The node_exporter of
    /// Buster cannot read those.
    zone: bool,
    /// What `vcgencmd get_throttled` prints.
    throttled: &'static str,
    /// The kernel's undervoltage alarm.
    alarm: &'static str,
    /// The end of the first boot's report.
    result: &'static str,
}

/// Of the first's voltage only the kernel tells, of the second's only the firmware.
const BOARDS: [Board; 2] = [
    Board {
        temperature: "48312",
        zone: false,
        throttled: "throttled=0x0",
        alarm: "1",
        result: "ok",
    },
    Board {
        temperature: "83500",
        zone: true,
        throttled: "throttled=0x50005",
        alarm: "0",
        result: "failed",
    },
];

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, text).expect("a file");
}

/// Makes a node's root: what its kernel shows, and what its script made of it.
fn make_node(root: &Path, image: &Path, board: &Board) {
    let zone = "sys/class/thermal/thermal_zone0";
    if board.zone {
        write(root, &format!("{zone}/type"), "cpu-thermal\n");
        write(root, &format!("{zone}/policy"), "step_wise\n");
        write(root, &format!("{zone}/temp"), board.temperature);
    }
    let zone = "sys/class/hwmon/hwmon0";
    write(root, &format!("{zone}/name"), "cpu_thermal\n");
    write(root, &format!("{zone}/temp1_input"), board.temperature);
    let device = "sys/devices/platform/soc/soc:firmware/raspberrypi-hwmon";
    let hwmon = format!("{device}/hwmon/hwmon1");
    write(root, &format!("{hwmon}/name"), "rpi_volt\n");
    write(root, &format!("{hwmon}/in0_lcrit_alarm"), board.alarm);
    let link = |target: &str, at: String| {
        let at = root.join(at);
        fs::create_dir_all(at.parent().expect("a parent")).expect("a directory");
        std::os::unix::fs::symlink(target, at).expect("a link");
    };
    link("../../../raspberrypi-hwmon", format!("{hwmon}/device"));
    link(
        &format!("../../../{hwmon}"),
        "sys/class/hwmon/hwmon1".to_owned(),
    );
    fs::create_dir_all(root.join("sys/class/net")).expect("a directory");

    write(
        root,
        "proc/device-tree/model",
        "Raspberry Pi 4 Model B Rev 1.4\0",
    );
    let answer = format!("#!/bin/sh\necho {}\n", board.throttled);
    write(root, "bin/vcgencmd", &answer);
    let vcgencmd = root.join("bin/vcgencmd");
    tool("chmod", &["755", vcgencmd.to_str().expect("UTF-8")]).expect(0);
    let script = node_file(image, "/usr/local/lib/cardmint/metrics");
    let script = std::str::from_utf8(&script).expect("UTF-8");
    write(root, "metrics", script);
    let instance = script
        .lines()
        .find_map(|line| line.strip_prefix("instance="));
    let (instance, result) = (instance.expect("an instance"), board.result);
    let report = format!("cardmint report 1\ninstance {instance}\nresult {result}\n");
    write(root, "boot/firmware/cardmint-report.txt", &report);
    let path = std::env::var("PATH").expect("a PATH");
    let output = Command::new("sh")
        .arg(root.join("metrics"))
        .env("CARDMINT_ROOT", root)
        .env("PATH", format!("{}:{path}", root.join("bin").display()))
        .output()
        .expect("sh");
    Run::of(&output).expect(0);
}

/// Starts everything and ends it when standard input does, which it does also
/// if the test is killed.
const SCRIPT: &str = r#"
set -eu
cd "$1"
mount --bind hosts /etc/hosts
ip link set lo up
# Something to count, which loopback is not.
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
pids=
trap 'kill $pids; wait' EXIT
for n in 0 1; do
    prometheus-node-exporter --web.listen-address="127.0.0.$((n + 2)):9100" \
        --path.sysfs="$1/node$n/sys" \
        --collector.textfile.directory="$1/node$n/var/lib/prometheus/node-exporter" \
        </dev/null >"node$n.log" 2>&1 &
    pids="$pids $!"
done
for folder in per-node:9090 single:9091; do
    prometheus --config.file="${folder%:*}/prometheus.yml" --web.listen-address="127.0.0.1:${folder#*:}" \
        --storage.tsdb.path="${folder%:*}/data" </dev/null >"${folder%:*}.log" 2>&1 &
    pids="$pids $!"
done
cat
"#;

/// Two node_exporters, and a Prometheus for each way of naming jobs.
pub(super) struct Stack {
    dir: TempDir,
    network: Child,
}

/// A result of an instant query.
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Series {
    pub(super) fn node(&self) -> Option<&str> {
        self.labels.get("instance").map(String::as_str)
    }
}

impl Stack {
    /// `None` where it cannot be made.
    pub(super) fn start() -> Option<Self> {
        let programs = ["prometheus", "promtool", "prometheus-node-exporter", "ip"];
        if !programs.into_iter().all(has) {
            return None;
        }
        if !is_root() || tool("unshare", &["--mount", "--net", "true"]).code != 0 {
            eprintln!("skipped: making networks takes root");
            return None;
        }
        let dir = TempDir::new().expect("a directory");
        let minted = cluster(Jobs::PerNode);
        minted.cardmint(&["build"]).expect(0);
        for (number, board) in BOARDS.iter().enumerate() {
            let image = minted.path(&format!("c/images/raspberrypi{number}.img"));
            make_node(&dir.path().join(format!("node{number}")), &image, board);
        }
        write(
            dir.path(),
            "hosts",
            "127.0.0.1 localhost\n127.0.0.2 raspberrypi0.lan\n127.0.0.3 raspberrypi1.lan\n",
        );
        for jobs in [Jobs::PerNode, Jobs::Single] {
            let folder = dir.path().join(jobs.folder());
            fs::create_dir(&folder).expect("a directory");
            let scratch = cluster(jobs);
            let from = handed_over(&scratch);
            fs::copy(from.join("targets.json"), folder.join("targets.json")).expect("a file");
            let config = folder.join("prometheus.yml");
            let text = fs::read_to_string(from.join("prometheus.yml")).expect("a file");
            let faster = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
            assert_ne!(faster, text);
            fs::write(config, faster).expect("a file");
        }
        let network = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", SCRIPT, "sh"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("unshare");
        let stack = Self { dir, network };
        for jobs in [Jobs::PerNode, Jobs::Single] {
            stack.expect(jobs, "up == 1", |up| up.len() == 2);
        }
        Some(stack)
    }

    /// Fails the test unless `query` comes to return what is `wanted`. On a busy
    /// machine a scrape may be late, and the next one is not.
    #[track_caller]
    pub(super) fn expect(&self, jobs: Jobs, query: &str, wanted: impl Fn(&[Series]) -> bool) {
        let pid = self.network.id().to_string();
        let server = format!("http://127.0.0.1:{}", jobs.port());
        let promtool = ["promtool", "query", "instant", "-o", "json", &server, query];
        let began = Instant::now();
        loop {
            let args = [&["--net", "--target", &pid][..], &promtool].concat();
            let run = tool("nsenter", &args);
            if run.code == 0 && wanted(&series(&run)) {
                return;
            }
            if began.elapsed() > PATIENCE {
                panic!("{jobs:?}: {query} returns: {run:?}\n{}", self.logs());
            }
            sleep(Duration::from_millis(500));
        }
    }

    fn logs(&self) -> String {
        ["node0", "node1", "per-node", "single"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.dir.path().join(format!("{name}.log"))).ok())
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.network.stdin.take());
        // Nothing to be done about it here, and the folder goes last.
        let _ = self.network.wait();
    }
}

fn series(run: &Run) -> Vec<Series> {
    let found = run.json();
    let read = |one: &serde_json::Value| Series {
        labels: serde_json::from_value(one["metric"].clone()).expect("labels"),
        value: one["value"][1]
            .as_str()
            .and_then(|value| value.parse().ok())
            .expect("a number"),
    };
    found.as_array().expect("series").iter().map(read).collect()
}
