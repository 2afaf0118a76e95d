//! The boot partition: what is read off it, and the edit through the overlay.

use std::io::{Cursor, Read as _, Write as _};
use std::ops::Range;
use std::sync::LazyLock;

use super::image::{Image, Input};
use super::layout::{check_map, covers};
use crate::base::ReadAt;
use crate::layout::disk::{Disk, Partition, Scheme};
use crate::layout::fat::{Fat, Placed};
use crate::layout::{Board, BootPartition, UsedMap, detect};
use crate::overlay::view::CowView;
use crate::overlay::{Minted, edit_boot};
use crate::provision::{BootFile, cmdline, config};

/// Where the partition begins; at no multiple of a page.
const START: u64 = (1 << 20) + 512;
/// What lies behind it.
const BEHIND: u64 = 64 << 10;

/// A sound file system, without the zeros at its end.
struct Sample {
    len: u64,
    bytes: Vec<u8>,
    /// Boot sector, table, root directory, data.
    regions: [u64; 5],
}

fn sample(kind: fatfs::FatType, len: usize) -> Sample {
    let mut disk = Cursor::new(vec![0; len]);
    let options = fatfs::FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(512)
        .volume_label(*b"BOOTFS     ")
        .volume_id(7);
    fatfs::format_volume(&mut disk, options).unwrap();
    let fs = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    let root = fs.root_dir();
    root.create_dir("overlays").unwrap();
    for (name, len) in [
        ("cmdline.txt", 90),
        ("config.txt", 2000),
        ("issue.txt", 120),
        ("user-data", 600),
        ("overlays/a long name.dtbo", 700),
        ("kernel8.img", 3000),
    ] {
        let text = format!("{name} Raspberry Pi reference 2026-06-18 pi-gen, stage2\n");
        let text = text.bytes().cycle().take(len).collect::<Vec<_>>();
        root.create_file(name).unwrap().write_all(&text).unwrap();
    }
    drop(root);
    fs.unmount().unwrap();
    let mut bytes = disk.into_inner();
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let table = u16_at(14) * 512;
    let table_len = match u16_at(22) {
        0 => u16_at(36) * 512,
        sectors => sectors * 512,
    };
    let root_at = table + u64::from(bytes[16]) * table_len;
    let data = root_at + u16_at(17) * 32;
    let regions = [0, table, table + table_len, root_at, data];
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes.truncate(end + 1);
    let len = len as u64;
    Sample {
        len,
        bytes,
        regions,
    }
}

static FAT12: LazyLock<Sample> = LazyLock::new(|| sample(fatfs::FatType::Fat12, 256 << 10));
static FAT16: LazyLock<Sample> = LazyLock::new(|| sample(fatfs::FatType::Fat16, 2300 << 10));
static FAT32: LazyLock<Sample> = LazyLock::new(|| sample(fatfs::FatType::Fat32, 33 << 20));

/// Bytes as a FAT, or as pieces laid over a sound FAT12 or FAT16, that is edited.
///
/// # Panics
/// As [`fat32`].
pub(super) fn fat(bytes: &[u8]) {
    let mut input = Input(bytes);
    match input.u8() % 3 {
        0 => {
            let len = u64::from(input.u16()) << 9;
            let image = Image::new(START + len + BEHIND, input.0, START);
            edit(&image, len, 3000);
        }
        1 => patched(&FAT12, input),
        _ => patched(&FAT16, input),
    }
}

/// Bytes as pieces laid over a sound FAT32 that is edited.
///
/// # Panics
/// Where an edit that succeeds changes anything outside the partition, or does not
/// read back, or is another one the next time; and where a file lies in blocks that
/// the map of the card calls free.
pub(super) fn fat32(bytes: &[u8]) {
    patched(&FAT32, Input(bytes));
}

fn patched(sample: &Sample, mut input: Input<'_>) {
    let file_len = input.u16().into();
    let mut image = Image::new(START + sample.len + BEHIND, &sample.bytes, START);
    image.patch(input, &sample.regions);
    edit(&image, sample.len, file_len);
}

/// Nothing in an error would steer a terminal.
fn plain(error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
        next = error.source();
    }
}

fn files(len: usize) -> Vec<BootFile> {
    let file = |(name, len): (&str, usize)| BootFile {
        name: name.to_owned(),
        bytes: (0..len).map(|at| (at % 251) as u8).collect(),
        why: "a test",
        secret: false,
    };
    let files = [
        ("cardmint.toml", 300),
        ("cmdline.txt", 200),
        ("network-config", len),
        ("ssh", 0),
        ("user-data", 20_000),
    ];
    files.into_iter().map(file).collect()
}

