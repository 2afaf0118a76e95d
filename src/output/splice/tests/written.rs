use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::base::read_at::RawFile;
use crate::base::testing::{has_tools, run, try_run};

fn open_new(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    options.open(path).unwrap()
}

fn open_raw(path: &Path) -> RawFile {
    RawFile::new(File::open(path).unwrap()).unwrap()
}

/// Writes an image into `dir`, checks it, and returns its path.
fn write_into(
    dir: &Path,
    name: &str,
    spliced: &Spliced,
    base: &RawFile,
    donor: Option<&Donor<'_>>,
) -> PathBuf {
    let path = dir.join(name);
    let mut done = 0;
    write(
        spliced,
        Origin::of(base),
        donor,
        &open_new(&path),
        &mut |now| {
            assert!(now >= done);
            done = now;
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(done, spliced.len);
    let mut pieces = Pieces::new(spliced, base);
    let mut streamed = Vec::new();
    while let Some((offset, piece)) = pieces.next().unwrap() {
        assert_eq!(offset, streamed.len() as u64);
        assert!(offset.is_multiple_of(PAGE_LEN));
        streamed.extend_from_slice(piece);
    }
    assert!(streamed == std::fs::read(&path).unwrap());
    let out = open_raw(&path);
    let mut read = Vec::new();
    let different = check(spliced, base, &out, |piece| {
        read.extend_from_slice(piece);
        Ok(())
    });
    assert_eq!(different.unwrap(), None);
    assert!(read == std::fs::read(&path).unwrap());
    path
}

/// A base of some megabytes that hardly shrink, as a file in each format, and
/// what three nodes change in its middle; the third changes more.
fn bench() -> (Vec<MemBase>, [Overlay; 3]) {
    let mut data = image(9_000_000, 21);
    let noise = sample(data.len(), 22);
    for (byte, noise) in data.iter_mut().zip(noise) {
        *byte = byte.wrapping_mul(31) ^ noise;
    }
    let usual: Changes = vec![(2_402, 5), (9_003, 1)];
    let more = [&usual[..], &[(15_003, 3)]].concat();
    let nodes = [(&usual, 3), (&usual, 4), (&more, 5)];
    let nodes = nodes.map(|(changes, seed)| overlay_of(data.len(), changes, seed));
    let mut files = vec![MemBase(zst_of(&data, 1_500_000, true))];
    if has_tools(&["xz"]) {
        files.push(MemBase(xz_of(&data, 1_500_000, "crc64")));
    }
    (files, nodes)
}

fn splice_all(file: &MemBase, nodes: &[Overlay]) -> Vec<Spliced> {
    let interrupt = Interrupt::default();
    let frames = Frames::read_zst(file)
        .or_else(|_| Frames::read_xz(file))
        .unwrap();
    let splicer = Splicer::new(file, &frames, effort(1, 2, &interrupt), None).unwrap();
    nodes
        .iter()
        .map(|node| splicer.splice(node, 2).unwrap())
        .collect()
}

#[test]
fn files_are_what_their_segments_say() {
    let (files, nodes) = bench();
    for file in &files {
        let images = splice_all(file, &nodes);
        let dir = tempfile::tempdir().unwrap();
        let base = open_raw(&put(dir.path(), "base", &file.0));
        let path = write_into(dir.path(), "first", &images[0], &base, None);
        let first = open_raw(&path);
        let donor = Donor::new(&images[0], &first);
        for image in &images {
            for donor in [None, Some(&donor)] {
                let path = write_into(dir.path(), "image", image, &base, donor);
                assert!(std::fs::read(path).unwrap() == joined(image, file));
            }
            // Another file system, most likely, which the kernel may refuse to
            // copy to.
            if let Ok(other) = tempfile::tempdir_in("/dev/shm") {
                let path = write_into(other.path(), "image", image, &base, Some(&donor));
                assert!(std::fs::read(path).unwrap() == joined(image, file));
            }
        }
    }
}

#[test]
fn whatever_differs_is_found_where_it_is() {
    let (files, nodes) = bench();
    let file = &files[0];
    let [spliced, ..] = &splice_all(file, &nodes)[..] else {
        panic!("no image");
    };
    let good = joined(spliced, file);
    let find = |bytes: Vec<u8>| {
        let mut len = 0;
        let found = check(spliced, file, &MemBase(bytes), |piece| {
            len += piece.len();
            Ok(())
        });
        found.unwrap()
    };
    assert_eq!(find(good.clone()), None);
    let mut ends = vec![0, 1, good.len() - 1, good.len() / 2];
    let mut at = 0;
    for segment in &spliced.segments {
        at += segment.len() as usize;
        ends.extend([at - 1, at.min(good.len() - 1)]);
    }
    for at in ends {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(find(bad), Some(at as u64));
    }
    let short = good[..good.len() - 1].to_vec();
    assert_eq!(find(short), Some(good.len() as u64 - 1));
    assert_eq!(find([&good[..], &[0]].concat()), Some(good.len() as u64));
    let stop = check(spliced, file, file, |_| Err(io::Error::other("stop")));
    assert!(stop.is_err());
}

#[test]
fn a_step_or_a_base_that_fails_ends_the_writing() {
    let (files, nodes) = bench();
    let file = &files[0];
    let [spliced, ..] = &splice_all(file, &nodes)[..] else {
        panic!("no image");
    };
    let dir = tempfile::tempdir().unwrap();
    let base = open_new(&dir.path().join("base"));
    base.write_all_at(&file.0, 0).unwrap();
    let raw = open_raw(&dir.path().join("base"));
    let out = open_new(&dir.path().join("image"));
    let mut stop = |_| Err(io::Error::other("stop"));
    assert!(write(spliced, Origin::of(&raw), None, &out, &mut stop).is_err());
    base.set_len(1_000_000).unwrap();
    let error = write(spliced, Origin::of(&raw), None, &out, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Unmounts when the test is over, well or badly.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        try_run(Path::new("/"), "umount", &[self.0.to_str().unwrap()]);
    }
}

/// Pages of a file, and how many of them it shares with others; xfs may have
/// more in store behind its end.
fn pages(dir: &Path, name: &str) -> (u64, u64) {
    let map = run(dir, "filefrag", &["-v", "-b4096", name]);
    let (mut all, mut shared) = (0, 0);
    for line in map
        .lines()
        .filter(|line| line.contains("..") && !line.contains("unwritten"))
    {
        // "0: 0.. 12: 345.. 357: 13: 358: last,shared"
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        let count: u64 = fields[3].parse().unwrap();
        all += count;
        if fields.last().unwrap().contains("shared") {
            shared += count;
        }
    }
    (all, shared)
}

#[test]
fn file_systems_share_what_was_copied_and_what_nodes_have_in_common() {
    if !has_tools(&["mkfs.btrfs", "mkfs.xfs", "filefrag", "mount"]) {
        return;
    }
    let (files, nodes) = bench();
    for (mkfs, kind) in [("mkfs.btrfs", "btrfs"), ("mkfs.xfs", "xfs")] {
        let dir = tempfile::tempdir().unwrap();
        let mnt = dir.path().join("mnt");
        std::fs::create_dir(&mnt).unwrap();
        run(dir.path(), "truncate", &["-s", "400M", "disk"]);
        run(dir.path(), mkfs, &["-q", "disk"]);
        let mount = ["-t", kind, "-o", "loop", "disk", "mnt"];
        if !try_run(dir.path(), "mount", &mount).0 {
            // Takes root, and a kernel that knows the file system.
            return;
        }
        let _mounted = Mounted(mnt.clone());
        for file in &files {
            let images = splice_all(file, &nodes);
            let base = open_raw(&put(&mnt, "base", &file.0));
            base.file().sync_all().unwrap();
            let sync = |path: &Path| {
                let file = open_raw(path);
                file.file().sync_all().unwrap();
                file
            };
            let first = sync(&write_into(&mnt, "first", &images[0], &base, None));
            let (all, shared) = pages(&mnt, "first");
            let copied = images[0]
                .segments
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Copy { len, .. } => Some((len / PAGE_LEN).saturating_sub(1)),
                    Segment::New(_) => None,
                });
            let copied: u64 = copied.sum();
            assert!(
                shared >= copied && shared < all,
                "{kind}: {shared} of {all}"
            );

            let donor = Donor::new(&images[0], &first);
            sync(&write_into(&mnt, "second", &images[1], &base, Some(&donor)));
            let (all, shared) = pages(&mnt, "second");
            // Its own cells, and little beside them: pages at the ends of runs.
            let own = 2 * MIN_CELL / PAGE_LEN + 30;
            assert!(all - shared <= own, "{kind}: {shared} of {all}");
        }
    }
}
