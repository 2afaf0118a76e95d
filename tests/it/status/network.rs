//! A network of machines that are made of processes: an sshd, a hostname and a
//! boot partition each, one of them behind a cable and known by multicast DNS
//! alone; a node_exporter and a Prometheus.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Run, Scratch, base, has, is_root, node_file, tool};

/// Makes the network and the machines, and ends them when standard input does,
/// which it does also if the test is killed.
const SCRIPT: &str = r#"
set -eu
cd "$1"
for name in hosts passwd shadow resolv.conf nsswitch.conf; do
    mount --bind "etc/$name" "/etc/$name"
done
ip link set lo up
ip link add lan type veth peer name far
ip addr add 10.88.0.1/24 dev lan
ip link set lan up multicast on
mkdir -p /run/sshd /run/avahi-daemon
# Its file of the process id, which may be left of another run.
mount -t tmpfs none /run/avahi-daemon
# machine HOSTNAME: an sshd of its own, which sees its own name and boot partition.
machine() {
    unshare --uts --mount sh -c '
        hostname "$1"
        mkdir -p /boot/firmware
        mount --bind "$2/boot" /boot/firmware
        if [ -e "$2/uptime" ]; then mount --bind "$2/uptime" /proc/uptime; fi
        if [ -d /sys/class/thermal ]; then mount --bind "$2/thermal" /sys/class/thermal; fi
        exec /usr/sbin/sshd -D -e -f "$2/sshd_config"
    ' sh "$1" "$PWD/$1" </dev/null >"$1/log" 2>&1 &
}
if [ -e addresses ]; then
    while read -r name address; do
        ip addr add "$address/32" dev lo
        machine "$name"
        prometheus-node-exporter --web.listen-address="$address:9100" \
            </dev/null 2>"$name/exporter.log" &
    done <addresses
    read -r name address <addresses
    prometheus --config.file=prometheus.yml --web.listen-address="$address:9090" \
        --storage.tsdb.path=data </dev/null >prometheus.log 2>&1 &
    exec cat
fi
for name in raspberrypi0 raspberrypi1 raspberrypi2; do
    machine "$name"
done
# The one behind the cable.
mkfifo ready
unshare --net sh -c '
    echo $$ >ready
    while ! ip link show far >/dev/null 2>&1; do sleep 0.1; done
    ip link set lo up
    ip addr add 10.88.0.2/24 dev far
    ip link set far up multicast on
    avahi-daemon --no-drop-root --no-chroot --no-rlimits -f avahi.conf 2>avahi.log &
    unshare --uts --mount sh -c "
        hostname raspberrypi4
        mkdir -p /boot/firmware
        mount --bind raspberrypi4/boot /boot/firmware
        exec /usr/sbin/sshd -D -e -f raspberrypi4/sshd_config
    " 2>raspberrypi4/log
' </dev/null &
read -r inner <ready
ip link set far netns "$inner"
prometheus-node-exporter --web.listen-address=127.0.0.2:9100 </dev/null >exporter.log 2>&1 &
prometheus --config.file=prometheus.yml --web.listen-address=127.0.0.2:9090 \
    --storage.tsdb.path=data </dev/null >prometheus.log 2>&1 &
cat
"#;

pub(crate) struct Network {
    scratch: Scratch,
    /// The cluster's directory.
    cluster: PathBuf,
    dir: PathBuf,
    child: Child,
}

/// A login on the machines, and the names of the machines.
struct Etc<'a> {
    user: &'a str,
    hosts: &'a str,
}

impl Network {
    fn can_be_made() -> bool {
        let programs = [
            "sshd",
            "ip",
            "avahi-daemon",
            "prometheus",
            "prometheus-node-exporter",
        ];
        let can = is_root() && tool("unshare", &["--mount", "--net", "true"]).code == 0;
        if !can {
            eprintln!("skipped: making networks takes root");
        }
        can && programs.into_iter().all(has)
    }

