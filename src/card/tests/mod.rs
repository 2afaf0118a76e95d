//! Machines made up in a directory, and what is told of them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod contents;
mod fake;

use std::fs;
use std::path::Path;

use fake::{Fake, GB};

const READER: [(&str, &str); 4] = [
    ("removable", "1"),
    ("diskseq", "17"),
    ("device/vendor", "Generic-"),
    ("device/model", "STORAGE DEVICE  "),
];
const UDEV: &str = "S:disk/by-id/wwn-0x5000\nS:disk/by-id/usb-Generic-_STORAGE_DEVICE_000000001532-0:0\n\
    S:disk/by-path/pci-0\nE:ID_BUS=usb\nE:ID_SERIAL_SHORT=000000001532\n\
    E:ID_MODEL=STORAGE_DEVICE\nE:ID_DRIVE_FLASH_SD=1\n";

fn reader() -> Fake {
    Fake::new()
        .usb("sda", "8:0", &READER)
        .usb_attribute("product", "USB3.0 Card Reader\n")
        .usb_attribute("serial", "000000001532\n")
}

#[test]
fn sd_card_in_a_usb_reader() {
    insta::assert_snapshot!(
        "reader_udev",
        reader().file("run/udev/data/b8:0", UDEV).told()
    );
    // Without udev the sysfs of the reader has to tell, and the links if any.
    let bare = reader().link("dev/disk/by-id/usb-reader-0:0", "dev/sda");
    insta::assert_snapshot!("reader_bare", bare.told());
}

#[test]
fn usb_stick_and_usb_disk() {
    let fake = Fake::new()
        .usb(
            "sda",
            "8:0",
            &[
                ("removable", "1"),
                ("device/vendor", "SanDisk"),
                ("device/model", "Ultra"),
            ],
        )
        .usb(
            "sdb",
            "8:16",
            &[("device/vendor", "WD"), ("device/model", "Elements 2620")],
        );
    insta::assert_snapshot!("usb", fake.told());
}

#[test]
fn slot_and_emmc_and_their_hardware_partitions() {
    let card = [
        ("device/type", "SD"),
        ("device/name", "SC32G"),
        ("device/serial", "0x9a1b2c3d"),
        ("device/cid", "03534453433332478"),
    ];
    let emmc = [
        ("device/type", "MMC"),
        ("device/name", "BJTD4R"),
        ("device/serial", "0x00000000"),
        ("device/cid", "150100424a54443452"),
    ];
    let fake = Fake::new()
        .disk("mmcblk0", "179:0", 32 * GB, "platform/mmc0", &card)
        .disk("mmcblk1", "179:32", 31 * GB, "platform/mmc1", &emmc)
        .disk("mmcblk1boot0", "179:64", 4 << 20, "platform/mmc1/boot", &[])
        .disk("mmcblk1rpmb", "179:96", 4 << 20, "platform/mmc1/rpmb", &[]);
    insta::assert_snapshot!("mmc", fake.told());
    let error = fake.device("dev/mmcblk1boot0").unwrap_err().to_string();
    assert!(error.contains("is no card but"), "{error}");
}

#[test]
fn root_on_lvm_on_luks_is_refused_whatever_is_allowed() {
    let fake = Fake::new()
        .disk(
            "sda",
            "8:0",
            500 * GB,
            "pci0/ata1/host0",
            &[("device/vendor", "ATA"), ("device/model", "CT500MX")],
        )
        .partition("sda", "sda1", "8:1")
        .partition("sda", "sda2", "8:2")
        .mapped("dm-0", "253:0", "sda2_crypt", "CRYPT-LUKS2-abc")
        .mapped("dm-1", "253:1", "vg-root", "LVM-def")
        .mapped("dm-2", "253:2", "vg-swap", "LVM-ghi")
        .holder("sda/sda2", "dm-0")
        .holder("dm-0", "dm-1")
        .holder("dm-0", "dm-2")
        .mount("253:1", "/", "ext4", "/dev/mapper/vg-root")
        .mount("8:1", "/boot", "ext4", "/dev/sda1")
        .swap("/dev/dm-2", "partition");
    insta::assert_snapshot!("lvm_on_luks", fake.told());
    assert_eq!(
        fake.system().disk_of_path(Path::new("/home/me")),
        Some(vec!["sda".to_owned()])
    );
}

