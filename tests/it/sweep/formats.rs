//! Bases of every format, and what is made of them, with damaged bytes: an error that
//! names the file, or what was promised.

use std::fs;
use std::path::Path;

use cardmint::base::{Base, Cache, ReadAt as _, Sha256Digest};
use cardmint::interrupt::Interrupt;
use cardmint::layout::{Layout, detect};
use cardmint::output::{Expected, differing_chunks};
use cardmint::overlay::Overlay;
use cardmint::report::event::Silent;

use super::damage::Damage;
use super::{BASE, NAME, cases, sweep};
use crate::harness::{Scratch, base, tool};

/// A way to pack the base, on standard output.
pub(super) fn packed(scratch: &Scratch, command: &str) -> Vec<u8> {
    let (to, raw) = (scratch.path("packed"), base(BASE));
    let script = format!("RAW='{}'; {command} > '{}'", raw.display(), to.display());
    tool("bash", &["-euo", "pipefail", "-c", &script]).expect(0);
    fs::read(to).expect("a file")
}

/// What a base has to be, where somebody said so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Promise {
    Nothing,
    /// The digest of the file.
    File(Sha256Digest),
    /// The digest of what it unpacks to.
    Contents(Sha256Digest),
}

impl Promise {
    pub(super) fn digest(self) -> Option<Sha256Digest> {
        match self {
            Self::Nothing => None,
            Self::File(digest) | Self::Contents(digest) => Some(digest),
        }
    }
}

/// Takes in a base as the commands do; gives the digest of its contents.
fn take_in(path: &Path, cache: &Cache, promise: Promise) -> Result<Sha256Digest, String> {
    let interrupt = Interrupt::default();
    let told = |error: &dyn std::error::Error| error.to_string();
    let base = Base::open(path, cache, &Silent, &interrupt).map_err(|error| told(&error))?;
    if let Some(wanted) = promise.digest() {
        base.check_sha256(wanted, cache, &Silent, &interrupt)
            .map_err(|error| told(&error))?;
    }
    // The commands put its name before these.
    let named = |error: &dyn std::error::Error| format!("{}: {error}", base.name());
    let layout = Layout::read(&base).map_err(|error| named(&error))?;
    if let Some(reason) = detect::customised(&layout.boot) {
        return Err(format!("{}: {reason}", base.name()));
    }
    detect::detect(&layout.boot, None).map_err(|error| named(&error))?;
    let digests = base.digests(cache, &Silent, &interrupt);
    Ok(digests.map_err(|error| told(&error))?.raw)
}

/// Damages a base that checks itself, in memory of this process.
fn sweep_packed(command: &str) {
    let scratch = Scratch::new();
    let bytes = packed(&scratch, command);
    sweep_checked(&scratch, &bytes, &fs::read(base(BASE)).expect("a base"));
}

/// Damages `bytes`, which unpack to `raw`.
fn sweep_checked(scratch: &Scratch, bytes: &[u8], raw: &[u8]) {
    let (file, raw) = (Sha256Digest::of(bytes), Sha256Digest::of(raw));
    sweep(cases(40, 1), |case, say| {
        let damage = Damage::of(case, bytes);
        let promise = match case % 3 {
            0 => Promise::Nothing,
            1 => Promise::File(file),
            _ => Promise::Contents(raw),
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(bytes);
        let path = scratch.write(NAME, &damaged);
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().to_owned());
        match take_in(&path, &cache, promise) {
            Ok(found) => {
                assert_eq!(found, raw, "taken for the base");
                let is_promised = !matches!(promise, Promise::File(_)) || damaged == bytes;
                assert!(is_promised, "not the file that was promised");
            }
            Err(message) => {
                assert!(damaged != bytes, "{message}");
                assert!(message.contains(NAME), "{message}");
            }
        }
    });
}

#[test]
fn xz_of_many_blocks_is_sound_or_refused() {
    sweep_packed("xz -0 --block-size=1MiB -c \"$RAW\"");
}

#[test]
fn xz_of_one_block_is_sound_or_refused() {
    sweep_packed("xz -0 -c \"$RAW\"");
}

#[test]
fn gzip_is_sound_or_refused() {
    sweep_packed("gzip -1 -c \"$RAW\"");
}

#[test]
fn zstd_is_sound_or_refused() {
    sweep_packed("zstd -q -1 -c \"$RAW\"");
}

