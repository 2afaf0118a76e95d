//! Partition tables: MBR by `mbrman`, GPT by `gpt`, one shape for both.

use std::io::Cursor;

use gpt::disk::LogicalBlockSize;

use crate::base::ReadAt;
use crate::base::cursor::ReadCursor;

/// Bytes in a sector of a partition table; every image we know uses 512.
pub const SECTOR_LEN: u64 = 512;
/// MBR partition type of the protective entry of a GPT disk (UEFI 2.10, 5.2.3).
const TYPE_GPT_PROTECTIVE: u8 = 0xee;
/// MBR types that hold a FAT: FAT12, FAT16 (three kinds), FAT32 (two), EFI.
const FAT_TYPES: [u8; 7] = [0x01, 0x04, 0x06, 0x0e, 0x0b, 0x0c, 0xef];
/// GPT type of an EFI system partition.
const GUID_EFI: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// GPT type "Microsoft basic data", which FAT boot partitions also use.
const GUID_BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
/// More entries than any real table has; a table that claims more is damaged.
const MAX_GPT_ENTRIES: u32 = 1024;

/// The partition table of an image or card.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Disk {
    /// Length of the whole image or card, in bytes.
    pub len: u64,
    /// Which kind of table it is.
    pub scheme: Scheme,
    /// Disk signature (8 hex digits) or GUID, from which PARTUUIDs are made.
    pub id: String,
    /// Partitions in order of their number.
    pub partitions: Vec<Partition>,
}

/// Kinds of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Master boot record, "msdos".
    Mbr,
    /// GUID partition table.
    Gpt,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Partition {
    /// Number, as in `mmcblk0p1`.
    pub number: u32,
    /// Offset of its first byte on the disk.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// `0c`, or a GPT type GUID.
    #[serde(rename = "type")]
    pub type_id: String,
}

impl Partition {
    /// Whether the type says that a FAT is inside.
    #[must_use]
    pub fn is_fat_type(&self) -> bool {
        match u8::from_str_radix(&self.type_id, 16) {
            Ok(byte) => FAT_TYPES.contains(&byte),
            Err(_) => self.type_id == GUID_EFI || self.type_id == GUID_BASIC_DATA,
        }
    }
}

/// Why a partition table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Not a byte.
    #[error("it is empty. Was it downloaded or copied to its end?")]
    Empty,
    /// Nothing like a partition table at the start.
    #[error(
        "no partition table: this is no disk image. Give a Raspberry Pi OS image \
         (.img, .img.xz, .img.zip …)"
    )]
    NoTable,
    /// The table contradicts itself or cannot be parsed.
    #[error("the partition table is damaged: {0}. Download the image again")]
    Damaged(String),
    /// A partition leaves the image.
    #[error(
        "the image is cut short: partition {number} ends at byte {end}, the image at {len}. \
         Download it again"
    )]
    Truncated {
        /// The partition that does not fit.
        number: u32,
        /// Where it ends.
        end: u64,
        /// Where the image ends.
        len: u64,
    },
    /// The base cannot be read there.
    #[error("reading the partition table")]
    Io(#[from] std::io::Error),
}

impl Disk {
    /// Reads the partition table of `source`.
    ///
    /// # Errors
    /// Where there is none, where it is damaged, and where a partition leaves
    /// the source.
    pub fn read(source: &dyn ReadAt) -> Result<Self, DiskError> {
        if source.is_empty() {
            return Err(DiskError::Empty);
        }
        if source.len() < 2 * SECTOR_LEN {
            return Err(DiskError::NoTable);
        }
        let mut sector = [0; 512];
        source.read_exact_at(&mut sector, 0)?;
        if sector[510..] != [0x55, 0xaa] {
            return Err(DiskError::NoTable);
        }
        let header = mbrman::MBRHeader::read_from(&mut Cursor::new(&sector))
            .map_err(|error| DiskError::Damaged(error.to_string()))?;
        let disk = if header
            .iter()
            .any(|(_, entry)| entry.sys == TYPE_GPT_PROTECTIVE)
        {
            read_gpt(source)?
        } else {
            from_mbr(&header, source.len())
        };
        disk.check()
    }

