//! The values that every template knows.

use minijinja::context;
use minijinja::value::Value;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::address::{AddressValues, is_wireless};
use super::monitoring;
use super::wifi::{WifiValues, sibling_uuid};
use crate::cluster::node::{StaticAddress, Sudo};
use crate::cluster::{Identity, Node};
use crate::layout::{Generation, Mechanism, Os};

/// One node on one OS, with the instance-id of its boot files.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) node: &'a Node,
    pub(super) os: &'a Os,
    pub(super) identity: &'a Identity,
    pub(super) instance: &'a str,
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
        self.node
            .address
            .as_ref()
            .filter(|fixed| !is_wireless(fixed))
    }

    /// crypt(3) hash of the user's password.
    pub(super) fn hash(&self) -> Option<&str> {
        self.identity
            .password_hash
            .as_ref()
            .map(|hash| hash.expose_secret())
    }

    /// Path of `firstrun.sh` on the node.
    pub(super) fn run_path(&self) -> String {
        format!("{}/firstrun.sh", self.os.boot_mount)
    }

    /// As templates see them.
    pub(super) fn values(&self) -> Value {
        let Self {
            node,
            os,
            identity,
            instance,
        } = *self;
        let user = UserValues {
            name: &node.user.name,
            hash: self.hash(),
            keys: &node.user.authorized_keys,
            nopasswd: node.user.sudo == Sudo::NoPassword,
        };
        let network = context! {
            wifi => node.wifi.as_deref().map(|wifi| Value::from_serialize(WifiValues::new(wifi))),
            address => node.address.as_ref().map(|fixed| Value::from_serialize(AddressValues::new(fixed))),
            wired => self.wired().is_some(),
            wireless => node.address.as_ref().is_some_and(is_wireless),
            wifi_uuid => identity.network_uuid,
            ethernet_uuid => sibling_uuid(&identity.network_uuid),
        };
        let values = context! {
            cluster => &*node.cluster,
            number => node.number,
            hostname => node.hostname,
            domain => node.domain.as_deref(),
            fqdn => node.fqdn(),
            instance,
            user => Value::from_serialize(&user),
            password_authentication => node.password_authentication,
            timezone => node.locale.timezone,
            keymap => node.locale.keymap,
            locale => node.locale.locale,
            boot_mount => os.boot_mount,
            run_path => self.run_path(),
            mechanism => os.mechanism.to_string(),
            // The seed files of the stock image would be applied after ours.
            stop_cloud_init => os.generation == Some(Generation::Trixie)
                && os.mechanism == Mechanism::Firstrun,
            ..network
        };
        context! {
            expand => node.first_boot.expand,
            packages => monitoring::packages(node),
            run => node.first_boot.run,
            scrape => node.scrape.as_deref(),
            ..values
        }
    }
}