#[test]
fn opened_volumes_on_a_stick_are_not_ours_to_close() {
    let fake = reader()
        .partition("sda", "sda1", "8:1")
        .mapped("dm-0", "253:0", "luks-7", "CRYPT-LUKS2-abc")
        .mapped("dm-1", "253:1", "vg-photos", "LVM-def")
        .mapped("dm-2", "253:2", "odd", "")
        .holder("sda/sda1", "dm-0")
        .holder("dm-0", "dm-1")
        .holder("dm-0", "dm-2")
        .mount("253:1", "/media/me/photos", "ext4", "/dev/mapper/vg-photos");
    insta::assert_snapshot!("volumes_on_a_stick", fake.told());
}

#[test]
fn members_of_an_array_are_refused() {
    let fake = Fake::new()
        .disk("sdb", "8:16", 500 * GB, "pci0/ata2", &[])
        .disk("sdc", "8:32", 500 * GB, "pci0/ata3", &[])
        .partition("sdb", "sdb1", "8:17")
        .disk("md127", "9:127", 500 * GB, "virtual", &[])
        .partition("md127", "md127p1", "259:0")
        .holder("sdb/sdb1", "md127")
        .holder("sdc", "md127")
        .mount("259:0", "/data", "xfs", "/dev/md127p1");
    insta::assert_snapshot!("raid", fake.told());
    let disks = fake.system().disk_of_path(Path::new("/data/base.img"));
    assert_eq!(disks, Some(vec!["sdb".to_owned(), "sdc".to_owned()]));
}

#[test]
fn btrfs_has_no_device_number_and_many_devices() {
    let fake = Fake::new()
        .disk(
            "nvme0n1",
            "259:0",
            500 * GB,
            "pci0/nvme/nvme0",
            &[
                ("device/model", "Samsung SSD 980"),
                ("device/serial", "S64"),
            ],
        )
        .partition("nvme0n1", "nvme0n1p2", "259:2")
        .disk("sda", "8:0", 500 * GB, "pci0/ata1", &[])
        .mount("0:35", "/", "btrfs", "/dev/nvme0n1p2")
        .mount("0:35", "/home", "btrfs", "/dev/nvme0n1p2")
        .file("sys/fs/btrfs/1234/devices/nvme0n1p2", "")
        .file("sys/fs/btrfs/1234/devices/sda", "")
        .disk("zram0", "252:0", 8 * GB, "virtual", &[])
        .swap("/dev/zram0", "partition");
    insta::assert_snapshot!("btrfs", fake.told());
}

#[test]
fn members_of_a_zfs_pool_are_refused() {
    let fake = reader()
        .partition("sda", "sda1", "8:1")
        .file("run/udev/data/b8:1", "E:ID_FS_TYPE=zfs_member\n")
        .mount("0:50", "/tank", "zfs", "tank");
    assert!(fake.told().contains("may be written"), "{}", fake.told());
    let loaded = fake.file("proc/spl/kstat/zfs/arcstats", "");
    let told = loaded.told();
    assert!(
        told.contains("! /dev/sda1 is a member of a ZFS pool. If"),
        "{told}"
    );
}

#[test]
fn mounted_stick_with_a_blank_in_its_mount_point() {
    let fake = reader()
        .partition("sda", "sda1", "8:1")
        .partition("sda", "sda2", "8:2")
        .mount("8:1", "/media/me/MY\\040CARD", "vfat", "/dev/sda1")
        .mount(
            "8:2",
            "/run/media/me/it's\\012a\\033[2Jtrap",
            "ext4",
            "/dev/sda2",
        );
    insta::assert_snapshot!("mounted", fake.told());
}

#[test]
fn what_the_running_system_mounts_is_never_unmounted() {
    for at in [
        "/",
        "/boot/firmware",
        "/home",
        "/home/me",
        "/run/live/medium",
        "/cdrom",
        "/var/lib",
    ] {
        let fake = reader()
            .partition("sda", "sda1", "8:1")
            .mount("8:1", at, "vfat", "/dev/sda1");
        let told = fake.told();
        assert!(told.contains(&format!("! holds {at}")), "{told}");
        assert!(!told.contains("--unmount"), "{told}");
    }
    let swapping = reader()
        .partition("sda", "sda1", "8:1")
        .mount("8:1", "/mnt", "ext4", "/dev/sda1")
        .swap("/mnt/swap\\040file", "file");
    insta::assert_snapshot!("swap_file", swapping.told());
}

#[test]
fn overlay_root_protects_the_card_below_it() {
    let fake = Fake::new()
        .disk(
            "mmcblk0",
            "179:0",
            32 * GB,
            "platform/mmc0",
            &[("device/type", "SD")],
        )
        .partition("mmcblk0", "mmcblk0p2", "179:2")
        .mount("0:40", "/", "overlay", "overlayroot")
        .mount("179:2", "/lower", "ext4", "/dev/mmcblk0p2");
    let told = fake.told();
    assert!(
        told.contains("! holds /, the base image base.img.xz: "),
        "{told}"
    );
}

