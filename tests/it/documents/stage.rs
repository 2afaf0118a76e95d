//! Where a document's session takes place: a home, a network that knows images,
//! and what was done before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Loop, Run, Scratch, base};
use crate::images::Publisher;
use crate::server::{Answer, Content};
use crate::status::network::Network;

/// What a document calls its reader.
const HOME: &str = "/home/ana";

/// The images that the catalogue names: kind of base, path, day of release.
const IMAGES: [(&str, &str, &str); 4] = [
    (
        "trixie-arm64",
        "/raspios_lite_arm64/images/x/2026-06-18-raspios-trixie-arm64-lite.img.xz",
        "2026-06-18",
    ),
    (
        "trixie-armhf",
        "/raspios_lite_armhf/images/x/2026-06-18-raspios-trixie-armhf-lite.img.xz",
        "2026-06-18",
    ),
    (
        "bookworm-arm64",
        "/raspios_oldstable_lite_arm64/images/x/2025-11-24-raspios-bookworm-arm64-lite.img.xz",
        "2025-11-24",
    ),
    (
        "bookworm-armhf",
        "/raspios_oldstable_lite_armhf/images/x/2025-11-24-raspios-bookworm-armhf-lite.img.xz",
        "2025-11-24",
    ),
];

/// The internet: a server that has Raspberry Pi's list and images.
pub(super) struct Internet {
    publisher: Publisher,
    // Holds the images for as long as they are served.
    _files: Scratch,
}

impl Internet {
    pub(super) fn new() -> Self {
        let (publisher, files) = (Publisher::new(), Scratch::new());
        let mut entries = Vec::new();
        for (kind, path, date) in IMAGES {
            let image = files.path(&format!("{kind}.img.xz"));
            let xz = Command::new("xz")
                .args(["-T2", "--block-size=4MiB", "-0", "-c"])
                .arg(base(kind))
                .stdout(File::create(&image).expect("a file"))
                .status();
            assert!(xz.expect("xz").success());
            entries.push(publisher.entry(&image, path, date));
            publisher.serve(path, Answer::content(Content::file(&image)));
        }
        publisher.list(&json!([{ "name": "Raspberry Pi OS (other)", "subitems": entries }]));
        Self {
            publisher,
            _files: files,
        }
    }
}

/// A card: a loop device where one can be had, else a file.
enum Card {
    Device(Loop),
    File(PathBuf),
}

/// One session's surroundings.
pub(super) struct Stage<'i> {
    internet: &'i Internet,
    scratch: Scratch,
    cards: Vec<Card>,
    network: Option<Network>,
    /// Where the session is now.
    pub(super) at: PathBuf,
}

impl<'i> Stage<'i> {
    /// A stage on which all of `words` is so. `None` where that cannot be.
    pub(super) fn set(internet: &'i Internet, words: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let at = scratch.path("home");
        let mut stage = Self {
            internet,
            scratch,
            cards: Vec::new(),
            network: None,
            at,
        };
        if words.split_whitespace().any(|word| word == "nodes") {
            let network = Network::well()?;
            stage.at = network.cluster().to_owned();
            stage.network = Some(network);
            return Some(stage);
        }
        let ssh = stage.at.join(".ssh");
        fs::create_dir(&ssh).expect("a directory");
        stage.prepare("ssh-keygen -q -t ed25519 -N '' -C ana@desk -f .ssh/id_ed25519");
        for word in words.split_whitespace() {
            stage.add(word);
        }
        Some(stage)
    }

    fn home(&self) -> PathBuf {
        let cluster = self.network.as_ref().map(|network| network.cluster());
        match cluster.and_then(Path::parent) {
            Some(home) => home.to_owned(),
            None => self.scratch.path("home"),
        }
    }

    fn add(&mut self, word: &str) {
        match word {
            "empty" => {}
            "cluster" => {
                self.prepare("cardmint init --yes picluster");
                self.at.push("picluster");
                self.prepare("cardmint images fetch");
            }
            "monitoring" => {
                self.prepare(
                    "printf '[monitoring]\nnode_exporter = true\nhost = 0\n' >>cluster.toml",
                );
            }
            "built" => self.prepare("cardmint build"),
            "handover" => self.prepare("cardmint handover"),
            "flashed" => {
                self.prepare(
                    "for n in 0 1 2 3; do truncate -s 64M ../card$n; done; cardmint flash --yes \
                     0=../card0 1=../card1 2=../card2 3=../card3",
                );
            }
            "card" | "cards" => {
                let wanted = if word == "card" { 1 } else { 4 };
                for number in 0..wanted {
                    self.insert(number);
                }
            }
            _ => panic!("`{word}` is nothing that a stage can have"),
        }
    }

