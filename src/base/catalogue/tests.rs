use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::layout::Board;

const DIGEST: &str = "acff736ca7945e3b305f07cda4abdb870910e12634991da69783611756e381b3";
const URL: &str = "https://downloads.raspberrypi.com/raspios_lite_arm64/images/raspios_lite_arm64-2026-06-19/2026-06-18-raspios-trixie-arm64-lite.img.xz";

fn list(items: &serde_json::Value) -> OsList {
    OsList::parse(
        json!({ "imager": {}, "os_list": items })
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

/// A list as the official one is built.
fn official() -> OsList {
    list(&json!([
        { "name": "Raspberry Pi OS (64-bit)", "description": "desktop", "icon": "x",
          "url": "https://downloads.raspberrypi.com/raspios_arm64/images/raspios_arm64-2026-06-19/2026-06-18-raspios-trixie-arm64.img.xz",
          "extract_size": 1, "extract_sha256": DIGEST, "image_download_size": 1,
          "release_date": "2026-06-18", "devices": ["pi5-64bit"], "new_field": [1] },
        { "name": "Raspberry Pi OS (other)", "description": "more", "icon": "x", "subitems": [
            { "name": "Raspberry Pi OS Lite (64-bit)", "description": "no desktop", "url": URL,
              "extract_size": "3078619136", "extract_sha256": DIGEST,
              "image_download_size": 550466056, "image_download_sha256": DIGEST,
              "release_date": "2026-06-18", "devices": ["pi5-64bit", "pi4-64bit"],
              "init_format": "cloudinit-rpi" },
            { "name": "Raspberry Pi OS (Legacy, 64-bit) Lite", "description": "",
              "url": URL.replace("raspios_lite", "raspios_oldstable_lite").replace("trixie", "bookworm"),
              "release_date": "2026-06-18" },
            { "name": "An older one", "url": URL.replace("2026", "2025"), "release_date": "2025-06-18" },
        ] },
        { "name": "Other OS", "subitems_url": "https://example.org/more.json" },
    ]))
}

#[test]
fn the_catalogue_is_sound() {
    let catalogue: Catalogue = toml::from_str(TEXT).unwrap();
    let names: Vec<&str> = catalogue.images().map(KnownImage::name).collect();
    assert_eq!(
        names,
        [
            ARM64,
            ARMHF,
            "raspios-legacy-lite-arm64",
            "raspios-legacy-lite-armhf"
        ]
    );
    assert_eq!(catalogue.publisher_key().len(), 40);
    for image in catalogue.images() {
        assert!(image.latest().starts_with("https://"));
        for part in [
            "{published}",
            "{date}",
            "{codename}",
            image.directory.as_str(),
        ] {
            assert!(image.dated.contains(part), "{}: {part}", image.name());
        }
    }
    // What is known of a release agrees with where it would be looked for.
    let image = catalogue.find(ARM64).unwrap();
    let known = image
        .releases()
        .iter()
        .filter_map(|release| Some((release.date, release.url.clone()?)));
    for (date, url) in known {
        assert!(image.candidates(date).contains(&url));
    }
}

#[test]
fn a_release_is_looked_for_on_the_days_after_it() {
    let image = Catalogue::builtin().find(ARM64).unwrap();
    let candidates = image.candidates("2026-06-18".parse().unwrap());
    assert_eq!(candidates.len(), 4);
    assert_eq!(candidates[1], URL);
    let legacy = Catalogue::builtin()
        .find("raspios-legacy-lite-armhf")
        .unwrap();
    let bookworm = legacy.candidates("2025-10-01".parse().unwrap());
    assert!(bookworm[0].ends_with(
        "raspios_oldstable_lite_armhf-2025-10-01/2025-10-01-raspios-bookworm-armhf-lite.img.xz"
    ));
    assert!(image.candidates("2012-12-16".parse().unwrap()).is_empty());
}

#[test]
fn names_are_read_and_written() {
    for text in ["raspios-lite-arm64", "raspios-legacy-lite-armhf@2025-10-01"] {
        assert_eq!(text.parse::<ImageName>().unwrap().to_string(), text);
    }
    let wrong = |text: &str| text.parse::<ImageName>().unwrap_err();
    assert_eq!(
        wrong("raspios-lite-arm46"),
        BadName::Unknown {
            name: "raspios-lite-arm46".into(),
            nearest: vec![ARM64.into()]
        }
    );
    // What fits several names could mean any of them.
    for text in ["raspios-lite", "raspios-lite-arm"] {
        assert_eq!(
            wrong(text).suggestion().unwrap(),
            "did you mean `raspios-lite-arm64` or `raspios-lite-armhf`?"
        );
    }
    assert_eq!(wrong("windows").suggestion(), None);
    for text in [
        "raspios-lite-arm64@",
        "raspios-lite-arm64@2026-02-30",
        "raspios-lite-arm64@latest",
    ] {
        assert!(matches!(wrong(text), BadName::Date(_)), "{text}");
    }
}

#[test]
fn current_images_are_found_by_where_they_are() {
    let list = official();
    let image = Catalogue::builtin().find(ARM64).unwrap();
    let current = image.current(&list).unwrap();
    assert_eq!(current.url, URL);
    assert_eq!(current.download_len, Some(550_466_056));
    assert_eq!(current.extract_len, Some(3_078_619_136));
    assert_eq!(current.download_sha256.unwrap().to_string(), DIGEST);
    let older = image.dated(&list, "2025-06-18".parse().unwrap()).unwrap();
    assert_eq!(older.name, "An older one");
    let legacy = Catalogue::builtin()
        .find("raspios-legacy-lite-arm64")
        .unwrap();
    assert!(legacy.current(&list).unwrap().url.contains("bookworm"));
    assert!(
        Catalogue::builtin()
            .find(ARMHF)
            .unwrap()
            .current(&list)
            .is_none()
    );
}

#[test]
fn entries_have_names_for_a_manifest() {
    let list = official();
    assert_eq!(list.find("raspberry-pi-os-lite-64-bit").unwrap().url, URL);
    assert_eq!(list.find("Raspberry Pi OS Lite (64-bit)").unwrap().url, URL);
    let full = "raspberry-pi-os-other/raspberry-pi-os-lite-64-bit";
    assert_eq!(list.find(full).unwrap().url, URL);
    let error = list
        .find("raspberry-pi-os-light-64-bit")
        .unwrap_err()
        .to_string();
    assert!(error.contains("raspberry-pi-os-lite-64-bit"), "{error}");
    assert!(list.find("").is_err());
}

#[test]
fn names_that_several_have_are_told_apart() {
    let image = |url: &str| json!({ "name": "Lite", "url": url });
    let list = list(&json!([
        { "name": "One", "subitems": [image("https://a/1"), image("https://a/1")] },
        { "name": "Two", "subitems": [image("https://a/2")] },
    ]));
    let error = list.find("lite").unwrap_err().to_string();
    assert!(error.contains("one/lite, two/lite"), "{error}");
    assert_eq!(list.find("two/lite").unwrap().url, "https://a/2");
    assert_eq!(list.names(), ["one/lite", "one/lite", "two/lite"]);
}

#[test]
fn lists_grow_by_those_they_refer_to() {
    let mut all = official();
    let more = all.take_more();
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].path, ["Other OS"]);
    let other = list(
        &json!([{ "name": "Ubuntu Server 24.04.3 LTS (64-bit)", "url": "https://x/u.img.xz" }]),
    );
    all.graft(&more[0].path, other);
    let found = all.find("ubuntu-server-24.04.3-lts-64-bit").unwrap();
    assert_eq!(
        found.full_slug(),
        "other-os/ubuntu-server-24.04.3-lts-64-bit"
    );
}

