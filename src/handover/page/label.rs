//! Labels for the cases, 50 × 20 mm: a QR code at the left, words beside it.

use serde::Serialize;

use super::qr::Qr;
use super::{PageError, PageNode, text};

/// Room for words beside the code, in tenths of a millimetre.
const WIDTH: u32 = 295;
/// The largest and smallest size of a hostname, in tenths of a millimetre.
const HOST_SIZES: (u32, u32) = (44, 22);
/// Size of the lines below it.
const NAME_SIZE: u32 = 19;

/// One label.
#[derive(Debug, Serialize)]
pub(super) struct Label {
    number: u32,
    ssh: String,
    qr: Qr,
    /// The hostname, broken into lines.
    host: Vec<String>,
    /// Font size of the hostname, in tenths of a millimetre.
    host_size: u32,
    /// What to log in to, where that is not the hostname.
    name: Vec<String>,
    name_size: u32,
}

impl Label {
    pub(super) fn of(node: &PageNode<'_>) -> Result<Self, PageError> {
        let ssh = node.ssh_url();
        let Some(qr) = Qr::of(&ssh) else {
            return Err(PageError::Label { url: ssh });
        };
        let (large, small) = HOST_SIZES;
        let host_size = (small..=large)
            .rev()
            .find(|size| text::width(node.hostname) <= text::columns(WIDTH, *size))
            .unwrap_or(small);
        let login = format!("{}@{}", node.user, node.name);
        Ok(Self {
            number: node.number,
            ssh,
            qr,
            host: text::lines(node.hostname, text::columns(WIDTH, host_size), 3),
            host_size,
            name: text::lines(&login, text::columns(WIDTH, NAME_SIZE), 3),
            name_size: NAME_SIZE,
        })
    }
}
