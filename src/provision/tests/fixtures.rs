//! Nodes, systems and an identity, made by hand.

use std::sync::Arc;

use crate::cluster::exporter::tests::{deb, elf};
use crate::cluster::exporter::{Carried, ExporterFile, ExporterKind};
use crate::cluster::monitoring::{FixedHost, Jobs, MonitoringHost, Target};
use crate::cluster::node::{
    Boot, FirstBoot, Image, ImageSource, Locale, NodeFile, Password, StaticAddress, Sudo, User,
    Wifi, WifiSecurity,
};
use crate::cluster::{Exporter, HostKey, Identity, Monitoring, Node};
use crate::layout::{Arch, Generation, Mechanism, Os};

pub(crate) const HASH: &str = "$6$salt$hash/of.a'password";
pub(crate) const PSK: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const PRIVATE: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a key\n-----END OPENSSH PRIVATE KEY-----\n";

pub(crate) fn identity(hash: bool) -> Identity {
    Identity {
        generation: 1,
        host_key: HostKey {
            private: PRIVATE.into(),
            public: "ssh-ed25519 AAAAhost root@pi0".to_owned(),
            fingerprint: "SHA256:fingerprint".to_owned(),
        },
        password_hash: hash.then(|| HASH.into()),
        network_uuid: "6f9619ff-8b86-4011-b42d-00c04fc964ff".to_owned(),
        instance_seed: [7; 32],
    }
}

/// A node with keys and nothing else.
pub(crate) fn minimal() -> Node {
    Node {
        cluster: "lab".into(),
        number: 0,
        hostname: "pi0".to_owned(),
        domain: None,
        board: None,
        image: Arc::new(Image {
            source: ImageSource::Practice,
            require_signature: false,
            sha256: None,
        }),
        user: Arc::new(User {
            name: "alice".to_owned(),
            authorized_keys: vec!["ssh-ed25519 AAAAkey alice@laptop".to_owned()],
            password: Password::None,
            sudo: Sudo::NoPassword,
        }),
        password_authentication: false,
        locale: Arc::default(),
        wifi: None,
        address: None,
        first_boot: Arc::default(),
        boot: Arc::default(),
        mac: Vec::new(),
        exporter: None,
        monitoring: None,
    }
}

/// A node with everything.
pub(crate) fn full() -> Node {
    Node {
        domain: Some("lan".into()),
        user: Arc::new(User {
            name: "alice".to_owned(),
            authorized_keys: vec![
                "ssh-ed25519 AAAAkey alice@laptop".to_owned(),
                "from=\"10.0.0.0/8\" ssh-rsa AAAAother it's \\ $HOME".to_owned(),
            ],
            password: Password::Hash(HASH.into()),
            sudo: Sudo::Password,
        }),
        password_authentication: true,
        locale: Arc::new(Locale {
            timezone: Some("Europe/Lisbon".to_owned()),
            keymap: Some("pt".to_owned()),
            locale: Some("pt_PT.UTF-8".to_owned()),
        }),
        wifi: Some(Arc::new(Wifi {
            ssid: "Café \"$x\"; 🍓".to_owned(),
            security: WifiSecurity::Psk(PSK.into()),
            country: "PT".to_owned(),
            hidden: true,
        })),
        address: Some(StaticAddress {
            interface: "eth0".to_owned(),
            address: [10, 0, 0, 13].into(),
            prefix_len: 24,
            gateway: Some([10, 0, 0, 1].into()),
            dns: vec![[1, 1, 1, 1].into(), "2606:4700:4700::1111".parse().unwrap()],
        }),
        first_boot: Arc::new(FirstBoot {
            expand: true,
            packages: vec!["vim".to_owned()],
            files: vec![
                file("/etc/empty", b"", None),
                file("/etc/motd", b"It's \xF0\x9F\x8D\x93\n\0binary", None),
                file(
                    "/home/alice/.config/app/it's.toml",
                    b"a = 1\n",
                    Some("alice"),
                ),
            ],
            run: vec![
                "raspi-config nonint do_i2c 0".to_owned(),
                "printf '%s\\n' \"it's $HOME\"\nfalse".to_owned(),
            ],
        }),
        boot: Arc::new(Boot {
            cmdline: vec!["cgroup_enable=memory".to_owned()],
            config: vec!["dtoverlay=disable-bt".to_owned()],
        }),
        exporter: Some(Exporter::Package),
        monitoring: Some(watching(false, None).into()),
        ..minimal()
    }
}

