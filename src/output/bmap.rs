//! Block maps for `bmaptool copy`: format 2.0 of bmap-tools (its BmapCreate.py is
//! the specification).
//!
//! Whole chunks are listed, since their digests are known anyway: a map costs
//! nothing per node.

use std::fmt::Write as _;

use super::Expected;
use crate::base::Sha256Digest;
use crate::base::chunk::CHUNK_LEN;
use crate::layout::UsedMap;
use crate::layout::used::BLOCK_LEN;

/// A digest that is not known yet: the file's own, while it is worked out.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The block map of an image that is used as `used` says.
pub(super) fn render(expected: &Expected, used: &UsedMap) -> String {
    let mut list = String::new();
    let mut mapped = 0;
    for index in 0..expected.chunks() {
        let (offset, len) = expected.range(index);
        let is_used = used.within(offset, len as u64).next().is_some();
        let Some(digest) = expected.digest(index).filter(|_| is_used) else {
            continue;
        };
        let first = offset / BLOCK_LEN;
        let blocks = (len as u64).div_ceil(BLOCK_LEN);
        mapped += blocks;
        let last = first + blocks - 1;
        // Writing to a string does not fail.
        let _ = writeln!(
            list,
            "    <Range chksum=\"{digest}\">{first}-{last}</Range>"
        );
    }
    let len = expected.len();
    let text = format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- Made by cardmint, for: bmaptool copy IMAGE DEVICE -->\n\
         <bmap version=\"2.0\">\n\
         \x20   <ImageSize>{len}</ImageSize>\n\
         \x20   <BlockSize>{BLOCK_LEN}</BlockSize>\n\
         \x20   <BlocksCount>{}</BlocksCount>\n\
         \x20   <MappedBlocksCount>{mapped}</MappedBlocksCount>\n\
         \x20   <ChecksumType>sha256</ChecksumType>\n\
         \x20   <BmapFileChecksum>{BLANK}</BmapFileChecksum>\n\
         \x20   <BlockMap>\n{list}    </BlockMap>\n\
         </bmap>\n",
        len.div_ceil(BLOCK_LEN),
    );
    let own = Sha256Digest::of(text.as_bytes()).to_string();
    text.replacen(BLANK, &own, 1)
}

const _: () = assert!((CHUNK_LEN as u64).is_multiple_of(BLOCK_LEN));
