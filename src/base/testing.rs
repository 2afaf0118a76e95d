//! What the tests of several rooms need: reproducible bytes and the tools that
//! made or judge a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Whether all `tools` are installed. A missing one skips the test, except in
/// CI, where it fails it.
pub(crate) fn has_tools(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned(), "/sbin".into()])
        .collect();
    for tool in tools {
        if dirs.iter().any(|dir| dir.join(tool).is_file()) {
            continue;
        }
        assert!(std::env::var_os("CI").is_none(), "{tool} is not installed");
        skip(&format!("{tool} is not installed"));
        return false;
    }
    true
}

#[expect(clippy::print_stderr, reason = "says why a test did nothing")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn command(tool: &str, args: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(tool);
    command
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C.UTF-8")
        .env("MTOOLS_SKIP_CHECK", "1");
    command
}

/// Feeds `input` to a tool and returns what it prints.
pub(crate) fn pipe(tool: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = command(tool, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A tool that fails early closes its input; its status then tells.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{tool} {args:?} failed");
    output.stdout
}

/// Runs a tool in `dir`; returns whether it succeeded, and what it printed.
pub(crate) fn try_run(dir: &Path, tool: &str, args: &[&str]) -> (bool, String) {
    let output = command(tool, args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Runs a tool in `dir` that must succeed; returns what it printed.
pub(crate) fn run(dir: &Path, tool: &str, args: &[&str]) -> String {
    let (success, text) = try_run(dir, tool, args);
    assert!(success, "{tool} {args:?}: {text}");
    text
}

/// Reproducible bytes that shrink to about half: noise, text and zeros.
pub(crate) fn sample(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len + 512);
    while bytes.len() < len {
        let run = 1 + usize::from(next().to_le_bytes()[0]) * 2;
        match next() % 3 {
            0 => bytes.extend((0..run).map(|_| next().to_le_bytes()[4])),
            1 => bytes.extend(b"raspberry".iter().cycle().take(run)),
            _ => bytes.resize(bytes.len() + run, 0),
        }
    }
    bytes.truncate(len);
    bytes
}

/// A FAT file system in `dir/NAME.img`, by mkfs.vfat, with `files` copied in by
/// mtools. Their names may have directories, which are made.
pub(crate) fn fat_image(dir: &Path, shape: FatShape, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = dir.join(format!("fat{}-{}.img", shape.bits, shape.cluster_len));
    let len = shape.clusters() * shape.cluster_len as u64;
    std::fs::File::create(&path).unwrap().set_len(len).unwrap();
    let (bits, sectors) = (
        shape.bits.to_string(),
        (shape.cluster_len / 512).to_string(),
    );
    let image = path.to_str().unwrap();
    let geometry = ["-F", &bits, "-s", &sectors, "-S", "512"];
    let names = ["--invariant", "-n", "BOOTFS", image];
    run(dir, "mkfs.vfat", &[&geometry[..], &names].concat());
    for (name, bytes) in files {
        if let Some((parent, _)) = name.rsplit_once('/') {
            // It may be there already.
            try_run(dir, "mmd", &["-i", image, &format!("::{parent}")]);
        }
        mcopy_in(&path, name, bytes);
    }
    path
}

/// Puts a file on a FAT image.
pub(crate) fn mcopy_in(image: &Path, name: &str, bytes: &[u8]) {
    let dir = image.parent().unwrap();
    let source = tempfile::NamedTempFile::new_in(dir).unwrap();
    std::fs::write(source.path(), bytes).unwrap();
    let (image, source) = (image.to_str().unwrap(), source.path().to_str().unwrap());
    run(
        dir,
        "mcopy",
        &["-o", "-i", image, source, &format!("::{name}")],
    );
}

/// Reads a file of a FAT image.
pub(crate) fn mcopy_out(image: &Path, name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let image = image.to_str().unwrap();
    run(
        dir.path(),
        "mcopy",
        &["-i", image, &format!("::{name}"), "out"],
    );
    std::fs::read(dir.path().join("out")).unwrap()
}

/// What kind of FAT to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FatShape {
    pub(crate) bits: u8,
    pub(crate) cluster_len: usize,
}

impl FatShape {
    /// Each kind with the smallest clusters and with those of a page.
    pub(crate) const ALL: [Self; 6] = [
        Self::new(12, 512),
        Self::new(12, 4096),
        Self::new(16, 512),
        Self::new(16, 4096),
        Self::new(32, 512),
        Self::new(32, 4096),
    ];

    const fn new(bits: u8, cluster_len: usize) -> Self {
        Self { bits, cluster_len }
    }

    /// Clusters of the smallest file system that is safely of this kind.
    fn clusters(self) -> u64 {
        match self.bits {
            12 => 2_000,
            16 => 5_000,
            _ => 68_000,
        }
    }
}
