//! A machine under QEMU, with the firmware's part played here.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::card::{Card, Slot, arch};
use crate::harness::{Run, boot_file, boot_text, partitions, tool};
use crate::wire::Wire;

/// A first boot takes three; a machine that wants more is in a loop.
const BOOTS: u32 = 6;
/// How long one boot may take to get wherever it is awaited. Emulation on a
/// busy machine is slow; a healthy boot takes a third of this.
const PATIENCE: Duration = Duration::from_secs(420);
const PAUSE: Duration = Duration::from_millis(500);

/// Who logs in, and by what.
#[derive(Clone)]
pub(crate) struct Login {
    /// The node's hostname, as the hand-over's files have it.
    pub(crate) node: String,
    pub(crate) ssh_config: PathBuf,
    pub(crate) key: PathBuf,
    /// What sudo asks for, if anything.
    pub(crate) password: Option<&'static str>,
}

/// A machine with a card in it.
pub(crate) struct Machine {
    card: Rc<Card>,
    login: Login,
    wire: Wire,
    dir: PathBuf,
    boots: u32,
    /// Boots since somebody last saw the machine up, or cut its power.
    in_a_row: u32,
    qemu: Option<Child>,
}

impl Machine {
    /// A machine that is switched off.
    pub(crate) fn new(card: Card, login: Login, wire: Wire) -> Self {
        let dir = card.path.parent().expect("a directory").to_owned();
        Self {
            card: Rc::new(card),
            login,
            wire,
            dir,
            boots: 0,
            in_a_row: 0,
            qemu: None,
        }
    }

    /// The card, which outlives the machine.
    pub(crate) fn eject(self) -> Rc<Card> {
        Rc::clone(&self.card)
    }

    pub(crate) fn card(&self) -> &Path {
        &self.card.path
    }

    /// How often it booted.
    pub(crate) fn boots(&self) -> u32 {
        self.boots
    }

    /// Another manifest's word on who may log in.
    pub(crate) fn set_login(&mut self, login: Login) {
        self.login = login;
    }

