//! Node + OS facts + identity → boot files. Pure: no file, clock or randomness.
//!
//! Trixie takes its settings from cloud-init (`cloud_init`), older systems
//! from a script that systemd runs once (`firstrun`). Both put the same files
//! on the root file system (`root_files`), among them `finish`, which does on
//! the running node what needs a network, cleans up and writes the [`report`].

mod address;
mod cloud_init;
pub mod cmdline;
pub mod config;
mod firstrun;
pub mod marker;
pub mod monitoring;
pub mod quote;
pub mod report;
mod root_files;
mod settings;
mod templates;
mod wifi;
mod zone;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::base::Sha256Digest;
use crate::cluster::node::Sudo;
use crate::cluster::{Identity, Node};
use crate::layout::{Generation, Mechanism, Os};

pub use marker::Marker;
pub use report::Report;
pub use templates::{TemplateError, Templates};

use settings::Settings;

/// Why boot files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A template failed, or a value has no place in its syntax.
    #[error("template `{name}`, line {line}: {detail}")]
    Template {
        /// Name of the template.
        name: String,
        /// Line within it.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// A kernel token would do harm.
    #[error(transparent)]
    Cmdline(#[from] cmdline::CmdlineError),
    /// A line for `config.txt` is not one line.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The marker could not be written.
    #[error(transparent)]
    Marker(#[from] marker::MarkerRenderError),
    /// None of the node exporters that the manifest names runs on the node.
    #[error("{0}")]
    Exporter(String),
    /// The hash would not stay one field of `userconf.txt`.
    #[error("the password hash holds a colon or a control character")]
    PasswordHash,
}

/// The text files that a boot partition may be planned to have, with what each is.
pub const BOOT_TEXTS: [(&str, &str); 9] = [
    ("user-data", "cloud-init: users, files, packages"),
    ("meta-data", "cloud-init: which instance this is"),
    ("network-config", "cloud-init: Wi-Fi, addresses"),
    ("firstrun.sh", "the first-run script"),
    ("cmdline.txt", "the kernel's command line"),
    ("config.txt", "the firmware's settings"),
    ("userconf.txt", "the user's name and password hash"),
    ("ssh", "switches sshd on"),
    (marker::FILE_NAME, "which node the card is"),
];

/// Everything that shall stand on the boot partition of `node`.
///
/// The same arguments give the same bytes.
pub fn provision(
    node: &Node,
    os: &Os,
    identity: &Identity,
    templates: &Templates,
) -> Result<BootFiles, ProvisionError> {
    // The id is derived from all that it will then stand in: first without it.
    let mut settings = Settings {
        node,
        os,
        identity,
        instance: "",
    };
    let draft = settings.render(templates)?;
    let instance = identity.instance_id(&draft.digest());
    settings.instance = &instance;
    settings.render(templates)
}

impl Settings<'_> {
    fn render(&self, templates: &Templates) -> Result<BootFiles, ProvisionError> {
        let base = self.values()?;
        let mut files = match self.os.mechanism {
            Mechanism::CloudInit => cloud_init::files(self, &base, templates)?,
            Mechanism::Firstrun => firstrun::files(self, &base, templates)?,
        };
        files.push(BootFile::plain("ssh", String::new(), "switches sshd on"));
        files.extend(self.userconf()?);
        let carried = monitoring::carried(self.node, self.os)?;
        files.extend(carried.map(|file| monitoring::boot_file(file)));
        let marker = self.marker().render()?;
        files.push(BootFile::plain(
            marker::FILE_NAME,
            marker,
            "tells which node this card is",
        ));

        let run = (self.os.mechanism == Mechanism::Firstrun).then(|| self.run_path());
        let cmdline = cmdline::edit(&self.os.cmdline, &self.tokens(), run.as_deref())?;
        let why = "the kernel command line, with our tokens after the image's own";
        files.push(BootFile::plain("cmdline.txt", cmdline.text, why));
        let lines = &self.node.boot.config;
        if let Some(text) = config::edit(&self.os.config, lines)? {
            files.push(BootFile::plain(
                "config.txt",
                text,
                "your lines, for every board",
            ));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(BootFiles {
            files,
            added_tokens: cmdline.added,
            added_config: lines.clone(),
            instance_id: self.instance.to_owned(),
            notices: self.notices(),
        })
    }

    /// The image's own way to make a user, should ours not come to run.
    ///
    /// Not without a password: its check wants a hash, and a made-up one such
    /// as `*` has not been seen to work on every version.
    fn userconf(&self) -> Result<Option<BootFile>, ProvisionError> {
        let Some(hash) = self.hash().filter(|_| self.os.userconf) else {
            return Ok(None);
        };
        if hash.chars().any(|c| c == ':' || c.is_control()) {
            return Err(ProvisionError::PasswordHash);
        }
        let text = format!("{}:{hash}\n", self.node.user.name);
        Ok(Some(BootFile::secret(
            "userconf.txt",
            text,
            "safety net: user and password hash",
        )))
    }

    fn tokens(&self) -> Vec<String> {
        let mut tokens = self.node.boot.cmdline.clone();
        if let Some(wifi) = &self.node.wifi {
            tokens.push(format!("cfg80211.ieee80211_regdom={}", wifi.country));
        }
        if self.os.mechanism == Mechanism::CloudInit {
            // Names the seed, so that cloud-init need not search for it, and
            // trusts what it has taken in on later boots.
            tokens.push(format!("ds=nocloud;i={}", self.instance));
        }
        tokens
    }

    fn marker(&self) -> Marker {
        Marker {
            cluster: self.node.cluster.to_string(),
            number: self.node.number,
            hostname: self.node.hostname.clone(),
            generation: self.identity.generation,
            instance_id: self.instance.to_owned(),
            host_key: self.identity.host_key.fingerprint.clone(),
            mechanism: self.os.mechanism,
            cardmint: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn notices(&self) -> Vec<String> {
        let Self { node, os, .. } = *self;
        let user = &node.user;
        let mut notices: Vec<String> = node
            .wifi
            .as_deref()
            .and_then(wifi::notice)
            .into_iter()
            .collect();
        let mut tell = |applies: bool, text: String| {
            if applies {
                notices.push(text);
            }
        };
        tell(
            self.hash().is_none() && user.sudo == Sudo::Password,
            format!("sudo will ask for a password, and {} has none", user.name),
        );
        tell(
            user.authorized_keys.is_empty() && !node.password_authentication,
            format!(
                "{} cannot log in over SSH: no authorized key, and passwords are refused",
                user.name
            ),
        );
        tell(
            self.hash().is_some_and(|hash| hash.starts_with("$y$"))
                && os.generation == Some(Generation::Buster),
            "Buster does not know yescrypt: a password hash that begins with $y$ lets nobody in"
                .to_owned(),
        );
        tell(
            node.address.as_ref().is_some_and(address::is_wireless) && node.wifi.is_none(),
            "the fixed address belongs to Wi-Fi, and no network to join is given".to_owned(),
        );
        let gateway = node.address.as_ref().and_then(|fixed| fixed.gateway);
        if let (Some(generation), Some(gateway @ IpAddr::V6(_))) = (os.generation, gateway) {
            tell(
                generation.traits().dhcpcd,
                format!(
                    "{generation} sets addresses by dhcpcd, which takes no IPv6 gateway: {gateway} \
                     is left out, and the router has to announce itself"
                ),
            );
        }
        tell(
            !node.first_boot.expand && os.generation.is_some() && !os.booted,
            "expand = false: the image's own first boot fills the card all the same".to_owned(),
        );
        notices
    }
}

/// The pure result of provisioning: what shall stand on the boot partition.
#[derive(Clone, Debug, Default)]
pub struct BootFiles {
    /// Files of the boot partition's root directory, sorted by name;
    /// `cmdline.txt` and `config.txt` are among them when they change.
    pub files: Vec<BootFile>,
    /// Tokens added to `cmdline.txt`, for the plan.
    pub added_tokens: Vec<String>,
    /// Lines added to `config.txt`, for the plan.
    pub added_config: Vec<String>,
    /// cloud-init's instance-id (also recorded on firstrun cards).
    pub instance_id: String,
    /// Sentences about this node that the user should read.
    pub notices: Vec<String>,
}

/// One file of the boot partition.
#[derive(Clone)]
pub struct BootFile {
    /// Name in the root directory of the boot partition.
    pub name: String,
    /// Contents.
    pub bytes: Vec<u8>,
    /// What it is there for: a short phrase for the plan.
    pub why: &'static str,
    /// Holds something that must not be printed.
    pub secret: bool,
}

impl std::fmt::Debug for BootFile {
    /// Leaves the contents out: they may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootFile")
            .field("name", &self.name)
            .field("len", &self.bytes.len())
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl BootFiles {
    /// Digest of what provisioning decides, which is not the whole of
    /// `cmdline.txt` and `config.txt`: the image's part of them is its own.
    fn digest(&self) -> Sha256Digest {
        let mut bytes = Vec::new();
        let mut push = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        let shared = ["cmdline.txt", "config.txt"];
        for file in self
            .files
            .iter()
            .filter(|file| !shared.contains(&&*file.name))
        {
            push(file.name.as_bytes());
            push(&file.bytes);
        }
        for text in self.added_tokens.iter().chain(&self.added_config) {
            push(text.as_bytes());
        }
        Sha256Digest::of(&bytes)
    }
}

impl BootFile {
    fn plain(name: &str, text: String, why: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            bytes: text.into_bytes(),
            why,
            secret: false,
        }
    }

    fn secret(name: &str, text: String, why: &'static str) -> Self {
        Self {
            secret: true,
            ..Self::plain(name, text, why)
        }
    }
}