#[test]
fn locked_and_small_and_absent_cards() {
    let fake = Fake::new()
        .disk(
            "mmcblk0",
            "179:0",
            15_900_000_256,
            "platform/mmc0",
            &[("device/type", "SD"), ("ro", "1")],
        )
        .disk("sdb", "8:16", 0, "usb2/host1", &READER);
    insta::assert_snapshot!("locked", fake.told());
    insta::assert_snapshot!("no_medium", fake.device("dev/sdb").unwrap_err().to_string());
}

#[test]
fn loop_devices_and_what_lies_below_them() {
    let fake = reader()
        .partition("sda", "sda1", "8:1")
        .mount("8:1", "/home", "ext4", "/dev/sda1")
        .disk(
            "loop0",
            "7:0",
            20 * GB,
            "virtual",
            &[("loop/backing_file", "/home/me/card.img")],
        )
        .disk("loop1", "7:1", 0, "virtual", &[])
        .disk("sdb", "8:16", 20 * GB, "pci0/ata2", &[])
        .disk(
            "loop2",
            "7:2",
            20 * GB,
            "virtual",
            &[("loop/backing_file", "/dev/sdb")],
        )
        .mount("7:0", "/srv2", "ext4", "/dev/loop0");
    insta::assert_snapshot!("loops", fake.told());
    assert_eq!(
        fake.system().disk_of_path(Path::new("/srv2/x")),
        Some(vec!["loop0".to_owned(), "sda".to_owned()])
    );
    // What keeps sdb from being written would not be seen.
    let error = fake.device("dev/loop2").unwrap_err().to_string();
    assert!(error.contains("made of something else"), "{error}");
}

#[test]
fn a_base_may_be_a_partition() {
    let fake = reader().partition("sda", "sda1", "8:1");
    let part = fake.path("dev/sda1");
    let protected = fake.system().protected(&[(&part, "the base image")]);
    let wanted = ("sda".to_owned(), "holds the base image sda1".to_owned());
    assert!(protected.unwrap().contains(&wanted));
}

#[test]
fn links_are_followed_and_what_is_no_disk_is_named() {
    let fake = reader()
        .partition("sda", "sda1", "8:1")
        .mapped("dm-0", "253:0", "root", "LVM-1")
        .link("dev/disk/by-id/usb-x", "dev/sda")
        .link("dev/disk/by-id/usb-x-part1", "dev/sda1")
        .file("dev/sdz", "an image")
        .file("card.img", [0; 4096]);
    let sda = fake.device("dev/disk/by-id/usb-x").unwrap();
    assert_eq!(
        (sda.path.as_path(), sda.name.as_str()),
        (Path::new("/dev/sda"), "sda")
    );
    let root = fake.path("").display().to_string();
    let errors: Vec<String> = [
        "dev/disk/by-id/usb-x-part1",
        "dev/mapper/root",
        "dev/sdy",
        "dev/sdz",
        "dev",
    ]
    .iter()
    .map(|name| {
        fake.device(name)
            .unwrap_err()
            .to_string()
            .replace(&root, "/")
    })
    .collect();
    insta::assert_snapshot!("errors", errors.join("\n"));
    let null = fake.system().device(Path::new("/dev/null")).unwrap_err();
    assert!(
        null.to_string().starts_with("/dev/null is neither"),
        "{null}"
    );
    let file = fake.device("card.img").unwrap();
    assert!(file.id.inode.is_some() && file.len() == 4096 && !file.is_fixed());
}

#[test]
fn file_behind_a_loop_device_is_in_use() {
    let fake = Fake::new().file("card.img", [0; 4096]);
    let path = fs::canonicalize(fake.path("card.img")).unwrap();
    let backing = path.display().to_string();
    let fake = fake.disk(
        "loop0",
        "7:0",
        4096,
        "virtual",
        &[("loop/backing_file", &backing)],
    );
    let device = fake.device("card.img").unwrap();
    assert!(matches!(
        device.uses.as_slice(),
        [crate::card::Use::Holder { .. }]
    ));
}

#[test]
fn without_the_table_of_mounts_nothing_is_told() {
    let fake = reader();
    let system = fake.system();
    fs::remove_file(fake.path("proc/self/mountinfo")).unwrap();
    system.scan().unwrap_err();
    system.protected(&[]).unwrap_err();
    system.device(&fake.path("dev/sda")).unwrap_err();
}
