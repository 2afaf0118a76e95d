//! A scratch cluster, the binary, and the tools that judge.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// What a run of a program gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the program ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Fails the test unless standard error has every one of `texts`, read as
    /// one line.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "`{text}` is not said in:\n{}",
                self.stderr
            );
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect("standard output is JSON")
    }
}

/// A directory with a home, a cache and a cluster of its own.
pub(crate) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        for name in ["home", "cache", "c"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        Self { dir }
    }

    /// A cluster of two nodes on a base of this kind, with a manifest that
    /// `edit` may change.
    pub(crate) fn cluster(kind: &str, edit: impl FnOnce(String) -> String) -> Self {
        let scratch = Self::new();
        scratch.init(&base(kind), 2);
        let manifest = scratch.path("c/cluster.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        fs::write(&manifest, edit(text)).expect("a manifest");
        scratch
    }

    pub(crate) fn init(&self, image: &Path, count: u32) {
        let (image, count) = (image.to_str().expect("UTF-8"), count.to_string());
        self.cardmint(&["init", "--yes", "--image", image, "--count", &count])
            .expect(0);
    }

    /// A path below the scratch directory; the cluster's is `c`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// A file that only its owner can read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cardmint"));
        command
            .args(args)
            .current_dir(self.path("c"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            // Nobody listens there: tests that want a list say so.
            .env("CARDMINT_OS_LIST", "https://127.0.0.1:1/list.json")
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary in the cluster's directory.
    pub(crate) fn cardmint(&self, args: &[&str]) -> Run {
        Run::of(&self.command(args).output().expect("the binary runs"))
    }

    /// The files below a directory, with their contents.
    pub(crate) fn snapshot(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path(name), &mut files);
        files.sort();
        files
    }
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let bytes = fs::read(&path).expect("a file");
            files.push((path, bytes));
        }
    }
}

/// A small base of this kind; made once for all tests.
pub(crate) fn base(kind: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bases");
    fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join(format!("{kind}.img"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bases/make-small");
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if time(&path) < time(&script) {
        let image = path.to_str().expect("UTF-8");
        tool(script.to_str().expect("UTF-8"), &[kind, image]).expect(0);
    }
    path
}

/// Runs a tool that the tests need.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> Run {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    match Command::new(name)
        .args(args)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => Run::of(&output),
        Err(error) => panic!("{name}: {error}; `tests/run` installs what the tests need"),
    }
}

/// Whether a tool that not everybody has is here; in CI all of them must be.
pub(crate) fn has(name: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into()])
        .any(|dir| dir.join(name).exists());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{name} is missing"
    );
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Says why a test does not run here; in CI it must.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run here: {why}");
    eprintln!("skipped: {why}");
}

/// A file as a block device, for as long as the test runs.
pub(crate) struct Loop(String);

impl Loop {
    /// `None` where nobody may make one.
    pub(crate) fn attach(file: &Path) -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: making loop devices takes root");
            return None;
        }
        let run = tool("losetup", &["--find", "--show", file.to_str()?]);
        if run.code != 0 {
            eprintln!("skipped: no loop device: {}", run.stderr);
            return None;
        }
        Some(Self(run.stdout.trim().to_owned()))
    }

    /// A device that was made already.
    #[allow(dead_code, reason = "for tests/faults")]
    pub(crate) fn adopt(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The device: `/dev/loop0`.
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]);
    }
}

/// A mounted device, for as long as the test runs.
pub(crate) struct Mounted(String);

impl Mounted {
    pub(crate) fn at(device: &Loop, at: &str) -> Self {
        tool("mount", &[device.path(), at]).expect(0);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool("umount", &[&self.0]);
    }
}

/// A file system on which files can share blocks. It goes before its device does.
pub(crate) struct Btrfs {
    pub(crate) at: PathBuf,
    _mounted: Mounted,
    _device: Loop,
}

