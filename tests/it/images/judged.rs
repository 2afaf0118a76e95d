use super::signer::Signer;
use super::*;

const REQUIRED: [&str; 4] = [
    "images",
    "fetch",
    "raspios-lite-arm64",
    "--require-signature",
];

fn side() -> String {
    format!("{PATH}.sig")
}

impl Publisher {
    /// Trusts the key as it is now.
    fn trust(&self, signer: &Signer) {
        let key = signer.key(self);
        let key = key.to_str().expect("UTF-8");
        self.run(&["images", "trust", key, "--yes"]).expect(0);
    }

    /// What is known of the one image in the cache.
    fn note(&self) -> Value {
        let text = fs::read(self.stored().with_file_name("note.json"));
        serde_json::from_slice(&text.expect("a note")).expect("JSON")
    }

    /// Appends to the image, so that its signature does not fit.
    fn tamper(&self) {
        let mut bytes = fs::read(&self.image).expect("an image");
        bytes.extend([0; 4]);
        fs::write(&self.image, bytes).expect("an image");
        self.serve(PATH, Answer::content(Content::file(&self.image)));
        self.release(&self.image, PATH, "2026-06-18");
    }
}

#[test]
fn a_signature_is_judged_again_by_a_key_that_has_changed() {
    let publisher = Publisher::new();
    let signer = Signer::new();
    publisher.serve(&side(), Answer::bytes(signer.sign(&publisher.image)));
    publisher.trust(&signer);
    publisher.run(&REQUIRED).expect(0);
    // Not by one that has not.
    publisher.trust(&signer);
    publisher.run(&REQUIRED).expect(0);
    assert_eq!(publisher.server.asks_for(&side()).len(), 1);
    // A note of before that was noted says nothing of it.
    let note = publisher.stored().with_file_name("note.json");
    let mut json = publisher.note();
    let signature = json["signature"].as_object_mut().expect("a signature");
    assert!(signature.remove("basis").is_some());
    fs::write(note, json.to_string()).expect("a note");
    publisher.run(&REQUIRED).expect(0);
    assert_eq!(publisher.server.asks_for(&side()).len(), 2);
    signer.revoke();
    publisher.trust(&signer);
    publisher
        .run(&REQUIRED)
        .expect(3)
        .says(&["its key was revoked"]);
    assert_eq!(publisher.note()["signature"], Value::Null);
}

#[test]
fn a_signature_that_could_not_be_had_is_looked_for_by_the_next_run() {
    let publisher = Publisher::new();
    let signer = Signer::new();
    let signature = signer.sign(&publisher.image);
    publisher.trust(&signer);
    publisher.tamper();
    publisher.cluster("raspios-lite-arm64");
    publisher.serve(&side(), Answer::status(503));
    publisher
        .run(&["plan"])
        .expect(0)
        .says(&["no signature was checked", "The next run looks again."]);
    publisher.serve(&side(), Answer::bytes(signature));
    publisher
        .run(&["plan"])
        .expect(3)
        .says(&["its signature does not fit", "thrown away"]);
    // That there is none is an answer.
    publisher.serve(&side(), Answer::status(404));
    publisher.run(&["plan"]).expect(0);
    let asks = publisher.server.asks().len();
    publisher.run(&["plan"]).expect(0);
    assert_eq!(publisher.server.asks().len(), asks);
}

#[test]
fn a_signature_is_looked_for_where_the_image_was_asked_for() {
    let publisher = Publisher::new();
    let signer = Signer::new();
    publisher.serve(&side(), Answer::bytes(signer.sign(&publisher.image)));
    let image = Answer::content(Content::file(&publisher.image));
    publisher.serve("/mirror.img.xz", image);
    publisher.trust(&signer);
    let [mirror, own] = ["/mirror.img.xz", PATH].map(|path| publisher.server.url(path));
    let fetch = |url: &str, code| {
        let run = publisher.run(&["images", "fetch", url, "--require-signature"]);
        run.expect(code);
    };
    fetch(&mirror, 3);
    fetch(&own, 0);
    let note = publisher.note();
    assert_eq!(note["url"], own);
    assert_eq!(note["signature"]["user_id"], "Downloads Key");
    // What was checked is checked wherever it is asked for.
    fetch(&mirror, 0);
}

#[test]
fn what_was_tampered_with_and_cannot_be_removed_is_not_said_to_be_gone() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    let stored = publisher.stored();
    let chattr = |flag| Command::new("chattr").arg(flag).arg(&stored).status();
    if !chattr("+i").is_ok_and(|status| status.success()) {
        // Only root may, and not on every file system.
        return;
    }
    let signer = Signer::new();
    publisher.trust(&signer);
    let other = signer.sign(&publisher.scratch.write("other", "another image"));
    publisher.serve(&side(), Answer::bytes(other));
    let run = publisher.run(&["images", "fetch", "raspios-lite-arm64"]);
    chattr("-i").expect("chattr");
    let run = run.expect(3);
    assert!(!run.stderr.contains("thrown away"), "{}", run.stderr);
    run.says(&["cannot be removed", "its signature does not fit"]);
}
