use super::*;

/// Of which generation the base is that a cluster is built on.
fn generation(publisher: &Publisher) -> String {
    let plan = publisher.run(&["plan", "--json"]).expect(0).json();
    let generation = plan["bases"][0]["os"]["generation"].as_str();
    generation.expect("text").to_owned()
}

#[test]
fn a_publisher_may_go_back_to_what_was_before() {
    let publisher = Publisher::new();
    let url = publisher.server.url("/latest.img");
    publisher.cluster(&url);
    let (trixie, bookworm) = (base("trixie-arm64"), base("bookworm-arm64"));
    // By what lies beside it, and by its ETag alone.
    for side in ["/latest.img.sha256", "/nothing"] {
        for (image, wanted) in [
            (&trixie, "trixie"),
            (&bookworm, "bookworm"),
            (&trixie, "trixie"),
            (&bookworm, "bookworm"),
        ] {
            publisher.serve(side, Answer::bytes(sha256(image)));
            let etag = format!("\"{wanted}\"");
            let content = Answer::content(Content::file(image));
            publisher.serve("/latest.img", content.etag(Some(&etag)));
            publisher.run(&["images", "fetch"]).expect(0);
            assert_eq!(generation(&publisher), wanted);
        }
        publisher.serve(side, Answer::status(404));
    }
    // It is the answer of this address, and not sent again.
    let sent = publisher.server.sent("/latest.img");
    publisher.run(&["images", "fetch"]).expect(0);
    assert_eq!(publisher.server.sent("/latest.img"), sent);
}

#[test]
fn what_only_has_another_etag_is_fetched_once_more() {
    let publisher = Publisher::new();
    let url = publisher.server.url("/latest.img");
    let image = || Answer::content(Content::file(&publisher.image));
    for etag in ["\"1\"", "\"2\""] {
        publisher.serve("/latest.img", image().etag(Some(etag)));
        publisher.run(&["images", "fetch", &url]).expect(0);
    }
    let sent = publisher.server.sent("/latest.img");
    publisher.run(&["images", "fetch", &url]).expect(0);
    assert_eq!(publisher.server.sent("/latest.img"), sent);
}

impl Publisher {
    /// Lists an image of this kind, and looks for the newest.
    fn publish(&self, kind: &str, path: &str, date: &str) {
        let image = base(kind);
        self.serve(path, Answer::content(Content::file(&image)));
        let entry = json!({
            "name": "Lite", "description": "", "icon": "",
            "url": self.server.url(path), "release_date": date,
            "extract_sha256": sha256(&image),
        });
        self.list(&json!([entry]));
        self.run(&["images", "fetch"]).expect(0);
    }
}

#[test]
fn a_list_writes_dates_as_it_likes() {
    let publisher = Publisher::new();
    publisher.cluster(&format!("{}#lite", publisher.server.url("/list.json")));
    publisher.publish("bookworm-arm64", "/a.img", "9 October 2025");
    assert_eq!(generation(&publisher), "bookworm");
    publisher.publish("trixie-arm64", "/b.img", "10 November 2025");
    assert_eq!(generation(&publisher), "trixie");
}

#[test]
fn a_list_may_go_back_to_what_was_before() {
    let publisher = Publisher::new();
    publisher.cluster("raspios-lite-arm64");
    let path = |date| PATH.replace("2026-06-18", date).replace(".xz", "");
    for (kind, date, wanted) in [
        ("bookworm-arm64", "2026-05-04", "bookworm"),
        ("trixie-arm64", "2026-06-18", "trixie"),
        ("bookworm-arm64", "2026-05-04", "bookworm"),
    ] {
        publisher.publish(kind, &path(date), date);
        assert_eq!(generation(&publisher), wanted);
    }
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    let names = here["names"].as_array().expect("names");
    let name = names
        .iter()
        .find(|name| name["image"] == "raspios-lite-arm64");
    let here = name.expect("the name")["here"].as_str().expect("text");
    assert!(here.contains("2026-05-04"), "{here}");
}

#[test]
fn a_clock_that_ran_ahead_pins_no_image() {
    let publisher = Publisher::new();
    publisher.cluster("raspios-lite-arm64");
    let path = |date| PATH.replace("2026-06-18", date).replace(".xz", "");
    publisher.publish("bookworm-arm64", &path("2026-05-04"), "2026-05-04");
    let note = publisher.stored().with_file_name("note.json");
    let text = fs::read(&note).expect("a note");
    let mut json: Value = serde_json::from_slice(&text).expect("JSON");
    json["answered"]["raspios-lite-arm64"] = json!("2099-01-01T00:00:00Z");
    fs::write(&note, json.to_string()).expect("a note");
    publisher.publish("trixie-arm64", &path("2026-06-18"), "2026-06-18");
    assert_eq!(generation(&publisher), "trixie");
}

#[test]
fn a_list_of_ones_own_is_not_passed_over() {
    let publisher = Publisher::new();
    let url = publisher.server.url("/list.json");
    publisher.serve("/list.json", Answer::status(404));
    for (list, said) in [
        (url.clone(), "the server answers 404"),
        (
            url.replace("https", "http"),
            "must come from an https address",
        ),
    ] {
        let mut command = publisher.command(&["images", "fetch", "raspios-lite-arm64"]);
        command.env("CARDMINT_OS_LIST", list);
        let run = Run::of(&command.output().expect("cardmint"));
        run.expect(1).says(&["CARDMINT_OS_LIST", said]);
    }
}
