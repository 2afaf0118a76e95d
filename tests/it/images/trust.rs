use std::ops::Range;

use super::*;
use crate::harness::tool;
use crate::json_page;

#[test]
fn what_does_not_keep_its_promise_is_refused_and_gone() {
    let publisher = Publisher::new();
    for (key, value) in [
        (
            "image_download_sha256",
            json!(sha256(&base("trixie-arm64"))),
        ),
        ("extract_sha256", json!(sha256(&publisher.image))),
        ("image_download_size", json!(1_000_000_000)),
    ] {
        let mut entry = publisher.entry(&publisher.image, PATH, "2026-06-18");
        entry[key] = value;
        publisher.list(&json!([entry]));
        publisher
            .run(&["images", "fetch", "raspios-lite-arm64"])
            .expect(3);
        let here = publisher
            .run(&["images", "list", "--json"])
            .expect(0)
            .json();
        assert_eq!(here["here"], json!([]), "{key}");
    }
    // Nor is anything built of what the manifest does not mean.
    publisher.release(&publisher.image, PATH, "2026-06-18");
    publisher.cluster("raspios-lite-arm64");
    let wrong = "sha256 = \"acff736ca7945e3b305f07cda4abdb870910e12634991da69783611756e381b3\"\n";
    publisher.edit("\n[user]", &format!("{wrong}\n[user]"));
    let run = publisher.run(&["build"]).expect(2);
    run.says(&["is not that of raspios-lite-arm64, which is of 2026-06-18 now"]);
    assert!(!publisher.scratch.path("c/images").exists());
}

#[test]
fn signatures_are_checked_by_keys_that_are_trusted() {
    let publisher = Publisher::new();
    let key = sign(&publisher);
    let key = key.to_str().expect("UTF-8");
    let signature = fs::read(format!("{}.sig", publisher.image.display())).expect("a signature");
    let side = format!("{PATH}.sig");
    publisher.cluster("raspios-lite-arm64");
    publisher.edit("\n[user]", "require_signature = true\n\n[user]");
    publisher
        .run(&["plan"])
        .expect(3)
        .says(&["no key is trusted"]);
    // A key is not trusted by the way.
    publisher
        .run(&["images", "trust", key])
        .expect(2)
        .says(&["--yes"]);
    publisher.run(&["images", "trust", key, "--yes"]).expect(0);
    publisher
        .run(&["plan"])
        .expect(3)
        .says(&["bears no signature"]);
    publisher.serve(&side, Answer::bytes(signature.clone()));
    publisher.run(&["plan"]).expect(0);
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(here["here"][0]["signature"]["user_id"], "Downloads Key");
    // Checked once.
    publisher.serve(&side, Answer::status(404));
    publisher.run(&["plan"]).expect(0);
    assert_eq!(publisher.downloads(), 1);
    // Where nobody insists, what is missing is told.
    publisher.edit("require_signature = true\n", "");
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    publisher
        .run(&["plan"])
        .expect(0)
        .says(&["no signature was checked"]);
    publisher.serve(&side, Answer::bytes(signature.clone()));
    // Trusted later, it is checked when somebody asks.
    let run = publisher.run(&["images", "fetch"]).expect(0);
    assert!(
        run.stdout.contains("signed by Downloads Key"),
        "{}",
        run.stdout
    );
    // One that does not fit is nobody's image, required or not.
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    let mut bytes = fs::read(&publisher.image).expect("an image");
    bytes.extend([0; 4]);
    fs::write(&publisher.image, bytes).expect("an image");
    publisher.serve(PATH, Answer::content(Content::file(&publisher.image)));
    publisher.release(&publisher.image, PATH, "2026-06-18");
    publisher.serve(&side, Answer::bytes(signature));
    let run = publisher.run(&["plan"]).expect(3);
    run.says(&["its signature does not fit", "thrown away"]);
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(here["here"], json!([]));
    let listed = publisher
        .run(&["images", "trust", "--json"])
        .expect(0)
        .json();
    let fingerprint = listed[0]["fingerprint"].as_str().expect("a fingerprint");
    publisher
        .run(&["images", "trust", "--remove", fingerprint])
        .expect(0);
    publisher.run(&["plan"]).expect(0);
}

#[test]
fn a_check_that_was_cut_short_is_made_by_the_next_run() {
    let publisher = Publisher::new();
    let key = sign(&publisher);
    let signature = fs::read(format!("{}.sig", publisher.image.display())).expect("a signature");
    let side = format!("{PATH}.sig");
    publisher
        .run(&["images", "trust", key.to_str().expect("UTF-8"), "--yes"])
        .expect(0);
    let mut bytes = fs::read(&publisher.image).expect("an image");
    bytes.extend([0; 4]);
    fs::write(&publisher.image, bytes).expect("an image");
    publisher.serve(PATH, Answer::content(Content::file(&publisher.image)));
    publisher.release(&publisher.image, PATH, "2026-06-18");
    publisher.cluster("raspios-lite-arm64");
    let silence = Answer::bytes(signature.clone()).stall_after(0);
    publisher.serve(&side, silence);
    let mut child = publisher.command(&["plan"]).spawn().expect("cardmint");
    let arrived = publisher.scratch.path("cache/cardmint/images");
    let arrived = arrived.join(sha256(&publisher.image));
    let patience = Instant::now() + Duration::from_secs(60);
    while !arrived.exists() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("kill -9");
    child.wait().expect("an end");
    assert!(publisher.stored().exists());
    publisher.serve(&side, Answer::bytes(signature));
    publisher.run(&["plan"]).expect(3).says(&[&format!(
        "error: {FILE} is not used, and was thrown away: its signature does not fit: it is \
             damaged, or somebody changed it\n"
    )]);
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(here["here"], json!([]));
}

