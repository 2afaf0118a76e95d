//! Promises of cardmint, checked from outside: the binary runs, and
//! independent tools judge what it made.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]
#![allow(clippy::too_many_lines, reason = "a test tells its story whole")]

mod harness;
#[path = "../server/mod.rs"]
mod server;

/// Messages, exit codes and what stays intact when the input is bad.
mod bad_input;
/// What `build` publishes, and when it does not.
mod build;
/// Help, completions, manual pages.
mod command_line;
/// Completions, in real shells.
mod completions;
/// `cardmint demo`, as a new user meets it.
mod demo;
/// Real block devices, told and guarded.
mod devices;
/// What documents show is run, and what they name exists.
mod documents;
/// Cards: flashed, replaced, verified, refused.
mod flash;
/// The same base in every format makes the same image.
mod formats;
/// What is told of a cache that is full.
mod full_cache;
/// What no card is, and what no card may be.
mod guarded;
/// Scripts and jobs of the guides.
mod guides;
/// What the operator gets, judged by the tools that read it.
mod handover;
/// Rules that the source itself keeps.
mod house_rules;
/// `images`: from a name to verified bytes, over a network that misbehaves.
mod images;
/// `inspect` on every kind of image.
mod inspect;
/// What `--json` prints, and the page that names it.
mod json_page;
/// A base of real size.
mod large;
/// Lists that no compiler asks for.
mod lists;
/// The manual pages, judged by mandoc and groff.
mod man;
/// The manifest, and the page that names its keys.
mod manifest_page;
/// Every generation's images, judged by mtools, fsck, sfdisk, ssh and others.
mod minted;
/// Prometheus and Grafana: the dashboard on real metrics.
mod monitoring;
mod packed;
/// `plan` shows all and writes nothing.
mod plan;
/// Questions at a terminal, and how one gets away from them.
mod prompts;
/// Cards that are flashed again, and what becomes of those that were well.
mod reflash;
mod reports;
/// Secrets stay where they belong.
mod secrets;
/// `status` on a network of real sshds, exporters and a Prometheus.
mod status;
/// Damage and crashes, swept over places nobody chose.
mod sweep;
/// `verify` finds every difference and names it.
mod verify;
