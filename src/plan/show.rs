//! A plan as text and as JSON. Secrets are not in what is shown: files are
//! named and measured, never printed.

use std::fmt;

use comfy_table::Table;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Card, OpenBase, Plan};
use crate::cluster::Exporter;
use crate::cluster::node::{Node, Password, Sudo, WifiSecurity};
use crate::report::{drawn, end_of, plain_table, plain_table_within};

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.cards.len();
        let s = if nodes == 1 { "" } else { "s" };
        writeln!(f, "{}: {nodes} node{s}", self.cluster)?;
        for (index, base) in self.bases.iter().enumerate() {
            let cards = || self.cards.iter().filter(move |card| card.base == index);
            let Some(first) = cards().next() else {
                continue;
            };
            writeln!(f)?;
            write_base(f, base)?;
            write_settings(f, &first.node)?;
            if let Some(watcher) = cards().find(|card| card.node.monitoring.is_some()) {
                write_watch(f, &watcher.node)?;
            }
            let table = node_table(&cards().collect::<Vec<_>>(), self.width);
            writeln!(f, "\n{}", drawn(&table, []))?;
            let shown = if self.verbose { usize::MAX } else { 1 };
            for card in cards().take(shown) {
                write_files(f, card, base, self.width)?;
            }
        }
        for notice in self.notices() {
            writeln!(f, "\nnote: {notice}")?;
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// What the user should know, each sentence once.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self
            .bases
            .iter()
            .filter(|base| base.os.booted)
            .map(|base| {
                format!(
                    "{} has already booted, or was edited: steps that the system itself only \
                     takes on its first boot will not happen",
                    base.base.name()
                )
            })
            .collect();
        for notice in self.cards.iter().flat_map(|card| &card.boot_files.notices) {
            if !notices.contains(notice) {
                notices.push(notice.clone());
            }
        }
        notices
    }

    /// The plan for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "cluster": self.cluster,
            "bases": self.bases.iter().map(base_json).collect::<Vec<_>>(),
            "nodes": self.cards.iter().map(card_json).collect::<Vec<_>>(),
            "notices": self.notices(),
        })
    }
}

fn write_base(f: &mut fmt::Formatter<'_>, base: &OpenBase) -> fmt::Result {
    writeln!(f, "base       {}", base.base.name())?;
    writeln!(
        f,
        "           {}, {}",
        base.os.describe(),
        HumanBytes(base.layout.disk.len)
    )?;
    writeln!(f, "           first boot by {}", base.os.mechanism)?;
    match &base.sha256 {
        Some(digest) => writeln!(f, "           sha256 {digest}"),
        None => Ok(()),
    }
}

fn write_settings(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    let user = &node.user;
    let keys = user.authorized_keys.len();
    let password = match user.password {
        Password::None => "no password",
        Password::Hash(_) | Password::Plain(_) => "a password",
    };
    let sudo = match user.sudo {
        Sudo::NoPassword => "without password",
        Sudo::Password => "with password",
    };
    let s = if keys == 1 { "" } else { "s" };
    writeln!(
        f,
        "user       {}, {keys} key{s}, {password}; sudo {sudo}",
        user.name
    )?;
    let sshd = if node.password_authentication {
        "keys and passwords"
    } else {
        "keys only"
    };
    writeln!(f, "sshd       {sshd}")?;
    if let Some(wifi) = &node.wifi {
        let security = match wifi.security {
            WifiSecurity::Open => "open",
            WifiSecurity::Psk(_) => "derived key",
            WifiSecurity::Sae(_) => "WPA3 passphrase",
        };
        let hidden = if wifi.hidden { ", hidden" } else { "" };
        writeln!(
            f,
            "wifi       {:?}, {}, {security}{hidden}",
            wifi.ssid, wifi.country
        )?;
    }
    let locale = [
        &node.locale.timezone,
        &node.locale.keymap,
        &node.locale.locale,
    ];
    let locale: Vec<&str> = locale.into_iter().flatten().map(String::as_str).collect();
    if !locale.is_empty() {
        writeln!(f, "locale     {}", locale.join(", "))?;
    }
    write_steps(f, node)
}

fn write_steps(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    let first_boot = &node.first_boot;
    let mut steps = Vec::new();
    if first_boot.expand {
        steps.push("expand the root file system".to_owned());
    }
    if !first_boot.packages.is_empty() {
        steps.push(format!("install {}", first_boot.packages.join(" ")));
    }
    for file in &first_boot.files {
        steps.push(format!("write {}", file.path));
    }
    for command in &first_boot.run {
        steps.push(format!("run `{command}`"));
    }
    steps.extend(node.exporter.as_ref().map(|exporter| match exporter {
        Exporter::Package => "install the node exporter".to_owned(),
        Exporter::Carried(_) => "install the node exporter that the card carries".to_owned(),
    }));
    for (index, step) in steps.iter().enumerate() {
        let head = if index == 0 { "first boot" } else { "" };
        writeln!(f, "{head:<10} {step}")?;
    }
    Ok(())
}

