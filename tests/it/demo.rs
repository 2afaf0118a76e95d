use crate::harness::{Scratch, boot_text};

#[test]
fn makes_a_cluster_from_nothing_and_asks_nothing() {
    let scratch = Scratch::new();
    let run = scratch.cardmint(&["demo"]).expect(0);
    for number in 0..4 {
        let image = scratch.path(&format!("c/cardmint-demo/images/raspberrypi{number}.img"));
        let marker = boot_text(&image, "cardmint.toml");
        assert!(
            marker.contains(&format!("hostname = \"raspberrypi{number}\"")),
            "{marker}"
        );
        assert!(
            run.stdout
                .contains(&format!("planned for raspberrypi{number}"))
        );
    }
    assert!(run.stdout.contains("downloads Raspberry Pi OS Lite"));
}

#[test]
fn touches_nothing_that_is_there() {
    let scratch = Scratch::new();
    scratch.cardmint(&["demo", "--quiet"]).expect(0);
    let before = scratch.snapshot("c");
    scratch
        .cardmint(&["demo"])
        .expect(3)
        .says(&["cardmint-demo is there already"]);
    assert!(before == scratch.snapshot("c"));
}
