use std::path::{Path, PathBuf};

use crate::harness::{Scratch, extract, tool};

/// The folder with the large base, which `tests/run` makes.
fn large() -> Option<PathBuf> {
    let dir = std::env::var_os("CARDMINT_LARGE_BASE").map(PathBuf::from);
    assert!(
        dir.is_some() || std::env::var_os("CI").is_none(),
        "CARDMINT_LARGE_BASE is not set"
    );
    if dir.is_none() {
        eprintln!("skipped: CARDMINT_LARGE_BASE is not set; `tests/run` sets it");
    }
    dir
}

#[test]
fn a_base_of_real_size_is_minted_from_its_compressed_form() {
    let Some(dir) = large() else { return };
    let (packed, raw) = (dir.join("large.img.xz"), dir.join("large.img"));
    let scratch = Scratch::new();
    scratch.init(&packed, 2);
    let plan = scratch.cardmint(&["plan", "--json"]).expect(0).json();
    // A plan looks at a few blocks; it does not read the whole base.
    assert!(plan["bases"][0]["sha256"].is_null());
    scratch.cardmint(&["build"]).expect(0);
    let plan = scratch.cardmint(&["plan", "--json"]).expect(0).json();
    let wanted = tool("sha256sum", &[raw.to_str().expect("UTF-8")]).expect(0);
    assert_eq!(
        Some(plan["bases"][0]["sha256"].as_str().expect("a digest")),
        wanted.stdout.split_whitespace().next()
    );
    for number in [0, 1] {
        let image = scratch.path(&format!("c/images/raspberrypi{number}.img"));
        judge(&scratch, &raw, &image);
        scratch
            .cardmint(&[
                "verify",
                &number.to_string(),
                image.to_str().expect("UTF-8"),
            ])
            .expect(0);
    }
    // Interrupted before the record was written, the next build finds both.
    let run = scratch.cardmint(&["build", "--json"]).expect(0).json();
    assert!(
        run["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .all(|node| node["result"] == "kept")
    );
}

fn judge(scratch: &Scratch, raw: &Path, image: &Path) {
    let (fat, root) = (scratch.path("fat"), scratch.path("root"));
    extract(image, 0, &fat);
    tool("fsck.vfat", &["-n", fat.to_str().expect("UTF-8")]).expect(0);
    extract(image, 1, &root);
    tool("e2fsck", &["-fn", root.to_str().expect("UTF-8")]).expect(0);
    // Everything outside the boot partition (8 to 520 MiB) is the base's.
    for (skip, count) in [("0", "8388608"), ("545259520", "-1")] {
        let (raw, image) = (raw.to_str().expect("UTF-8"), image.to_str().expect("UTF-8"));
        let mut args = vec!["-i", skip];
        if count != "-1" {
            args.extend(["-n", count]);
        }
        args.extend([raw, image]);
        tool("cmp", &args).expect(0);
    }
}
