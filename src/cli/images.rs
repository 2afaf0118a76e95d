//! `cardmint images`, as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::base::Sha256Digest;

pub(super) const EXAMPLES: &str = "\
An IMAGE is a name that `cardmint images list` shows, raspios-lite-arm64 or
raspios-lite-arm64@2026-06-18; an address; or LIST#ENTRY with the address of
a list in the format of Raspberry Pi Imager. The same goes into `image` in
cluster.toml.

Examples:
  cardmint images fetch                looks for newer images for this cluster
  cardmint images fetch raspios-lite-armhf
  cardmint images list --from https://example.org/os_list.json
  cardmint images prune --unused-for 30";

/// The subcommands of `images`.
#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// List the names that a manifest may use, and the images that are here
    List(ImagesListArgs),
    /// Download images, each once, and check what arrives
    Fetch(ImagesFetchArgs),
    /// Read the images that are here once more and compare them with their digests
    Verify(ImagesVerifyArgs),
    /// Remove images and unpacked bases that were not used for long
    Prune(ImagesPruneArgs),
    /// Trust a publisher's OpenPGP key, or list the keys that are trusted
    Trust(ImagesTrustArgs),
}

/// Arguments of `images list`.
#[derive(Debug, Args)]
pub struct ImagesListArgs {
    /// Show the entries of this list instead, as names for `image`
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub from: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `images fetch`.
#[derive(Debug, Args)]
pub struct ImagesFetchArgs {
    /// Images [default: those of cluster.toml]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// SHA-256 that the image must have, of the file or of its uncompressed bytes
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<Sha256Digest>,
    /// Refuse an image that bears no signature by a trusted key
    #[arg(long)]
    pub require_signature: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `images verify`.
#[derive(Debug, Args)]
pub struct ImagesVerifyArgs {
    /// Names or file names, or parts of them [default: all that are here]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `images prune`.
#[derive(Debug, Args)]
pub struct ImagesPruneArgs {
    /// Remove what was not used for so many days [default: 90]
    #[arg(long, value_name = "DAYS")]
    pub unused_for: Option<u32>,
    /// Keep at most so much, the last used first, such as 10G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Remove everything that no other process uses
    #[arg(long, conflicts_with_all = ["unused_for", "max_size"])]
    pub all: bool,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `images trust`.
#[derive(Debug, Args)]
pub struct ImagesTrustArgs {
    /// File with the publisher's public key; without it, lists the trusted keys
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Do not trust the key with this fingerprint any longer
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "key")]
    pub remove: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Bytes of a size such as `500M` or `10G`: powers of 1024, as `du -h` counts.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => Some(0),
        "K" | "KIB" => Some(10),
        "M" | "MIB" => Some(20),
        "G" | "GIB" => Some(30),
        "T" | "TIB" => Some(40),
        _ => None,
    };
    let size = digits.parse::<u64>().ok().zip(unit);
    size.and_then(|(number, unit)| number.checked_mul(1 << unit))
        .ok_or_else(|| "write a size such as 500M or 10G".to_owned())
}
