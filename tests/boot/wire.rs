//! What a machine's network interface is plugged into, and how its user gets
//! to its sshd from there.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::lan::Port;

/// The network of one machine.
pub(crate) enum Wire {
    /// QEMU's own: nothing gets out of it but what somebody asks for by `port`
    /// of this computer, behind which is the sshd at `address`.
    Alone { address: Ipv4Addr, port: u16 },
    /// One with other machines on it, where names lead to them.
    Lan(Port),
}

impl Wire {
    /// A network for this machine only. `address` is where the node has its
    /// sshd, by DHCP 10.0.2.15.
    pub(crate) fn alone(address: Ipv4Addr) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        Self::Alone { address, port }
    }

    /// A program with access to that network.
    pub(crate) fn command(&self, program: &str) -> Command {
        match self {
            Self::Alone { .. } => Command::new(program),
            Self::Lan(port) => port.command(program),
        }
    }

    /// What QEMU is told: a back end and a device.
    pub(crate) fn plugs(&self) -> [String; 2] {
        match self {
            Self::Alone { address, port } => [
                format!("user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:{port}-{address}:22"),
                "virtio-net-pci,netdev=lan".to_owned(),
            ],
            Self::Lan(port) => port.plugs(),
        }
    }

    /// Options of ssh, beside the hand-over's: on a network with names it needs
    /// none to get there.
    pub(crate) fn ssh_options(&self) -> Vec<String> {
        match self {
            Self::Alone { port, .. } => vec![
                "-o".to_owned(),
                "HostName=127.0.0.1".to_owned(),
                "-p".to_owned(),
                port.to_string(),
            ],
            Self::Lan(_) => Vec::new(),
        }
    }

    /// Whether asking by ssh is worth it. QEMU takes a connection before there
    /// is anybody to answer; an address on a network does not.
    pub(crate) fn may_answer(&self) -> bool {
        let Self::Alone { port, .. } = self else {
            return true;
        };
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(2)) else {
            return false;
        };
        let mut start = [0; 4];
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .is_ok_and(|()| stream.read_exact(&mut start).is_ok())
            && &start == b"SSH-"
    }
}