    /// Machines that are well, ail, or are not who they should be. `None` where it
    /// cannot be made.
    pub(super) fn start() -> Option<Self> {
        if !Self::can_be_made() {
            return None;
        }
        let scratch = Scratch::cluster("bookworm-arm64", |text| {
            text.replace("count    = 2", "count    = 5")
                .replace("name = \"pi\"", "name = \"alice\"")
                + "\n[monitoring]\nnode_exporter = true\nhost = 0\ndocker = false\n\
                   [node.4]\nnode_exporter = false\n"
        });
        scratch.cardmint(&["build"]).expect(0);
        let dir = scratch.path("net");
        fs::create_dir(&dir).expect("a directory");
        let hosts = "127.0.0.1 localhost\n127.0.0.2 raspberrypi0.lan\n\
                     127.0.0.3 raspberrypi1.lan\n127.0.0.4 raspberrypi2.lan\n";
        let etc = Etc {
            user: "alice",
            hosts,
        };
        write_etc(&dir, &scratch, &etc);
        let cluster = scratch.path("c");
        // The third has the card of the fourth.
        for (machine, card, address, report) in [
            (
                "raspberrypi0",
                0,
                "127.0.0.2",
                "step packages ok 9\nresult ok\n",
            ),
            (
                "raspberrypi1",
                1,
                "127.0.0.3",
                "step hostname ok 0\nstep packages failed 301 no default route\nresult failed\n",
            ),
            ("raspberrypi2", 3, "127.0.0.4", "result ok\n"),
            ("raspberrypi4", 4, "10.88.0.2", ""),
        ] {
            make_machine(&dir.join(machine), &cluster, card, address);
            if !report.is_empty() {
                let text = format!("cardmint report 1\nnode {machine}\n{report}");
                fs::write(dir.join(machine).join("boot/cardmint-report.txt"), text)
                    .expect("a file");
            }
        }
        let network = Self::run(scratch, cluster, dir);
        network.await_up(&["0", "4"], &["ready", "starting"]);
        Some(network)
    }

    /// Four machines that are well, as cards in `~/picluster` made them.
    pub(crate) fn well() -> Option<Self> {
        if !Self::can_be_made() {
            return None;
        }
        let scratch = Scratch::new();
        let cluster = scratch.path("home/picluster");
        let at = cluster.to_str().expect("UTF-8");
        let image = base("bookworm-arm64");
        let image = image.to_str().expect("UTF-8");
        scratch
            .cardmint(&["init", "--yes", "--image", image, at])
            .expect(0);
        let manifest = cluster.join("cluster.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let watched = "\n[monitoring]\nnode_exporter = true\nhost = 0\ndocker = false\n";
        fs::write(manifest, text + watched).expect("a manifest");
        scratch.cardmint(&["build", "-C", at]).expect(0);
        let dir = scratch.path("net");
        fs::create_dir(&dir).expect("a directory");
        let (mut hosts, mut addresses) = ("127.0.0.1 localhost\n".to_owned(), String::new());
        for card in 0..4 {
            let (machine, address) = (
                format!("raspberrypi{card}"),
                format!("192.168.1.{}", 20 + card),
            );
            hosts += &format!("{address} {machine}.lan\n");
            addresses += &format!("{machine} {address}\n");
            make_machine(&dir.join(&machine), &cluster, card, &address);
            let report = format!("cardmint report 1\nnode {machine}\nresult ok\n");
            fs::write(dir.join(&machine).join("uptime"), "435.00 1200.00\n").expect("a file");
            fs::write(dir.join(machine).join("boot/cardmint-report.txt"), report).expect("a file");
        }
        fs::write(dir.join("addresses"), addresses).expect("a file");
        let etc = Etc {
            user: "pi",
            hosts: &hosts,
        };
        write_etc(&dir, &scratch, &etc);
        let network = Self::run(scratch, cluster, dir);
        network.await_up(&["0", "1", "2", "3"], &["ready"; 4]);
        Some(network)
    }

    fn run(scratch: Scratch, cluster: PathBuf, dir: PathBuf) -> Self {
        let config = fs::read_to_string(cluster.join("handover/prometheus.yml")).expect("a file");
        let faster = config.replace("scrape_interval: 15s", "scrape_interval: 1s");
        fs::write(dir.join("prometheus.yml"), faster).expect("a file");
        let child = Command::new("unshare")
            // With its first process goes everything in it.
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .expect("unshare");
        Self {
            scratch,
            cluster,
            dir,
            child,
        }
    }

    /// The cluster's directory, below a home.
    pub(crate) fn cluster(&self) -> &Path {
        &self.cluster
    }

    /// A command that runs what follows within.
    pub(crate) fn enter(&self) -> Command {
        let pid = self.child.id().to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--target", &pid])
            .arg(format!("--wdns={}", self.cluster.display()));
        command
    }

    /// Changes the manifest.
    pub(super) fn edit(&self, from: &str, to: &str) {
        let path = self.scratch.path("c/cluster.toml");
        let text = fs::read_to_string(&path).expect("a manifest");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).expect("a manifest");
    }

