//! Which system is on a boot partition, and which boards it boots.

use super::super::detect::{DetectError, customised, detect};
use super::super::disk::Partition;
use super::super::fat::Entry;
use super::super::{Arch, Board, BootPartition, Generation, Mechanism};

fn boot(cmdline: &str, config: &str, issue: &str, files: &[&str]) -> BootPartition {
    BootPartition {
        partition: Partition {
            number: 1,
            offset: 1 << 20,
            len: 1 << 20,
            type_id: "0c".to_owned(),
        },
        label: "bootfs".to_owned(),
        kind: "FAT32",
        cluster_len: 512,
        free_len: 0,
        entries: files.iter().map(|name| Entry::named(name)).collect(),
        cmdline: Some(cmdline.to_owned()),
        config: Some(config.to_owned()),
        issue: Some(issue.to_owned()),
        user_data: None,
        marker: None,
        report: None,
    }
}

fn issue(date: &str, stage: u8) -> String {
    format!(
        "Raspberry Pi reference {date}\nGenerated using pi-gen, \
         https://github.com/RPi-Distro/pi-gen, 0123456789abcdef, stage{stage}\n"
    )
}

#[test]
fn each_generation_is_told_from_its_texts() {
    use Generation::{Bookworm, Bullseye, Buster, Trixie};
    use Mechanism::{CloudInit, Firstrun};
    const OLD: &str = "root=PARTUUID=1-02 quiet init=/usr/lib/raspi-config/init_resize.sh";
    const NEW: &str = "root=PARTUUID=1-02 quiet init=/usr/lib/raspberrypi-sys-mods/firstboot";
    const RESIZE: &str = "root=PARTUUID=1-02 rootwait resize";
    const KMS: &str = "dtoverlay=vc4-kms-v3d\n";
    const INITRAMFS: &str = "dtoverlay=vc4-kms-v3d\nauto_initramfs=1\n";
    let seeds = &["user-data", "meta-data", "network-config"][..];
    let none = &["kernel8.img"][..];
    let table = [
        (
            Buster,
            Firstrun,
            "/boot",
            false,
            "2021-05-07",
            OLD,
            "dtoverlay=vc4-fkms-v3d",
            none,
        ),
        (
            Buster,
            Firstrun,
            "/boot",
            false,
            "2023-05-03",
            OLD,
            "dtoverlay=vc4-fkms-v3d",
            none,
        ),
        (
            Bullseye,
            Firstrun,
            "/boot",
            false,
            "2021-10-30",
            OLD,
            KMS,
            none,
        ),
        (
            Bullseye,
            Firstrun,
            "/boot",
            true,
            "2022-04-04",
            OLD,
            KMS,
            none,
        ),
        (
            Bullseye,
            Firstrun,
            "/boot",
            true,
            "2024-07-04",
            NEW,
            KMS,
            none,
        ),
        (
            Bookworm,
            Firstrun,
            "/boot/firmware",
            true,
            "2023-10-10",
            NEW,
            INITRAMFS,
            none,
        ),
        (
            Bookworm,
            Firstrun,
            "/boot/firmware",
            true,
            "2025-05-13",
            NEW,
            KMS,
            &["initramfs8"],
        ),
        (
            Trixie,
            Firstrun,
            "/boot/firmware",
            true,
            "2025-10-01",
            RESIZE,
            INITRAMFS,
            none,
        ),
        (
            Trixie,
            CloudInit,
            "/boot/firmware",
            true,
            "2025-11-24",
            RESIZE,
            INITRAMFS,
            seeds,
        ),
        (
            Trixie,
            CloudInit,
            "/boot/firmware",
            true,
            "2026-06-18",
            RESIZE,
            INITRAMFS,
            seeds,
        ),
    ];
    for generation in Generation::ALL {
        assert!(table.iter().any(|row| row.0 == *generation), "{generation}");
    }
    for (generation, mechanism, mount, userconf, date, cmdline, config, files) in table {
        let os = detect(&boot(cmdline, config, &issue(date, 2), files), None).unwrap();
        assert_eq!(os.generation, Some(generation), "{date}");
        assert_eq!(os.mechanism, mechanism, "{date}");
        assert_eq!((os.boot_mount, os.userconf), (mount, userconf), "{date}");
        assert_eq!((os.release.as_deref(), os.stage), (Some(date), Some(2)));
        assert_eq!((os.arch, os.booted), (Arch::Arm64, false), "{date}");
        assert!(
            os.describe()
                .contains(&format!("Lite, {generation} of {date}"))
        );
    }
    let armhf = boot(
        NEW,
        INITRAMFS,
        &issue("2024-07-04", 4),
        &["KERNEL.IMG", "kernel7.img"],
    );
    let os = detect(&armhf, None).unwrap();
    assert_eq!((os.arch, os.stage), (Arch::Armhf, Some(4)));
    assert!(os.describe().contains("with desktop"));
    let booted = boot(
        "root=PARTUUID=1-02",
        INITRAMFS,
        &issue("2024-07-04", 2),
        none,
    );
    assert!(detect(&booted, None).unwrap().booted);
}

