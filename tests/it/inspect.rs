use cardmint::layout::Generation;

use crate::harness::{Scratch, base, partitions};

#[test]
fn knows_every_generation() {
    let scratch = Scratch::new();
    let table = [
        ("buster", "buster", "firstrun", "/boot"),
        ("bullseye-a", "bullseye", "firstrun", "/boot"),
        ("bullseye-b", "bullseye", "firstrun", "/boot"),
        ("bookworm-arm64", "bookworm", "firstrun", "/boot/firmware"),
        ("bookworm-armhf", "bookworm", "firstrun", "/boot/firmware"),
        ("trixie-arm64", "trixie", "cloud-init", "/boot/firmware"),
        ("trixie-armhf", "trixie", "cloud-init", "/boot/firmware"),
        ("trixie-0", "trixie", "firstrun", "/boot/firmware"),
        ("booted", "bookworm", "firstrun", "/boot/firmware"),
    ];
    for generation in Generation::ALL {
        let name = generation.to_string().to_lowercase();
        assert!(table.iter().any(|row| row.1 == name), "{generation}");
    }
    for (kind, generation, mechanism, mount) in table {
        let image = base(kind);
        let found = scratch
            .cardmint(&["inspect", "--json", image.to_str().expect("UTF-8")])
            .expect(0)
            .json();
        assert_eq!(found["os"]["generation"], generation, "{kind}");
        assert_eq!(found["os"]["mechanism"], mechanism, "{kind}");
        assert_eq!(found["os"]["boot_mount"], mount, "{kind}");
        assert_eq!(found["os"]["booted"], kind == "booted", "{kind}");
        let boards = found["boards"].as_array().expect("boards");
        assert_eq!(
            boards.contains(&"pi-1b".into()),
            found["os"]["arch"] == "armhf",
            "{kind}"
        );
    }
}

#[test]
fn agrees_with_sfdisk_on_both_kinds_of_table() {
    let scratch = Scratch::new();
    for (kind, scheme) in [("trixie-arm64", "mbr"), ("gpt", "gpt")] {
        let image = base(kind);
        let found = scratch
            .cardmint(&["inspect", "--json", image.to_str().expect("UTF-8")])
            .expect(0)
            .json();
        assert_eq!(found["disk"]["scheme"], scheme);
        let list = found["disk"]["partitions"].as_array().expect("partitions");
        let list: Vec<(u64, u64)> = list
            .iter()
            .map(|p| {
                (
                    p["offset"].as_u64().expect("n"),
                    p["len"].as_u64().expect("n"),
                )
            })
            .collect();
        assert_eq!(list, partitions(&image));
    }
}

#[test]
fn tells_whose_card_it_is() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    scratch.cardmint(&["build"]).expect(0);
    let run = scratch
        .cardmint(&["inspect", "images/raspberrypi1.img"])
        .expect(0);
    assert!(
        run.stdout.contains("raspberrypi1 (number 1 of c"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("no report yet"), "{}", run.stdout);
    let stock = base("trixie-arm64");
    let run = scratch
        .cardmint(&["inspect", stock.to_str().expect("UTF-8")])
        .expect(0);
    assert!(!run.stdout.contains("node "), "{}", run.stdout);
}

#[test]
fn says_what_is_no_image() {
    let scratch = Scratch::new();
    let text = scratch.write("c/notes.txt", "not an image\n".repeat(200));
    let path = text.to_str().expect("UTF-8");
    scratch
        .cardmint(&["inspect", path])
        .expect(1)
        .says(&["notes.txt", "no disk image"]);
    scratch
        .cardmint(&["inspect", "nowhere"])
        .expect(2)
        .says(&["there is no nowhere"]);
}
