//! What will be done, with no choice left open.
//!
//! [`make`] decides everything: which base, which boot files, which sectors,
//! which file. Showing a [`Plan`] is the dry run; executing one adds nothing.

pub mod guard;
mod show;

use std::path::PathBuf;

use crate::base::{Base, Sha256Digest};
use crate::cluster::{HostKey, Identity, Node};
use crate::layout::{Board, Layout, Os};
use crate::overlay::{EditError, Overlay, edit_boot};
use crate::provision::{BootFiles, ProvisionError, Templates, provision};

/// A base, opened and understood.
#[derive(Debug)]
pub struct OpenBase {
    /// The bytes.
    pub base: Base,
    /// Partitions and boot partition.
    pub layout: Layout,
    /// The system on it.
    pub os: Os,
    /// Digest of its uncompressed bytes, where it is known already.
    pub sha256: Option<Sha256Digest>,
}

/// A node with what is derived for it and where its image goes.
#[derive(Debug)]
pub struct Order {
    /// The node.
    pub node: Node,
    /// Index into the bases.
    pub base: usize,
    /// The node's derived values.
    pub identity: Identity,
    /// Path of the image.
    pub path: PathBuf,
}

/// Everything about one node's image.
#[derive(Debug)]
pub struct Card {
    /// The node.
    pub node: Node,
    /// Index into [`Plan::bases`].
    pub base: usize,
    /// Identity generation.
    pub generation: u32,
    /// The SSH host key.
    pub host_key: HostKey,
    /// What stands on the boot partition.
    pub boot_files: BootFiles,
    /// The sectors that differ from the base.
    pub overlay: Overlay,
    /// Path of the image.
    pub path: PathBuf,
}

/// What will be done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Name of the cluster.
    pub cluster: String,
    /// The bases.
    pub bases: &'a [OpenBase],
    /// The cards, in node order.
    pub cards: Vec<Card>,
    /// Show every node in full, not only the first of each base.
    pub verbose: bool,
    /// Columns of the terminal that it is shown at, if it is one.
    pub width: Option<u16>,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The base cannot boot the node's board.
    #[error("{node}: {model} cannot boot from {base}. {advice}")]
    Board {
        /// Hostname.
        node: String,
        /// The board's model name.
        model: &'static str,
        /// Name of the base.
        base: String,
        /// What to do instead.
        advice: String,
    },
    /// Templates and values do not make boot files.
    #[error("{node}: making the boot files")]
    Provision {
        /// Hostname.
        node: String,
        /// Why.
        #[source]
        source: ProvisionError,
    },
    /// The boot files do not go on the boot partition.
    #[error("{node}: editing the boot partition of {base}")]
    Edit {
        /// Hostname.
        node: String,
        /// Name of the base.
        base: String,
        /// Why.
        #[source]
        source: EditError,
    },
}

/// Plans the cards of `orders`.
///
/// # Errors
/// Where a base does not fit a node. Nothing is written in any case.
pub fn make<'a>(
    cluster: &str,
    bases: &'a [OpenBase],
    orders: Vec<Order>,
    templates: &Templates,
) -> Result<Plan<'a>, PlanError> {
    for order in &orders {
        check_board(&order.node, &bases[order.base])?;
    }
    let cards = orders
        .into_iter()
        .map(|order| make_card(order, bases, templates))
        .collect::<Result<_, _>>()?;
    Ok(Plan {
        cluster: cluster.to_owned(),
        bases,
        cards,
        verbose: false,
        width: None,
    })
}

fn make_card(order: Order, bases: &[OpenBase], templates: &Templates) -> Result<Card, PlanError> {
    let Order {
        node,
        base,
        identity,
        path,
    } = order;
    let on = &bases[base];
    let boot_files =
        provision(&node, &on.os, &identity, templates).map_err(|source| PlanError::Provision {
            node: node.hostname.clone(),
            source,
        })?;
    let overlay = edit_boot(&on.base, &on.layout.boot, &boot_files.files).map_err(|source| {
        let (node, base) = (node.hostname.clone(), on.base.name().to_owned());
        PlanError::Edit { node, base, source }
    })?;
    let (generation, host_key) = (identity.generation, identity.host_key);
    Ok(Card {
        node,
        base,
        generation,
        host_key,
        boot_files,
        overlay,
        path,
    })
}

fn check_board(node: &Node, on: &OpenBase) -> Result<(), PlanError> {
    let Some(board) = node.board else {
        return Ok(());
    };
    let boards = on.layout.boards();
    if boards.contains(&board) {
        return Ok(());
    }
    Err(PlanError::Board {
        node: node.hostname.clone(),
        model: board.model(),
        base: on.base.name().to_owned(),
        advice: board_advice(board, node.number),
    })
}

/// Which image boots a board that the chosen one does not.
fn board_advice(board: Board, number: u32) -> String {
    let (image, why) = if board.is_armv8() {
        ("raspios-lite-arm64", "a current 64-bit image")
    } else {
        (
            "raspios-lite-armhf",
            "the 32-bit image, since its cores have no 64-bit mode",
        )
    };
    format!("It needs {why}: set `image = \"{image}\"` under [node.{number}], or for all nodes")
}