    /// Whether its cards are devices; where nobody may make those, they are files.
    pub(super) fn has_devices(&self) -> bool {
        self.cards
            .iter()
            .all(|card| matches!(card, Card::Device(_)))
    }

    /// A card full of old bytes.
    fn insert(&mut self, number: usize) {
        let path = self.scratch.path(&format!("sd{number}"));
        fs::write(&path, vec![0xa5; 64 << 20]).expect("room");
        self.cards.push(match Loop::attach(&path) {
            Some(device) => Card::Device(device),
            None => Card::File(path),
        });
    }

    fn prepare(&mut self, line: &str) {
        self.run(line).expect(0);
    }

    /// What names what is named otherwise in documents: ours, theirs.
    fn names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for (number, card) in self.cards.iter().enumerate() {
            let letter = char::from(b'a' + u8::try_from(number).expect("few cards"));
            let path = match card {
                Card::Device(device) => device.path(),
                Card::File(path) => path.to_str().expect("UTF-8"),
            };
            names.insert(path.to_owned(), format!("/dev/sd{letter}"));
        }
        let home = self.home();
        names.insert(home.to_str().expect("UTF-8").to_owned(), HOME.to_owned());
        names
    }

    /// Runs a line as a reader would. What it prints is in `stdout`, all of it.
    pub(super) fn run(&mut self, line: &str) -> Run {
        self.run_with(line, &[])
    }

    /// The same at a terminal of a size (`80x25`), on which `steps` are answered as
    /// tests/faults/answer.py takes them. Without a size it is a dumb one.
    pub(super) fn run_at_terminal(&mut self, line: &str, steps: &str, size: Option<&str>) -> Run {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/answer.py");
        let size = size.map(|size| format!("--size={size}"));
        let mut before = vec!["python3", script];
        before.extend(size.as_deref());
        before.push(steps);
        self.run_with(line, &before)
    }

    fn run_with(&mut self, line: &str, before: &[&str]) -> Run {
        const SHELL: &str = "cd \"$1\" && eval \"$2\"; code=$?; pwd >\"$3\"; exit $code";
        let names = self.names();
        let line = names.iter().fold(line.to_owned(), |line, (ours, theirs)| {
            line.replace(theirs, ours)
        });
        let mut command = match &self.network {
            Some(network) => network.enter(),
            None => Command::new("env"),
        };
        command.args(["timeout", "120"]).args(before);
        let after = self.scratch.path("at");
        let program = Path::new(env!("CARGO_BIN_EXE_cardmint"));
        let ours = program.parent().expect("its folder").display();
        let output = command
            .args(["bash", "-c", &format!("exec 2>&1; {SHELL}"), "bash"])
            .args([self.at.as_os_str(), line.as_ref(), after.as_os_str()])
            .env_clear()
            .envs(self.internet.publisher.environment())
            .env("PATH", format!("{ours}:/usr/sbin:/usr/bin:/sbin:/bin"))
            .env("HOME", self.home())
            .env("USER", "ana")
            .env("LC_ALL", "C.UTF-8")
            .stdin(std::process::Stdio::null())
            .output();
        let mut run = Run::of(&output.expect("bash"));
        if let Ok(at) = fs::read_to_string(after) {
            self.at = at.trim_end().into();
        }
        for (ours, theirs) in &names {
            run.stdout = told_as(&run.stdout, ours, theirs);
        }
        run
    }
}

/// What was printed, with our name of a thing as documents have it.
fn told_as(text: &str, ours: &str, theirs: &str) -> String {
    // Columns stay below their heads.
    let wide = format!("{theirs:<width$}  ", width = ours.len());
    let text = text
        .replace(&format!("{ours}  "), &wide)
        .replace(ours, theirs);
    match (ours.strip_prefix("/dev/"), theirs.strip_prefix("/dev/")) {
        (Some(ours), Some(theirs)) => text.replace(ours, theirs),
        _ => text,
    }
}
