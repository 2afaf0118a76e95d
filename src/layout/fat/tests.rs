use std::fs::File;
use std::path::Path;

use proptest::prelude::*;

use super::{Entry, Fat, FatError, Kind};
use crate::base::read_at::RawFile;
use crate::base::testing::{FatShape, fat_image, has_tools, mcopy_in, run, sample};
use crate::base::{MemBase, ReadAt};
use crate::layout::disk::Partition;

const TOOLS: [&str; 4] = ["mkfs.vfat", "mcopy", "mmd", "mdel"];

fn partition(len: u64) -> Partition {
    Partition {
        number: 1,
        offset: 0,
        len,
        type_id: "0c".to_owned(),
    }
}

fn open(source: &dyn ReadAt) -> Result<Fat<'_>, FatError> {
    Fat::open(source, &partition(source.len()))
}

fn raw(path: &Path) -> RawFile {
    RawFile::new(File::open(path).unwrap()).unwrap()
}

fn contents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "cmdline.txt",
            b"console=tty1 root=PARTUUID=1-02 rootwait\n".to_vec(),
        ),
        ("EMPTY", Vec::new()),
        ("config.txt", b"arm_64bit=1\n".to_vec()),
        ("bcm2710-rpi-zero-2-w.dtb", sample(33_333, 1)),
        (
            "overlays/a name as long as they come, with spaces & ümläuts.dtbo",
            sample(5_000, 2),
        ),
        ("overlays/README", b"read me".to_vec()),
        ("overlays/deeper", Vec::new()),
        ("kernel8.img", sample(200_000, 3)),
    ]
}

fn find(fat: &Fat<'_>, path: &str) -> Entry {
    match path.split_once('/') {
        None => fat.find(path).unwrap(),
        Some((dir, name)) => {
            let entries = fat.list(&fat.find(dir).unwrap()).unwrap();
            entries
                .into_iter()
                .find(|entry| entry.is_named(name))
                .unwrap()
        }
    }
}

#[test]
fn files_read_as_mtools_wrote_them_on_every_kind_of_fat() {
    if !has_tools(&TOOLS) {
        return;
    }
    for shape in FatShape::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = fat_image(dir.path(), shape, &contents());
        let source = raw(&path);
        let fat = open(&source).unwrap();
        let kind = fat.boot_sector().kind_name();
        assert_eq!(kind, format!("FAT{}", shape.bits));
        assert_eq!(fat.boot_sector().cluster_len(), shape.cluster_len as u64);
        assert_eq!(fat.label().unwrap(), "BOOTFS");
        let mut used = 0;
        for (name, bytes) in contents() {
            let entry = find(&fat, name);
            assert!(fat.read(&entry).unwrap() == bytes, "{shape:?} {name}");
            used += bytes.len().div_ceil(shape.cluster_len) as u64;
        }
        let names: Vec<String> = fat.root().unwrap().into_iter().map(|e| e.name).collect();
        assert!(
            names.contains(&"bcm2710-rpi-zero-2-w.dtb".to_owned()),
            "{names:?}"
        );
        assert!(
            !names.contains(&"BOOTFS".to_owned()),
            "the label is no file"
        );
        let root_dir = u64::from(shape.bits == 32);
        // `overlays` has a cluster of its own, or two where they are small.
        let clusters = (fat.data_len() - fat.free_len()) / shape.cluster_len as u64;
        assert!((used + root_dir + 1..=used + 2 * root_dir + 3).contains(&clusters));
    }
}

