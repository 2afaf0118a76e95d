//! Partition tables and superblocks, sound and hostile.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::super::disk::{DiskError, Partition, Scheme};
use super::super::ext4::Ext4;
use super::super::{Disk, Layout, LayoutError};
use crate::base::testing::{has_tools, sample};
use crate::base::{MemBase, ReadAt};

const LEN: u64 = 8 << 20;

/// A disk of 8 MiB that sfdisk partitioned.
fn sfdisk(script: &str) -> MemBase {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    File::create(&path).unwrap().set_len(LEN).unwrap();
    let tool = ["/usr/sbin/sfdisk", "/sbin/sfdisk", "sfdisk"];
    let tool = tool
        .iter()
        .find(|tool| fs::exists(tool).unwrap())
        .unwrap_or(&"sfdisk");
    let mut child = Command::new(tool)
        .arg("--quiet")
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    MemBase(fs::read(&path).unwrap())
}

const MBR: &str = "label: dos\nlabel-id: 0x1a2b3c4d\n\
                   start=2048, size=4096, type=c\nstart=8192, size=2048, type=83\n";
const GPT: &str = "label: gpt\nlabel-id: 8D1B7C3E-0A2F-4B7B-9D55-2B6B5B7F0A01\n\
                   start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
                   start=8192, size=2048, type=linux\n";

#[test]
fn partitions_are_read_from_both_kinds_of_table() {
    if !has_tools(&["sfdisk"]) {
        return;
    }
    for (script, scheme, id, types) in [
        (MBR, Scheme::Mbr, "1a2b3c4d", ["0c", "83"]),
        (
            GPT,
            Scheme::Gpt,
            "8d1b7c3e-0a2f-4b7b-9d55-2b6b5b7f0a01",
            [
                "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
                "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
            ],
        ),
    ] {
        let disk = Disk::read(&sfdisk(script)).unwrap();
        assert_eq!((disk.scheme, disk.len), (scheme, LEN));
        assert_eq!(disk.id.to_lowercase(), id);
        let found: Vec<_> = disk
            .partitions
            .iter()
            .map(|p| (p.number, p.offset, p.len))
            .collect();
        assert_eq!(
            found,
            [(1, 2048 * 512, 4096 * 512), (2, 8192 * 512, 2048 * 512)]
        );
        let found: Vec<_> = disk.partitions.iter().map(|p| p.type_id.as_str()).collect();
        assert_eq!(found, types);
        assert!(disk.partitions[0].is_fat_type() && !disk.partitions[1].is_fat_type());
    }
}

#[test]
fn only_what_a_pi_boots_from_is_told_as_the_boot_partition() {
    if !has_tools(&["sfdisk"]) {
        return;
    }
    let data = MBR.replace("type=83", "type=b");
    let disk = Disk::read(&sfdisk(&data)).unwrap();
    assert!(disk.partitions.iter().all(Partition::is_fat_type));
    let place = |offset| disk.place_of(offset, 2);
    assert_eq!(place(2048 * 512), "partition 1");
    assert_eq!(place(8192 * 512), "partition 2, the boot partition");
    assert_eq!(place(511), "the partition table");
    assert_eq!(place(512), "outside the partitions");
}

#[test]
fn partition_tables_that_contradict_themselves_are_refused() {
    if !has_tools(&["sfdisk"]) {
        return;
    }
    let good = sfdisk(MBR).0;
    let entry = |number: usize, start: u32, sectors: u32| {
        let mut disk = good.clone();
        let at = 446 + 16 * number;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        Disk::read(&MemBase(disk))
    };
    let end = u32::try_from(LEN / 512).unwrap();
    assert!(
        matches!(entry(1, 4096, 2048), Err(DiskError::Damaged(_))),
        "overlap"
    );
    assert!(
        matches!(entry(0, 0, 2048), Err(DiskError::Damaged(_))),
        "covers the table"
    );
    assert!(matches!(
        entry(1, 8192, end),
        Err(DiskError::Truncated { number: 2, .. })
    ));
    assert!(matches!(
        entry(1, u32::MAX, u32::MAX),
        Err(DiskError::Truncated { .. })
    ));
    assert!(entry(1, 8192, end - 8192).is_ok());
    assert!(matches!(
        Disk::read(&MemBase(Vec::new())),
        Err(DiskError::Empty)
    ));
    for len in [1, 511, 512, 1023] {
        let short = MemBase(good[..len].to_vec());
        assert!(matches!(Disk::read(&short), Err(DiskError::NoTable)));
    }
    assert!(matches!(
        Disk::read(&MemBase(vec![0; 4096])),
        Err(DiskError::NoTable)
    ));
    let cut = MemBase(good[..3 << 20].to_vec());
    assert!(matches!(Disk::read(&cut), Err(DiskError::Truncated { .. })));
    let error = Layout::read(&MemBase(good)).unwrap_err();
    assert!(matches!(error, LayoutError::Boot(_)), "{error}");
}

