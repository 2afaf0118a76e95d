//! A cluster of two, a bad card and a good one.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Loop, Run, Scratch, base, extract, partitions, tool};

pub(crate) const CARD_LEN: u64 = 256 << 20;
const BASE: &str = "trixie-arm64";

/// Held while there are cards: who waits for cards would take those of others.
static SLOTS: RwLock<()> = RwLock::new(());

pub(crate) struct Rig {
    pub(crate) good: Card,
    pub(crate) bad: Card,
    // Dropped after what is mounted in it.
    pub(crate) scratch: Scratch,
    _slots: RwLockReadGuard<'static, ()>,
}

/// Lets others have cards, too.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    SLOTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Lets nobody else have cards.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    SLOTS.write().unwrap_or_else(PoisonError::into_inner)
}

/// A loop device; its file keeps the bytes.
pub(crate) struct Card {
    device: Option<Loop>,
    file: PathBuf,
    server: Option<Server>,
}

/// nbdkit behind nbdfuse.
struct Server {
    child: Child,
    mount: PathBuf,
}

impl Rig {
    /// A rig with a card that has these faults.
    pub(crate) fn new(faults: &Value) -> Self {
        let slots = shared();
        let scratch = Scratch::cluster(BASE, |text| text);
        let good = Card::good(&scratch, "good");
        let bad = Card::bad(&scratch, faults);
        Self {
            good,
            bad,
            scratch,
            _slots: slots,
        }
    }

    /// Flashes both nodes, the first to the bad card.
    pub(crate) fn flash(&self, more: &[&str]) -> Run {
        let cards = [
            format!("0={}", self.bad.path()),
            format!("1={}", self.good.path()),
        ];
        let mut args = vec!["flash", "--yes", "--allow-fixed", &cards[0], &cards[1]];
        args.extend(more);
        self.scratch.cardmint(&args)
    }

    /// Where the second partition begins, on base and card.
    pub(crate) fn root(&self) -> u64 {
        partitions(&base(BASE))[1].0
    }

    /// A byte that every flash writes: within the superblock of the root.
    pub(crate) fn used_byte(&self) -> u64 {
        self.root() + 1024 + 300
    }

    /// Bytes that are written one after another: the old partition table, the
    /// boot partition, the root.
    pub(crate) fn writes(&self) -> [u64; 3] {
        let (boot, _) = partitions(&base(BASE))[0];
        [0, boot + 512, self.used_byte()]
    }

    /// What `cluster.lock` says of a node's card.
    pub(crate) fn state(&self, node: &str) -> String {
        state(&self.scratch, node)
    }

    /// The good card holds its node, whatever befell the other.
    #[track_caller]
    pub(crate) fn assert_good(&self) {
        let run = self.scratch.cardmint(&["verify", "1", self.good.path()]);
        run.expect(0);
        assert_eq!(self.state("1"), "verified");
        let part = self.scratch.path("part");
        extract(&self.good.file, 1, &part);
        tool("e2fsck", &["-fn", part.to_str().expect("UTF-8")]).expect(0);
    }
}

impl Card {
    pub(crate) fn good(scratch: &Scratch, name: &str) -> Self {
        let file = scratch.path(name);
        garbage(&file);
        Self {
            device: Some(Loop::attach(&file).expect("a loop device; the tests need root")),
            file,
            server: None,
        }
    }

    fn bad(scratch: &Scratch, faults: &Value) -> Self {
        let file = scratch.path("bad");
        garbage(&file);
        let list = scratch.write("faults.json", faults.to_string());
        let server = Server::start(&file, &list, &scratch.path("bus"));
        let served = server.mount.join("card");
        let served = served.to_str().expect("UTF-8");
        // Past the page cache, which would answer for the card.
        let found = tool("losetup", &["--find", "--show", "--direct-io=on", served]).expect(0);
        Self {
            device: Some(Loop::adopt(found.stdout.trim())),
            file,
            server: Some(server),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.device.as_ref().expect("attached").path()
    }

    /// Whether no machine would find a partition table.
    pub(crate) fn is_headless(&self) -> bool {
        self.head().iter().all(|&byte| byte == 0)
    }

    fn head(&self) -> [u8; 512] {
        let mut head = [1; 512];
        File::open(&self.file)
            .and_then(|mut file| file.read_exact(&mut head))
            .expect("a card");
        head
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // The device before what serves it.
        self.device = None;
        if let Some(server) = &mut self.server {
            let mount = server.mount.to_str().expect("UTF-8").to_owned();
            let _ = Command::new("fusermount3")
                .args(["-u", "-z", &mount])
                .status();
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }
}

impl Server {
    fn start(file: &Path, faults: &Path, mount: &Path) -> Self {
        fs::create_dir(mount).expect("a directory");
        let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/bad-card.py");
        let served = mount.join("card");
        let child = Command::new("nbdfuse")
            .arg(&served)
            .args([
                "[",
                "nbdkit",
                "--foreground",
                "--exit-with-parent",
                "python",
                plugin,
            ])
            .arg(format!("file={}", file.display()))
            .arg(format!("faults={}", faults.display()))
            .arg("]")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nbdfuse; tests/run installs what the tests need");
        until("nbdfuse serves something", || served.exists());
        Self {
            child,
            mount: mount.to_owned(),
        }
    }
}

/// Waits for what comes sooner or later; fails rather than waits forever.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What `cluster.lock` says of a node's card.
pub(crate) fn state(scratch: &Scratch, node: &str) -> String {
    let text = fs::read_to_string(scratch.path("c/cluster.lock")).expect("a record");
    let record: toml::Table = text.parse().expect("TOML");
    let state = &record["card"][node]["state"];
    state.as_str().expect("text").to_owned()
}

pub(crate) fn garbage(path: &Path) {
    use std::io::Write as _;
    let mut file = File::create(path).expect("a file");
    for _ in 0..CARD_LEN >> 20 {
        file.write_all(&[0xa5; 1 << 20]).expect("room");
    }
}

/// A rig whose faults are known only with it: `faults` gets the used byte.
pub(crate) fn with_faults(faults: impl FnOnce(&Rig) -> Value) -> Rig {
    let rig = Rig::new(&json!({}));
    let text = faults(&rig).to_string();
    // A plugin that has not read the file yet reads it with the next request.
    thread::sleep(Duration::from_millis(20));
    rig.scratch.write("faults.json", text);
    rig
}
