use std::fs;

use super::{Patched, Shifted, gaps, only_frees, partition, raw, read, spoil};
use crate::base::ReadAt;
use crate::base::testing::{FatShape, fat_image, has_tools, mcopy_out, run, sample};
use crate::layout::fat::Fat;
use crate::layout::used::UsedMap;

#[test]
fn fats_work_when_only_used_ranges_are_written() {
    if !has_tools(&["mkfs.vfat", "mcopy", "mdel", "fsck.vfat"]) {
        return;
    }
    for shape in FatShape::ALL {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<(String, Vec<u8>)> = (0..8usize)
            .map(|n| (format!("dir/a long name {n}"), sample(n * 24_000, n as u64)))
            .collect();
        let named: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
        let path = fat_image(dir.path(), shape, &named);
        for gone in ["::dir/a long name 5", "::dir/a long name 7"] {
            run(dir.path(), "mdel", &["-i", path.to_str().unwrap(), gone]);
        }
        let source = raw(&path);
        let whole = partition(0, source.len(), "0c");
        let fat = Fat::open(&source, &whole).unwrap();
        let free = fat.free_extents().unwrap().unwrap();
        assert_eq!(
            free.map(|run| run.end - run.start).sum::<u64>(),
            fat.free_len()
        );
        let by = 1536;
        let gaps = gaps(&read(&Shifted(raw(&path), by), by, "0c"));
        assert!(!gaps.is_empty(), "{shape:?}");
        spoil(&path, &gaps, by);
        run(dir.path(), "fsck.vfat", &["-n", path.to_str().unwrap()]);
        for (n, (name, bytes)) in files.iter().enumerate() {
            assert!(
                n == 5 || n == 7 || mcopy_out(&path, name) == *bytes,
                "{shape:?}"
            );
        }
        damage_fat(&fs::read(&path).unwrap(), &fat);
    }
}

fn damage_fat(image: &[u8], fat: &Fat<'_>) {
    let before: Vec<_> = fat.free_extents().unwrap().unwrap().collect();
    let len = image.len() as u64;
    let table = usize::try_from(fat.boot_sector().table_offset()).unwrap();
    for at in (0..96).chain(table..table + 300) {
        for byte in [0, 1, 0x7f, 0xff, image[at] ^ 1] {
            let bytes = vec![byte];
            let source = Patched {
                base: image,
                at,
                bytes,
            };
            if at < table || byte == image[at] {
                drop(read(&source, 0, "0c"));
                continue;
            }
            let fat = Fat::open(&source, &partition(0, len, "0c"));
            // The upper four bits of a FAT32 entry mean nothing, yet the copies differ.
            let free: Vec<_> = match fat.as_ref().map(Fat::free_extents) {
                Ok(Ok(Some(free))) => free.collect(),
                _ => Vec::new(),
            };
            assert!(only_frees(&free, &before), "{at}");
        }
    }
    // Mounted by Linux when it was copied.
    let at = if fat.boot_sector().kind_name() == "FAT32" {
        65
    } else {
        37
    };
    let bytes = vec![image[at] | 1];
    let source = Patched {
        base: image,
        at,
        bytes,
    };
    assert_eq!(read(&source, 0, "0c"), UsedMap::whole(len));
}
