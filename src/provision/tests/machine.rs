//! A machine to try scripts on: a folder as root file system, and commands
//! that only write down how they were called.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use tempfile::TempDir;

/// Commands that would touch the real machine. The body is shell; `$R` is the root.
const STUBS: &[(&str, &str)] = &[
    ("apt-get", "[ ! -e $R/no-network ]"),
    ("chown", ""),
    ("chpasswd", "cat >>$R/chpasswd"),
    // What `compose` finds: one that Docker knows, or an older one beside it.
    (
        "docker",
        "case $1 in compose) [ -e $R/compose-v2 ] && [ ! -e $R/no-network ] ;; esac",
    ),
    ("docker-compose", "[ ! -e $R/no-network ]"),
    (
        "dpkg",
        "case \"$*\" in *--install*) [ ! -e $R/no-dpkg ] ;; esac",
    ),
    ("dpkg-deb", "echo prometheus-node-exporter"),
    (
        "findmnt",
        "case $2 in SOURCE) echo /dev/mmcblk0p2 ;; *) echo ext4 ;; esac",
    ),
    ("groupmod", ""),
    ("ip", "[ -e $R/no-network ] || echo default"),
    ("locale-gen", ""),
    (
        "lsblk",
        "case $2 in PKNAME) echo mmcblk0 ;; *) echo dos ;; esac",
    ),
    ("mount", ""),
    ("nmcli", ""),
    ("partx", ""),
    ("resize2fs", "[ ! -e $R/busy ] || { rm $R/busy; exit 1; }"),
    ("rfkill", ""),
    ("sfdisk", "cat >>$R/sfdisk"),
    ("sleep", ""),
    ("sync", ""),
    (
        "systemctl",
        "case \"$*\" in *is-enabled*NetworkManager) [ -e $R/nm ] ;; *is-active*) echo inactive; exit 3 ;; *is-system-running) [ ! -e $R/stopping ] || echo stopping ;; esac",
    ),
    (
        "useradd",
        "for n; do :; done; echo \"$n:x:1001:1001::/home/$n:/bin/bash\" >>$R/etc/passwd",
    ),
    (
        "usermod",
        "case $1 in\n--login) sed -i \"s/^$3:/$2:/\" $R/etc/passwd ;;\n\
         --home) sed -i \"s|:/home/pi:|:$2:|\" $R/etc/passwd ;;\nesac",
    ),
];

/// Where [`Machine::keep`] keeps it.
pub(super) const KEPT: &str = "/clusters";

/// A root file system in a temporary folder.
pub(super) struct Machine {
    dir: TempDir,
}

impl Machine {
    /// A system with stock account `pi`, as UID 1000.
    pub(super) fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (name, body) in STUBS {
            machine.stub(name, body);
        }
        machine.write("/calls", b"");
        machine.write(
            "/etc/passwd",
            b"root:x:0:0::/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n",
        );
        machine.write("/etc/hostname", b"raspberrypi\n");
        machine.write(
            "/etc/hosts",
            b"127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
        );
        machine.write(
            "/etc/ssh/sshd_config",
            b"Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
        );
        machine.write(
            "/etc/sudoers.d/010_pi-nopasswd",
            b"pi ALL=(ALL) NOPASSWD: ALL\n",
        );
        machine.write(
            "/etc/default/keyboard",
            b"XKBMODEL=\"pc105\"\nXKBLAYOUT=\"gb\"\nXKBVARIANT=\"\"\n",
        );
        machine.write("/etc/locale.gen", b"en_GB.UTF-8 UTF-8\n");
        machine.write("/etc/dhcpcd.conf", b"hostname\n");
        machine.write(
            "/usr/share/i18n/SUPPORTED",
            b"pt_PT ISO-8859-1\npt_PT.UTF-8 UTF-8\n",
        );
        machine.write("/usr/share/zoneinfo/Europe/Lisbon", b"TZif");
        machine.write(
            "/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan",
            b"1\n",
        );
        machine.write(
            "/var/lib/NetworkManager/NetworkManager.state",
            b"[main]\nWirelessEnabled=false\n",
        );
        // A node exporter listens.
        let any = "00000000000000000000000000000000";
        let line = format!("   0: {any}:238C {any}:0000 0A 00000000:00000000\n");
        machine.write("/proc/net/tcp6", line.as_bytes());
        machine.write("/var/log/x", b"");
        machine.write("/etc/cloud/cloud.cfg.d/x", b"");
        fs::create_dir_all(machine.at("/home/pi")).unwrap();
        for (name, start, size) in [
            ("mmcblk0p1", 16_384, 1_048_576),
            ("mmcblk0p2", 1_064_960, 5_000_000),
        ] {
            let folder = format!("/sys/devices/mmcblk0/{name}");
            machine.write(&format!("{folder}/start"), format!("{start}\n").as_bytes());
            machine.write(&format!("{folder}/size"), format!("{size}\n").as_bytes());
            machine.write(&format!("{folder}/partition"), &name.as_bytes()[8..]);
        }
        machine.disk_sectors(60_000_000);
        fs::create_dir_all(machine.at("/sys/class/block")).unwrap();
        symlink(
            "../../devices/mmcblk0",
            machine.at("/sys/class/block/mmcblk0"),
        )
        .unwrap();
        symlink(
            "../../devices/mmcblk0/mmcblk0p2",
            machine.at("/sys/class/block/mmcblk0p2"),
        )
        .unwrap();
        machine
    }

    /// A command that writes down how it was called, and does what `body` says.
    pub(super) fn stub(&self, name: &str, body: &str) {
        let path = format!("/stubs/{name}");
        let text = format!(
            "#!/bin/sh\nR='{}'\necho \"{name} $*\" >>$R/calls\n{body}\n",
            self.root().display()
        );
        self.write(&path, text.as_bytes());
        self.chmod(&path, 0o755);
    }

    pub(super) fn disk_sectors(&self, sectors: u64) {
        self.write(
            "/sys/devices/mmcblk0/size",
            format!("{sectors}\n").as_bytes(),
        );
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    pub(super) fn read(&self, path: &str) -> String {
        let bytes = fs::read(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), bytes).unwrap();
    }

    /// Keeps the file that has this name now: when the name goes, its bytes stay, as they
    /// do in the clusters of a card.
    pub(super) fn keep(&self, path: &str) {
        fs::create_dir_all(self.at(KEPT)).unwrap();
        let number = fs::read_dir(self.at(KEPT)).unwrap().count();
        fs::hard_link(self.at(path), self.at(KEPT).join(number.to_string())).unwrap();
    }

    pub(super) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o7777
    }

    /// How the stubs were called since the last time of asking.
    pub(super) fn calls(&self) -> String {
        let calls = self.read("/calls");
        self.write("/calls", b"");
        calls
    }

    /// Runs a program of this machine, as `sh` would.
    pub(super) fn run(&self, path: &str) -> Output {
        self.shell(&[self.at(path).to_str().unwrap()])
    }

    /// Runs `sh` with these arguments, in this machine.
    pub(super) fn shell(&self, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.at("/stubs").display()))
            .env("CARDMINT_ROOT", self.root())
            .current_dir(self.root())
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!complaints.contains("not found"), "{complaints}");
        output
    }

    /// Puts a file as cloud-init's `write_files` would.
    pub(super) fn put(&self, path: &str, mode: &str, base64: &str) {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .unwrap();
        self.write(path, &bytes);
        self.chmod(path, u32::from_str_radix(mode, 8).unwrap());
    }
}