fn edit(image: &Image<'_>, len: u64, file_len: usize) {
    let partition = Partition {
        number: 1,
        offset: START,
        len,
        type_id: "0c".to_owned(),
    };
    let disk = Disk {
        len: image.len,
        scheme: Scheme::Mbr,
        id: String::new(),
        partitions: vec![partition.clone()],
    };
    check_map(&UsedMap::read(image, &disk).unwrap(), image.len);
    explore(image, &partition);
    let boot = match BootPartition::find(image, &disk) {
        Ok(boot) => boot,
        Err(error) => return plain(&error),
    };
    match detect::detect(&boot, None) {
        Ok(os) => assert!(!os.describe().contains(char::is_control)),
        Err(error) => plain(&error),
    }
    let customised = detect::customised(&boot).unwrap_or_default();
    assert!(!customised.contains(char::is_control));
    let _ = Board::all()
        .filter(|board| board.boots_from(|name| boot.has(name)))
        .count();
    let files = files(file_len);
    let overlay = match edit_boot(image, &boot, &files) {
        Ok(overlay) => overlay,
        Err(error) => return plain(&error),
    };
    let again = edit_boot(image, &boot, &files).unwrap();
    assert_eq!(overlay.digest(), again.digest());
    for extent in overlay.extents() {
        assert!(START <= extent.offset && extent.end() <= START + len);
    }
    let minted = Minted {
        base: image,
        overlay: &overlay,
    };
    let used = UsedMap::read(&minted, &disk).unwrap();
    for range in explore(&minted, &partition) {
        assert!(covers(&used, &range), "{range:?}");
    }
    let others = contents(image, &partition, &files);
    assert!(others == contents(&minted, &partition, &files));
    // Our own reader has already looked; the writer's must agree.
    let view = CowView::new(&minted, &partition);
    let fs = fatfs::FileSystem::new(view, fatfs::FsOptions::new()).unwrap();
    for file in &files {
        let mut bytes = Vec::new();
        let mut opened = fs.root_dir().open_file(&file.name).unwrap();
        opened.read_to_end(&mut bytes).unwrap();
        assert!(bytes == file.bytes, "{}", file.name);
    }
}

/// What is in each file but ours.
fn contents(
    source: &dyn ReadAt,
    partition: &Partition,
    ours: &[BootFile],
) -> Vec<(String, Vec<u8>)> {
    let fat = Fat::open(source, partition).unwrap();
    let tree = fat.tree(|entry| ours.iter().any(|our| entry.is_named(&our.name)));
    let files = tree
        .unwrap()
        .into_iter()
        .filter(|placed| !placed.entry.is_dir);
    let content = |placed: Placed| (placed.path, fat.read_any(&placed.entry).unwrap());
    files.map(content).collect()
}

/// Walks whatever there is, as far as the code allows; where the files of the root
/// directory lie.
fn explore(source: &dyn ReadAt, partition: &Partition) -> Vec<Range<u64>> {
    let Ok(fat) = Fat::open(source, partition) else {
        return Vec::new();
    };
    let end = partition.offset + partition.len;
    assert!(fat.free_len() <= fat.data_len() && fat.data_len() <= partition.len);
    drop(fat.label());
    let Ok(mut ranges) = fat.metadata_extents() else {
        return Vec::new();
    };
    for entry in fat.root().unwrap_or_default().iter().take(40) {
        drop(fat.list(entry));
        let Ok(extents) = fat.extents(entry) else {
            continue;
        };
        let sum: u64 = extents.iter().map(|extent| extent.end - extent.start).sum();
        assert_eq!(sum, u64::from(entry.len));
        if let Ok(bytes) = fat.read(entry) {
            assert_eq!(bytes.len() as u64, sum);
        }
        ranges.extend(extents);
    }
    let inside = |range: &Range<u64>| partition.offset <= range.start && range.end <= end;
    assert!(ranges.iter().all(inside));
    ranges
}

/// Text as `cmdline.txt` or `config.txt`, and what to add to it, apart by NUL.
///
/// # Panics
/// Where an edit loses what was there or what is ours, makes two lines of one or, for
/// `cmdline.txt`, does anything when it is done once more.
pub(super) fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0').map(str::to_owned);
    let base = parts.next().unwrap_or_default();
    let ours: Vec<String> = parts.collect();
    for run in [None, Some("/boot/firmware/firstrun.sh")] {
        edit_cmdline(&base, &ours, run);
    }
    let Ok(Some(edited)) = config::edit(&base, &ours) else {
        return;
    };
    let added = edited
        .strip_prefix(base.as_str())
        .expect("the image's own lines stay");
    let mut lines = added
        .lines()
        .filter(|line| ours.iter().any(|our| our == line));
    // A filter of ours may equal the one that closes ours.
    assert!(
        ours.iter()
            .all(|our| our == "[all]" || lines.any(|line| line == our))
    );
    assert_eq!(added.matches('\n').count(), added.lines().count());
}

fn edit_cmdline(base: &str, ours: &[String], run: Option<&str>) {
    let Ok(edited) = cmdline::edit(base, ours, run) else {
        return;
    };
    let line = edited.text.strip_suffix('\n').expect("a line has an end");
    assert!(!line.contains('\n'));
    let key = |token: &str| token.split('=').next().unwrap_or_default().to_owned();
    let tokens: Vec<&str> = line.split_ascii_whitespace().collect();
    // Of two with one key that may stand once only, the last of ours wins.
    let single = ["cfg80211.ieee80211_regdom", "ds"];
    let is_single = |token: &str| single.contains(&&*key(token));
    let is_run =
        |token: &str| token.starts_with("systemd.run") || token.starts_with("systemd.unit=");
    let has = |token: &str| {
        run.is_some() && is_run(token)
            || tokens.contains(&token)
            || is_single(token) && tokens.iter().any(|t| key(t) == key(token))
    };
    assert!(ours.iter().all(|token| has(token)), "{line}");
    let mut at = tokens.iter();
    for old in base
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
    {
        if is_single(old) || run.is_some() && is_run(old) {
            continue;
        }
        assert!(at.any(|token| *token == old), "{old} is gone from {line}");
    }
    if !ours.iter().any(|token| is_single(token)) {
        let again = cmdline::edit(&edited.text, ours, run).unwrap();
        assert_eq!(again.text, edited.text);
    }
}
