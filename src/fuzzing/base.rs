//! Compressed files that are read in place, lists of images, and signatures.

use std::sync::Arc;
use std::time::SystemTime;

use xz2::stream::{Action, Status, Stream};

use super::image::Input;
use crate::base::catalogue::OsList;
use crate::base::signature::{Certificate, policy};
use crate::base::xz::{XzBase, trailer};
use crate::base::{MemBase, ReadAt};
use crate::output::splice::Frames;

/// Longer blocks would show nothing more, and take their time.
const MAX_LEN: u64 = 1 << 20;
/// Stream flags: no check, CRC-32, CRC-64, SHA-256 and one that nobody has defined.
const CHECKS: [u8; 5] = [0, 1, 4, 10, 3];

/// Bytes as a list of images. Every name that is shown leads back to an entry.
///
/// # Panics
/// Where one does not, or a text would steer a terminal.
pub(super) fn os_list(bytes: &[u8]) {
    let Ok(mut list) = OsList::parse(bytes) else {
        return;
    };
    for (entry, name) in list.entries().iter().zip(list.names()).take(50) {
        let texts = [&entry.name, &entry.description, &entry.url, &name];
        assert!(!texts.iter().any(|text| text.contains(char::is_control)));
        if let Ok(found) = list.find(&name) {
            assert!(found.url == entry.url || found.full_slug() == name);
        }
        let _ = entry.date();
    }
    let len = list.entries().len();
    for more in list.take_more().into_iter().take(3) {
        let below = more.below(&["menu".to_owned()]);
        assert!(below.url.starts_with("http"));
        let other = OsList::parse(bytes).unwrap_or_default();
        list.graft(&below.path, other);
        assert!((len..=20_000).contains(&list.entries().len()));
    }
}

/// Bytes as a key, and as a signature by nobody.
///
/// # Panics
/// Where nobody's signature is a good one.
pub(super) fn signature(bytes: &[u8]) {
    let keys = Certificate::parse(bytes, "fuzz").unwrap_or_default();
    let mut data = &b"data"[..];
    let verified = policy::verify(&keys, bytes, &mut data, "fuzz", SystemTime::UNIX_EPOCH);
    drop(verified);
}

/// Bytes as the end of an xz file and, because no fuzzer guesses a checksum, as
/// what an index with right checksums holds.
///
/// # Panics
/// Where the blocks that were found do not lie in the file one behind the other.
pub(super) fn xz_index(bytes: &[u8]) {
    let whole = MemBase(bytes.to_vec());
    check(&whole, Frames::read_xz(&whole).ok());
    let mut input = Input(bytes);
    let (blocks_len, kind) = (input.u16(), input.u8());
    let flags = [0, CHECKS[usize::from(kind) % CHECKS.len()]];
    let mut file = trailer::stream_header(flags);
    file.resize(file.len() + usize::from(blocks_len), 0);
    file.extend(trailer::seal(input.0.to_vec(), flags));
    let file = MemBase(file);
    check(&file, Frames::read_xz(&file).ok());
}

/// Bytes as an xz file, and as the blocks of one whose index tells the truth or not.
///
/// # Panics
/// Where what is read differs from what liblzma makes of the whole file, or depends
/// on the way it is read.
pub(super) fn xz_block(bytes: &[u8]) {
    read_both_ways(bytes);
    let mut input = Input(bytes);
    let kind = input.u8();
    let flags = [0, CHECKS[usize::from(kind) % CHECKS.len()]];
    let mut file = trailer::stream_header(flags);
    let mut records = Vec::new();
    while !input.0.is_empty() {
        let (len, file_len) = (
            u64::from(input.u16()) | u64::from(input.u8()) << 16,
            input.u16(),
        );
        let block = input.take(file_len.into());
        // No block is shorter than that.
        let unpadded_len = block.len().max(5);
        records.push((unpadded_len as u64, len));
        let end = file.len() + unpadded_len.next_multiple_of(4);
        file.extend_from_slice(block);
        file.resize(end, 0);
    }
    file.extend(trailer::index_and_footer(&records, flags));
    read_both_ways(&file);
}

fn read_both_ways(file: &[u8]) {
    let Ok(base) = XzBase::open(Arc::new(MemBase(file.to_vec()))) else {
        return;
    };
    if base.len() > MAX_LEN {
        return;
    }
    let mut read = vec![0; base.len() as usize];
    let ours = base.read_exact_at(&mut read, 0);
    let mut pieces = Vec::new();
    let by_pieces = (0..base.blocks()).try_for_each(|number| {
        base.decode_pieces(number, |piece| {
            pieces.extend(piece);
            true
        })
    });
    // What takes up far more than it unpacks to is refused, though liblzma takes it.
    if by_pieces.is_ok() {
        assert!(ours.is_ok() && read == pieces);
        assert!(whole(file) == Some(pieces));
    }
}

/// What liblzma itself makes of a file of one stream.
fn whole(file: &[u8]) -> Option<Vec<u8>> {
    let mut stream = Stream::new_stream_decoder(96 << 20, 0).ok()?;
    let mut out = Vec::with_capacity(2 * MAX_LEN as usize);
    let mut taken = 0;
    loop {
        let before = (stream.total_in(), out.len());
        let status = stream
            .process_vec(&file[taken..], &mut out, Action::Finish)
            .ok()?;
        taken = stream.total_in() as usize;
        match status {
            // Padding of zeros may follow.
            Status::StreamEnd => return file[taken..].iter().all(|&byte| byte == 0).then_some(out),
            _ if before == (stream.total_in(), out.len()) => return None,
            _ => {}
        }
    }
}

/// Bytes as a file with a seek table, and as the entries of one.
///
/// # Panics
/// Where the frames that were found do not lie in the file one behind the other, or
/// decode to other lengths than the table tells.
pub(super) fn zst_table(bytes: &[u8]) {
    let whole = MemBase(bytes.to_vec());
    check(&whole, Frames::read_zst(&whole).ok());
    let mut input = Input(bytes);
    let frames_len = input.u16().into();
    let frames = input.take(frames_len);
    let descriptor = input.u8();
    let entries = input.0;
    let entry_len = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let words = [entries.len() + 9, entries.len() / entry_len];
    let [table_len, count] = words.map(|word| u32::try_from(word).unwrap_or(u32::MAX));
    let mut file = frames.to_vec();
    // Room for what the entries claim costs a fuzzer nothing.
    file.resize(frames_len, 0);
    file.extend(0x184d_2a5e_u32.to_le_bytes());
    file.extend(table_len.to_le_bytes());
    file.extend(entries);
    file.extend(count.to_le_bytes());
    file.push(descriptor);
    file.extend(0x8f92_eab1_u32.to_le_bytes());
    let file = MemBase(file);
    check(&file, Frames::read_zst(&file).ok());
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
    for frame in frames
        .list
        .iter()
        .take(8)
        .filter(|frame| frame.record.len <= MAX_LEN)
    {
        if let Ok(decoded) = frames.container.decode(file, frame) {
            assert_eq!(decoded.len() as u64, frame.record.len);
        }
    }
}
