//! What the kernel tells when a card is inserted or removed (netlink(7),
//! `NETLINK_KOBJECT_UEVENT`): only that something happened; what, sysfs says.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// The group that the kernel's own messages go to.
const KERNEL: u32 = 1;

/// Listens to the kernel; where that is not possible, as in a container, time
/// passes instead.
#[derive(Debug)]
pub struct Uevents(Option<OwnedFd>);

impl Uevents {
    /// Begins to listen.
    #[must_use]
    pub fn listen() -> Self {
        let socket = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let kind = SocketType::DGRAM;
            let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT))?;
            bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
            Ok(socket)
        };
        Self(socket().ok())
    }

    /// Waits until something happens to a device, or for `at_most`; or for a
    /// signal.
    pub fn wait(&self, at_most: Duration) {
        let Some(socket) = &self.0 else {
            return std::thread::sleep(at_most);
        };
        let timeout = Timespec::try_from(at_most).ok();
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        let _ = poll(&mut fds, timeout.as_ref());
        // Many come at once, and all say the same: look.
        let mut buf = [0; 8192];
        while let Ok(_) | Err(rustix::io::Errno::NOBUFS) =
            recv(socket.as_fd(), &mut buf, RecvFlags::empty())
        {}
    }
}

/// Has the kernel look whether there is a medium in a reader that was empty.
pub(super) fn wake(reader: &Path) -> io::Result<()> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags)
        .open(reader)
        .map(drop)
}