    /// `cardmint status` from within.
    pub(super) fn status(&self, args: &[&str]) -> Run {
        Run::of(&self.status_command(args).output().expect("nsenter"))
    }

    pub(super) fn status_command(&self, args: &[&str]) -> Command {
        let inner = self.scratch.command(&[]);
        let mut command = self.enter();
        command
            .arg(inner.get_program())
            .arg("status")
            .args(args)
            .env_clear()
            .stdin(Stdio::null());
        let set = inner.get_envs();
        command.envs(set.filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// What a machine's first boot reports from now on.
    pub(super) fn report(&self, machine: &str, text: &str) {
        let path = self.dir.join(machine).join("boot/cardmint-report.txt");
        fs::write(path, text).expect("a file");
    }

    /// Until Prometheus has scraped, which is the last to be up, and multicast
    /// DNS answers.
    fn await_up(&self, nodes: &[&str], states: &[&str]) {
        let began = Instant::now();
        let mut arguments = vec!["--json"];
        arguments.extend(nodes);
        loop {
            let run = self.status(&arguments);
            // Before the network is there, there is nothing to read.
            if let Ok(report) = serde_json::from_str::<Value>(&run.stdout) {
                let found = report["nodes"].as_array().expect("nodes");
                if found.iter().map(|node| &node["state"]).eq(states) {
                    return;
                }
            }
            if began.elapsed() > Duration::from_secs(90) {
                panic!("{run:?}\n{}", self.logs());
            }
            sleep(Duration::from_secs(1));
        }
    }

    fn logs(&self) -> String {
        let names = [
            "prometheus.log",
            "avahi.log",
            "raspberrypi0/log",
            "raspberrypi4/log",
        ];
        let read = |name: &&str| fs::read_to_string(self.dir.join(name)).ok();
        names.iter().filter_map(read).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Nothing to be done about it here, and the folder goes last.
        let _ = self.child.wait();
    }
}

/// Names that these machines have, and an account to log in to.
fn write_etc(dir: &Path, scratch: &Scratch, wanted: &Etc<'_>) {
    let etc = dir.join("etc");
    fs::create_dir(&etc).expect("a directory");
    let home = scratch.path("home");
    let write = |name: &str, text: String| fs::write(etc.join(name), text).expect("a file");
    let host = |name| fs::read_to_string(format!("/etc/{name}")).expect("a file");
    write("hosts", wanted.hosts.to_owned());
    // Nobody answers there.
    write(
        "resolv.conf",
        "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n".to_owned(),
    );
    write(
        "nsswitch.conf",
        "passwd: files\nshadow: files\nhosts: files dns\n".to_owned(),
    );
    let user = wanted.user;
    let account = format!("{user}:x:64999:64999::{}:/bin/sh\n", home.display());
    write("passwd", host("passwd") + &account);
    write("shadow", host("shadow") + &format!("{user}:*:1::::::\n"));
    tool("chmod", &["755", scratch.path("").to_str().expect("UTF-8")]).expect(0);
}

/// What sshd needs, with the host key of a card.
fn make_machine(dir: &Path, cluster: &Path, card: u32, address: &str) {
    fs::create_dir_all(dir.join("boot")).expect("a directory");
    fs::create_dir_all(dir.join("thermal/thermal_zone0")).expect("a directory");
    fs::write(dir.join("thermal/thermal_zone0/temp"), "48312\n").expect("a file");
    let image = cluster.join(format!("images/raspberrypi{card}.img"));
    let key = node_file(&image, "/etc/ssh/cardmint_host_ed25519_key");
    let key = String::from_utf8(key).expect("UTF-8");
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8");
    let path = dir.join("key");
    fs::write(&path, key).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    let authorized = cluster.join("id_ed25519.pub");
    let config = format!(
        "ListenAddress {address}\nPort 22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\nPidFile none\n",
        path.display(),
        authorized.display()
    );
    fs::write(dir.join("sshd_config"), config).expect("a file");
    if name == "raspberrypi4" {
        let conf = "[server]\nhost-name=raspberrypi4\nenable-dbus=no\nallow-interfaces=far\n\
                    use-ipv6=no\n[publish]\npublish-workstation=no\n";
        fs::write(dir.with_file_name("avahi.conf"), conf).expect("a file");
    }
}
