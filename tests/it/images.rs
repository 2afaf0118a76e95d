//! From a name to verified bytes, over a network that misbehaves.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Run, Scratch, base};
use crate::server::{Answer, Authority, Content, Proxy, Server};

/// Where the current image is, as the catalogue knows it.
const PATH: &str = "/raspios_lite_arm64/images/x/2026-06-18-raspios-trixie-arm64-lite.img.xz";
const FILE: &str = "2026-06-18-raspios-trixie-arm64-lite.img.xz";

/// A publisher with a list, and a user who has not heard of it.
struct Publisher {
    scratch: Scratch,
    server: Server,
    image: PathBuf,
}

impl Publisher {
    fn new() -> Self {
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

    fn serve(&self, path: &str, answer: Answer) {
        self.server.serve(path, answer);
    }

    /// What the list says of an image.
    fn entry(&self, image: &PathBuf, path: &str, date: &str) -> Value {
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

    fn list(&self, items: &Value) {
        let list = json!({ "imager": {}, "os_list": items }).to_string();
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        let etag = format!("\"{}\"", hasher.finish());
        self.serve("/list.json", Answer::bytes(list).etag(Some(&etag)));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.command(args);
        command
            .env("CARDMINT_OS_LIST", self.server.url("/list.json"))
            .env("SSL_CERT_FILE", self.scratch.path("ca.pem"));
        command
    }

    fn run(&self, args: &[&str]) -> Run {
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
    fn stored(&self) -> PathBuf {
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
}

#[test]
fn the_last_good_list_is_kept() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.serve(
        "/list.json",
        Answer::bytes("<html>maintenance</html>").etag(None),
    );
    let run = publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    assert!(
        run.stderr.contains("Going by the list of"),
        "{}",
        run.stderr
    );
    publisher.serve("/list.json", Answer::status(503));
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    // It is not sent again while it is the same.
    publisher.release(&publisher.image, PATH, "2026-06-18");
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    let last = publisher
        .server
        .asks_for("/list.json")
        .pop()
        .expect("an ask");
    assert_eq!(last.status, 304);
}

#[test]
fn without_a_network_the_message_says_what_to_do() {
    let scratch = Scratch::new();
    let run = scratch.cardmint(&["images", "fetch", "raspios-lite-arm64"]);
    run.expect(1)
        .says(&["raspios-lite-arm64 is not on this computer, and cannot be fetched"]);
    scratch
        .cardmint(&["images", "fetch"])
        .expect(2)
        .says(&["name an image"]);
    scratch
        .cardmint(&["images", "fetch", "raspios-lite"])
        .expect(2)
        .says(&["Did you mean raspios-lite-a"]);
}

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
fn addresses_are_checked_by_what_lies_beside_them() {
    let publisher = Publisher::new();
    let url = publisher.server.url(PATH);
    let line = format!("{}  {FILE}\n", sha256(&publisher.image));
    publisher.serve(&format!("{PATH}.sha256"), Answer::bytes(line));
    // An address that leads on to it.
    publisher.serve("/latest", Answer::redirect(&url));
    let run = publisher
        .run(&["images", "fetch", &publisher.server.url("/latest")])
        .expect(0);
    assert!(
        run.stdout.contains(&format!("as {FILE}.sha256 promises")),
        "{}",
        run.stdout
    );
    let wrong = format!("{}  {FILE}\n", sha256(&base("trixie-arm64")));
    publisher.serve(&format!("{PATH}.sha256"), Answer::bytes(wrong));
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    publisher
        .run(&["images", "fetch", &url])
        .expect(3)
        .says(&["is not what was promised"]);
    publisher.serve(&format!("{PATH}.sha256"), Answer::status(404));
    let run = publisher.run(&["images", "fetch", &url]).expect(0);
    assert!(
        run.stdout.contains("nobody promises its sha256"),
        "{}",
        run.stdout
    );
}

#[test]
fn releases_that_no_list_knows_are_found_where_they_stay() {
    let publisher = Publisher::new();
    let proxy = Proxy::new();
    // Known by its digest alone, and no longer in the list.
    let mut command = publisher.command(&["images", "fetch", "raspios-lite-arm64@2025-12-04"]);
    command
        .env("https_proxy", proxy.url())
        .env("no_proxy", "localhost");
    let run = Run::of(&command.output().expect("cardmint"));
    // There is no internet in a test; that it is looked for there is what counts.
    run.expect(1).says(&[
        "downloads.raspberrypi.com/raspios_lite_arm64/images/raspios_lite_arm64-2025-12-04/",
    ]);
    assert_eq!(publisher.server.asks_for("/list.json").len(), 1);
    assert!(
        proxy
            .asked()
            .iter()
            .all(|host| host == "downloads.raspberrypi.com:443")
    );
}

#[test]
fn other_lists_have_names_too() {
    let publisher = Publisher::new();
    let entry = publisher.entry(&publisher.image, PATH, "2026-06-18");
    publisher
        .list(&json!([{ "name": "More", "subitems_url": publisher.server.url("/more.json") }]));
    let more = json!({ "os_list": [entry] }).to_string();
    publisher.serve("/more.json", Answer::bytes(more));
    let list = publisher.server.url("/list.json");
    let run = publisher
        .run(&["images", "list", "--from", &list])
        .expect(0);
    let name = format!("{list}#raspberry-pi-os-lite-64-bit");
    assert!(
        run.stdout.contains(&format!("image = \"{name}\"")),
        "{}",
        run.stdout
    );
    let json = publisher
        .run(&["images", "list", "--from", &list, "--json"])
        .expect(0)
        .json();
    assert_eq!(json[0]["image"], name);
    publisher.cluster(&name);
    publisher.run(&["build"]).expect(0);
    publisher.run(&["build", "--force"]).expect(0);
    assert_eq!(publisher.downloads(), 1);
    publisher.edit("#raspberry-pi-os-lite-64-bit", "#raspberry-pi-os-light");
    publisher
        .run(&["build"])
        .expect(2)
        .says(&["there is no entry", "raspberry-pi-os-lite-64-bit"]);
}

/// Makes a key and signs the image with it; the key's file.
fn sign(publisher: &Publisher) -> PathBuf {
    let home = tempfile::Builder::new()
        .prefix("g")
        .tempdir_in("/tmp")
        .expect("a directory");
    let gpg = |args: &[&str]| {
        let status = Command::new("gpg")
            .env("GNUPGHOME", home.path())
            .args([
                "--batch",
                "--yes",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ])
            .args(args)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("gpg").success(), "{args:?}");
    };
    let (key, image) = (
        publisher.scratch.path("key.asc"),
        publisher.image.display().to_string(),
    );
    gpg(&[
        "--quick-generate-key",
        "Downloads Key",
        "ed25519",
        "sign",
        "never",
    ]);
    gpg(&[
        "--armor",
        "--output",
        key.to_str().expect("UTF-8"),
        "--export",
    ]);
    gpg(&["--detach-sign", &image]);
    let mut stop = Command::new("gpgconf");
    drop(
        stop.env("GNUPGHOME", home.path())
            .args(["--kill", "all"])
            .status(),
    );
    key
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
    // One that does not fit is nobody's image, required or not.
    publisher.edit("require_signature = true\n", "");
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
    // A disk that rots changes no times; this is as near as a test comes to it.
    let stored = publisher.stored();
    let mut bytes = fs::read(&stored).expect("an image");
    let range = bytes.len() / 4..bytes.len() / 2;
    bytes[range].fill(0);
    fs::write(&stored, bytes).expect("an image");
    let note = stored.with_file_name("note.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&note).expect("a note")).expect("JSON");
    json["stamp"] = stamp(&stored);
    fs::write(&note, json.to_string()).expect("a note");
    publisher.run(&["build"]).expect(1).says(&["damaged"]);
    publisher.run(&["build"]).expect(0);
    assert_eq!(publisher.downloads(), 2);
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
fn a_killed_download_is_taken_up() {
    let publisher = Publisher::new();
    let len = 64 << 20;
    let noise = || Content::Noise { seed: 5, len };
    let path = "/noise.img";
    publisher.serve(
        path,
        Answer::content(noise()).pause(Duration::from_millis(1)),
    );
    let url = publisher.server.url(path);
    for _ in 0..3 {
        let before = publisher.server.sent(path);
        let mut child = publisher
            .command(&["images", "fetch", &url, "--quiet"])
            .spawn()
            .expect("cardmint");
        let folder = publisher.scratch.path("cache/cardmint/images");
        let arrived = || -> u64 {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let files = entries.map(|entry| entry.path().join("noise.img"));
            files
                .filter_map(|path| Some(path.metadata().ok()?.len()))
                .sum()
        };
        let start = arrived();
        let patience = Instant::now() + Duration::from_secs(20);
        while arrived() < start + (8 << 20) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("kill -9");
        child.wait().expect("an end");
        assert!(publisher.server.sent(path) >= before);
    }
    publisher.serve(path, Answer::content(noise()));
    publisher.run(&["images", "fetch", &url]).expect(0);
    let last = publisher.server.asks_for(path).pop().expect("an ask");
    assert!(last.from.expect("a range") >= 24 << 20, "{last:?}");
    publisher.run(&["images", "verify"]).expect(0);
}

/// Digest of a server's noise.
fn digest_of(content: &Content) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut piece = vec![0; 1 << 20];
    for offset in (0..content.len()).step_by(piece.len()) {
        content.read(&mut piece, offset);
        stdin.write_all(&piece).expect("a pipe");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("a digest");
    String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
}

#[test]
fn a_gigabyte_arrives_over_a_bad_line_without_a_byte_twice() {
    let scratch = Scratch::new();
    let server = Server::http();
    let noise = || Content::Noise {
        seed: 11,
        len: 1 << 30,
    };
    let path = "/gigabyte.img";
    server.serve(path, Answer::content(noise()).cut_randomly(17, 16 << 20));
    let (url, sha256) = (server.url(path), digest_of(&noise()));
    let run = scratch.cardmint(&["images", "fetch", &url, "--sha256", &sha256, "--json"]);
    let json = run.expect(0).json();
    assert_eq!(json[0]["sha256"], sha256);
    assert_eq!(server.sent(path), 1 << 30);
    let cuts = server.asks_for(path).len();
    assert!(cuts > 60, "{cuts}");
    eprintln!("{cuts} connections");
}

#[test]
fn proxies_are_those_of_the_environment() {
    let publisher = Publisher::new();
    let proxy = Proxy::new();
    let fetch = |variables: &[(&str, &str)]| {
        let mut command = publisher.command(&["images", "fetch", "raspios-lite-arm64"]);
        command.envs(variables.iter().copied());
        Run::of(&command.output().expect("cardmint"))
    };
    fetch(&[("https_proxy", &proxy.url()), ("NO_PROXY", "localhost")]).expect(0);
    assert!(proxy.asked().is_empty());
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    fetch(&[("https_proxy", &proxy.url())]).expect(0);
    let host = publisher.server.url("").replace("https://", "");
    assert!(proxy.asked().contains(&host), "{:?}", proxy.asked());
    let secret = "http://me:s3cret@127.0.0.1:1";
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    let run = fetch(&[("https_proxy", secret)]).expect(1);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    fetch(&[("https_proxy", "ftp://x")])
        .expect(2)
        .says(&["https_proxy"]);
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
