//! From a name to verified bytes, over a network that misbehaves.

/// Which image is meant, where there are several.
mod choice;
/// Signatures that are looked at again, or elsewhere.
mod judged;
/// Lists, addresses, cuts, kills and proxies.
mod network;
/// Keys, and what they sign.
mod signer;
/// Digests and signatures that hold, or do not.
mod trust;

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::signer::sign;
use crate::harness::{Run, Scratch, base};
use crate::server::{Answer, Authority, Content, Proxy, Server};

/// Where the current image is, as the catalogue knows it.
pub(crate) const PATH: &str =
    "/raspios_lite_arm64/images/x/2026-06-18-raspios-trixie-arm64-lite.img.xz";
pub(crate) const FILE: &str = "2026-06-18-raspios-trixie-arm64-lite.img.xz";

/// A publisher with a list, and a user who has not heard of it.
pub(crate) struct Publisher {
    pub(crate) scratch: Scratch,
    server: Server,
    pub(crate) image: PathBuf,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let (scratch, authority) = (Scratch::new(), Authority::new());
        let server = Server::https(&authority);
        scratch.write("ca.pem", authority.pem());
        let raw = base("trixie-arm64");
        let image = scratch.path(FILE);
        let xz = Command::new("xz")
            .args(["-T2", "--block-size=1MiB", "-1", "-c"])
            .arg(&raw)
            .stdout(fs::File::create(&image).expect("a file"))
            .status();
        assert!(xz.expect("xz").success());
        let publisher = Self {
            scratch,
            server,
            image,
        };
        publisher.serve(PATH, Answer::content(Content::file(&publisher.image)));
        publisher.release(&publisher.image, PATH, "2026-06-18");
        publisher
    }

    pub(crate) fn serve(&self, path: &str, answer: Answer) {
        self.server.serve(path, answer);
    }

    /// What the list says of an image.
    pub(crate) fn entry(&self, image: &PathBuf, path: &str, date: &str) -> Value {
        json!({
            "name": "Raspberry Pi OS Lite (64-bit)", "description": "", "icon": "",
            "url": self.server.url(path), "release_date": date,
            "image_download_size": fs::metadata(image).expect("metadata").len(),
            "image_download_sha256": sha256(image),
            "extract_sha256": raw_sha256(image),
        })
    }

    /// Publishes a list whose current image this is.
    fn release(&self, image: &PathBuf, path: &str, date: &str) {
        self.list(&json!([{ "name": "Raspberry Pi OS (other)", "subitems": [
            self.entry(image, path, date)
        ]}]));
    }

    pub(crate) fn list(&self, items: &Value) {
        let list = json!({ "imager": {}, "os_list": items }).to_string();
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        let etag = format!("\"{}\"", hasher.finish());
        self.serve("/list.json", Answer::bytes(list).etag(Some(&etag)));
    }

    /// What makes a cardmint ask here.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let certificate = self.scratch.path("ca.pem");
        [
            ("CARDMINT_OS_LIST", self.server.url("/list.json")),
            ("SSL_CERT_FILE", certificate.display().to_string()),
        ]
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.command(args);
        command.envs(self.environment());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&self.command(args).output().expect("cardmint"))
    }

    /// A cluster on what `image` names.
    fn cluster(&self, image: &str) {
        self.run(&["init", "--yes", "--count", "2", "--image", image])
            .expect(0);
    }

    fn edit(&self, from: &str, to: &str) {
        let manifest = self.scratch.path("c/cluster.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        assert!(text.contains(from), "{text}");
        fs::write(&manifest, text.replace(from, to)).expect("a manifest");
    }

    /// How often the image was asked for.
    fn downloads(&self) -> usize {
        self.server.asks_for(PATH).len()
    }

    /// The one image in the cache.
    pub(crate) fn stored(&self) -> PathBuf {
        let here = self.run(&["images", "list", "--json"]).expect(0).json();
        here["here"][0]["path"].as_str().expect("a path").into()
    }
}

fn sha256(path: &PathBuf) -> String {
    let output = Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum");
    String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
}

fn raw_sha256(path: &Path) -> String {
    let pipe = format!("xz -dc {} | sha256sum", path.display());
    let output = Command::new("sh").args(["-c", &pipe]).output().expect("sh");
    String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
}