/// A node that carries its exporter, of this kind, and watches with containers.
pub(crate) fn watchful(kind: ExporterKind) -> Node {
    let file = match kind {
        ExporterKind::Deb => ExporterFile::new("e.deb", deb("all")),
        ExporterKind::Program => ExporterFile::new("node_exporter", elf(183)),
    };
    let carried = Carried {
        any: Some(file.unwrap().into()),
        ..Carried::default()
    };
    Node {
        domain: Some("lan".into()),
        exporter: Some(Exporter::Carried(carried.into())),
        monitoring: Some(watching(true, Some("open-sesame")).into()),
        ..minimal()
    }
}

/// Two nodes, watched by the first.
pub(crate) fn watching(docker: bool, password: Option<&str>) -> Monitoring {
    let target = |number| Target {
        hostname: format!("pi{number}"),
        name: format!("pi{number}.lan"),
        board: (number == 1).then(|| "pi-4b".parse().unwrap()),
    };
    Monitoring {
        cluster: "lab".into(),
        targets: vec![target(0), target(1)],
        fixed: vec![FixedHost {
            name: "pi1.lan".to_owned(),
            hostname: "pi1".to_owned(),
            address: [10, 0, 0, 14].into(),
        }],
        jobs: Jobs::PerNode,
        host: Some(MonitoringHost {
            number: 0,
            docker,
            grafana_password: password.map(Into::into),
        }),
    }
}

/// The minimal node on Wi-Fi, with a fixed address there.
pub(crate) fn wireless(security: WifiSecurity) -> Node {
    Node {
        wifi: Some(Arc::new(Wifi {
            ssid: "2024".to_owned(),
            security,
            country: "NO".to_owned(),
            hidden: false,
        })),
        address: Some(StaticAddress {
            interface: "wlan0".to_owned(),
            address: "fd00::13".parse().unwrap(),
            prefix_len: 64,
            gateway: Some("fd00::1".parse().unwrap()),
            dns: vec![],
        }),
        ..minimal()
    }
}

/// What `Node::masked` puts in the place of secrets.
pub(crate) fn masked() -> (Node, Identity) {
    let mut node = wireless(WifiSecurity::Psk("<wifi key>".into()));
    node.first_boot = full().first_boot;
    let mut identity = identity(true);
    identity.password_hash = Some("<password hash>".into());
    identity.host_key.private = "<host key>\n".into();
    (node, identity)
}

fn file(path: &str, bytes: &[u8], owner: Option<&str>) -> NodeFile {
    NodeFile {
        path: path.to_owned(),
        bytes: bytes.into(),
        mode: 0o640,
        owner: owner.map(str::to_owned),
    }
}

const CMDLINE: &str = "console=serial0,115200 console=tty1 root=PARTUUID=0badc0de-02 \
                       rootfstype=ext4 fsck.repair=yes rootwait";

/// Every system that differs in what it needs, by name.
pub(crate) fn systems() -> Vec<(&'static str, Os)> {
    use Generation::{Bookworm, Bullseye, Buster, Trixie};
    let native = " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot";
    let older = " quiet init=/usr/lib/raspi-config/init_resize.sh";
    vec![
        ("buster", os(Some(Buster), older, "/boot", false)),
        ("bullseye-a", os(Some(Bullseye), older, "/boot", false)),
        ("bullseye-b", os(Some(Bullseye), native, "/boot", true)),
        (
            "bookworm",
            os(Some(Bookworm), native, "/boot/firmware", true),
        ),
        (
            "trixie",
            os(Some(Trixie), " resize", "/boot/firmware", true),
        ),
        (
            "trixie-firstrun",
            Os {
                mechanism: Mechanism::Firstrun,
                ..os(Some(Trixie), " resize", "/boot/firmware", true)
            },
        ),
        ("other", os(None, "", "/boot", false)),
    ]
}

pub(crate) fn system(name: &str) -> Os {
    systems()
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1
}

fn os(generation: Option<Generation>, tail: &str, boot_mount: &'static str, userconf: bool) -> Os {
    use Generation::{Bookworm, Bullseye, Buster, Trixie};
    Os {
        generation,
        mechanism: match generation {
            Some(Trixie) => Mechanism::CloudInit,
            Some(Buster | Bullseye | Bookworm) | None => Mechanism::Firstrun,
        },
        boot_mount,
        release: None,
        stage: Some(2),
        arch: Arch::Arm64,
        userconf,
        booted: false,
        cmdline: format!("{CMDLINE}{tail}\n"),
        config: "arm_boost=1\n\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n\n[all]\n".to_owned(),
    }
}