#[test]
fn what_is_wrong_is_passed_over() {
    let list = list(&json!([
        17, "x", null, {}, { "name": "no address" },
        { "name": "a file", "url": "file:///etc/passwd" },
        { "name": "spaces", "url": "https://x/a b" },
        { "name": "a bad digest", "url": "https://x/a", "image_download_sha256": "12" },
        { "name": "a bad digest", "url": "https://x/a", "extract_sha256": 12 },
        { "name": "good", "url": "https://x/a", "image_download_sha256": "", "extract_size": 0 },
    ]));
    assert_eq!(list.entries().len(), 1);
    assert_eq!(list.entries()[0].download_sha256, None);
    assert_eq!(list.entries()[0].extract_len, None);
    assert_eq!(list.skipped(), 9);
    for bytes in [&b"{}"[..], b"[]", b"", b"<html>", b"{\"os_list\": {}}"] {
        assert!(OsList::parse(bytes).is_err());
    }
}

#[test]
fn texts_cannot_steer_a_terminal() {
    let list = list(&json!([{
        "name": "a\u{1b}[31m red\n\u{202e}one", "url": "https://x/a", "description": "\u{7}x".repeat(9999)
    }]));
    assert_eq!(list.entries()[0].name, "a[31m red one");
    assert_eq!(list.entries()[0].description.len(), 500);
}

#[test]
fn depth_is_bounded() {
    let mut item = json!({ "name": "deep", "url": "https://x/a" });
    for _ in 0..40 {
        item = json!({ "name": "menu", "subitems": [item] });
    }
    let list = list(&json!([item]));
    assert!(list.entries().is_empty());
    let deeper = format!(
        "{{\"os_list\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(OsList::parse(deeper.as_bytes()).is_err());
}

#[test]
fn every_board_boots_one_of_the_two() {
    assert!(Board::all().any(|board| !board.is_armv8()));
    for name in [ARM64, ARMHF] {
        assert!(Catalogue::builtin().find(name).is_some());
    }
}

proptest! {
    #[test]
    fn bytes_of_strangers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        drop(OsList::parse(&bytes));
    }

    #[test]
    fn names_are_found_again(names in prop::collection::vec("[ -~]{1,20}", 1..10)) {
        let items: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| json!({ "name": name, "url": format!("https://x/{n}") }))
            .collect();
        let list = list(&json!(items));
        for entry in list.entries() {
            match list.find(&entry.slug()) {
                Ok(found) => prop_assert_eq!(found.slug(), entry.slug()),
                Err(error) => prop_assert!(matches!(error, FindError::Ambiguous { .. }), "{}", error),
            }
        }
    }
}
