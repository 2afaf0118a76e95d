//! Beginning and end of an xz stream, made from its blocks' lengths.

use super::index::{FOOTER_MAGIC, HEADER_MAGIC, push_number};

/// The stream header (2.1.1).
pub(crate) fn stream_header(flags: [u8; 2]) -> Vec<u8> {
    let mut header = HEADER_MAGIC.to_vec();
    header.extend_from_slice(&flags);
    header.extend_from_slice(&crc32fast::hash(&flags).to_le_bytes());
    header
}

/// Index (4.) and stream footer (2.1.2) for blocks of these unpadded and
/// uncompressed lengths.
pub(crate) fn index_and_footer(records: &[(u64, u64)], flags: [u8; 2]) -> Vec<u8> {
    let mut index = vec![0];
    push_number(&mut index, records.len() as u64);
    for &(unpadded_len, len) in records {
        push_number(&mut index, unpadded_len);
        push_number(&mut index, len);
    }
    seal(index, flags)
}

/// Index, its padding and checksum, and stream footer, for what an index holds.
pub(crate) fn seal(mut index: Vec<u8>, flags: [u8; 2]) -> Vec<u8> {
    index.resize(index.len().next_multiple_of(4), 0);
    let crc = crc32fast::hash(&index);
    index.extend_from_slice(&crc.to_le_bytes());

    // "Backward Size" counts in fours, less one (2.1.2.2); an index that would
    // not fit describes more blocks than memory holds.
    let words = u32::try_from(index.len() / 4 - 1).unwrap_or(u32::MAX);
    let mut footer = words.to_le_bytes().to_vec();
    footer.extend_from_slice(&flags);
    index.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    index.extend_from_slice(&footer);
    index.extend_from_slice(&FOOTER_MAGIC);
    index
}
