//! The two checksums of ext4, as the kernel computes them: no final inversion,
//! and each may go on where another ended.

use crc::{Algorithm, CRC_16_MODBUS, CRC_32_ISCSI, Crc, Table};

const CRC32C: Algorithm<u32> = Algorithm {
    xorout: 0,
    ..CRC_32_ISCSI
};
/// Sixteen tables: every bitmap of a card goes through this one.
static CRC32C_TABLE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC32C);
/// The kernel's `crc16(~0, …)` by another name.
static CRC16_TABLE: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// What a CRC-32C begins with where it does not go on.
pub(super) const START: u32 = u32::MAX;

/// CRC-32C of all `parts`, going on from `seed`.
pub(super) fn crc32c(seed: u32, parts: &[&[u8]]) -> u32 {
    // The crate takes the initial value before reflection, the kernel after.
    let mut digest = CRC32C_TABLE.digest_with_initial(seed.reverse_bits());
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// CRC-16 of all `parts`.
pub(super) fn crc16(parts: &[&[u8]]) -> u16 {
    let mut digest = CRC16_TABLE.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}
