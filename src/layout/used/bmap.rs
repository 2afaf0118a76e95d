//! Block maps as bmap-tools makes them, formats 1.0 to 2.0 (its
//! BmapCreate.py and BmapCopy.py are the specification).

use std::io;
use std::ops::Range;

use roxmltree::{Document, Node};
use sha1::Digest as _;

use super::{MIN_GAP, UsedMap};
use crate::base::{CHUNK_LEN, ReadAt, Sha256Digest};
use crate::layout::disk::SECTOR_LEN;

/// A longer file would list more than a hundred thousand ranges.
const MAX_LEN: usize = 16 << 20;

/// A block map that matches its image's length and its own checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmap {
    /// What must be written.
    pub used: UsedMap,
    /// The ranges as listed, in ascending order, with their digests.
    pub ranges: Vec<BmapRange>,
}

impl Bmap {
    /// Whether the map may be believed about `within`: it has ranges in each of these and
    /// over the partition table, these have digests, and `source` the bytes that they were
    /// made of. `go_on` is asked before each chunk.
    ///
    /// # Errors
    /// Where the source cannot be read, and what `go_on` says.
    pub fn agrees<E: From<io::Error>>(
        &self,
        source: &dyn ReadAt,
        within: &[Range<u64>],
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<bool, E> {
        let table = 0..SECTOR_LEN;
        let places = || within.iter().chain([&table]);
        let overlap = |one: &BmapRange, place: &Range<u64>| {
            one.range.start < place.end && place.start < one.range.end
        };
        // Where a map lists nothing, there is nothing either to know it by.
        if !places().all(|place| self.ranges.iter().any(|one| overlap(one, place))) {
            return Ok(false);
        }
        let counts = |one: &&BmapRange| places().any(|place| overlap(one, place));
        for BmapRange { range, sha256 } in self.ranges.iter().filter(counts) {
            let mut hasher = sha2::Sha256::new();
            let mut buf = vec![0; CHUNK_LEN];
            let mut at = range.start;
            while at < range.end {
                go_on()?;
                // At most a chunk.
                let len = usize::try_from(range.end - at).map_or(CHUNK_LEN, |n| n.min(CHUNK_LEN));
                source.read_exact_at(&mut buf[..len], at)?;
                hasher.update(&buf[..len]);
                at += len as u64;
            }
            if *sha256 != Some(Sha256Digest(hasher.finalize().into())) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A range of a block map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmapRange {
    /// Offsets in the image, in bytes; the last may end with the image.
    pub range: Range<u64>,
    /// Digest of its bytes, where the map has one.
    pub sha256: Option<Sha256Digest>,
}

/// Why a `.bmap` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BmapError {
    /// Nothing like a block map.
    #[error("this is no block map: {0}")]
    NotBmap(String),
    /// A newer format.
    #[error("the block map has format {0}; cardmint knows 1.0 to 2.0")]
    Version(String),
    /// A digest we cannot compute.
    #[error("the block map uses the checksum `{0}`; cardmint knows sha256 and sha1")]
    ChecksumType(String),
    /// The file was changed after it was made.
    #[error("the block map does not match its own checksum. Download it again")]
    Tampered,
    /// It belongs to another image.
    #[error(
        "the block map is of an image of {map} bytes, this one has {image}. Take the one that belongs to it"
    )]
    OtherImage {
        /// Length of its image.
        map: u64,
        /// Length of ours.
        image: u64,
    },
    /// Fields that contradict each other.
    #[error("the block map is damaged: {0}. Download it again")]
    Damaged(String),
}

/// Parses a `.bmap` file for an image of `len` bytes.
///
/// # Errors
/// See [`BmapError`].
pub fn parse(xml: &[u8], len: u64) -> Result<Bmap, BmapError> {
    if xml.len() > MAX_LEN {
        return Err(BmapError::NotBmap(format!("it has {} bytes", xml.len())));
    }
    let text = std::str::from_utf8(xml).map_err(|error| BmapError::NotBmap(error.to_string()))?;
    let document = Document::parse(text).map_err(|error| BmapError::NotBmap(error.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name("bmap") {
        return Err(BmapError::NotBmap("its root is not <bmap>".to_owned()));
    }
    let algorithm = check_file(xml, root)?;
    let image_len = number(root, "ImageSize")?;
    if image_len != len {
        return Err(BmapError::OtherImage {
            map: image_len,
            image: len,
        });
    }
    let block_len = number(root, "BlockSize")?;
    let blocks = number(root, "BlocksCount")?;
    if !block_len.is_power_of_two() || len.div_ceil(block_len) != blocks {
        return Err(damaged("blocks and image length contradict each other"));
    }
    let ranges = ranges(root, block_len, len, algorithm)?;
    let used = ranges.iter().map(|range| range.range.clone());
    Ok(Bmap {
        used: UsedMap::from_used(len, used, MIN_GAP),
        ranges,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
}

/// Verifies the file's own checksum; which kind the ranges have too.
fn check_file(xml: &[u8], root: Node<'_, '_>) -> Result<Algorithm, BmapError> {
    let version = root.attribute("version").unwrap_or_default();
    let (major, minor) = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)))
        .filter(|version| ((1, 0)..=(2, 0)).contains(version))
        .ok_or_else(|| BmapError::Version(version.to_owned()))?;
    // 1.3 brought a checksum of the file, 1.4 and 2.0 the choice of its kind.
    let (algorithm, tag) = match child(root, "ChecksumType") {
        Err(_) if (major, minor) < (1, 4) => (Algorithm::Sha1, "BmapFileSHA1"),
        Err(error) => return Err(error),
        Ok(node) => match trimmed(node) {
            "sha256" => (Algorithm::Sha256, "BmapFileChecksum"),
            "sha1" => (Algorithm::Sha1, "BmapFileChecksum"),
            other => return Err(BmapError::ChecksumType(other.to_owned())),
        },
    };
    let node = match child(root, tag) {
        Err(_) if (major, minor) < (1, 3) => return Ok(algorithm),
        node => node?,
    };
    let stored = trimmed(node).to_owned();
    let place = node
        .first_child()
        .map(|text| text.range())
        .and_then(|range| {
            let at = std::str::from_utf8(xml.get(range.clone())?)
                .ok()?
                .find(&stored)?;
            Some(range.start + at..range.start + at + stored.len())
        })
        .ok_or(BmapError::Tampered)?;
    let mut zeroed = xml.to_vec();
    zeroed[place].fill(b'0');
    let sum = match algorithm {
        Algorithm::Sha256 => Sha256Digest::of(&zeroed).to_string(),
        Algorithm::Sha1 => hex::encode(sha1::Sha1::digest(&zeroed)),
    };
    if sum == stored.to_lowercase() {
        Ok(algorithm)
    } else {
        Err(BmapError::Tampered)
    }
}

fn ranges(
    root: Node<'_, '_>,
    block_len: u64,
    len: u64,
    algorithm: Algorithm,
) -> Result<Vec<BmapRange>, BmapError> {
    let mut found: Vec<BmapRange> = Vec::new();
    let (mut next, mut mapped) = (0, 0);
    let list = child(root, "BlockMap")?;
    for node in list.children().filter(|node| node.has_tag_name("Range")) {
        let text = trimmed(node);
        // A single block has no dash.
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>())
        else {
            return Err(damaged(&format!("`{text}` is no range")));
        };
        if first < next || last < first || last >= len.div_ceil(block_len) {
            return Err(damaged(&format!("range {text} is out of place")));
        }
        next = last + 1;
        mapped += next - first;
        let sha256 = match (algorithm, node.attribute("chksum")) {
            (Algorithm::Sha256, Some(text)) => Some(
                text.parse()
                    .map_err(|_| damaged(&format!("`{text}` is no checksum")))?,
            ),
            _ => None,
        };
        // Blocks count up to the image's length, rounded up, so only the last
        // product can leave the image or `u64`.
        let range = first * block_len..next.saturating_mul(block_len).min(len);
        found.push(BmapRange { range, sha256 });
    }
    match child(root, "MappedBlocksCount") {
        Ok(_) if number(root, "MappedBlocksCount")? != mapped => {
            Err(damaged("it lists fewer or more blocks than it counts"))
        }
        _ => Ok(found),
    }
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>, BmapError> {
    node.children()
        .find(|node| node.has_tag_name(name))
        .ok_or_else(|| damaged(&format!("<{name}> is missing")))
}

fn trimmed<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

fn number(root: Node<'_, '_>, name: &str) -> Result<u64, BmapError> {
    trimmed(child(root, name)?)
        .parse()
        .map_err(|_| damaged(&format!("<{name}> is no number")))
}

fn damaged(what: &str) -> BmapError {
    BmapError::Damaged(what.to_owned())
}
