use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Scratch, base};

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_base_that_fails_leaves_a_card_that_needed_nothing_as_it_was() {
    let raw = base("trixie-arm64");
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let image = scratch.path("base.img.xz");
    let xz = Command::new("xz")
        .args(["-T1", "--block-size=4MiB", "-0", "-c"])
        .arg(&raw)
        .output()
        .expect("xz");
    fs::write(&image, &xz.stdout).expect("a base");
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replace(utf8(&raw), utf8(&image))).expect("a manifest");
    let card = scratch.path("card");
    let file = fs::File::create(&card).expect("a card");
    file.set_len(160 << 20).expect("room");
    let flash = ["flash", "--yes", "0", "--to", utf8(&card)];
    scratch.cardmint(&flash).expect(0);
    let record = || fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    let before = (record(), fs::read(&card).expect("a card"));
    // Far behind what a plan looks at, and behind all that a card holds.
    let mut damaged = xz.stdout;
    let late = damaged.len() - 3000;
    damaged[late] ^= 0x40;
    fs::write(&image, damaged).expect("a base");
    scratch.cardmint(&flash).expect(1).says(&[
        "nothing was written, and the card is as it was",
        "is damaged",
    ]);
    assert!((record(), fs::read(&card).expect("a card")) == before);
    let page = fs::read_to_string(scratch.path("c/handover/cluster.html")).expect("a page");
    assert!(!page.contains("not finished"));
}
