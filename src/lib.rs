//! cardmint turns one stock Raspberry Pi OS Lite image and one `cluster.toml`
//! into the cards of a whole cluster.
//!
//! # The one idea: a card is `base + overlay`
//!
//! The stock image, the **base**, is never modified. For each node we compute
//! an **overlay**: the sectors that differ, some 30 KB, made by editing
//! the boot partition through a copy-on-write view of the base. Everything else
//! is a way of reading `base + overlay` in order.
//!
//! ```text
//!             pure: no file, clock, terminal, randomness              |  effects
//!  cluster.toml -> cluster (parse, check all) -+                      |
//!  OS facts (layout) --------------------------+-> plan -> Plan ------+-> shown, then executed
//!  templates/ -> provision -> boot files ------+                      |
//!                                                                     v
//!  base (read_at) + boot files -> overlay -> extents x N  -> output: .img
//!                                                         -> card: one reading, N writers
//!                                                         -> verify -> report -> cluster.lock, hand-over
//! ```
//!
//! # Where to read on
//!
//! | room | owns |
//! |---|---|
//! | [`cluster`] | the manifest, its checks, nodes, identity, the record |
//! | [`base`] | where bytes come from: raw files, xz, spooled formats, downloads by name |
//! | [`layout`] | what the bytes mean: partitions, OS generation, boards |
//! | [`provision`] | node + OS → boot files; pure |
//! | [`card`] | block devices, or files in their stead: facts, and the write engine |
//! | [`overlay`] | the copy-on-write view and the extents it leaves |
//! | [`plan`] | what will be done, with no choice left open; pure |
//! | [`output`] | image files, published complete or not at all; their verification |
//! | [`handover`] | what the operator gets: ssh, Ansible, names, the cluster on a page; pure |
//! | [`status`] | asks the nodes how they are |
//! | [`report`] | events and outcomes |
//! | [`cli`] | what was typed, help texts |
//! | [`ui`] | progress bars, prompts, tables |
//! | [`commands`] | one file per subcommand; the only room that prints |
//!
//! To see how it all meets, read `commands/build/mod.rs` from the top: it opens the
//! cluster and its bases, makes a [`plan::Plan`], and executes it. What decides the bytes of a
//! card is in [`provision`] (the files) and [`overlay::edit`] (the sectors); what decides
//! how fast they are made, in `output/fan_out.rs` and [`card::engine`]. Each room uses only
//! rooms below it, and a test has their order. `docs/design.md` says why things are as
//! they are, `docs/first-boot.md` what a node does with its files, `CONTRIBUTING.md` how an
//! OS generation, a board, a key or a command is added.

#![cfg_attr(
    test,
    allow(clippy::too_many_lines, reason = "a test tells its story whole")
)]

pub mod base;
pub mod card;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handover;
pub mod interrupt;
pub mod layout;
pub mod output;
pub mod overlay;
mod owner;
pub mod plan;
pub mod provision;
pub mod report;
pub mod status;
pub mod ui;
mod whole;