    /// Where an offset lies, in words: `partition 2`; `boot` is the number of the boot
    /// partition.
    #[must_use]
    pub fn place_of(&self, offset: u64, boot: u32) -> String {
        let around = |partition: &&Partition| {
            (partition.offset..partition.offset + partition.len).contains(&offset)
        };
        match self.partitions.iter().find(around) {
            Some(partition) if partition.number == boot => {
                format!("partition {}, the boot partition", partition.number)
            }
            Some(partition) => format!("partition {}", partition.number),
            None if offset < SECTOR_LEN => "the partition table".to_owned(),
            None => "outside the partitions".to_owned(),
        }
    }

    fn check(self) -> Result<Self, DiskError> {
        if self.partitions.is_empty() {
            return Err(DiskError::NoTable);
        }
        for partition in &self.partitions {
            match partition.offset.checked_add(partition.len) {
                Some(end) if end <= self.len => {}
                Some(end) => {
                    let (number, len) = (partition.number, self.len);
                    return Err(DiskError::Truncated { number, end, len });
                }
                None => return Err(damaged(partition.number, "is impossibly long")),
            }
            if partition.offset < SECTOR_LEN || partition.len == 0 {
                return Err(damaged(partition.number, "covers the table or nothing"));
            }
        }
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.offset);
        for pair in sorted.windows(2) {
            if pair[0].offset + pair[0].len > pair[1].offset {
                return Err(damaged(pair[1].number, "overlaps another"));
            }
        }
        Ok(self)
    }
}

fn damaged(number: u32, what: &str) -> DiskError {
    DiskError::Damaged(format!("partition {number} {what}"))
}

fn from_mbr(header: &mbrman::MBRHeader, len: u64) -> Disk {
    let partitions = (1u32..)
        .zip(header.iter())
        .filter(|(_, (_, entry))| entry.is_used())
        .map(|(number, (_, entry))| Partition {
            number,
            offset: u64::from(entry.starting_lba) * SECTOR_LEN,
            len: u64::from(entry.sectors) * SECTOR_LEN,
            type_id: format!("{:02x}", entry.sys),
        })
        .collect();
    Disk {
        len,
        scheme: Scheme::Mbr,
        id: format!("{:08x}", u32::from_le_bytes(header.disk_signature)),
        partitions,
    }
}

fn read_gpt(source: &dyn ReadAt) -> Result<Disk, DiskError> {
    check_gpt_counts(source)?;
    let table = gpt::GptConfig::new()
        .writable(false)
        .open_from_device(ReadCursor::new(source))
        .map_err(|error| DiskError::Damaged(error.to_string()))?;
    let mut partitions = Vec::new();
    for (&number, entry) in table.partitions() {
        // `last_lba` is inclusive (UEFI 2.10, table 5.6).
        let range = entry.first_lba.checked_mul(SECTOR_LEN).zip(
            entry
                .last_lba
                .checked_sub(entry.first_lba)
                .and_then(|sectors| sectors.checked_add(1)?.checked_mul(SECTOR_LEN)),
        );
        let (offset, len) = range.ok_or_else(|| damaged(number, "is impossibly long"))?;
        let type_id = entry.part_type_guid.guid.to_string().to_uppercase();
        partitions.push(Partition {
            number,
            offset,
            len,
            type_id,
        });
    }
    let id = table.guid().to_string();
    Ok(Disk {
        len: source.len(),
        scheme: Scheme::Gpt,
        id,
        partitions,
    })
}

/// Looks at two counts that the parser trusts, in the header that it takes: the second one,
/// at the end, where the first is none. (Where neither is one, it says so itself.)
fn check_gpt_counts(source: &dyn ReadAt) -> Result<(), DiskError> {
    let mut cursor = ReadCursor::new(source);
    let first =
        gpt::header::read_header_from_arbitrary_device(&mut cursor, LogicalBlockSize::Lb512);
    let offset = match first {
        Ok(_) => SECTOR_LEN,
        Err(_) => (source.len() / SECTOR_LEN - 1) * SECTOR_LEN,
    };
    let mut header = [0; 88];
    source.read_exact_at(&mut header, offset)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(());
    }
    let [entries, entry_len] = [80, 84].map(|at: usize| {
        let bytes = header[at..at + 4].first_chunk().copied();
        u32::from_le_bytes(bytes.unwrap_or_default())
    });
    if entries > MAX_GPT_ENTRIES || entry_len != 128 {
        return Err(DiskError::Damaged(format!(
            "the GPT claims {entries} entries of {entry_len} bytes"
        )));
    }
    Ok(())
}