#[test]
fn bzip2_is_sound_or_refused() {
    sweep_packed("bzip2 -1 -c \"$RAW\"");
}

#[test]
fn zip_is_sound_or_refused() {
    sweep_packed("(cd \"$(dirname \"$RAW\")\" && zip -q -1 - tiny.img)");
}

/// Our own images, as `verify` reads them.
fn sweep_own(format: &str) {
    let scratch = Scratch::cluster(BASE, |text| text);
    let of = |format: &str, name: &str| {
        let args = ["build", "-q", "--nodes", "0", "--format", format];
        scratch.cardmint(&args).expect(0);
        fs::read(scratch.path("c/images").join(name)).expect("an image")
    };
    let raw = of("img", "raspberrypi0.img");
    let bytes = of(format, &format!("raspberrypi0.{format}"));
    let raw = Sha256Digest::of(&raw);
    sweep(cases(40, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        say(&damage);
        let path = scratch.write(NAME, damage.done_to(&bytes));
        let dir = tempfile::tempdir().expect("a directory");
        let (cache, interrupt) = (Cache::at(dir.path().to_owned()), Interrupt::default());
        let found = Base::open(&path, &cache, &Silent, &interrupt)
            .and_then(|image| image.digests(&cache, &Silent, &interrupt));
        // Another digest is a difference that is told; an image of other bytes with
        // the same one would not be.
        if let Err(error) = found {
            assert!(error.to_string().contains(NAME), "{error}");
        } else if let Ok(found) = found
            && found.raw != raw
        {
            // Nothing but a magic number that is gone makes other bytes of it.
            let head = fs::read(&path).expect("a file");
            assert!(
                found.raw == Sha256Digest::of(&head),
                "unpacks to something else"
            );
        }
    });
}

#[test]
fn our_xz_is_sound_or_refused() {
    sweep_own("img.xz");
}

#[test]
fn our_zstd_is_sound_or_refused() {
    sweep_own("img.zst");
}

#[test]
fn a_raw_base_is_what_was_promised_or_what_it_is() {
    let scratch = Scratch::new();
    let bytes = fs::read(base(BASE)).expect("a base");
    let raw = Sha256Digest::of(&bytes);
    sweep(cases(20, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        let promise = if case % 2 == 0 {
            Promise::Nothing
        } else {
            Promise::Contents(raw)
        };
        say(&format_args!("{damage} with {promise:?}"));
        let damaged = damage.done_to(&bytes);
        let path = scratch.write(NAME, &damaged);
        let dir = tempfile::tempdir().expect("a directory");
        match take_in(&path, &Cache::at(dir.path().to_owned()), promise) {
            Ok(found) => {
                assert_eq!(found, Sha256Digest::of(&damaged));
                assert!(promise.digest().is_none_or(|wanted| wanted == found));
            }
            Err(message) => assert!(message.contains(NAME), "{message}"),
        }
    });
}

#[test]
fn every_chunk_of_an_image_that_differs_is_told() {
    let scratch = Scratch::new();
    let (raw, interrupt) = (base(BASE), Interrupt::default());
    let bytes = fs::read(&raw).expect("a base");
    let cache = Cache::at(scratch.path("cache"));
    let open = Base::open(&raw, &cache, &Silent, &interrupt).expect("a base");
    let digests = open.digests(&cache, &Silent, &interrupt).expect("digests");
    let nothing = Overlay::default();
    let expected = Expected::new(&open, &digests.chunks, &nothing).expect("what is planned");
    let chunk_len = cardmint::base::CHUNK_LEN;
    sweep(cases(20, 1), |case, say| {
        let damage = Damage::of(case, &bytes);
        say(&damage);
        let damaged = damage.done_to(&bytes);
        let path = scratch.write("image", &damaged);
        let found = differing_chunks(&path, &expected, "image", &Silent, &interrupt);
        let found = found.expect("a comparison");
        let chunk = |bytes: &[u8], index: usize| {
            let rest = &bytes[bytes.len().min(index * chunk_len)..];
            rest[..rest.len().min(chunk_len)].to_vec()
        };
        let last = expected.chunks() - 1;
        let differs = |&index: &usize| {
            chunk(&bytes, index) != chunk(&damaged, index)
                || (index == last && damaged.len() > bytes.len())
        };
        let wanted: Vec<usize> = (0..expected.chunks()).filter(differs).collect();
        assert_eq!(found, wanted);
        assert_eq!(open.len(), bytes.len() as u64);
    });
}
