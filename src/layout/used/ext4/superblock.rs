//! What the superblock says of where things lie (kernel documentation,
//! "filesystems/ext4/super.rst"), and whether we understand all of it.

use super::checksum;

/// Bytes in a superblock.
pub(super) const LEN: usize = 1024;
/// The superblock lies here whatever the block size ("ext4/globals.rst").
pub(super) const OFFSET: u64 = 1024;

const MAGIC: u16 = 0xef53;
/// `s_state`: cleanly unmounted, no errors, no orphans being recovered.
const STATE_CLEAN: u16 = 1;
/// `s_rev_level` 1, from which on features mean something.
const DYNAMIC_REV: u32 = 1;
/// `s_checksum_type`: CRC-32C, the only one there is.
const CHECKSUM_CRC32C: u8 = 1;

const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_FLEX_BG: u32 = 0x200;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// dir_prealloc, imagic_inodes, has_journal, ext_attr, resize_inode, dir_index,
/// sparse_super2, fast_commit, stable_inodes, orphan_file. Not lazy_bg, whose
/// groups have no bitmaps.
const KNOWN_COMPAT: u32 = 0x1e3f;
/// filetype, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir,
/// inline_data, encrypt, casefold. Not recover: with a journal to replay the
/// bitmaps are stale.
const KNOWN_INCOMPAT: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x3_e000;
/// sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize, quota,
/// metadata_csum, readonly, project, verity, orphan_present. Not bigalloc, whose
/// bitmaps count clusters.
const KNOWN_RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x70 | 0x100 | 0x400 | 0x1000 | 0x2000 | 0x1_8000;

/// Fewest blocks in a group that mke2fs makes.
const MIN_BLOCKS_PER_GROUP: u64 = 256;
/// Groups of 128 MiB for 128 TiB: no card has more, and each costs memory.
const MAX_GROUPS: u64 = 1 << 20;

/// How group descriptors are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Not at all.
    None,
    /// CRC-16 of the descriptor, begun with the UUID (`gdt_csum`).
    Gdt,
    /// CRC-32C of everything, begun with this (`metadata_csum`).
    Metadata {
        /// What each checksum begins with.
        seed: u32,
    },
}

/// Geometry of a file system; consistent in itself and within its partition.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_len: u64,
    /// Block 0 belongs to no group where blocks have 1 KiB.
    pub(super) first_data_block: u64,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inode_table_blocks: u64,
    pub(super) groups: u64,
    pub(super) desc_len: usize,
    pub(super) uuid: [u8; 16],
    pub(super) protection: Protection,
    /// Whether a group's metadata may lie in another.
    pub(super) flex_bg: bool,
    meta_bg: bool,
    first_meta_bg: u64,
    reserved_gdt_blocks: u64,
    sparse_super: bool,
    sparse_super2: bool,
    backup_groups: [u64; 2],
}

/// Little-endian fields of an on-disk structure.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn u64_of(&self, low: usize, high: usize, wide: bool) -> u64 {
        let high = if wide { self.u32(high) } else { 0 };
        u64::from(self.u32(low)) | u64::from(high) << 32
    }
}

impl Superblock {
    /// `None` for anything not understood.
    pub(super) fn parse(raw: &[u8; LEN], partition_len: u64) -> Option<Self> {
        let fields = Fields(raw);
        let (incompat, ro_compat) = (fields.u32(0x60), fields.u32(0x64));
        if !is_understood(&fields) {
            return None;
        }
        let protection = protection(raw, incompat, ro_compat)?;
        let wide = incompat & INCOMPAT_64BIT != 0;
        let block_len = 1024u64
            .checked_shl(fields.u32(0x18))
            .filter(|len| (1024..=65536).contains(len))?;
        let desc_len = if wide {
            usize::from(fields.u16(0xfe))
        } else {
            32
        };
        let blocks = fields.u64_of(4, 0x150, wide);
        let first_data_block = u64::from(fields.u32(0x14));
        let blocks_per_group = u64::from(fields.u32(0x20));
        let inodes_per_group = u64::from(fields.u32(0x28));
        let inode_len = u64::from(fields.u16(0x58));
        let sound = (!wide || (64..=1024).contains(&desc_len) && desc_len.is_power_of_two())
            && blocks.checked_mul(block_len)? <= partition_len
            && first_data_block == u64::from(block_len == 1024)
            && (MIN_BLOCKS_PER_GROUP..=block_len * 8).contains(&blocks_per_group)
            && blocks_per_group.is_multiple_of(8)
            && (1..=block_len * 8).contains(&inodes_per_group)
            && (128..=block_len).contains(&inode_len)
            && inode_len.is_power_of_two()
            // Clusters other than blocks are bigalloc's.
            && fields.u32(0x1c) == fields.u32(0x18)
            && fields.u32(0x24) == fields.u32(0x20);
        let groups = blocks
            .checked_sub(first_data_block)?
            .div_ceil(blocks_per_group.max(1));
        let counted = groups.checked_mul(inodes_per_group)? == u64::from(fields.u32(0));
        if !sound || !counted || !(1..=MAX_GROUPS).contains(&groups) {
            return None;
        }
        Some(Self {
            block_len,
            first_data_block,
            blocks,
            free_blocks: fields.u64_of(0xc, 0x158, wide),
            blocks_per_group,
            inode_table_blocks: (inodes_per_group * inode_len).div_ceil(block_len),
            groups,
            desc_len,
            uuid: uuid(raw),
            protection,
            flex_bg: incompat & INCOMPAT_FLEX_BG != 0,
            meta_bg: incompat & INCOMPAT_META_BG != 0,
            first_meta_bg: u64::from(fields.u32(0x104)),
            reserved_gdt_blocks: u64::from(fields.u16(0xce)),
            sparse_super: ro_compat & RO_COMPAT_SPARSE_SUPER != 0,
            sparse_super2: fields.u32(0x5c) & COMPAT_SPARSE_SUPER2 != 0,
            backup_groups: [fields.u32(0x24c).into(), fields.u32(0x250).into()],
        })
    }

