//! What `fuzz/` calls: each function takes any bytes, and fails by panicking where
//! a reader breaks its promise.

use std::time::SystemTime;

use crate::base::MemBase;
use crate::base::catalogue::OsList;
use crate::base::signature::{Certificate, policy};
use crate::base::xz::trailer;
use crate::output::splice::Frames;

/// Bytes as a list of images. Every name that is shown leads back to an entry.
///
/// # Panics
/// Where one does not.
pub fn os_list(bytes: &[u8]) {
    let Ok(list) = OsList::parse(bytes) else {
        return;
    };
    for (entry, name) in list.entries().iter().zip(list.names()).take(50) {
        assert!(!entry.name.chars().any(char::is_control));
        if let Ok(found) = list.find(&name) {
            assert!(found.url == entry.url || found.full_slug() == name);
        }
    }
}

/// Bytes as a key, and as a signature by nobody.
pub fn signature(bytes: &[u8]) {
    let keys = Certificate::parse(bytes, "fuzz").unwrap_or_default();
    let mut data = &b"data"[..];
    drop(policy::verify(
        &keys,
        bytes,
        &mut data,
        "fuzz",
        SystemTime::UNIX_EPOCH,
    ));
}

/// Bytes as the end of an xz file and, because no fuzzer guesses a checksum, as
/// what an index with right checksums holds.
///
/// # Panics
/// Where the blocks that were found do not lie in the file one behind the other.
pub fn xz_index(bytes: &[u8]) {
    let whole = MemBase(bytes.to_vec());
    check(&whole, Frames::read_xz(&whole).ok());
    let Some((blocks_len, [kind, index @ ..])) = split_len(bytes) else {
        return;
    };
    let flags = [0, [0, 1, 4, 10, 3][usize::from(*kind) % 5]];
    let mut file = trailer::stream_header(flags);
    file.resize(file.len() + blocks_len, 0);
    file.extend(trailer::seal(index.to_vec(), flags));
    let file = MemBase(file);
    check(&file, Frames::read_xz(&file).ok());
}

/// Bytes as a file with a seek table, and as the entries of one.
///
/// # Panics
/// Where the frames that were found do not lie in the file one behind the other.
pub fn zst_table(bytes: &[u8]) {
    let whole = MemBase(bytes.to_vec());
    check(&whole, Frames::read_zst(&whole).ok());
    let Some((frames_len, [descriptor, entries @ ..])) = split_len(bytes) else {
        return;
    };
    let entry_len = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let words = [entries.len() + 9, entries.len() / entry_len];
    let [table_len, count] = words.map(|word| u32::try_from(word).unwrap_or(u32::MAX));
    let mut file = vec![0; frames_len];
    file.extend(0x184d_2a5e_u32.to_le_bytes());
    file.extend(table_len.to_le_bytes());
    file.extend(entries);
    file.extend(count.to_le_bytes());
    file.push(*descriptor);
    file.extend(0x8f92_eab1_u32.to_le_bytes());
    let file = MemBase(file);
    check(&file, Frames::read_zst(&file).ok());
}

/// A length below 64 KiB, from the first two bytes, and the others.
fn split_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    Some((u16::from_le_bytes(*len).into(), rest))
}

fn check(file: &MemBase, frames: Option<Frames>) {
    let Some(frames) = frames else { return };
    let (mut at, mut offset) = (frames.container.header().len() as u64, 0);
    for frame in &frames.list {
        assert_eq!((frame.file_offset, frame.offset), (at, offset));
        at += frames.container.stored_len(&frame.record);
        offset += frame.record.len;
    }
    assert_eq!(offset, frames.len);
    assert!(at <= file.0.len() as u64);
}
