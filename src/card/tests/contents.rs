//! What is told of bytes.

use proptest::prelude::*;

use crate::base::read_at::MemBase;
use crate::card::content::Content;
use crate::card::{Size, printable};

fn told(bytes: Vec<u8>) -> String {
    Content::of(&MemBase(bytes)).to_string()
}

#[test]
fn blank_and_odd_bytes() {
    assert_eq!(told(vec![0; 2 << 20]), "nothing (blank)");
    assert_eq!(told(Vec::new()), "nothing (blank)");
    assert_eq!(told(vec![7; 2 << 20]), "something unknown");
    let mut exfat = vec![0; 1 << 20];
    exfat[3..11].copy_from_slice(b"EXFAT   ");
    assert_eq!(told(exfat.clone()), "exFAT, without partitions");
    let mut disk = vec![0; 1 << 20];
    disk.extend_from_slice(&exfat);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[450] = 7;
    disk[454..458].copy_from_slice(&2048u32.to_le_bytes());
    disk[458..462].copy_from_slice(&2048u32.to_le_bytes());
    assert_eq!(told(disk), "1 partition: exFAT");
}

#[test]
fn what_cannot_be_read_says_why() {
    let content = Content::read("/nowhere/at/all".as_ref());
    assert!(content.to_string().starts_with("unreadable: "), "{content}");
}

#[test]
fn untrusted_text_cannot_repaint_a_terminal() {
    assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\nd é"), "a[2Jbcd é");
}

#[test]
fn sizes_are_those_printed_on_cards() {
    let told = [31_914_983_424, 512, 4_194_304, 2_000_398_934_016].map(|len| Size(len).to_string());
    assert_eq!(told, ["31.9 GB", "512 bytes", "4.1 MB", "2.0 TB"]);
}

proptest! {
    #[test]
    fn rubbish_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        if let Some(end) = bytes.get_mut(510..512) {
            end.copy_from_slice(&[0x55, 0xaa]);
        }
        let _ = told(bytes);
    }
}