#[test]
fn what_rots_in_the_cache_is_noticed_and_fetched_again() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.cluster("raspios-lite-arm64");
    let stored = publisher.stored();
    let rot = || {
        let mut bytes = fs::read(&stored).expect("an image");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&stored, bytes).expect("an image");
    };
    rot();
    let run = publisher.run(&["images", "verify"]).expect(4);
    assert!(run.stdout.contains("DAMAGED"), "{}", run.stdout);
    let run = publisher.run(&["build"]).expect(0);
    assert!(
        run.stderr.contains("is no longer what arrived"),
        "{}",
        run.stderr
    );
    assert_eq!(publisher.downloads(), 2);
    publisher.run(&["images", "verify"]).expect(0);
}

#[test]
fn what_rots_unnoticed_is_noticed_by_its_use() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.cluster("raspios-lite-arm64");
    rot_unseen(&publisher.stored(), |len| len / 4..len / 2);
    publisher.run(&["build"]).expect(1).says(&["damaged"]);
    publisher.run(&["build"]).expect(0);
    assert_eq!(publisher.downloads(), 2);
}

#[test]
fn what_rots_where_only_nodes_need_it_is_noticed_by_its_use() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.cluster("raspios-lite-arm64");
    let card = publisher.scratch.write("card", "");
    let target = format!("0={}", card.to_str().expect("UTF-8"));
    let mut downloads = 1;
    for args in [
        &["build", "--force"][..],
        &["build", "--force", "--format", "img.xz"],
        &["flash", "--yes", &target],
    ] {
        tool("truncate", &["-s", "64M", card.to_str().expect("UTF-8")]).expect(0);
        // Behind all that a plan reads.
        rot_unseen(&publisher.stored(), |len| len * 9 / 10..len * 9 / 10 + 1);
        publisher.run(&["plan"]).expect(0);
        publisher.run(args).expect(1).says(&["damaged"]);
        publisher.run(args).expect(0);
        downloads += 1;
        assert_eq!(publisher.downloads(), downloads, "{args:?}");
    }
}

#[test]
fn what_rotted_unnoticed_and_was_told_by_verify_is_fetched_again() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.cluster("raspios-lite-arm64");
    rot_unseen(&publisher.stored(), |len| len / 2..len / 2 + 1);
    let run = publisher.run(&["images", "verify"]).expect(4);
    assert!(run.stdout.contains("fetches it again"), "{}", run.stdout);
    let run = publisher.run(&["plan"]).expect(0);
    run.says(&["is no longer what arrived"]);
    assert_eq!(publisher.downloads(), 2);
}

/// Changes bytes of an image. A disk that rots changes no times; this is as near as a test
/// comes to it.
fn rot_unseen(stored: &PathBuf, place: impl Fn(usize) -> Range<usize>) {
    let mut bytes = fs::read(stored).expect("an image");
    let range = place(bytes.len());
    for byte in &mut bytes[range] {
        *byte ^= 0xff;
    }
    fs::write(stored, bytes).expect("an image");
    let note = stored.with_file_name("note.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&note).expect("a note")).expect("JSON");
    json["stamp"] = stamp(stored);
    fs::write(&note, json.to_string()).expect("a note");
}

/// What a note says of a file as it is now.
fn stamp(path: &PathBuf) -> Value {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(path).expect("metadata");
    let ns = |seconds: i64, ns: i64| seconds * 1_000_000_000 + ns;
    json!({
        "dev": file.dev(), "ino": file.ino(), "len": file.len(),
        "modified_ns": ns(file.mtime(), file.mtime_nsec()),
        "changed_ns": ns(file.ctime(), file.ctime_nsec()),
    })
}

#[test]
fn images_prints_what_the_page_names() {
    let publisher = Publisher::new();
    let key = sign(&publisher);
    let signature = fs::read(format!("{}.sig", publisher.image.display())).expect("a signature");
    publisher.serve(&format!("{PATH}.sig"), Answer::bytes(signature));
    let json = |args: &[&str]| {
        let run = publisher.run(&[&["images"], args, &["--json"]].concat());
        run.expect(0).json()
    };
    let trust = json(&["trust", key.to_str().expect("UTF-8"), "--yes"]);
    json_page::judge("images trust", &[trust]);
    let mut entry = publisher.entry(&publisher.image, PATH, "2026-06-18");
    entry["devices"] = json!(["pi4-64bit"]);
    publisher.list(&json!([{ "name": "More", "subitems": [entry] }]));
    let url = publisher.server.url("/list.json");
    json_page::judge("images list --from", &[json(&["list", "--from", &url])]);
    let fetch = json(&["fetch", "raspios-lite-arm64"]);
    let verify = json(&["verify"]);
    for command in ["images fetch", "images verify"] {
        json_page::judge(command, &[fetch.clone(), verify.clone()]);
    }
    json_page::judge("images list", &[json(&["list"])]);
    // One page for all of its lists: what is in use stays, and so does what no file is.
    let folder = publisher.scratch.path("cache/cardmint/blocks/folder");
    fs::create_dir_all(folder).expect("a directory");
    let holder = fs::File::open(publisher.stored().parent().expect("a folder"));
    let holder = holder.expect("a folder");
    holder.lock_shared().expect("a lock");
    publisher.cluster(&base("trixie-arm64").display().to_string());
    publisher
        .run(&["build", "--nodes", "0", "--format", "img.xz"])
        .expect(0);
    let prune = publisher.run(&["images", "prune", "--all", "--yes", "--json"]);
    json_page::judge("images prune", &[prune.expect(1).json()]);
}
