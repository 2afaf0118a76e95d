//! What block devices are asked that has no system call of its own. The only
//! unsafe code of this room.

#![allow(
    unsafe_code,
    reason = "ioctl numbers and types are a promise to the kernel"
)]

use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, NoArg, Setter, ioctl, opcode};

/// Group of the block device requests (linux/fs.h: `_IO(0x12, …)`).
const GROUP: u8 = 0x12;
const BLKRRPART: u32 = opcode::none(GROUP, 95);
const BLKFLSBUF: u32 = opcode::none(GROUP, 97);
const BLKDISCARD: u32 = opcode::none(GROUP, 119);
const BLKGETDISKSEQ: u32 = opcode::read::<u64>(GROUP, 128);
/// linux/cdrom.h; SCSI disks, which USB readers are, take it as well.
const CDROMEJECT: u32 = 0x5309;

/// Which medium this is: another card in the same slot has another number.
pub(super) fn diskseq(device: &File) -> io::Result<u64> {
    // SAFETY: the kernel writes one u64 (linux/fs.h: `_IOR(0x12, 128, __u64)`).
    let request = unsafe { Getter::<BLKGETDISKSEQ, u64>::new() };
    // SAFETY: as above; other files refuse the request.
    Ok(unsafe { ioctl(device, request) }?)
}

/// Has the kernel read the partition table again.
fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: takes no argument.
    let request = unsafe { NoArg::<BLKRRPART>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl(device, request) }?)
}

/// Drops what the kernel has cached of the device.
pub(super) fn flush_buffers(device: &File) -> io::Result<()> {
    // SAFETY: takes no argument.
    let request = unsafe { NoArg::<BLKFLSBUF>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl(device, request) }?)
}

/// Tells the device that `len` bytes from its start on are worthless.
pub(super) fn discard(device: &File, len: u64) -> io::Result<()> {
    // SAFETY: the kernel reads two u64, offset and length (block/ioctl.c).
    let request = unsafe { Setter::<BLKDISCARD, [u64; 2]>::new([0, len]) };
    // SAFETY: as above.
    Ok(unsafe { ioctl(device, request) }?)
}

/// Has a reader let go of its card, with `eject`, or else the kernel see its new
/// partitions. Says whether the card was let go of.
pub(super) fn let_go(device: &File, eject: bool) -> bool {
    // Not both: a desktop that sees partitions mounts them, and an ejected card
    // is read anew when it is next inserted.
    if eject && self::eject(device).is_ok() {
        return true;
    }
    // A kernel that cannot do it now does it then, too.
    let _ = reread_partitions(device);
    false
}

fn eject(device: &File) -> io::Result<()> {
    // SAFETY: takes no argument.
    let request = unsafe { NoArg::<CDROMEJECT>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl(device, request) }?)
}
