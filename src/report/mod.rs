//! What happened, as values: events while work runs and outcomes when it ends.
//!
//! Nothing here prints. `ui` and `commands` turn these into bars, tables and JSON.

pub mod event;

use comfy_table::{Table, presets};

/// An empty table without lines: columns alone carry the eye.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
