use std::fs;
use std::path::Path;

use super::{PASSPHRASE, PASSWORD, TOKEN, blank_card, cluster, utf8};
use crate::harness::{Scratch, boot_names, partitions, tool};
use crate::secrets::needles::Needles;

/// A file of somebody's on a card's boot partition.
fn lay(scratch: &Scratch, card: &Path, name: &str, text: &str) {
    let (offset, _) = partitions(card)[0];
    let file = scratch.write("laid", text);
    let at = format!("{}@@{offset}", card.display());
    tool(
        "mcopy",
        &["-o", "-i", &at, utf8(&file), &format!("::{name}")],
    )
    .expect(0);
}

/// Others' tools put their settings there, too.
#[test]
fn a_card_that_is_used_again_keeps_no_settings_of_what_it_was() {
    let scratch = cluster("trixie-arm64");
    let card = blank_card(&scratch, "card");
    let flash = |node: &str, more: &[&str]| {
        let args = [&["flash", node, "--to", utf8(&card), "--yes"], more].concat();
        scratch.cardmint(&args).expect(0);
    };
    let mut old = Needles::none();
    old.add("a passphrase", PASSPHRASE.as_bytes());
    old.add("a password", PASSWORD.as_bytes());
    old.add("a token", TOKEN.as_bytes());
    let found = || {
        let bytes = fs::read(&card).expect("a card");
        let mut found: Vec<String> = old.found(&bytes).into_iter().map(str::to_owned).collect();
        found.dedup();
        found
    };
    flash("0", &[]);
    assert!(!found().is_empty(), "the token is on the card");

    // Large, so that what comes after leaves most of it free.
    let pad = "# a long comment of settings that somebody wrote\n".repeat(12_000);
    // And larger than any text that a stock image has.
    let large = pad.repeat(4);
    assert!(large.len() > 2 << 20);
    let spoil = || {
        let text = format!("{large}password = \"{PASSWORD}\"\n");
        lay(&scratch, &card, "custom.toml", &text);
        lay(
            &scratch,
            &card,
            "wpa_supplicant.conf",
            &format!("{pad}psk=\"{PASSPHRASE}\"\n"),
        );
        lay(
            &scratch,
            &card,
            "userconf.txt",
            &format!("{pad}{PASSWORD}\n"),
        );
    };
    // From now on nothing of ours holds a secret that is looked for.
    let manifest = fs::read_to_string(scratch.path("c/cluster.toml")).expect("a manifest");
    let plain: String = manifest
        .lines()
        .filter(|line| !line.contains("token"))
        .map(|line| format!("{line}\n"))
        .collect();
    scratch.write("c/cluster.toml", plain);
    // Of cardmint's own and others' files: compared, written anew, replaced, and with
    // a partition table that an interrupted run took.
    for (how, args) in [
        ("compared", &["--delta"][..]),
        ("as it comes", &[]),
        ("without reading it back", &["--no-verify", "--delta"]),
        ("headless", &[]),
    ] {
        spoil();
        assert!(!found().is_empty());
        if how == "headless" {
            let file = fs::File::options().write(true).open(&card).expect("a card");
            std::os::unix::fs::FileExt::write_all_at(&file, &[0; 1 << 20], 0).expect("written");
        }
        flash("1", args);
        assert_eq!(found(), Vec::<String>::new(), "{how}");
        assert!(boot_names(&card).contains(&"user-data".to_owned()));
    }
}
