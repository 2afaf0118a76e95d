//! The confirmation, and the report at the end.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::cards::Chosen;
use super::fate::Made;
use crate::card::{Content, Device, Kind, Size, printable, printable_path};
use crate::commands::{Refused, Usage};
use crate::plan::Plan;
use crate::report::{drawn, plain_table, plain_table_within};
use crate::ui::ask;

/// A card larger than this is rather a disk: its name is to be typed.
const LARGE: u64 = 300_000_000_000;

/// Shows what will be lost and asks for leave.
pub(super) fn confirm(plan: &Plan<'_>, chosen: &[Chosen], out: &mut dyn Write) -> Result<()> {
    if !ask::can_ask() {
        bail!(Usage(
            "nobody is there to be asked: add --yes to overwrite the cards that are named".into()
        ));
    }
    let mut table = plain_table_within(crate::ui::width());
    table.set_header([
        "node",
        "card",
        "what it is",
        "size",
        "on it now, and then lost",
    ]);
    for Chosen {
        card,
        device,
        content,
        ..
    } in chosen
    {
        table.add_row([
            plan.cards[*card].node.hostname.clone(),
            printable_path(&device.path),
            what(device),
            Size(device.len()).to_string(),
            content.to_string(),
        ]);
    }
    writeln!(out, "{}\n", drawn(&table, []))?;
    for one in chosen {
        if let Some(warning) = other_node(plan, one) {
            writeln!(out, "{warning}\n")?;
        }
    }
    out.flush()?;
    for Chosen { device, .. } in chosen {
        confirm_disk(device)?;
    }
    let these = match chosen {
        [one] => format!("Overwrite {}?", printable_path(&one.device.path)),
        many => format!("Overwrite these {} cards?", many.len()),
    };
    if !ask::confirm(&these)? {
        bail!(Refused("nothing was written".into()));
    }
    Ok(())
}

/// Whether it is rather a disk than a card, so that its name is to be typed.
pub(super) fn is_disk(device: &Device) -> bool {
    device.kind != Kind::File && (device.is_fixed() || device.len() > LARGE)
}

/// Has the name of a disk typed.
pub(super) fn confirm_disk(device: &Device) -> Result<()> {
    if !is_disk(device) {
        return Ok(());
    }
    let question = format!(
        "{} is a {} of {}. Type {} to overwrite it",
        printable_path(&device.path),
        what(device),
        Size(device.len()),
        device.name
    );
    if ask::text(&question, String::new())?.trim() != device.name {
        bail!(Refused("nothing was written".into()));
    }
    Ok(())
}

/// What to say of a card that holds another node of this cluster.
pub(super) fn other_node(plan: &Plan<'_>, chosen: &Chosen) -> Option<String> {
    let node = &plan.cards[chosen.card].node.hostname;
    match &chosen.content {
        Content::Node {
            hostname, cluster, ..
        } if *cluster == plan.cluster && hostname != node => Some(format!(
            "{} holds {hostname} of this very cluster, not {node}",
            printable_path(&chosen.device.path)
        )),
        _ => None,
    }
}

/// Sort of thing and model.
pub(super) fn what(device: &Device) -> String {
    let model = printable(device.reader.as_deref().unwrap_or(&device.model));
    if model.is_empty() {
        device.kind.to_string()
    } else {
        format!("{} {model}", device.kind)
    }
}

/// The table at the end.
pub(super) fn table(plan: &Plan<'_>, made: &[Made]) -> String {
    let mut table = plain_table();
    table.set_header(["node", "card", "result", "written", "time", "write", "read"]);
    for one in made {
        let (written, time, write, read) = match &one.result {
            Ok(written) => (
                Size(written.written).to_string(),
                seconds(written.writing + written.verifying.unwrap_or_default()),
                speed(written.written, written.writing),
                written
                    .verifying
                    .map_or_else(String::new, |time| speed(written.used, time)),
            ),
            Err(_) => Default::default(),
        };
        table.add_row([
            plan.cards[one.card].node.hostname.clone(),
            printable_path(&one.device.path),
            one.word().to_owned(),
            written,
            time,
            write,
            read,
        ]);
    }
    drawn(&table, made.iter().map(|one| (one.word(), one.tone())))
}

/// A line to label a card by.
pub(super) fn label(plan: &Plan<'_>, one: &Made) -> String {
    let node = &plan.cards[one.card].node;
    let address = node
        .address
        .as_ref()
        .map_or_else(String::new, |fixed| format!(", {}", fixed.address));
    let state = if one.is_ejected { "ejected" } else { "ready" };
    format!(
        "{} is {state}: label it {}{address}",
        printable_path(&one.device.path),
        node.hostname
    )
}

/// One node of the last line for programs.
pub(super) fn to_json(plan: &Plan<'_>, one: &Made) -> Value {
    let card = &plan.cards[one.card];
    let written = one.result.as_ref().ok();
    json!({
        "hostname": card.node.hostname,
        "number": card.node.number,
        "card": one.device.path.display().to_string(),
        "serial": one.device.id.serial,
        "serial_of_reader": one.device.serial_of_reader,
        "result": one.word(),
        "used": written.map(|written| written.used),
        "written": written.map(|written| written.written),
        "rewritten_chunks": written.map(|written| written.rewritten),
        "writing_seconds": written.map(|written| written.writing.as_secs_f64()),
        "verifying_seconds": written.and_then(|written| Some(written.verifying?.as_secs_f64())),
        "ejected": one.is_ejected,
        "host_key": card.host_key.fingerprint,
        "problem": one.problem(),
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64().ceil())
}

fn speed(bytes: u64, time: Duration) -> String {
    if bytes == 0 {
        return "–".to_owned();
    }
    let per_second = u128::from(bytes) * 1000 / time.as_millis().max(1);
    format!("{}/s", Size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}
