//! What the boot partition holds before a first boot and must not hold after it.

use std::fs;
use std::path::Path;

use crate::cluster::{PASSPHRASE, PASSWORD};
use crate::harness::{boot_names, boot_text, extract, tool};
use crate::machine::Machine;

/// Files of the node, but not what the kernel makes up, nor the boot partition.
const LOOK: &str = "find / /run /tmp -xdev -type f";

/// What must not be found on the boot partition once the node is set up.
pub(crate) struct Secrets {
    needles: Vec<String>,
}

impl Secrets {
    /// Takes a piece of each long line of the settings as they were minted: the
    /// secrets are among them.
    pub(crate) fn on(machine: &Machine) -> Self {
        let mut needles = vec![PASSWORD.to_owned(), PASSPHRASE.to_owned()];
        for name in boot_names(machine.card()) {
            if !["user-data", "firstrun.sh", "userconf.txt"].contains(&name.as_str()) {
                continue;
            }
            for line in boot_text(machine.card(), &name).lines() {
                if let Some(start) = line.find("$6$") {
                    needles.push(line[start..start + 60].to_owned());
                } else if line.len() >= 120 && !line.contains(' ') {
                    needles.push(line[40..100].to_owned());
                } else if let Some((_, value)) = line.split_once("content: ")
                    && value.len() >= 120
                {
                    needles.push(value[40..100].to_owned());
                }
            }
        }
        assert!(needles.len() > 5, "no secrets found to look for");
        let secrets = Self { needles };
        assert_eq!(
            secrets.found(machine).lines().count(),
            secrets.needles.len() - 2,
            "the search does not find what is there"
        );
        secrets
    }

    /// Neither in a file nor in what is free of the boot partition.
    pub(crate) fn are_gone(&self, machine: &Machine) {
        let found = self.found(machine);
        assert!(found.is_empty(), "still there:\n{found}");
    }

    /// Nor, on the node, in a file or log that somebody but root can read: there may be
    /// more than the settings say, such as the key of a network in its profile.
    pub(crate) fn are_roots_alone(&self, machine: &Machine) {
        let script = format!(
            "umask 077; cat >/root/needles <<'END'\n{}\nEND\n\
             sed -n 's/^ *psk=//p' /etc/NetworkManager/system-connections/cardmint-* \
             /etc/wpa_supplicant/wpa_supplicant.conf 2>/dev/null >>/root/needles\n\
             sed -n 3p /etc/ssh/cardmint_host_ed25519_key >>/root/needles\n\
             {LOOK} ! -perm /077 -exec grep -laFf /root/needles {{}} + | wc -l\n\
             {LOOK} -perm /077 ! -name 'shadow*' -exec grep -laFf /root/needles {{}} +\n\
             rm /root/needles",
            self.needles.join("\n")
        );
        let told = machine.root(&script);
        let (hidden, open) = told.split_once('\n').expect("a count");
        assert_ne!(hidden, "0", "the search does not find what is there");
        assert_eq!(open, "", "others than root can read secrets");
    }

    /// Those that the boot partition holds, in a file or in its free space.
    fn found(&self, machine: &Machine) -> String {
        let (fat, list) = (
            machine.card().with_file_name("fat.img"),
            machine.card().with_file_name("needles"),
        );
        extract(machine.card(), 0, &fat);
        fs::write(&list, self.needles.join("\n")).expect("a file");
        let utf8 = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let run = tool("grep", &["-aoFf", &utf8(&list), &utf8(&fat)]);
        assert!(run.code < 2, "{}", run.stderr);
        fs::remove_file(fat).expect("a file");
        run.stdout
    }
}
