//! What happened, as values: events while work runs and outcomes when it ends.
//!
//! Nothing here prints. `ui` and `commands` turn these into bars, tables and JSON.

pub mod event;
