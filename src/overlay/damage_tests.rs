//! Edits of every kind of FAT, and of damaged ones.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "as above"
)]

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::base::MemBase;
use crate::layout::BootPartition;
use crate::layout::disk::{Disk, Partition, Scheme};
use crate::provision::BootFile;

const START: u64 = 1536;

fn partition(len: u64) -> Partition {
    Partition {
        number: 1,
        offset: START,
        len,
        type_id: "0c".to_owned(),
    }
}

/// A small disk with one FAT partition, made by mkfs.vfat and mtools.
fn fat_disk(bits: &str, kib: u64) -> Vec<u8> {
    let dir = tempfile::TempDir::new().unwrap();
    let fat = dir.path().join("fat");
    fs::write(&fat, vec![0; usize::try_from(kib << 10).unwrap()]).unwrap();
    let run = |program: &str, args: &[&str]| {
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let status = Command::new(program)
            .args(args)
            .env("PATH", path)
            .env("MTOOLS_SKIP_CHECK", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("{program}: {error}; `tests/run` installs it"));
        assert!(status.success());
    };
    let image = fat.to_str().unwrap();
    run(
        "mkfs.vfat",
        &[
            "-F",
            bits,
            "-s",
            "1",
            "-i",
            "12345678",
            "--invariant",
            image,
        ],
    );
    for name in ["cmdline.txt", "config.txt", "a long name.txt"] {
        let file = dir.path().join(name);
        fs::write(&file, format!("{name}\n").repeat(90)).unwrap();
        run("mcopy", &["-i", image, file.to_str().unwrap(), "::"]);
    }
    run("mmd", &["-i", image, "::overlays"]);
    let file = dir.path().join("cmdline.txt");
    run(
        "mcopy",
        &["-i", image, file.to_str().unwrap(), "::overlays/inner"],
    );
    let mut disk = vec![0; usize::try_from(START).unwrap()];
    disk.extend(fs::read(fat).unwrap());
    disk
}

fn disk_of(bytes: &[u8]) -> Disk {
    let len = bytes.len() as u64;
    let partitions = vec![partition(len - START)];
    Disk {
        len,
        scheme: Scheme::Mbr,
        id: String::new(),
        partitions,
    }
}

fn boot_file(name: &str, len: usize) -> BootFile {
    BootFile {
        name: name.to_owned(),
        bytes: vec![b'x'; len],
        why: "test",
        secret: false,
    }
}

fn files() -> Vec<BootFile> {
    ["cmdline.txt", "network-config", "ssh", "user-data"]
        .iter()
        .zip([100, 3000, 0, 20_000])
        .map(|(name, len)| boot_file(name, len))
        .collect()
}

#[test]
fn edits_read_back_on_every_kind_of_fat_and_are_the_same_each_time() {
    for (bits, kib) in [("12", 1024), ("16", 8192), ("32", 35_000)] {
        let base = MemBase(fat_disk(bits, kib));
        let boot = BootPartition::find(&base, &disk_of(&base.0)).unwrap();
        assert_eq!(boot.kind, format!("FAT{bits}"));
        let one = edit_boot(&base, &boot, &files()).unwrap();
        let two = edit_boot(&base, &boot, &files()).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert!(one.len() < 40_000, "{}", one.len());
    }
}

#[test]
fn a_full_boot_partition_says_by_how_much() {
    let base = MemBase(fat_disk("12", 256));
    let boot = BootPartition::find(&base, &disk_of(&base.0)).unwrap();
    let free = usize::try_from(boot.free_len).unwrap();
    assert!(edit_boot(&base, &boot, &[boot_file("fits", free)]).is_ok());
    let error = edit_boot(&base, &boot, &[boot_file("does-not", free + 1)]).unwrap_err();
    assert!(matches!(error, EditError::Full { .. }), "{error}");
    assert!(error.to_string().contains("512 too few"), "{error}");
    let error = edit_boot(&base, &boot, &[boot_file("OVERLAYS", 1)]).unwrap_err();
    assert!(matches!(error, EditError::IsDirectory(_)), "{error}");
}

/// Where the directory entry of a file stands, by its name padded to eleven bytes.
fn entry_of(disk: &[u8], name: &[u8; 11]) -> usize {
    disk.windows(11).position(|bytes| bytes == name).unwrap()
}

#[test]
fn a_file_in_a_directory_that_shares_clusters_with_ours_is_damage() {
    let mut bytes = fat_disk("12", 256);
    let (ours, inner) = (
        entry_of(&bytes, b"CMDLINE TXT"),
        entry_of(&bytes, b"INNER      "),
    );
    bytes.copy_within(ours + 26..ours + 28, inner + 26);
    let base = MemBase(bytes);
    let boot = BootPartition::find(&base, &disk_of(&base.0)).unwrap();
    let error = edit_boot(&base, &boot, &files()).unwrap_err();
    assert!(matches!(error, EditError::Fat(_)), "{error}");
}

#[test]
fn a_directory_that_holds_itself_is_damage() {
    let mut bytes = fat_disk("12", 256);
    let (dir, inner) = (
        entry_of(&bytes, b"OVERLAYS   "),
        entry_of(&bytes, b"INNER      "),
    );
    bytes.copy_within(dir + 26..dir + 28, inner + 26);
    bytes[inner + 11] = 0x10;
    let base = MemBase(bytes);
    let boot = BootPartition::find(&base, &disk_of(&base.0)).unwrap();
    let error = edit_boot(&base, &boot, &files()).unwrap_err();
    assert!(error.to_string().contains("no end"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is on a boot partition, editing it ends in an overlay that reads
    /// back, or in an error.
    #[test]
    fn a_damaged_file_system_is_an_error_or_does_no_harm(
        damage in prop::collection::vec((0usize..20_000, any::<u8>()), 1..40),
        boot_sector in prop::collection::vec((0usize..90, any::<u8>()), 0..3),
    ) {
        static DISK: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = DISK.get_or_init(|| fat_disk("12", 1024)).clone();
        for (at, byte) in damage.into_iter().chain(boot_sector) {
            bytes[usize::try_from(START).unwrap() + at] = byte;
        }
        let base = MemBase(bytes);
        if let Ok(boot) = BootPartition::find(&base, &disk_of(&base.0)) {
            let _ = edit_boot(&base, &boot, &files());
        }
    }
}
