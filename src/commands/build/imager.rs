//! `build --imager-manifest`: a list of the images for Raspberry Pi Imager, for
//! people who rather click (its `doc/json-schema/os-list-schema.json`).

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::sums::Sums;
use crate::base::{ReadAt as _, Sha256Digest};
use crate::commands::workspace::write_whole;
use crate::layout::{Arch, Board};
use crate::output::beside;
use crate::plan::{Card, OpenBase, Plan};

/// What a list says of a system whose date nobody knows.
const NO_DATE: &str = "1970-01-01";

/// Writes the list of the images that `sums` are of, beside them.
pub(super) fn write(plan: &Plan<'_>, out: &Path, sums: &Sums) -> Result<()> {
    let entries = sums.iter().map(|(&at, &sum)| {
        let card = &plan.cards[at];
        entry(plan, &plan.bases[card.base], card, sum)
    });
    let list: Vec<Value> = entries.collect::<Result<_>>()?;
    let path = out.join(format!("{}.rpi-imager-manifest", plan.cluster));
    let text = serde_json::to_string_pretty(&json!({ "os_list": list }))?;
    write_whole(&path, &format!("{text}\n"))
}

fn entry(plan: &Plan<'_>, on: &OpenBase, card: &Card, raw: Sha256Digest) -> Result<Value> {
    let failed = || card.path.display().to_string();
    let path = card.path.canonicalize().with_context(failed)?;
    let download = match path.extension() {
        Some(kind) if kind == "xz" || kind == "zst" => published_digest(&path)?,
        _ => raw.to_string(),
    };
    Ok(json!({
        "name": format!("{} of {}", card.node.hostname, plan.cluster),
        "description": format!("{}, made by cardmint", on.os.describe()),
        "icon": "",
        "url": file_url(&path),
        "extract_size": on.base.len(),
        "extract_sha256": raw.to_string(),
        "image_download_size": path.metadata().with_context(failed)?.len(),
        "image_download_sha256": download,
        "release_date": on.os.release.as_deref().unwrap_or(NO_DATE),
        "init_format": "none",
        "devices": tags(on),
    }))
}

/// The digest in the `.sha256` beside an image.
fn published_digest(image: &Path) -> Result<String> {
    let path = beside(image, ".sha256");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// A path as a URL: what is not plain is percent-encoded (RFC 3986, 2.).
fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(byte.into());
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// Imager's names for the boards that a base boots.
fn tags(on: &OpenBase) -> Vec<String> {
    let bits = if on.os.arch == Arch::Arm64 { 64 } else { 32 };
    let mut tags: Vec<String> = on
        .layout
        .boards()
        .into_iter()
        .filter(|board| bits == 32 || board.is_armv8())
        .map(|board| format!("pi{}-{bits}bit", family(board)))
        .collect();
    tags.dedup();
    tags
}

/// Which family of boards Imager counts a board to.
fn family(board: Board) -> u8 {
    let name = board.name();
    let is = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if is(&["pi-5", "cm5"]) {
        5
    } else if is(&["pi-4", "cm4"]) {
        4
    } else if is(&["pi-3", "cm3", "pi-zero-2w", "pi-2b-v1.2"]) {
        3
    } else if is(&["pi-2"]) {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hold_no_blanks() {
        let url = file_url(Path::new("/home/me/my cards/ü%.img.xz"));
        assert_eq!(url, "file:///home/me/my%20cards/%C3%BC%25.img.xz");
    }
}