#[test]
fn a_name_in_the_manifest_is_enough() {
    let publisher = Publisher::new();
    publisher.cluster("raspios-lite-arm64");
    let run = publisher.run(&["build"]).expect(0);
    for said in [FILE, "has arrived", "as the list of localhost"] {
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
    // The same as from the file itself.
    let other = Scratch::new();
    other.init(&base("trixie-arm64"), 2);
    for file in ["cluster.key", "cluster.toml", "id_ed25519.pub"] {
        let text = fs::read(publisher.scratch.path("c").join(file)).expect("a file");
        fs::write(other.path("c").join(file), text).expect("a file");
    }
    let manifest = other.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let path = base("trixie-arm64").display().to_string();
    fs::write(&manifest, text.replace("raspios-lite-arm64", &path)).expect("a manifest");
    other.cardmint(&["build"]).expect(0);
    let image = |scratch: &Scratch| fs::read(scratch.path("c/images/raspberrypi1.img"));
    assert!(image(&publisher.scratch).expect("an image") == image(&other).expect("an image"));
    // Once, and then without any network.
    assert_eq!(publisher.downloads(), 1);
    let asks = publisher.server.asks().len();
    publisher.run(&["plan"]).expect(0);
    publisher
        .run(&["verify", "0", "images/raspberrypi0.img"])
        .expect(0);
    assert_eq!(publisher.server.asks().len(), asks);
}

#[test]
fn a_newer_release_is_taken_when_it_is_asked_for() {
    let publisher = Publisher::new();
    publisher.cluster("raspios-lite-arm64");
    publisher.run(&["build", "--nodes", "0"]).expect(0);
    let newer = publisher.scratch.path("newer.img.xz");
    let mut bytes = fs::read(&publisher.image).expect("an image");
    // Stream padding makes it another file with the same contents.
    bytes.extend([0; 4]);
    fs::write(&newer, bytes).expect("an image");
    let path = PATH.replace("2026-06-18", "2026-10-06");
    publisher.serve(&path, Answer::content(Content::file(&newer)));
    publisher.release(&newer, &path, "2026-10-06");
    let plan = |args: &[&str]| {
        publisher
            .run(&[&["plan", "--json"], args].concat())
            .expect(0)
            .json()
    };
    assert!(plan(&[]).to_string().contains("2026-06-18"));
    let run = publisher.run(&["images", "fetch"]).expect(0);
    assert!(
        run.stdout
            .contains("2026-10-06-raspios-trixie-arm64-lite.img.xz"),
        "{}",
        run.stdout
    );
    assert!(plan(&[]).to_string().contains("2026-10-06"));
    // What was made before is verified against what it was made of.
    publisher
        .run(&["verify", "0", "images/raspberrypi0.img"])
        .expect(0);
    // A date stays what it is.
    publisher.edit("raspios-lite-arm64", "raspios-lite-arm64@2026-06-18");
    assert!(plan(&[]).to_string().contains("2026-06-18"));
    let run = publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    assert!(run.stdout.contains("is here already"), "{}", run.stdout);
    // Where it is gone, another one is taken, and not without a word.
    publisher.edit("raspios-lite-arm64@2026-06-18", "raspios-lite-arm64");
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    let paths = here["here"].as_array().expect("images").iter();
    let mut paths = paths.map(|image| PathBuf::from(image["path"].as_str().expect("a path")));
    let old = paths
        .find(|path| path.ends_with(FILE))
        .expect("the old image");
    fs::remove_dir_all(old.parent().expect("a folder")).expect("an image");
    publisher
        .run(&["verify", "0", "images/raspberrypi0.img"])
        .expect(0)
        .says(&["raspberrypi0 was made on 2026-06-18-", "2026-10-06-"]);
}

#[test]
fn prune_shows_what_it_frees_and_frees_it() {
    let publisher = Publisher::new();
    publisher.cluster("raspios-lite-arm64");
    publisher.run(&["build", "--format", "img.xz"]).expect(0);
    let run = publisher.run(&["images", "prune"]).expect(0);
    assert!(run.stdout.contains("nothing to remove"), "{}", run.stdout);
    let run = publisher
        .run(&["images", "prune", "--all", "--dry-run"])
        .expect(0);
    assert!(
        run.stdout.contains(&FILE[..40]) && run.stdout.contains("would free"),
        "{}",
        run.stdout
    );
    publisher
        .run(&["images", "prune", "--all"])
        .expect(2)
        .says(&["--yes"]);
    assert!(publisher.stored().exists());
    let run = publisher
        .run(&["images", "prune", "--max-size", "1K", "--yes", "--json"])
        .expect(0);
    let json = run.json();
    assert!(json["freed"].as_u64().expect("a number") > 0);
    assert!(
        json["removed"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|item| item["kind"] == "image")
    );
    let here = publisher
        .run(&["images", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(here["here"], json!([]));
    publisher.run(&["build", "--format", "img.xz"]).expect(0);
    assert_eq!(publisher.downloads(), 2);
}

#[test]
fn what_has_lost_its_note_can_be_removed() {
    let scratch = Scratch::new();
    let lost = scratch.path("cache/cardmint/images").join("0a".repeat(32));
    fs::create_dir_all(&lost).expect("a directory");
    fs::write(lost.join("note.json"), "{").expect("a note");
    fs::write(lost.join("lost.img"), "an image").expect("an image");
    let run = scratch.cardmint(&["images", "prune", "--all", "--yes"]);
    let run = run.expect(0);
    assert!(run.stdout.contains("lost.img"), "{}", run.stdout);
    assert!(!lost.exists());
}

#[test]
fn what_cannot_be_removed_keeps_nothing_else_from_going() {
    let scratch = Scratch::new();
    let cache = scratch.path("cache/cardmint");
    let goes = cache.join("images/.partial-0");
    // A file is what is expected there.
    let stays = cache.join("blocks/folder");
    for dir in [&goes, &stays] {
        fs::create_dir_all(dir).expect("a directory");
        fs::write(dir.join("half.img"), "half").expect("a file");
    }
    let run = scratch.cardmint(&["images", "prune", "--all", "--yes"]);
    let run = run
        .expect(1)
        .says(&["blocks/folder cannot be removed: Is a directory"]);
    assert!(run.stdout.contains("Freed "), "{}", run.stdout);
    assert!(!goes.exists() && stays.exists());
}

#[test]
fn verify_reads_every_image_and_uses_none() {
    let publisher = Publisher::new();
    let other = base("trixie-arm64");
    publisher.serve("/other.img", Answer::content(Content::file(&other)));
    let other = publisher.server.url("/other.img");
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64", &other])
        .expect(0);
    let run = publisher
        .run(&["images", "verify", "other.img", "nosuch", "other"])
        .expect(2);
    run.says(&["no such image is here: nosuch."]);
    let here = publisher.run(&["images", "list", "--json"]).expect(0);
    let here = here.json()["here"].clone();
    let paths = here.as_array().expect("images").iter();
    let paths: Vec<&Path> = paths
        .map(|image| Path::new(image["path"].as_str().expect("a path")))
        .collect();
    // One that cannot be read is damaged, and so may others be.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(200 * 24 * 60 * 60);
    for path in &paths {
        fs::remove_file(path).expect("an image");
        fs::create_dir(path).expect("a directory");
        let note = fs::File::options()
            .append(true)
            .open(path.with_file_name("note.json"));
        note.and_then(|note| note.set_modified(long_ago))
            .expect("a note");
    }
    let run = publisher.run(&["images", "verify", "--json"]).expect(4);
    let json = run.json();
    for image in [&json[0], &json[1]] {
        let problem = image["problem"].as_str().expect("text");
        assert!(problem.contains("it cannot be read: "), "{problem}");
        assert_eq!(image["intact"], false);
    }
    let run = publisher.run(&["images", "verify", "other"]).expect(4);
    assert!(
        run.stdout.contains("other.img: DAMAGED, it cannot be read"),
        "{}",
        run.stdout
    );
    // Nor was that a use of them.
    let run = publisher.run(&["images", "prune", "--dry-run"]).expect(0);
    assert_eq!(
        run.stdout.matches("200 days ago").count(),
        2,
        "{}",
        run.stdout
    );
}

#[test]
fn what_is_fetched_for_a_cluster_needs_no_passphrase() {
    let wifi = "\n[wifi]\nssid = \"home\"\ncountry = \"PT\"\n";
    let scratch = Scratch::cluster("trixie-arm64", |text| text + wifi);
    scratch
        .cardmint(&["images", "fetch"])
        .expect(2)
        .says(&["names only images that are files here"]);
}

#[test]
fn names_are_shown_without_asking_anybody() {
    let scratch = Scratch::new();
    let run = scratch.cardmint(&["images", "list"]).expect(0);
    for name in [
        "raspios-lite-arm64",
        "raspios-lite-armhf",
        "raspios-legacy-lite-arm64",
        "practice",
    ] {
        assert!(run.stdout.contains(name), "{}", run.stdout);
    }
}