#[test]
fn fragments_are_followed_in_order() {
    if !has_tools(&TOOLS) {
        return;
    }
    for shape in FatShape::ALL {
        let dir = tempfile::tempdir().unwrap();
        let small: Vec<String> = (0..8).map(|n| format!("small{n}")).collect();
        let files: Vec<(&str, Vec<u8>)> = small
            .iter()
            .map(|name| (name.as_str(), sample(shape.cluster_len, 4)))
            .collect();
        let path = fat_image(dir.path(), shape, &files);
        let image = path.to_str().unwrap();
        for name in small.iter().step_by(2) {
            run(dir.path(), "mdel", &["-i", image, &format!("::{name}")]);
        }
        // Fills the table up, so that the allocator returns to the holes.
        let free = {
            let source = raw(&path);
            open(&source).unwrap().free_len()
        };
        if shape.bits != 32 {
            let data = sample(usize::try_from(free).unwrap() - shape.cluster_len, 5);
            mcopy_in(&path, "large", &data);
            let source = raw(&path);
            let fat = open(&source).unwrap();
            let large = fat.find("large").unwrap();
            assert!(fat.extents(&large).unwrap().len() > 2, "{shape:?}");
            assert!(fat.read_any(&large).unwrap() == data, "{shape:?}");
            assert!(
                matches!(fat.read(&large), Err(FatError::TooLong { .. })) || data.len() <= 1 << 20
            );
        }
    }
}

/// A FAT12 image in memory, with `long` of several clusters in its root.
fn small_image() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let files = [("long", sample(2_000, 6)), ("dir/file", b"x".to_vec())];
    std::fs::read(fat_image(dir.path(), FatShape::ALL[0], &files)).unwrap()
}

/// The image with the table entry of `cluster` changed.
fn with_entry(image: &[u8], cluster: u32, value: u32) -> MemBase {
    let source = MemBase(image.to_vec());
    let fat = open(&source).unwrap();
    assert_eq!(fat.boot_sector().kind, Kind::Fat12);
    let at = usize::try_from(fat.boot_sector().table_offset()).unwrap();
    let at = at + cluster as usize * 3 / 2;
    let mut image = image.to_vec();
    let pair = u32::from(image[at]) | u32::from(image[at + 1]) << 8;
    let pair = if cluster.is_multiple_of(2) {
        pair & 0xf000 | value
    } else {
        pair & 0x000f | value << 4
    };
    image[at..at + 2].copy_from_slice(&pair.to_le_bytes()[..2]);
    MemBase(image)
}

#[test]
fn chains_that_return_or_lead_nowhere_are_errors() {
    if !has_tools(&TOOLS) {
        return;
    }
    let image = small_image();
    let source = MemBase(image.clone());
    let fat = open(&source).unwrap();
    let long = fat.find("long").unwrap();
    let first = long.first_cluster;
    let clusters = fat.boot_sector().clusters;
    for value in [first, 0, 1, clusters + 2, 0xff0, 0xff7, 0xfff] {
        let source = with_entry(&image, first + 1, value);
        let fat = open(&source).unwrap();
        let long = fat.find("long").unwrap();
        let result = fat.read(&long);
        assert!(
            matches!(result, Err(FatError::Damaged(_))),
            "next is {value}"
        );
    }
    let dir = fat.find("dir").unwrap();
    for value in [dir.first_cluster, clusters + 2, 1] {
        let source = with_entry(&image, dir.first_cluster, value);
        let fat = open(&source).unwrap();
        let dir = fat.find("dir").unwrap();
        assert!(
            matches!(fat.list(&dir), Err(FatError::Damaged(_))),
            "next is {value}"
        );
    }
}

#[test]
fn a_file_that_ends_in_a_free_cluster_is_an_error() {
    if !has_tools(&TOOLS) {
        return;
    }
    let image = small_image();
    let source = MemBase(image.clone());
    let fat = open(&source).unwrap();
    // Four clusters.
    let last = fat.find("long").unwrap().first_cluster + 3;
    for (value, is_sound) in [(0xfff, true), (0, false)] {
        let source = with_entry(&image, last, value);
        let fat = open(&source).unwrap();
        let read = fat.read(&fat.find("long").unwrap());
        assert_eq!(read.is_ok(), is_sound, "the last entry is {value}");
    }
}

#[test]
fn a_length_beyond_the_chain_is_an_error() {
    if !has_tools(&TOOLS) {
        return;
    }
    let source = MemBase(small_image());
    let fat = open(&source).unwrap();
    let mut long = fat.find("long").unwrap();
    assert_eq!(fat.read(&long).unwrap(), sample(2_000, 6));
    long.len = 2_049;
    assert!(matches!(fat.read(&long), Err(FatError::Damaged(_))));
    long.len = u32::MAX;
    assert!(matches!(fat.read(&long), Err(FatError::TooLong { .. })));
    assert!(matches!(fat.read_any(&long), Err(FatError::Damaged(_))));
    long.first_cluster = 0;
    assert!(fat.read_any(&long).is_err());
    assert!(matches!(fat.find("nothing"), Err(FatError::Missing(_))));
}

