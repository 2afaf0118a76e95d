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

/// A folder of that name is not what is meant.
#[test]
fn a_folder_is_no_image_whatever_it_is_called() {
    let scratch = Scratch::new();
    for name in ["practice", "raspios-lite-arm64"] {
        std::fs::create_dir(scratch.path("c").join(name)).expect("a directory");
    }
    scratch.cardmint(&["demo", "--quiet"]).expect(0);
    let args = ["init", "--yes", "--image", "raspios-lite-arm64", "new"];
    scratch.cardmint(&args).expect(0);
    let manifest = std::fs::read_to_string(scratch.path("c/new/cluster.toml")).expect("a file");
    let line = "image    = \"raspios-lite-arm64\"";
    assert!(manifest.contains(line), "{manifest}");
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
