//! Whose cards these are: the manifest, its checks, node numbering, identity and the record.
//!
//! [`manifest`] turns `cluster.toml` into a [`Cluster`] of [`Node`]s, or into all its
//! problems at once. [`key`] holds the one secret, and [`identity`] derives from it what
//! a node is known by. The [`record`], `cluster.lock`, says what was made of whom.

pub mod exporter;
pub mod identity;
pub mod key;
pub mod manifest;
pub mod monitoring;
pub mod new;
pub mod node;
pub mod record;
pub mod select;

use std::path::PathBuf;
use std::sync::Arc;

pub use exporter::Exporter;
pub use identity::{HostKey, Identity, new_login_key, password_hash, public_half, wifi_psk};
pub use key::{ClusterKey, KEY_FILE, KeyError};
pub use manifest::{Ask, ManifestErrors};
pub use monitoring::Monitoring;
pub use node::Node;
pub use record::{CardEntry, CardState, RECORD_FILE, Record};
pub use select::NodeSet;

use crate::layout::Mechanism;

/// All nodes and what they share, as the manifest says, every check passed.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name of the cluster.
    pub name: String,
    /// Directory of the manifest.
    pub dir: PathBuf,
    /// How the bases take their settings, where the manifest overrules it.
    pub mechanism: Option<Mechanism>,
    /// The nodes, by number.
    pub nodes: Vec<Node>,
    /// How the cluster watches itself, where it does.
    pub monitoring: Option<Arc<Monitoring>>,
    /// What the user should know, as sentences.
    pub notices: Vec<String>,
}
