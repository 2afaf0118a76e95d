//! What a node is asked once it is up.

use std::collections::HashMap;

use base64::Engine as _;

use crate::card::Generation;
use crate::machine::Machine;

/// Prints `name=base64` lines; one login for all questions, since each costs
/// emulated seconds.
const QUESTIONS: &str = r#"
export LC_ALL=C
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | base64 -w0)"; }
ask() { name=$1; shift; say "$name" "$("$@" 2>&1)"; }
ask hostname cat /proc/sys/kernel/hostname
ask etc-hostname cat /etc/hostname
ask hosts cat /etc/hosts
ask self getent hosts "$(cat /proc/sys/kernel/hostname)"
ask groups id -nG "$user"
ask uid id -u "$user"
ask home sh -c "getent passwd $user | cut -d: -f6"
ask shell sh -c "getent passwd $user | cut -d: -f7"
ask shadow sh -c "getent shadow $user | cut -d: -f2"
ask authorized cat "/home/$user/.ssh/authorized_keys"
ask ssh-modes stat -c '%a %U:%G' "/home/$user/.ssh" "/home/$user/.ssh/authorized_keys"
ask sudo runuser -u "$user" -- sudo -n true
ask timezone readlink /etc/localtime
ask date date +%Z
ask locale cat /etc/default/locale
ask locales locale -a
ask keyboard cat /etc/default/keyboard
ask motd stat -c '%a %U:%G %s' /etc/motd /motd
ask note stat -c '%a %U:%G %s' "/home/$user/.config/deep/note"
ask note-folders stat -c '%U' "/home/$user" "/home/$user/.config" "/home/$user/.config/deep"
ask order cat /root/order
ask hello cat /usr/share/cardmint-hello/hello
ask wifi-modes stat -c '%a %U:%G' /etc/NetworkManager/system-connections/cardmint-wifi.nmconnection
ask wifi cat /etc/NetworkManager/system-connections/cardmint-wifi.nmconnection
ask wpa-modes stat -c '%a %U:%G' /etc/wpa_supplicant/wpa_supplicant.conf
ask wpa cat /etc/wpa_supplicant/wpa_supplicant.conf
ask connections nmcli -t -f NAME connection show
ask radio cat /var/lib/NetworkManager/NetworkManager.state
ask address ip -4 -o address show dev eth0
ask route ip route show default
ask command-line cat /proc/cmdline
ask cmdline.txt cat "$boot/cmdline.txt"
ask boot-names ls -A "$boot"
ask report cat "$boot/cardmint-report.txt"
ask sshd sshd -T
ask banner ls /etc/ssh/sshd_config.d/rename_user.conf
ask failed systemctl --failed --no-legend --plain
ask state systemctl is-system-running
ask multi-user systemctl is-active multi-user.target
ask wizard systemctl is-active userconfig.service
ask wizard-enabled systemctl is-enabled userconfig.service
ask ssh-enabled systemctl is-enabled ssh.service
ask getty systemctl is-enabled getty@tty1.service
ask cloud-init cloud-init status --long
root=$(findmnt -no SOURCE /)
ask disk cat "/sys/class/block/$(lsblk -ndo PKNAME "$root")/size"
ask part sh -c "cat /sys/class/block/${root##*/}/start /sys/class/block/${root##*/}/size"
ask blocks stat -f -c '%b %S' /
ask log cat /var/log/cardmint.log
ask journal journalctl --no-pager -b -u cardmint-finish -u userconfig -u 'cloud-*'
"#;

/// A script that waits until cardmint's part has ended.
fn wait_for_report(generation: Generation) -> String {
    let boot = generation.boot();
    format!(
        "for _ in $(seq 300); do grep -qs '^result' {boot}/cardmint-report.txt && break; sleep 2; done\n"
    )
}

/// What the node reports, once cardmint's part has ended.
#[track_caller]
pub(crate) fn report(machine: &Machine, generation: Generation) -> String {
    let wait = wait_for_report(generation);
    machine.root(&format!(
        "{wait}cat {}/cardmint-report.txt",
        generation.boot()
    ))
}

/// Answers by name.
pub(crate) struct Facts {
    answers: HashMap<String, String>,
}

impl Facts {
    /// Waits until cardmint's part and the boot as a whole have ended, then asks.
    #[track_caller]
    pub(crate) fn of(machine: &Machine, generation: Generation, user: &str) -> Self {
        let boot = generation.boot();
        let wait = wait_for_report(generation);
        let wait = format!(
            "{wait}timeout 300 systemctl is-system-running --wait >/dev/null\n\
             boot={boot} user={user}\n"
        );
        let printed = machine.root(&(wait + QUESTIONS));
        let engine = base64::engine::general_purpose::STANDARD;
        let answers = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| {
                let bytes = engine.decode(value).expect("base64");
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                (name.to_owned(), text)
            })
            .collect();
        Self { answers }
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &str {
        self.answers
            .get(name)
            .unwrap_or_else(|| panic!("nobody asked for {name}"))
    }

    #[track_caller]
    pub(crate) fn is(&self, name: &str, wanted: &str) {
        let found = self.get(name);
        assert_eq!(found, wanted, "{name}\n{}", self.told());
    }

    #[track_caller]
    pub(crate) fn has(&self, name: &str, wanted: &str) {
        let found = self.get(name);
        assert!(
            found.contains(wanted),
            "{name} lacks `{wanted}`:\n{found}\n{}",
            self.told()
        );
    }

    #[track_caller]
    pub(crate) fn lacks(&self, name: &str, unwanted: &str) {
        let found = self.get(name);
        assert!(
            !found.contains(unwanted),
            "{name} has `{unwanted}`:\n{found}\n{}",
            self.told()
        );
    }

    /// The root file system fills the card: what partitioning and ext4's own
    /// tables take is less than a fortieth.
    #[track_caller]
    pub(crate) fn fills(&self, card_len: u64) {
        let numbers = |name: &str| -> Vec<u64> {
            let answer = self.get(name).split_whitespace();
            answer.map(|word| word.parse().expect("a number")).collect()
        };
        assert_eq!(numbers("disk")[0] * 512, card_len);
        let part = numbers("part");
        let end = (part[0] + part[1]) * 512;
        assert!(card_len - end < 9 << 20, "the partition ends at {end}");
        let blocks = numbers("blocks");
        let (len, part_len) = (blocks[0] * blocks[1], part[1] * 512);
        assert!(
            len > part_len / 40 * 39,
            "{len} of {part_len} bytes\n{}",
            self.told()
        );
    }

    /// What a failure is told with.
    fn told(&self) -> String {
        ["report", "failed", "state", "cloud-init", "journal", "log"]
            .iter()
            .map(|name| format!("-- {name}\n{}\n", self.get(name)))
            .collect()
    }
}