static GPT_DISK: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| sfdisk(GPT).0);

/// The GPT with changed header fields whose checksum is right again.
fn gpt_with(fields: &[(usize, u64, usize)]) -> MemBase {
    MemBase(changed(GPT_DISK.clone(), 512, fields))
}

/// The same of the second header, at the end, where the first one is damaged.
fn second_gpt_with(fields: &[(usize, u64, usize)]) -> MemBase {
    let mut disk = GPT_DISK.clone();
    disk[512] ^= 1;
    let last = disk.len() - 512;
    MemBase(changed(disk, last, fields))
}

fn changed(mut disk: Vec<u8>, at: usize, fields: &[(usize, u64, usize)]) -> Vec<u8> {
    let header = &mut disk[at..at + 512];
    for (at, value, len) in fields {
        header[*at..at + len].copy_from_slice(&value.to_le_bytes()[..*len]);
    }
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

#[test]
fn hostile_gpt_headers_never_panic() {
    if !has_tools(&["sfdisk"]) {
        return;
    }
    let disks = [gpt_with, second_gpt_with];
    let read = disks.map(|disk| Disk::read(&disk(&[])).unwrap());
    assert_eq!(read[0].partitions, read[1].partitions);
    let values = [
        0,
        1,
        2,
        33,
        91,
        127,
        129,
        512,
        1 << 20,
        1 << 31,
        u64::MAX >> 9,
        u64::MAX - 1,
        u64::MAX,
    ];
    // Header length, its own and its copy's place, usable sectors, table, its
    // count, entry length and checksum (UEFI 2.10, table 5.5).
    let fields = [
        (12, 4),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 8),
        (72, 8),
        (80, 4),
        (84, 4),
        (88, 4),
    ];
    for (at, len) in fields {
        for (value, disk) in values.into_iter().flat_map(|v| disks.map(|disk| (v, disk))) {
            drop(Disk::read(&disk(&[(at, value, len)])));
        }
    }
    for (count, entry) in [(128, 64), (1 << 30, 128), (1025, 128), (u64::MAX, u64::MAX)] {
        for disk in disks {
            let error = Disk::read(&disk(&[(80, count, 4), (84, entry, 4)])).unwrap_err();
            assert!(matches!(error, DiskError::Damaged(_)), "{error}");
        }
    }
}

#[test]
fn gpt_entries_that_leave_the_disk_are_refused() {
    if !has_tools(&["sfdisk"]) {
        return;
    }
    for (first, last) in [
        (2048, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, 1),
        (4096, 2048),
        (0, 0),
        (2048, 1 << 40),
    ] {
        let mut disk = GPT_DISK.clone();
        let entries = 1024;
        disk[entries + 32..entries + 40].copy_from_slice(&first.to_le_bytes());
        disk[entries + 40..entries + 48].copy_from_slice(&u64::to_le_bytes(last));
        let crc = crc32fast::hash(&disk[entries..entries + 128 * 128]);
        disk[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
        disk[512 + 16..512 + 20].fill(0);
        let crc = crc32fast::hash(&disk[512..512 + 92]);
        disk[512 + 16..512 + 20].copy_from_slice(&crc.to_le_bytes());
        assert!(Disk::read(&MemBase(disk)).is_err(), "{first}..={last}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_no_disk_or_a_sound_one(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        sign: bool,
        protective: bool,
    ) {
        if bytes.len() >= 1024 && sign {
            bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
            if protective {
                bytes[450] = 0xee;
                bytes[512..520].copy_from_slice(b"EFI PART");
            }
        }
        let source = MemBase(bytes);
        if let Ok(disk) = Disk::read(&source) {
            prop_assert!(disk.partitions.iter().all(|p| p.offset + p.len <= source.len()));
        }
        drop(Layout::read(&source));
    }

    #[test]
    fn damaged_gpt_disks_never_panic(
        hits in proptest::collection::vec((446usize..2000, any::<u8>()), 1..8),
    ) {
        if !has_tools(&["sfdisk"]) {
            return Ok(());
        }
        let mut disk = GPT_DISK.clone();
        for (at, byte) in hits {
            disk[at] = byte;
        }
        drop(Layout::read(&MemBase(disk)));
    }

    #[test]
    fn arbitrary_superblocks_never_panic(seed: u64, block_size in 0u32..80) {
        let mut bytes = sample(4096, seed);
        bytes[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        bytes[1024 + 24..1024 + 28].copy_from_slice(&block_size.to_le_bytes());
        let partition = Partition { number: 2, offset: 0, len: 4096, type_id: "83".to_owned() };
        let found = Ext4::read(&MemBase(bytes), &partition);
        prop_assert!(found.is_none() || block_size <= 6);
    }
}
