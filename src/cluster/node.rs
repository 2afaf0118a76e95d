//! One machine of the cluster, with every default and override resolved.
//!
//! These values have passed all checks: whoever holds a [`Node`] need not
//! validate again. What nodes share is behind [`Arc`], so that a thousand of
//! them cost a thousand small structs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Exporter, Monitoring};
use crate::base::Sha256Digest;
use crate::base::images::Source;
use crate::layout::Board;

/// One machine: everything that first boot shall make of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// Number within the cluster; identity is derived from it.
    pub number: u32,
    /// RFC 1123 label, unique in the cluster.
    pub hostname: String,
    /// Domain of the cluster: `lan`.
    pub domain: Option<Arc<str>>,
    /// Board, where the manifest names one.
    pub board: Option<Board>,
    /// The base to build on.
    pub image: Arc<Image>,
    /// The login user.
    pub user: Arc<User>,
    /// Whether sshd accepts passwords.
    pub password_authentication: bool,
    /// Time zone, keymap and locale.
    pub locale: Arc<Locale>,
    /// Wi-Fi network to join.
    pub wifi: Option<Arc<Wifi>>,
    /// A fixed address; DHCP where `None`.
    pub address: Option<StaticAddress>,
    /// What happens on first boot beyond the basics.
    pub first_boot: Arc<FirstBoot>,
    /// Extra kernel tokens and `config.txt` lines.
    pub boot: Arc<Boot>,
    /// MAC addresses of its interfaces, where the manifest tells.
    pub mac: Vec<MacAddress>,
    /// How it comes to its node exporter, if it has one.
    pub exporter: Option<Exporter>,
    /// For the monitoring host: what it shall watch.
    pub monitoring: Option<Arc<Monitoring>>,
}

impl Node {
    /// `raspberrypi0.lan`, or the bare hostname without a domain.
    #[must_use]
    pub fn fqdn(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}.{domain}", self.hostname),
            None => self.hostname.clone(),
        }
    }
}

/// Where a base comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// Path, catalogue name or URL.
    pub source: ImageSource,
    /// Digest of the file as published, or of its uncompressed bytes.
    pub sha256: Option<Sha256Digest>,
    /// Whether it must bear a signature by a key that the user trusts.
    pub require_signature: bool,
}

/// Name of the practice base, which is part of the program.
pub const PRACTICE: &str = "practice";

/// The ways to name an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A file, already resolved against the manifest's directory.
    Path(PathBuf),
    /// The practice base.
    Practice,
    /// A name of the catalogue, or an address.
    Download(Source),
}

/// The login user of a node.
#[derive(Clone, Debug)]
pub struct User {
    /// Account name, `^[a-z][a-z0-9-]*$`, at most 32 characters.
    pub name: String,
    /// Lines for `authorized_keys`, options and comments kept.
    pub authorized_keys: Vec<String>,
    /// How the user may log in with a password.
    pub password: Password,
    /// Whether `sudo` asks for the password.
    pub sudo: Sudo,
}

/// The user's password, if there is one.
#[derive(Clone, Debug)]
pub enum Password {
    /// Keys only; the account is locked for passwords.
    None,
    /// A crypt(3) hash as given in the manifest.
    Hash(SecretString),
    /// A password, hashed for each node with a salt of its own.
    Plain(SecretString),
}

/// The user's sudo policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// `sudo` never asks.
    NoPassword,
    /// `sudo` asks for the user's password.
    Password,
}

/// Time zone, keymap and locale; `None` leaves the base's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale {
    /// `Europe/Lisbon`.
    pub timezone: Option<String>,
    /// X keyboard layout: `pt`.
    pub keymap: Option<String>,
    /// `pt_PT.UTF-8`.
    pub locale: Option<String>,
}

/// A Wi-Fi network.
#[derive(Clone, Debug)]
pub struct Wifi {
    /// Network name: 1 to 32 bytes of UTF-8.
    pub ssid: String,
    /// How to join.
    pub security: WifiSecurity,
    /// ISO 3166 country code, upper-case; the radio stays off without one.
    pub country: String,
    /// The access point does not announce its name.
    pub hidden: bool,
}

/// How to join a Wi-Fi network.
#[derive(Clone, Debug)]
pub enum WifiSecurity {
    /// No key.
    Open,
    /// WPA2 or WPA2/WPA3: the derived key, 64 lower-case hex digits.
    Psk(SecretString),
    /// WPA3 only: SAE needs the passphrase itself, which then reaches the card.
    Sae(SecretString),
}

/// A fixed IPv4 or IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    /// `eth0` or `wlan0`.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Length of the network prefix, in bits.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// The address of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What happens on first boot beyond the basics.
#[derive(Clone, Debug, Default)]
pub struct FirstBoot {
    /// Make the root file system fill the card.
    pub expand: bool,
    /// Debian packages to install; needs network on the node.
    pub packages: Vec<String>,
    /// Files to put on the root file system.
    pub files: Vec<NodeFile>,
    /// Shell commands, run once and in order, as root.
    pub run: Vec<String>,
}

/// A file for a node's root file system.
#[derive(Clone)]
pub struct NodeFile {
    /// Absolute path on the node.
    pub path: String,
    /// Contents.
    pub bytes: Arc<[u8]>,
    /// Permission bits.
    pub mode: u32,
    /// `user` or `user:group`; root where `None`.
    pub owner: Option<String>,
}

impl std::fmt::Debug for NodeFile {
    /// Leaves the contents out: a file may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFile")
            .field("path", &self.path)
            .field("len", &self.bytes.len())
            .field("mode", &format_args!("{:04o}", self.mode))
            .field("owner", &self.owner)
            .finish()
    }
}

/// Extra kernel tokens and `config.txt` lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Tokens appended to `cmdline.txt`.
    pub cmdline: Vec<String>,
    /// Lines appended to `config.txt`, under `[all]`.
    pub config: Vec<String>,
}

impl Node {
    /// The same without its secrets: what is rendered from it can be shown.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        if let Some(wifi) = &self.wifi {
            let mut wifi = Wifi::clone(wifi);
            wifi.security = match wifi.security {
                WifiSecurity::Open => WifiSecurity::Open,
                WifiSecurity::Psk(_) => WifiSecurity::Psk("<wifi key>".into()),
                WifiSecurity::Sae(_) => WifiSecurity::Sae("<wifi passphrase>".into()),
            };
            masked.wifi = Some(Arc::new(wifi));
        }
        // A file may hold a token as well as a message of the day.
        let mut first_boot = FirstBoot::clone(&self.first_boot);
        for file in &mut first_boot.files {
            file.bytes = format!("<contents of {}>\n", file.path).into_bytes().into();
        }
        masked.first_boot = Arc::new(first_boot);
        if let Some(monitoring) = &self.monitoring {
            let mut monitoring = Monitoring::clone(monitoring);
            if let Some(host) = &mut monitoring.host
                && host.grafana_password.is_some()
            {
                host.grafana_password = Some("<grafana password>".into());
            }
            masked.monitoring = Some(Arc::new(monitoring));
        }
        masked
    }
}