    /// What the firmware does: kernel, initramfs and command line come from the
    /// boot partition, at each boot anew.
    pub(crate) fn power_on(&mut self) {
        assert!(self.qemu.is_none(), "it is on");
        self.boots += 1;
        self.in_a_row += 1;
        assert!(
            self.in_a_row <= BOOTS,
            "it boots for ever{}",
            self.console()
        );
        let kernel = self.unpack("kernel8.img");
        let initramfs = match &self.card.initramfs {
            Some(path) => path.clone(),
            None => self.unpack("initramfs8"),
        };
        let cmdline = boot_text(&self.card.path, "cmdline.txt");
        let line = cmdline.lines().next().expect("a command line");
        // A Pi has one serial port, and the emulated processor no flaws to
        // work around. What the last `console=` names is /dev/console.
        let arm = arch() == "arm64";
        let line = line
            .replace("serial0", if arm { "ttyAMA0" } else { "ttyS0" })
            .replace("console=tty1", "")
            .replace("quiet", "");
        let [back_end, interface] = self.wire.plugs();
        let log = self.log();
        fs::write(&log, format!("command line: {cmdline}\n")).expect("a log");
        let mut command = if arm {
            let mut command = self.wire.command("qemu-system-aarch64");
            command.args(["-machine", "virt", "-cpu", "cortex-a72"]);
            command
        } else {
            let mut command = self.wire.command("qemu-system-x86_64");
            command.args(["-cpu", "max"]);
            command
        };
        command
            .args(["-accel", "tcg", "-smp", "1", "-m", "640"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-monitor", "stdio"])
            .arg("-chardev")
            .arg(format!("file,id=console,append=on,path={}", log.display()))
            .args(["-serial", "chardev:console"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .arg("-append")
            .arg(format!("{line} mitigations=off"))
            .args(["-device", "virtio-rng-pci", "-drive"])
            .arg(format!(
                "if=none,id=card,format=raw,cache=unsafe,file={}",
                self.card.path.display()
            ))
            .args(match self.card.slot {
                Slot::Virtio => ["-device", "virtio-blk-pci,drive=card"],
                Slot::Nvme => ["-device", "nvme,drive=card,serial=card"],
            })
            .args(["-netdev", &back_end, "-device", &interface])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.join("qemu.log")).expect("a log"));
        self.qemu = Some(command.spawn().expect("QEMU"));
    }

    fn unpack(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, boot_file(&self.card.path, name)).expect("a file");
        path
    }

    fn log(&self) -> PathBuf {
        self.dir.join(format!("console-{}.log", self.boots))
    }

    /// What this boot has printed so far.
    fn printed(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of the console's log, for a failure.
    fn console(&self) -> String {
        let text = self.printed();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(60)..];
        format!(
            "\n{} (boot {}), all of it in {}:\n{}",
            self.login.node,
            self.boots,
            self.log().display(),
            last.join("\n")
        )
    }

    /// Whether QEMU ended: the machine rebooted or was switched off.
    fn is_off(&mut self) -> bool {
        let Some(qemu) = &mut self.qemu else {
            return true;
        };
        let status = qemu.try_wait().expect("a child");
        if let Some(status) = status {
            let said = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
            assert!(status.success(), "qemu: {status} {said}");
            self.qemu = None;
        }
        status.is_some()
    }

    /// Waits until the machine is up and lets its user in, over as many reboots
    /// as it takes. The first answer of sshd has to be the right one: a wrong
    /// host key, or a key that is not let in, is a failure, not a delay.
    pub(crate) fn log_in(&mut self) {
        if self.qemu.is_none() {
            self.power_on();
        }
        let mut began = Instant::now();
        loop {
            if self.is_off() {
                self.power_on();
                began = Instant::now();
            }
            if self.wire.may_answer() {
                let run = self.ssh(&self.login.key, "true", "");
                if run.code == 0 {
                    self.in_a_row = 0;
                    return;
                }
                // Before it has an address, between sshd's start and the end of
                // booting, or at a reboot.
                let early = [
                    "not resolve hostname",
                    "No route to host",
                    "booting up",
                    "closed by",
                    "reset by",
                    "timed out",
                    "refused",
                ];
                assert!(
                    early.iter().any(|text| run.stderr.contains(text)),
                    "{}{}",
                    run.stderr,
                    self.console()
                );
            }
            assert!(began.elapsed() < PATIENCE, "no login{}", self.console());
            thread::sleep(PAUSE);
        }
    }

    /// A command on the node, by the hand-over's ssh_config and known_hosts.
    pub(crate) fn ssh(&self, key: &Path, command: &str, input: &str) -> Run {
        let mut ssh = self.client();
        ssh.arg("-i").arg(key).arg(&self.login.node).arg(command);
        finished(ssh, input)
    }

    /// The same by password alone.
    pub(crate) fn ssh_by_password(&self, password: &str, command: &str) -> Run {
        let askpass = self.dir.join("askpass");
        fs::write(&askpass, format!("#!/bin/sh\necho '{password}'\n")).expect("a script");
        fs::set_permissions(&askpass, Permissions::from_mode(0o700)).expect("chmod");
        let mut ssh = self.client();
        ssh.args(["-o", "PubkeyAuthentication=no"])
            .args(["-o", "NumberOfPasswordPrompts=1"])
            .arg(&self.login.node)
            .arg(command)
            .env("SSH_ASKPASS", askpass)
            .env("SSH_ASKPASS_REQUIRE", "force");
        finished(ssh, "")
    }

    fn client(&self) -> Command {
        let mut ssh = self.wire.command("timeout");
        ssh.args(["1200", "ssh", "-F"])
            .arg(&self.login.ssh_config)
            .args(self.wire.ssh_options())
            .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"])
            .env_remove("SSH_AUTH_SOCK");
        ssh
    }

    /// A shell script as root; its standard output.
    #[track_caller]
    pub(crate) fn root(&self, script: &str) -> String {
        let (command, input) = match self.login.password {
            None => ("sudo -n sh -s", script.to_owned()),
            Some(password) => ("sudo -S -p '' sh -s", format!("{password}\n{script}")),
        };
        let run = self.ssh(&self.login.key, command, &input);
        assert_eq!(
            run.code,
            0,
            "{script}\n{}{}{}",
            run.stdout,
            run.stderr,
            self.console()
        );
        run.stdout
    }

    /// Boots, over as many reboots as it takes, until the console shows `text`.
    pub(crate) fn boot_until(&mut self, text: &str) {
        let mut began = Instant::now();
        while self.qemu.is_none() || !self.printed().contains(text) {
            if self.is_off() {
                self.power_on();
                began = Instant::now();
            }
            assert!(began.elapsed() < PATIENCE, "no `{text}`{}", self.console());
            thread::sleep(PAUSE / 5);
        }
    }

    /// Lays a file onto the boot partition, as somebody does who has the card
    /// in a reader.
    pub(crate) fn put_boot_file(&self, name: &str, bytes: &[u8]) {
        assert!(self.qemu.is_none(), "the card is in use");
        let file = self.dir.join("put");
        fs::write(&file, bytes).expect("a file");
        let at = format!(
            "{}@@{}",
            self.card().display(),
            partitions(self.card())[0].0
        );
        let (file, to) = (file.to_str().expect("UTF-8"), format!("::{name}"));
        tool("mcopy", &["-o", "-i", &at, file, &to]).expect(0);
    }

    /// Waits until the machine has switched itself off, or rebooted.
    pub(crate) fn await_off(&mut self) {
        let began = Instant::now();
        while !self.is_off() {
            assert!(began.elapsed() < PATIENCE, "it stays on{}", self.console());
            thread::sleep(PAUSE);
        }
    }

    /// Shuts down in an orderly way.
    pub(crate) fn power_off(&mut self) {
        self.root("systemctl poweroff --no-block");
        self.await_off();
    }

    /// Presses the power button.
    pub(crate) fn press_power(&mut self) {
        let qemu = self.qemu.as_mut().expect("it is on");
        let monitor = qemu.stdin.as_mut().expect("a pipe");
        monitor.write_all(b"system_powerdown\n").expect("a monitor");
        self.await_off();
    }

    /// Pulls the plug of a machine that is on.
    #[track_caller]
    pub(crate) fn cut_power(&mut self) {
        assert!(!self.is_off(), "too late{}", self.console());
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            qemu.kill().expect("a process");
            qemu.wait().expect("a child");
        }
        self.in_a_row = 0;
    }
}

fn finished(mut command: Command, input: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have been refused before it read anything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Run::of(&child.wait_with_output().expect("ssh"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.console());
        }
        self.stop();
    }
}
