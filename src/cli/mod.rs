//! The command line: what was typed, and the help texts. No I/O.

mod images;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

pub use self::images::{
    ImagesCommand, ImagesFetchArgs, ImagesListArgs, ImagesPruneArgs, ImagesTrustArgs,
    ImagesVerifyArgs,
};
use crate::layout::Mechanism;

/// Mint the SD cards of a whole Raspberry Pi cluster from one stock image.
#[derive(Debug, Parser)]
#[command(
    name = "cardmint",
    version,
    max_term_width = 80,
    after_help = "Try `cardmint demo`: it mints four practice images and touches nothing else.\n\
                  Exit codes: 0 done, 1 failed, 2 usage or manifest, 3 refused for safety,\n\
                  4 verification found a difference, 130 interrupted."
)]
pub struct Cli {
    /// Work in the cluster's directory DIR instead of the current one
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,

    /// Print nothing but errors and what was asked for
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Tell more
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a cluster: writes cluster.toml and cluster.key
    Init(InitArgs),
    /// Show what each card will hold and why; writes nothing
    Plan(PlanArgs),
    /// Make the node images
    Build(BuildArgs),
    /// Write nodes to cards, each read back
    #[command(after_help = FLASH_EXAMPLES)]
    Flash(FlashArgs),
    /// Write a node once more to a new card, with the same identity
    Replace(ReplaceArgs),
    /// Write what the operator needs: SSH, Ansible, names, Prometheus, Grafana
    #[command(after_help = HANDOVER_HELP)]
    Handover(HandoverArgs),
    /// Ask the nodes whether they came up, and are who they should be
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Check that an image or card holds exactly what is planned for a node
    Verify(VerifyArgs),
    /// Show what is on an image, a compressed image or a card
    Inspect(InspectArgs),
    /// List the cards that may be written, and why other disks may not
    Devices(DevicesArgs),
    /// Open cards for a cardmint without the rights to; started by it, through sudo
    #[command(hide = true)]
    OpenCards {
        /// Where it listens
        socket: PathBuf,
        /// Do the work; without this, has it done in the background
        #[arg(long)]
        stay: bool,
    },
    /// Stock images: what there is, what is here, where it came from
    #[command(subcommand, after_help = images::EXAMPLES)]
    Images(ImagesCommand),
    /// Make a practice cluster and its images in a new directory
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands to DIR
    Man {
        /// Directory for the pages
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory of the cluster; its name becomes the cluster's name
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Ask nothing; take the defaults for what is not given
    #[arg(short, long)]
    pub yes: bool,
    /// Image to build on: a name, a path or an address
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: Option<String>,
    /// Number of nodes [default: 4]
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Hostname of the nodes, a pattern with their number, such as node{n:02}
    /// [default: raspberrypi0, raspberrypi1, …]
    #[arg(long, value_name = "TEMPLATE")]
    pub hostname: Option<String>,
    /// Name of the user on the nodes [default: pi]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Public key file to let in; may be repeated [default: ~/.ssh/id_*.pub]
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: Vec<PathBuf>,
}

/// Which nodes, and how they take their settings.
#[derive(Debug, Args)]
pub struct Selection {
    /// Only these nodes: numbers, ranges or hostnames, such as 0-3,7
    #[arg(long, value_name = "SET")]
    pub nodes: Option<String>,
    /// Overrule how the image takes its settings: cloud-init or firstrun
    #[arg(long, value_name = "MECHANISM")]
    pub mechanism: Option<Mechanism>,
    /// Directory of the images [default: images, in the cluster's directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which nodes
    #[command(flatten)]
    pub selection: Selection,
    /// Print one file of the boot partition as planned, secrets masked
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub show: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Which nodes
    #[command(flatten)]
    pub selection: Selection,
    /// Kind of image: img, or img.xz or img.zst with .sha256 and .bmap beside it
    #[arg(long, value_name = "FORMAT", default_value = "img")]
    pub format: ImageFormat,
    /// How hard to compress what differs from the base: xz knows 0 to 9, zstd 1 to
    /// 19 [default: 6 for xz, 3 for zstd]
    #[arg(long, value_name = "N")]
    pub level: Option<u32>,
    /// Compressed images made at a time [default: two per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Write .sha256 and .bmap beside images that are not compressed, too; takes a
    /// pass over every image
    #[arg(long)]
    pub sums: bool,
    /// Also write a list of the images that Raspberry Pi Imager opens; takes a
    /// pass over every image
    #[arg(long)]
    pub imager_manifest: bool,
    /// Replace existing images that differ from the plan
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Kinds of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageFormat {
    /// As it goes to a card.
    #[value(name = "img")]
    Img,
    /// Compressed by xz.
    #[value(name = "img.xz")]
    ImgXz,
    /// Compressed by zstd, in frames that can be read one by one.
    #[value(name = "img.zst")]
    ImgZst,
}

const FLASH_EXAMPLES: &str = "\
Examples:
  cardmint flash                             asks for one card after another
  cardmint flash 4-7                         the same for some nodes
  cardmint flash raspberrypi0=/dev/sda raspberrypi1=/dev/sdb
  cardmint flash 0 --to /dev/disk/by-id/usb-Generic_1234-0:0 --yes";

/// Arguments of `flash`.
#[derive(Debug, Args)]
pub struct FlashArgs {
    /// Nodes, each with its card, such as raspberrypi0=/dev/sda; without cards,
    /// asks for them one after another [default: all nodes]
    #[arg(value_name = "NODE[=CARD]")]
    pub targets: Vec<String>,
    /// The card, where one node is named
    #[arg(long, value_name = "CARD", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
    /// How to treat the cards
    #[command(flatten)]
    pub card: CardArgs,
}

/// Arguments of `replace`.
#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// The node: hostname or number
    pub node: String,
    /// The card; without it, waits for one to be inserted
    #[arg(long, value_name = "CARD", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
    /// Give the node a new SSH host key and instance-id: the old card was
    /// stolen, not broken
    #[arg(long)]
    pub new_identity: bool,
    /// How to treat the card
    #[command(flatten)]
    pub card: CardArgs,
}

/// How cards are written.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct CardArgs {
    /// Ask nothing; refusals stay refusals
    #[arg(short, long)]
    pub yes: bool,
    /// Take disks that are not removable, and loop devices
    #[arg(long)]
    pub allow_fixed: bool,
    /// Unmount what is mounted from a card
    #[arg(long)]
    pub unmount: bool,
    /// Write every byte, not only what the image uses
    #[arg(long)]
    pub full: bool,
    /// Discard everything on the card first, where it can do that
    #[arg(long)]
    pub wipe: bool,
    /// Read the card first and write only what differs; cards that cardmint
    /// made are treated so anyway
    #[arg(long, conflicts_with_all = ["full", "wipe"])]
    pub delta: bool,
    /// Do not read the card back; the record will say so
    #[arg(long)]
    pub no_verify: bool,
    /// Do not test whether the card holds what it claims
    #[arg(long)]
    pub no_probe: bool,
    /// Leave the card in its reader ready for use
    #[arg(long)]
    pub no_eject: bool,
    /// Overrule how the image takes its settings: cloud-init or firstrun
    #[arg(long, value_name = "MECHANISM")]
    pub mechanism: Option<Mechanism>,
    /// Print JSON, one object per line, while it runs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The node: hostname or number
    pub node: String,
    /// The image or card to check
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub target: PathBuf,
    /// Overrule how the image takes its settings: cloud-init or firstrun
    #[arg(long, value_name = "MECHANISM")]
    pub mechanism: Option<Mechanism>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Image, compressed image or card
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub target: PathBuf,
    /// Overrule how the image takes its settings: cloud-init or firstrun
    #[arg(long, value_name = "MECHANISM")]
    pub mechanism: Option<Mechanism>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const HANDOVER_HELP: &str = "\
`build` and `flash` write it as well. In handover/:
  ssh_config, known_hosts          ssh -F handover/ssh_config NODE asks nothing
  inventory.yml                    for Ansible
  hosts, dnsmasq.conf              names for the network
  prometheus.yml, targets.json, compose.yml, grafana/
                                   where [monitoring] has a node exporter
  cluster.html, cluster.svg        the cluster on a page, with labels to print";

/// Arguments of `handover`.
#[derive(Debug, Args)]
pub struct HandoverArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const STATUS_HELP: &str = "\
Each node is looked for at its fixed address, by its name, or by multicast DNS,
and must have the host key that cardmint gave it. Exit codes: 0 all are ready,
4 one has another identity, 1 anything else.
Examples:
  cardmint status --wait 10m                 after power-on
  cardmint status 0-3
  cardmint status raspberrypi2=192.168.1.57  where no name leads to it";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Nodes, such as 0-3, each with an address if you like [default: all nodes]
    #[arg(value_name = "NODE[=ADDRESS]")]
    pub nodes: Vec<String>,
    /// Ask again until all are ready, so long at most: 90s, 10m, 1h
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = wait)]
    pub wait: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Longer, and something else is the matter.
const MAX_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// A length of time, in seconds where no unit is given.
fn wait(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let friendly = || {
        let duration = text.parse::<jiff::SignedDuration>().ok()?;
        duration.try_into().ok()
    };
    match seconds.or_else(friendly) {
        Some(time) if time <= MAX_WAIT => Ok(time),
        Some(_) => Err("a week is the most".to_owned()),
        None => Err("write it like 90s, 10m or 1h30m".to_owned()),
    }
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Directory to make
    #[arg(value_name = "DIR", default_value = "cardmint-demo", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}
