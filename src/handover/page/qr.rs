//! QR codes as one SVG path.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};
use serde::Serialize;

/// Modules of white that readers want on each side.
const QUIET: usize = 4;

/// A QR code to be drawn in a square of `size` modules.
#[derive(Debug, Serialize)]
pub(super) struct Qr {
    /// Modules on a side, the quiet zone included.
    size: usize,
    /// The dark modules, as the `d` of an SVG path.
    path: String,
}

impl Qr {
    /// `None` if no code holds so much. A seventh of a label may be scratched off.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let side = code.width();
        let modules = code.to_colors();
        let mut path = String::new();
        for (y, row) in modules.chunks(side).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                let length = run.len();
                if run.first() == Some(&Color::Dark) {
                    // Writing to a String cannot fail.
                    let _ = write!(path, "M{} {}h{length}v1h-{length}z", x + QUIET, y + QUIET);
                }
                x += length;
            }
        }
        Some(Self {
            size: side + 2 * QUIET,
            path,
        })
    }
}
