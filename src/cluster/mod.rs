//! The manifest, its checks, node numbering, identity and the record.

pub mod identity;
pub mod node;

pub use identity::{HostKey, Identity};
pub use node::Node;