#[test]
fn boot_sectors_that_lie_are_refused() {
    if !has_tools(&TOOLS) {
        return;
    }
    let image = small_image();
    let cases: [(&str, usize, &[u8]); 10] = [
        ("signature", 510, &[0, 0]),
        ("sector of 256 bytes", 11, &[0, 1]),
        ("cluster of 0 sectors", 13, &[0]),
        ("cluster of 3 sectors", 13, &[3]),
        ("no reserved sectors", 14, &[0, 0]),
        ("no tables", 16, &[0]),
        ("sectors beyond the partition", 19, &[0xff, 0xff]),
        ("table longer than all", 22, &[0xff, 0xff]),
        ("table too short", 22, &[1, 0]),
        ("root directory longer than all", 17, &[0xff, 0xff]),
    ];
    for (what, at, bytes) in cases {
        let mut bad = image.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(open(&MemBase(bad)).is_err(), "{what}");
    }
    assert!(open(&MemBase(vec![0; 100])).is_err());
}

/// Walks whatever there is, as far as the code allows.
fn explore(bytes: Vec<u8>) {
    let source = MemBase(bytes);
    let Ok(fat) = open(&source) else { return };
    assert!(fat.free_len() <= fat.data_len());
    assert!(fat.data_len() <= source.len());
    drop((fat.label(), fat.metadata_extents()));
    for entry in fat.root().unwrap_or_default().iter().take(40) {
        if let Ok(extents) = fat.extents(entry) {
            assert!(extents.iter().all(|extent| extent.end <= source.len()));
            let bytes = fat.read_any(entry).unwrap();
            assert!(bytes.len() as u64 <= source.len());
        }
        drop((fat.read(entry), fat.list(entry)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_images_never_panic(
        hits in proptest::collection::vec((0usize..60_000, any::<u8>()), 1..60),
        header in proptest::collection::vec((11usize..50, any::<u8>()), 0..3),
    ) {
        if !has_tools(&TOOLS) {
            return Ok(());
        }
        static IMAGE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(small_image);
        let mut image = IMAGE.clone();
        for (at, byte) in hits.into_iter().chain(header) {
            image[at] = byte;
        }
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        explore(image);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 512..20_000),
        sectors in 1u16..40,
        fat32: bool,
    ) {
        // Enough of a boot sector to get past its checks now and then.
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[11..13].copy_from_slice(&512u16.to_le_bytes());
        bytes[13] = 1 << (bytes[13] % 4);
        bytes[14..16].copy_from_slice(&[1, 0]);
        bytes[16] = 1 + bytes[16] % 2;
        bytes[17..19].copy_from_slice(&[u8::from(!fat32) * 16, 0]);
        bytes[19..21].copy_from_slice(&sectors.to_le_bytes());
        bytes[22..24].copy_from_slice(&[u8::from(!fat32), 0]);
        bytes[36..40].copy_from_slice(&[1, 0, 0, 0]);
        let root = [bytes[44] % 16, 0, 0, 0];
        bytes[44..48].copy_from_slice(&root);
        explore(bytes);
    }
}

#[test]
fn a_table_of_absurd_length_is_not_loaded() {
    // 64 Mi clusters in a partition that is said to be 40 GB long.
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector[11..17].copy_from_slice(&[0, 2, 1, 1, 0, 2]);
    sector[32..36].copy_from_slice(&(70u32 << 20).to_le_bytes());
    sector[36..40].copy_from_slice(&(1u32 << 20).to_le_bytes());
    let source = MemBase(sector.to_vec());
    let error = Fat::open(&source, &partition(40 << 30)).unwrap_err();
    assert!(matches!(error, FatError::Damaged(_)), "{error}");
}
