//! A little network of its own: a bridge to plug machines into, addresses and
//! names by dnsmasq, files by HTTP. Nothing leads out of it.
//!
//! All of it is in a network namespace: when that goes, bridge and taps go too.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Run, tool};

/// The network's own end: its gateway, name server and file server.
pub(crate) const HERE: &str = "10.77.0.1";
/// What the namespace's names begin with; the process follows, and a number.
const PREFIX: &str = "cardmint-";
const BRIDGE: &str = "bridge";
/// Where `ip netns` keeps namespaces, and the files that it mounts over those
/// in `/etc`.
const NAMESPACES: &str = "/run/netns";
const SETTINGS: &str = "/etc/netns";

/// A network, for as long as the test runs.
pub(crate) struct Lan {
    namespace: String,
    scratch: TempDir,
    plugged: Cell<u32>,
    file_server: Option<Child>,
}

/// Where a machine is plugged in.
pub(crate) struct Port {
    namespace: String,
    tap: String,
    mac: String,
}

impl Lan {
    /// A network whose dnsmasq has the settings in `conf`: who is given which
    /// name, below which domain. Addresses are from 10.77.0.100 on.
    pub(crate) fn new(conf: &Path) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let lan = Self {
            namespace: format!("{PREFIX}{}-{number}", process::id()),
            scratch: TempDir::new().expect("a temporary directory"),
            plugged: Cell::new(0),
            file_server: None,
        };
        // Of a process that had our number.
        remove(&lan.namespace);
        lan.write_settings();
        tool("ip", &["netns", "add", &lan.namespace]).expect(0);
        lan.ip("link set lo up");
        lan.ip(&format!("link add {BRIDGE} type bridge"));
        lan.ip(&format!("address add {HERE}/24 dev {BRIDGE}"));
        lan.ip(&format!("link set {BRIDGE} up"));
        lan.start_dnsmasq(conf);
        lan
    }

    /// Programs within ask our dnsmasq and nobody else.
    fn write_settings(&self) {
        let settings = Path::new(SETTINGS).join(&self.namespace);
        fs::create_dir_all(&settings).expect("a directory");
        for (name, text) in [
            ("resolv.conf", format!("nameserver {HERE}\n")),
            ("hosts", "127.0.0.1 localhost\n".to_owned()),
            ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        ] {
            // What `ip` would mount it over has to be there.
            if Path::new("/etc").join(name).exists() {
                fs::write(settings.join(name), text).expect("a file");
            }
        }
    }

    fn ip(&self, words: &str) {
        let args = ["-n", &self.namespace].into_iter();
        let args: Vec<_> = args.chain(words.split(' ')).collect();
        tool("ip", &args).expect(0);
    }

    /// It goes to the background once it serves.
    fn start_dnsmasq(&self, conf: &Path) {
        let place = |name: &str| self.scratch.path().join(name).display().to_string();
        let mut dnsmasq = self.command("dnsmasq");
        dnsmasq
            .arg(format!("--conf-file={}", conf.display()))
            .args(["--user=root", "--no-resolv", "--no-hosts"])
            .args(["--bind-interfaces", &format!("--interface={BRIDGE}")])
            .args(["--dhcp-authoritative"])
            .arg("--dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h")
            .arg(format!("--pid-file={}", place("pid")))
            .arg(format!("--dhcp-leasefile={}", place("leases")))
            .arg(format!("--log-facility={}", place("log")));
        Run::of(&dnsmasq.output().expect("dnsmasq")).expect(0);
    }

    /// Serves the files of a folder as `http://10.77.0.1/`.
    pub(crate) fn serve(&mut self, folder: &Path) {
        let log = File::create(self.scratch.path().join("files")).expect("a log");
        let mut python = self.command("python3");
        python
            .args(["-m", "http.server", "--bind", HERE, "--directory"])
            .arg(folder)
            .arg("80")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.file_server = Some(python.spawn().expect("python3"));
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--head"])
            .args(["--retry", "30", "--retry-delay", "1", "--retry-connrefused"])
            .arg(format!("http://{HERE}/"));
        Run::of(&curl.output().expect("curl")).expect(0);
    }

    /// A program that is on this network, and knows its names.
    pub(crate) fn command(&self, program: &str) -> Command {
        within(&self.namespace, program)
    }

    /// A port for a machine with this MAC address.
    pub(crate) fn plug(&self, mac: &str) -> Port {
        let number = self.plugged.replace(self.plugged.get() + 1);
        let tap = format!("tap{number}");
        self.ip(&format!("tuntap add {tap} mode tap"));
        self.ip(&format!("link set {tap} master {BRIDGE} up"));
        Port {
            namespace: self.namespace.clone(),
            tap,
            mac: mac.to_owned(),
        }
    }
}

impl Port {
    /// A program that is on the port's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        within(&self.namespace, program)
    }

    /// What plugs a QEMU on that network in: its back end, and its device.
    pub(crate) fn plugs(&self) -> [String; 2] {
        [
            format!("tap,id=lan,ifname={},script=no,downscript=no", self.tap),
            format!("virtio-net-pci,netdev=lan,mac={}", self.mac),
        ]
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in ["log", "files"] {
                let text = fs::read_to_string(self.scratch.path().join(name));
                eprintln!("{}: {name}\n{}", self.namespace, text.unwrap_or_default());
            }
        }
        remove(&self.namespace);
        if let Some(mut child) = self.file_server.take() {
            let _ = child.wait();
        }
    }
}

fn within(namespace: &str, program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace, program])
        .env("PATH", path);
    command
}

/// Ends what is left of tests that were killed.
fn sweep() {
    let entries = [NAMESPACES, SETTINGS]
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok());
    let names: BTreeSet<OsString> = entries
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(process, _)| process.parse::<u32>().ok());
        if owner.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            remove(name);
        }
    }
}

/// Ends all that runs in a namespace, and the namespace.
fn remove(namespace: &str) {
    if Path::new(NAMESPACES).join(namespace).exists() {
        // One may be starting another just now.
        for _ in 0..50 {
            let running = tool("ip", &["netns", "pids", namespace]).stdout;
            if running.is_empty() {
                break;
            }
            let ids = running.lines().filter_map(|line| line.parse().ok());
            for process in ids.filter_map(Pid::from_raw) {
                let _ = kill_process(process, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(20));
        }
        tool("ip", &["netns", "delete", namespace]);
    }
    let _ = fs::remove_dir_all(Path::new(SETTINGS).join(namespace));
}
