//! Bases, and the cards made of them.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::harness::tool;

pub(crate) const GIB: u64 = 1 << 30;

/// What the machines are: `CARDMINT_BOOT_ARCH`, as `make-base` takes it.
pub(crate) fn arch() -> String {
    env::var("CARDMINT_BOOT_ARCH").unwrap_or_else(|_| "amd64".to_owned())
}

/// A generation of Raspberry Pi OS, as `make-base` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    Bullseye,
    Bookworm,
    Trixie,
}

/// What the card is plugged into: how the kernel names it.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    /// `/dev/vda2`, as a card in a USB reader: `/dev/sda2`.
    Virtio,
    /// `/dev/nvme0n1p2`, as a card in the slot: `/dev/mmcblk0p2`.
    Nvme,
}

impl Generation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    fn slot(self) -> Slot {
        match self {
            Self::Bullseye | Self::Bookworm => Slot::Nvme,
            Self::Trixie => Slot::Virtio,
        }
    }

    /// Where the boot partition is mounted.
    pub(crate) fn boot(self) -> &'static str {
        match self {
            Self::Bullseye => "/boot",
            Self::Bookworm | Self::Trixie => "/boot/firmware",
        }
    }

    fn dir(self) -> PathBuf {
        self.made(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/make-base"))
    }

    /// A package archive with what the base lacks to watch a cluster.
    pub(crate) fn archive(self) -> PathBuf {
        self.made(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/boot/make-archive"
        ))
    }

    /// The folder that a script makes for this generation, if it has not yet.
    fn made(self, script: &str) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let made = tool(script, &[self.name()]).expect(0);
        PathBuf::from(made.stdout.trim())
    }

    /// The stock image; made by the first who asks.
    pub(crate) fn base(self) -> PathBuf {
        self.dir().join("base.img")
    }
}

/// A file that stands in for a card.
pub(crate) struct Card {
    pub(crate) path: PathBuf,
    pub(crate) slot: Slot,
    /// Drivers that a Pi's kernel has built in, where the boot partition has no
    /// initramfs.
    pub(crate) initramfs: Option<PathBuf>,
}

impl Card {
    /// A card of `len` bytes with `image` on it, in an empty folder `name` of
    /// its own, which keeps the logs after the test.
    pub(crate) fn with(generation: Generation, image: &Path, len: u64, name: &str) -> Self {
        let path = Self::place(name);
        let utf8 = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        tool("cp", &["--sparse=always", &utf8(image), &utf8(&path)]).expect(0);
        let file = OpenOptions::new().write(true).open(&path).expect("a card");
        assert!(file.metadata().expect("a file").len() <= len);
        file.set_len(len).expect("a sparse file");
        Self::at(generation, path)
    }

    /// A card of `len` bytes whose first gibibytes hold what makes no sense, in
    /// a folder of its own like [`Self::with`].
    pub(crate) fn full_of_garbage(generation: Generation, len: u64, name: &str) -> Self {
        let path = Self::place(name);
        let mut file = File::create(&path).expect("a card");
        let garbage = vec![0xa5; 1 << 20];
        for _ in 0..len.min(2 * GIB) >> 20 {
            file.write_all(&garbage).expect("room");
        }
        file.set_len(len).expect("a sparse file");
        Self::at(generation, path)
    }

    fn place(name: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("boot-{}", arch()))
            .join(name);
        // A card is gigabytes; a folder from an earlier run may hold one.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        dir.join("card.img")
    }

    fn at(generation: Generation, path: PathBuf) -> Self {
        let initramfs = generation.dir().join("initramfs8");
        Self {
            path,
            slot: generation.slot(),
            initramfs: initramfs.exists().then_some(initramfs),
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
