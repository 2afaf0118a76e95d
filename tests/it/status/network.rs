//! A network of machines that are made of processes: an sshd, a hostname and a
//! boot partition each, one of them behind a cable and known by multicast DNS
//! alone; a node_exporter and a Prometheus.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Run, Scratch, has, is_root, node_file, tool};

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
        if [ -d /sys/class/thermal ]; then mount --bind "$2/thermal" /sys/class/thermal; fi
        exec /usr/sbin/sshd -D -e -f "$2/sshd_config"
    ' sh "$1" "$PWD/$1" </dev/null >"$1/log" 2>&1 &
}
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

pub(super) struct Network {
    scratch: Scratch,
    dir: PathBuf,
    child: Child,
}

impl Network {
    /// `None` where it cannot be made.
    pub(super) fn start() -> Option<Self> {
        let programs = [
            "sshd",
            "ip",
            "avahi-daemon",
            "prometheus",
            "prometheus-node-exporter",
        ];
        if !programs.into_iter().all(has) {
            return None;
        }
        if !is_root() || tool("unshare", &["--mount", "--net", "true"]).code != 0 {
            eprintln!("skipped: making networks takes root");
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
        write_etc(&dir, &scratch);
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
            make_machine(&dir.join(machine), &scratch, card, address);
            if !report.is_empty() {
                let text = format!("cardmint report 1\nnode {machine}\n{report}");
                fs::write(dir.join(machine).join("boot/cardmint-report.txt"), text)
                    .expect("a file");
            }
        }
        let config = fs::read_to_string(scratch.path("c/handover/prometheus.yml")).expect("a file");
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
        let network = Self {
            scratch,
            dir,
            child,
        };
        network.await_up();
        Some(network)
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
        let pid = self.child.id().to_string();
        let inner = self.scratch.command(&[]);
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--target", &pid])
            .arg(format!("--wdns={}", self.scratch.path("c").display()))
            .arg(inner.get_program())
            .arg("status")
            .args(args)
            .env_clear()
            .stdin(Stdio::null());
        let set = inner.get_envs();
        command.envs(set.filter_map(|(name, value)| Some((name, value?))));
        Run::of(&command.output().expect("nsenter"))
    }

    /// What a machine's first boot reports from now on.
    pub(super) fn report(&self, machine: &str, text: &str) {
        let path = self.dir.join(machine).join("boot/cardmint-report.txt");
        fs::write(path, text).expect("a file");
    }

    /// Until Prometheus has scraped, which is the last to be up, and multicast
    /// DNS answers.
    fn await_up(&self) {
        let began = Instant::now();
        loop {
            let run = self.status(&["--json", "0", "4"]);
            // Before the network is there, there is nothing to read.
            if let Ok(report) = serde_json::from_str::<Value>(&run.stdout) {
                let (first, last) = (&report["nodes"][0], &report["nodes"][1]);
                if first["state"] == "ready" && last["state"] == "starting" {
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
fn write_etc(dir: &Path, scratch: &Scratch) {
    let etc = dir.join("etc");
    fs::create_dir(&etc).expect("a directory");
    let home = scratch.path("home");
    let write = |name: &str, text: String| fs::write(etc.join(name), text).expect("a file");
    let host = |name| fs::read_to_string(format!("/etc/{name}")).expect("a file");
    write(
        "hosts",
        "127.0.0.1 localhost\n127.0.0.2 raspberrypi0.lan\n127.0.0.3 raspberrypi1.lan\n\
         127.0.0.4 raspberrypi2.lan\n"
            .to_owned(),
    );
    // Nobody answers there.
    write(
        "resolv.conf",
        "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n".to_owned(),
    );
    write(
        "nsswitch.conf",
        "passwd: files\nshadow: files\nhosts: files dns\n".to_owned(),
    );
    let account = format!("alice:x:64999:64999::{}:/bin/sh\n", home.display());
    write("passwd", host("passwd") + &account);
    write("shadow", host("shadow") + "alice:*:1::::::\n");
    tool("chmod", &["755", scratch.path("").to_str().expect("UTF-8")]).expect(0);
}

/// What sshd needs, with the host key of a card.
fn make_machine(dir: &Path, scratch: &Scratch, card: u32, address: &str) {
    fs::create_dir_all(dir.join("boot")).expect("a directory");
    fs::create_dir_all(dir.join("thermal/thermal_zone0")).expect("a directory");
    fs::write(dir.join("thermal/thermal_zone0/temp"), "48312\n").expect("a file");
    let image = scratch.path(&format!("c/images/raspberrypi{card}.img"));
    let key = node_file(&image, "/etc/ssh/cardmint_host_ed25519_key");
    let key = String::from_utf8(key).expect("UTF-8");
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8");
    let key = scratch.write_secret(&format!("net/{name}/key"), &key);
    let authorized = scratch.path("c/id_ed25519.pub");
    let config = format!(
        "ListenAddress {address}\nPort 22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\nPidFile none\n",
        key.display(),
        authorized.display()
    );
    fs::write(dir.join("sshd_config"), config).expect("a file");
    if name == "raspberrypi4" {
        let conf = "[server]\nhost-name=raspberrypi4\nenable-dbus=no\nallow-interfaces=far\n\
                    use-ipv6=no\n[publish]\npublish-workstation=no\n";
        fs::write(dir.with_file_name("avahi.conf"), conf).expect("a file");
    }
}
