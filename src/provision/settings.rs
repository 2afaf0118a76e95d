//! The values that every template knows.

use minijinja::value::{Serde, Value};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::address::{AddressValues, is_wireless};
use super::wifi::{WifiValues, sibling_uuid};
use super::{ProvisionError, monitoring, zone};
use crate::cluster::node::{StaticAddress, Sudo};
use crate::cluster::{Identity, Node};
use crate::layout::{Mechanism, Os};

/// One node on one OS, with the instance-id of its boot files.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) node: &'a Node,
    pub(super) os: &'a Os,
    pub(super) identity: &'a Identity,
    pub(super) instance: &'a str,
}

#[derive(Serialize)]
struct Values<'a> {
    cluster: &'a str,
    number: u32,
    hostname: &'a str,
    domain: Option<&'a str>,
    fqdn: String,
    instance: &'a str,
    user: UserValues<'a>,
    password_authentication: bool,
    timezone: Option<&'a str>,
    keymap: Option<&'a str>,
    locale: Option<&'a str>,
    wifi: Option<WifiValues<'a>>,
    wifi_uuid: &'a str,
    address: Option<AddressValues<'a>>,
    /// The fixed address is one of Ethernet.
    wired: bool,
    /// The fixed address is one of Wi-Fi.
    wireless: bool,
    ethernet_uuid: String,
    expand: bool,
    packages: Vec<&'a str>,
    run: &'a [String],
    /// How the node exporter comes: `package`, `deb` or `program`.
    exporter: Option<&'static str>,
    /// The node watches the others: with containers, or without.
    watches: bool,
    docker: bool,
    /// Lines for `/etc/hosts`, about other nodes.
    host_lines: Vec<String>,
    boot_mount: &'a str,
    /// Path of `firstrun.sh` on the node.
    run_path: String,
    mechanism: Mechanism,
    /// The system has a second mechanism, which would undo ours.
    stop_cloud_init: bool,
}

#[derive(Serialize)]
struct UserValues<'a> {
    name: &'a str,
    hash: Option<&'a str>,
    keys: &'a [String],
    nopasswd: bool,
}

impl Settings<'_> {
    /// The fixed address of a wired interface, where there is one.
    pub(super) fn wired(&self) -> Option<&StaticAddress> {
        let address = self.node.address.as_ref();
        address.filter(|fixed| !is_wireless(fixed))
    }

    /// crypt(3) hash of the user's password.
    pub(super) fn hash(&self) -> Option<&str> {
        let hash = self.identity.password_hash.as_ref();
        hash.map(|hash| hash.expose_secret())
    }

    /// Path of `firstrun.sh` on the node.
    pub(super) fn run_path(&self) -> String {
        format!("{}/firstrun.sh", self.os.boot_mount)
    }

    /// As templates see them.
    ///
    /// # Errors
    /// Where no node exporter that the manifest names runs on the node.
    pub(super) fn values(&self) -> Result<Value, ProvisionError> {
        let Self {
            node,
            os,
            identity,
            instance,
        } = *self;
        let host = monitoring::host(node);
        let carried = monitoring::carried(node, os)?;
        Ok(Value::from(Serde(Values {
            cluster: &node.cluster,
            number: node.number,
            hostname: &node.hostname,
            domain: node.domain.as_deref(),
            fqdn: node.fqdn(),
            instance,
            user: UserValues {
                name: &node.user.name,
                hash: self.hash(),
                keys: &node.user.authorized_keys,
                nopasswd: node.user.sudo == Sudo::NoPassword,
            },
            password_authentication: node.password_authentication,
            timezone: node
                .locale
                .timezone
                .as_deref()
                .map(|zone| zone::name_on(os, zone)),
            keymap: node.locale.keymap.as_deref(),
            locale: node.locale.locale.as_deref(),
            wifi: node.wifi.as_deref().map(WifiValues::new),
            wifi_uuid: &identity.network_uuid,
            address: node.address.as_ref().map(AddressValues::new),
            wired: self.wired().is_some(),
            wireless: node.address.as_ref().is_some_and(is_wireless),
            ethernet_uuid: sibling_uuid(&identity.network_uuid),
            expand: node.first_boot.expand,
            packages: monitoring::packages(node),
            run: &node.first_boot.run,
            exporter: monitoring::exporter_word(node, carried.map(|file| &**file)),
            watches: host.is_some(),
            docker: host.is_some_and(|host| host.docker),
            host_lines: monitoring::host_lines(node),
            boot_mount: os.boot_mount,
            run_path: self.run_path(),
            mechanism: os.mechanism,
            stop_cloud_init: os.generation.is_some_and(|it| it.traits().cloud_init)
                && os.mechanism == Mechanism::Firstrun,
        })))
    }
}
