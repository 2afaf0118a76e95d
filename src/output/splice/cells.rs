//! How a frame that an overlay touches is cut: into cells.
//!
//! Cells lie on a grid of the image's bytes. What the overlay leaves alone goes
//! into cells as large as the grid of powers of two has them, because larger
//! pieces shrink better; what it touches, into the smallest, because each node
//! has to encode those again. Where another node touches a few sectors more,
//! only the cells around these differ.

use super::frames::Frame;
use crate::overlay::Overlay;

/// What one node encodes of its own is a multiple of this.
pub(super) const MIN_CELL: u64 = 64 << 10;
/// Larger cells hardly shrink better (by 5 % from 4 to 24 MiB), but encoding
/// them takes more memory. A power of two times [`MIN_CELL`].
pub(super) const MAX_CELL: u64 = 4 << 20;

/// A piece of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    /// Offset in the image.
    pub(super) offset: u64,
    /// Length in bytes, never 0.
    pub(super) len: u64,
    /// Whether the overlay reaches into it.
    pub(super) touched: bool,
}

/// The cells of `frame`, in order; they depend on nothing but where the frame
/// lies and what the overlay touches.
pub(super) fn cells(frame: &Frame, overlay: &Overlay) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut node = frame.offset / MAX_CELL * MAX_CELL;
    while node < frame.end() {
        split(frame, overlay, node, MAX_CELL, &mut cells);
        node += MAX_CELL;
    }
    cells
}

/// Cuts what lies in the `node_len` bytes from `node` on.
fn split(frame: &Frame, overlay: &Overlay, node: u64, node_len: u64, cells: &mut Vec<Cell>) {
    let offset = node.max(frame.offset);
    let end = (node + node_len).min(frame.end());
    if offset >= end {
        return;
    }
    let len = end - offset;
    let touched = overlay.touches(offset, len);
    if touched && node_len > MIN_CELL {
        let half = node_len / 2;
        split(frame, overlay, node, half, cells);
        split(frame, overlay, node + half, half, cells);
    } else {
        cells.push(Cell {
            offset,
            len,
            touched,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Record;
    use super::*;

    fn frame(offset: u64, len: u64) -> Frame {
        let record = Record {
            file_len: 0,
            len,
            checksum: 0,
        };
        Frame {
            file_offset: 0,
            offset,
            record,
        }
    }

    fn touching(offsets: &[u64]) -> Overlay {
        let sector = [1; 512];
        Overlay::from_sectors(offsets.iter().map(|&offset| (offset, &sector[..])))
    }

    #[test]
    fn cells_cover_the_frame_and_only_small_ones_are_touched() {
        let overlay = touching(&[
            0,
            MIN_CELL - 512,
            5 * MIN_CELL,
            MAX_CELL,
            3 * MAX_CELL + 512,
        ]);
        for (offset, len) in [
            (0, 512),
            (0, 4 * MAX_CELL),
            (MIN_CELL / 2, MAX_CELL),
            (3 * MAX_CELL - 1024, 6 * MAX_CELL + 7),
        ] {
            let frame = frame(offset, len);
            let cells = cells(&frame, &overlay);
            let mut next = offset;
            for cell in cells {
                assert_eq!(cell.offset, next);
                assert_eq!(cell.touched, overlay.touches(cell.offset, cell.len));
                assert!(cell.len <= if cell.touched { MIN_CELL } else { MAX_CELL });
                next += cell.len;
            }
            assert_eq!(next, offset + len);
        }
    }

    #[test]
    fn a_few_touched_sectors_make_a_few_cells() {
        let lens: Vec<u64> = cells(&frame(0, 2 * MAX_CELL), &touching(&[MIN_CELL]))
            .iter()
            .map(|cell| cell.len / MIN_CELL)
            .collect();
        assert_eq!(lens, [1, 1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(cells(&frame(0, 2 * MAX_CELL), &touching(&[])).len(), 2);
        assert!(cells(&frame(0, 0), &touching(&[0])).is_empty());
    }
}