/// What the monitoring host does.
fn write_watch(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    let Some(monitoring) = &node.monitoring else {
        return Ok(());
    };
    let host = monitoring.host.as_ref();
    let programs = match host.is_some_and(|host| host.docker) {
        true => "Prometheus and Grafana in containers",
        false => "Debian's Prometheus",
    };
    let (targets, s) = match monitoring.targets.len() {
        1 => (1, ""),
        targets => (targets, "s"),
    };
    writeln!(
        f,
        "monitoring {} runs {programs} and watches {targets} node{s}",
        node.hostname
    )
}

/// The nodes; where a terminal is too narrow, with the ends of the paths.
fn node_table(cards: &[&Card], width: Option<u16>) -> Table {
    /// An image is still known by so many letters.
    const LEAST: usize = 16;
    let table = |room| {
        let mut table = plain_table();
        table.set_header(["node", "board", "address", "changes", "image"]);
        for card in cards {
            table.add_row([
                card.node.hostname.clone(),
                card.node
                    .board
                    .map_or("any", |board| board.name())
                    .to_owned(),
                address(&card.node),
                HumanBytes(card.overlay.len()).to_string(),
                end_of(&card.path.display().to_string(), room),
            ]);
        }
        table
    };
    let whole = table(usize::MAX);
    let widths = whole.column_max_content_widths();
    let [others @ .., path] = widths.as_slice() else {
        return whole;
    };
    // A blank before and one behind each; that at the end is not shown.
    let taken: usize = others.iter().map(|&len| usize::from(len) + 2).sum();
    match width.map(|width| usize::from(width).saturating_sub(taken + 1)) {
        Some(room) if room < usize::from(*path) => table(room.max(LEAST)),
        _ => whole,
    }
}

fn address(node: &Node) -> String {
    match &node.address {
        Some(fixed) => format!(
            "{}/{} on {}",
            fixed.address, fixed.prefix_len, fixed.interface
        ),
        None => "DHCP".to_owned(),
    }
}

fn write_files(
    f: &mut fmt::Formatter<'_>,
    card: &Card,
    base: &OpenBase,
    width: Option<u16>,
) -> fmt::Result {
    let boot = &base.layout.boot;
    writeln!(
        f,
        "\nboot partition of {} ({}, {} free): {} in {} extents",
        card.node.hostname,
        boot.kind,
        HumanBytes(boot.free_len),
        HumanBytes(card.overlay.len()),
        card.overlay.extents().len(),
    )?;
    writeln!(f, "host key   {}", card.host_key.fingerprint)?;
    let mut table = plain_table_within(width);
    for file in &card.boot_files.files {
        let state = if boot.has(&file.name) {
            "changed"
        } else {
            "new"
        };
        let secret = if file.secret {
            " (secret, removed after first boot)"
        } else {
            ""
        };
        table.add_row([
            state.to_owned(),
            file.name.clone(),
            HumanBytes(file.bytes.len() as u64).to_string(),
            format!("{}{secret}", file.why),
        ]);
    }
    writeln!(f, "{}", table.trim_fmt())?;
    for token in &card.boot_files.added_tokens {
        writeln!(f, "  cmdline.txt + {token}")?;
    }
    for line in &card.boot_files.added_config {
        writeln!(f, "  config.txt  + {line}")?;
    }
    Ok(())
}

fn base_json(base: &OpenBase) -> Value {
    json!({
        "name": base.base.name(),
        "len": base.layout.disk.len,
        "sha256": base.sha256,
        "os": base.os,
        "boards": base.layout.boards(),
    })
}

fn card_json(card: &Card) -> Value {
    let files: Vec<Value> = card
        .boot_files
        .files
        .iter()
        .map(|file| {
            json!({
                "name": file.name, "len": file.bytes.len(), "why": file.why, "secret": file.secret,
            })
        })
        .collect();
    json!({
        "hostname": card.node.hostname,
        "number": card.node.number,
        "board": card.node.board,
        "address": card.node.address.as_ref().map(|fixed| fixed.address),
        "node_exporter": card.node.exporter.as_ref().map(|exporter| match exporter {
            Exporter::Package => "package",
            Exporter::Carried(_) => "carried",
        }),
        "watches": card.node.monitoring.is_some(),
        "base": card.base,
        "generation": card.generation,
        "host_key": card.host_key.fingerprint,
        "instance_id": card.boot_files.instance_id,
        "files": files,
        "cmdline": card.boot_files.added_tokens,
        "config": card.boot_files.added_config,
        "overlay": {
            "sha256": card.overlay.digest(),
            "len": card.overlay.len(),
            "extents": card.overlay.extents().len(),
        },
        "image": card.path.display().to_string(),
    })
}