    /// First block of a group.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        self.first_data_block + group * self.blocks_per_group
    }

    /// Blocks in a group; the last may be shorter.
    pub(super) fn group_len(&self, group: u64) -> u64 {
        self.blocks_per_group
            .min(self.blocks - self.group_start(group))
    }

    pub(super) fn descs_per_block(&self) -> u64 {
        self.block_len / self.desc_len as u64
    }

    /// Where block `index` of the group descriptor table lies
    /// (`descriptor_loc` in the kernel's fs/ext4/super.c).
    pub(super) fn desc_block(&self, index: u64) -> u64 {
        if !self.meta_bg || index < self.first_meta_bg {
            return self.first_data_block + 1 + index;
        }
        let group = index * self.descs_per_block();
        self.group_start(group) + u64::from(self.has_super(group))
    }

    /// Blocks at the start of a group that hold a superblock, group descriptors
    /// and room for more of them (`ext4_num_base_meta_clusters` in
    /// fs/ext4/balloc.c).
    pub(super) fn base_blocks(&self, group: u64) -> u64 {
        let has_super = self.has_super(group);
        let meta_group = group / self.descs_per_block();
        if self.meta_bg && meta_group >= self.first_meta_bg {
            let first = meta_group * self.descs_per_block();
            let last = first + self.descs_per_block() - 1;
            let has_descs = group == first || group == first + 1 || group == last;
            return u64::from(has_super) + u64::from(has_descs);
        }
        if !has_super {
            return 0;
        }
        let descs = if self.meta_bg {
            self.first_meta_bg
        } else {
            self.groups.div_ceil(self.descs_per_block())
        };
        1 + descs + self.reserved_gdt_blocks
    }

    /// Whether a group holds a superblock or its backup (`ext4_bg_has_super`).
    fn has_super(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.sparse_super2 {
            return self.backup_groups.contains(&group);
        }
        !self.sparse_super || group == 1 || [3, 5, 7].iter().any(|&base| is_power_of(group, base))
    }
}

/// Cleanly unmounted, and made with no feature that we do not know.
fn is_understood(fields: &Fields<'_>) -> bool {
    fields.u16(0x38) == MAGIC
        && fields.u16(0x3a) == STATE_CLEAN
        && fields.u32(0x4c) == DYNAMIC_REV
        && fields.u32(0x5c) & !KNOWN_COMPAT == 0
        && fields.u32(0x60) & !KNOWN_INCOMPAT == 0
        && fields.u32(0x64) & !KNOWN_RO_COMPAT == 0
}

fn is_power_of(mut number: u64, base: u64) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

fn uuid(raw: &[u8; LEN]) -> [u8; 16] {
    std::array::from_fn(|at| raw[0x68 + at])
}

/// `None` where the superblock does not match its checksum.
fn protection(raw: &[u8; LEN], incompat: u32, ro_compat: u32) -> Option<Protection> {
    let fields = Fields(raw);
    if ro_compat & RO_COMPAT_METADATA_CSUM == 0 {
        return Some(if ro_compat & RO_COMPAT_GDT_CSUM == 0 {
            Protection::None
        } else {
            Protection::Gdt
        });
    }
    let sum = checksum::crc32c(checksum::START, &[&raw[..0x3fc]]);
    if raw[0x175] != CHECKSUM_CRC32C || sum != fields.u32(0x3fc) {
        return None;
    }
    let seed = if incompat & INCOMPAT_CSUM_SEED == 0 {
        checksum::crc32c(checksum::START, &[&uuid(raw)])
    } else {
        fields.u32(0x270)
    };
    Some(Protection::Metadata { seed })
}