#[test]
fn other_systems_need_a_mechanism() {
    let mut ubuntu = boot("root=LABEL=writable", "", "", &["user-data", "meta-data"]);
    ubuntu.label = "system-boot".to_owned();
    match detect(&ubuntu, None) {
        Err(error @ DetectError::ThirdParty { .. }) => {
            assert!(error.to_string().contains("system-boot"));
        }
        other => panic!("{other:?}"),
    }
    let os = detect(&ubuntu, Some(Mechanism::CloudInit)).unwrap();
    assert_eq!((os.generation, os.boot_mount), (None, "/boot/firmware"));
    let os = detect(&boot("", "", "", &[]), Some(Mechanism::Firstrun)).unwrap();
    assert_eq!(
        (os.generation, os.boot_mount, os.userconf),
        (None, "/boot", false)
    );
    let mut nothing = boot("", "", "", &[]);
    (nothing.issue, nothing.label) = (None, String::new());
    assert_eq!(
        detect(&nothing, None),
        Err(DetectError::ThirdParty { label: None })
    );
    for text in [
        "stage",
        "stage999 stageX",
        "2024-1-1 20240-01-0",
        "\n2024-01-01 pi-gen",
        "é",
    ] {
        let os = detect(&boot("", "", text, &[]), Some(Mechanism::Firstrun)).unwrap();
        assert_eq!((os.release, os.stage), (None, None), "{text}");
    }
}

#[test]
fn settings_on_an_image_are_noticed() {
    let stock = || {
        boot(
            "root=x resize",
            "",
            "",
            &["user-data", "meta-data", "config.txt"],
        )
    };
    assert_eq!(customised(&stock()), None);
    let mut comments = stock();
    comments.user_data = Some("#cloud-config\n\n  # all of it is a comment\n".to_owned());
    assert_eq!(customised(&comments), None);
    for name in [
        "firstrun.sh",
        "custom.toml",
        "userconf",
        "USERCONF.TXT",
        "wpa_supplicant.conf",
    ] {
        let message = customised(&boot("", "", "", &[name])).expect(name);
        assert!(message.contains(&name.to_lowercase()), "{message}");
    }
    for token in ["systemd.run=/boot/x.sh", "ds=nocloud;i=1"] {
        let message = customised(&boot(&format!("a {token} b"), "", "", &[])).expect(token);
        assert!(message.contains(token), "{message}");
    }
    let mut filled = stock();
    filled.user_data = Some("#cloud-config\nhostname: x\n".to_owned());
    assert!(customised(&filled).unwrap().contains("user-data"));
    let mut marked = stock();
    marked.marker = Some("x = 1\nhostname = \"pi3\"\n".to_owned());
    assert!(customised(&marked).unwrap().ends_with("the card of pi3"));
}

#[test]
fn boards_need_a_kernel_and_a_device_tree() {
    let boards = |files: &[&str]| -> Vec<&str> {
        let has = |name: &str| files.contains(&name);
        Board::all()
            .filter(|b| b.boots_from(has))
            .map(Board::name)
            .collect()
    };
    assert!(boards(&["kernel8.img"]).is_empty());
    assert!(boards(&["bcm2711-rpi-4-b.dtb"]).is_empty());
    assert_eq!(boards(&["kernel8.img", "bcm2711-rpi-4-b.dtb"]), ["pi-4b"]);
    assert_eq!(boards(&["kernel.img", "bcm2708-rpi-zero.dtb"]), ["pi-zero"]);
    for board in Board::all() {
        assert_eq!(board.name().parse(), Ok(board));
    }
    assert!("pi-6".parse::<Board>().is_err());
}
