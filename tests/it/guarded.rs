//! What `flash` must not write, whatever it is called and whatever lies above it.

use std::fs;
use std::path::Path;

use crate::flash::{GARBAGE, card, flash, utf8};
use crate::harness::{Loop, Scratch, base};

#[test]
fn what_may_not_be_written_stays_as_it_is() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let image = base("trixie-arm64");
    let before = fs::read(&image).expect("a base");
    flash(&scratch, &["0", "--to", utf8(&image)])
        .expect(3)
        .says(&["it is the base image itself"]);
    assert!(fs::read(&image).expect("a base") == before);

    let small = card(&scratch, "small", 8 << 20);
    flash(&scratch, &["0", "--to", utf8(&small)])
        .expect(3)
        .says(&["too small: 8.3 MB, the image needs"]);
    assert!(
        fs::read(&small)
            .expect("a card")
            .iter()
            .all(|&byte| byte == GARBAGE)
    );
    assert!(!scratch.path("c/cluster.lock").exists());

    let card = card(&scratch, "a", 160 << 20);
    let missing = scratch.path("missing");
    flash(&scratch, &["0", "--to", utf8(&missing)]).expect(2);
    scratch
        .cardmint(&["flash", "0", "--to", utf8(&card)])
        .expect(2)
        .says(&["add --yes"]);
    scratch
        .cardmint(&["flash"])
        .expect(2)
        .says(&["name the cards"]);
    let twice = [format!("0={}", utf8(&card)), format!("1={}", utf8(&card))];
    flash(&scratch, &[&twice[0], &twice[1]])
        .expect(2)
        .says(&["is named twice"]);
    flash(&scratch, &["0", &twice[1]]).expect(2);
    flash(&scratch, &["0", "1", "--to", utf8(&card)]).expect(2);
}

#[test]
fn a_loop_device_hides_nothing() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let image = base("trixie-arm64");
    let before = fs::read(&image).expect("a base");
    let Some(device) = Loop::attach(&image) else {
        return;
    };
    flash(&scratch, &["0", "--to", device.path(), "--allow-fixed"])
        .expect(3)
        .says(&["it is the base image itself"]);
    // A loop device on another, which may be anything.
    let other = card(&scratch, "a", 160 << 20);
    let below = Loop::attach(&other).expect("a second loop device");
    let above = Loop::attach(Path::new(below.path())).expect("a third loop device");
    flash(&scratch, &["0", "--to", above.path(), "--allow-fixed"])
        .expect(3)
        .says(&["is no card"]);
    let listed = scratch.cardmint(&["devices"]).expect(0);
    let node = format!("{} ", above.path());
    assert!(!listed.stdout.contains(&node), "{}", listed.stdout);
    drop(above);
    // Two on one file, of which the other may be mounted.
    let beside = Loop::attach(&other).expect("a third loop device");
    let in_use = format!("behind a loop device ({})", &beside.path()["/dev/".len()..]);
    flash(&scratch, &["0", "--to", below.path(), "--allow-fixed"])
        .expect(3)
        .says(&[&in_use]);
    drop(beside);
    drop(below);
    drop(device);
    assert!(fs::read(&image).expect("a base") == before);
    let bytes = fs::read(&other).expect("a card");
    assert!(bytes.iter().all(|&byte| byte == GARBAGE));
}