impl Btrfs {
    /// `None` where nobody may make one.
    pub(crate) fn new(scratch: &Scratch, len: u64) -> Option<Self> {
        if !has("mkfs.btrfs") {
            return None;
        }
        let disk = scratch.write("disk", []);
        let file = fs::File::options().write(true).open(&disk);
        file.and_then(|file| file.set_len(len))
            .expect("a sparse file");
        let device = Loop::attach(&disk)?;
        tool("mkfs.btrfs", &["-q", device.path()]).expect(0);
        let at = scratch.path("mnt");
        fs::create_dir(&at).expect("a directory");
        let mounted = Mounted::at(&device, at.to_str().expect("UTF-8"));
        Some(Self {
            at,
            _mounted: mounted,
            _device: device,
        })
    }
}

pub(crate) fn is_root() -> bool {
    tool("id", &["-u"]).stdout.trim() == "0"
}

/// Partitions of an image, by sfdisk: offset and length in bytes.
pub(crate) fn partitions(image: &Path) -> Vec<(u64, u64)> {
    let run = tool("sfdisk", &["--json", image.to_str().expect("UTF-8")]).expect(0);
    let table = run.json();
    let entry = |entry: &serde_json::Value| {
        let sectors = |key: &str| entry[key].as_u64().expect("a number") * 512;
        (sectors("start"), sectors("size"))
    };
    let list = table["partitiontable"]["partitions"]
        .as_array()
        .expect("partitions");
    list.iter().map(entry).collect()
}

/// A file of an image's boot partition, by mtools.
#[track_caller]
pub(crate) fn boot_file(image: &Path, name: &str) -> Vec<u8> {
    let (offset, _) = partitions(image)[0];
    let at = format!("{}@@{offset}", image.display());
    let output = Command::new("mtype")
        .args(["-i", &at, &format!("::{name}")])
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .expect("mtools");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[track_caller]
pub(crate) fn boot_text(image: &Path, name: &str) -> String {
    String::from_utf8(boot_file(image, name)).expect("UTF-8")
}

/// A file that `firstrun.sh` of an image puts on the node's root file system.
/// The script carries it as base64 between a line that names it and END.
#[track_caller]
#[allow(dead_code, reason = "for tests/it")]
pub(crate) fn node_file(image: &Path, path: &str) -> Vec<u8> {
    use base64::Engine as _;
    let script = boot_text(image, "firstrun.sh");
    let (_, rest) = script
        .split_once(&format!("put {path} "))
        .unwrap_or_else(|| panic!("{path} is not put"));
    let (_, rest) = rest.split_once('\n').expect("its lines");
    let (text, _) = rest.split_once("\nEND\n").expect("its end");
    let text: String = text.split_whitespace().collect();
    let engine = base64::prelude::BASE64_STANDARD;
    engine.decode(text).expect("base64")
}

/// Names in the root of an image's boot partition, by mtools.
pub(crate) fn boot_names(image: &Path) -> Vec<String> {
    let (offset, _) = partitions(image)[0];
    let at = format!("{}@@{offset}", image.display());
    let run = tool("mdir", &["-b", "-i", &at, "::"]).expect(0);
    run.stdout
        .lines()
        .map(|line| line.trim_start_matches("::/").to_owned())
        .collect()
}

/// Copies a partition of an image into a file of its own.
pub(crate) fn extract(image: &Path, number: usize, to: &Path) {
    let (offset, len) = partitions(image)[number];
    let (input, output) = (
        format!("if={}", image.display()),
        format!("of={}", to.display()),
    );
    let (skip, count) = (format!("skip={offset}"), format!("count={len}"));
    let flags = "iflag=skip_bytes,count_bytes";
    tool(
        "dd",
        &[
            &input,
            &output,
            "bs=1M",
            &skip,
            &count,
            flags,
            "conv=sparse",
            "status=none",
        ],
    )
    .expect(0);
}
