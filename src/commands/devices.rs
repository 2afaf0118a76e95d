//! `cardmint devices`: cards that may be written, and why other disks may not.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Context;
use crate::card::{Content, Device, Size, System, printable, printable_path};
use crate::cli::DevicesArgs;
use crate::exit::ExitCode;
use crate::plan::guard::{self, Demands, Refusal};
use crate::report::{drawn, plain_table_within};

/// A device, what is on it, and why it may not be written.
struct Entry {
    device: Device,
    content: Content,
    refusals: Vec<Refusal>,
}

pub(super) fn run(context: &mut Context<'_>, args: &DevicesArgs) -> Result<ExitCode> {
    let system = System::default();
    let looking = "looking for block devices";
    let demands = Demands {
        protected: system.protected(&[]).context(looking)?,
        ..Demands::default()
    };
    let devices = system.scan().context(looking)?;
    let entries: Vec<Entry> = devices
        .into_iter()
        .map(|device| Entry {
            refusals: guard::refusals(&device, &demands),
            content: Content::read(&device.path),
            device,
        })
        .collect();
    if args.json {
        let devices: Vec<Value> = entries.iter().map(to_json).collect();
        context.print_json(&json!({ "devices": devices }))?;
    } else {
        show(context, &entries)?;
    }
    Ok(ExitCode::Done)
}

fn show(context: &mut Context<'_>, entries: &[Entry]) -> Result<()> {
    let (cards, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.refusals.is_empty());
    if cards.is_empty() {
        writeln!(context.out, "No card that may be written. Insert one.")?;
    } else {
        let mut table = plain_table_within(crate::ui::width());
        table.set_header(["card", "what it is", "model", "size", "on it now"]);
        for Entry {
            device, content, ..
        } in cards
        {
            table.add_row([
                printable_path(&device.path),
                device.kind.to_string(),
                model(device),
                Size(device.len()).to_string(),
                content.to_string(),
            ]);
        }
        writeln!(context.out, "{}", drawn(&table, []))?;
    }
    if !others.is_empty() {
        writeln!(context.out, "\nNot to be written:")?;
    }
    for Entry {
        device,
        content,
        refusals,
    } in others
    {
        let parts = [
            device.kind.to_string(),
            model(device),
            Size(device.len()).to_string(),
            content.to_string(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let path = printable_path(&device.path);
        writeln!(context.out, "{path}: {}", parts.join(", "))?;
        for refusal in refusals {
            writeln!(context.out, "    {refusal}")?;
        }
    }
    Ok(())
}

/// The reader's name says more than what it claims for whatever card is in it.
fn model(device: &Device) -> String {
    printable(device.reader.as_deref().unwrap_or(&device.model))
}

fn to_json(entry: &Entry) -> Value {
    let device = &entry.device;
    let refusals: Vec<Value> = entry
        .refusals
        .iter()
        .map(|refusal| {
            json!({
                "reason": refusal.reason(),
                "message": refusal.to_string(),
                "can_unmount": refusal.can_unmount(),
            })
        })
        .collect();
    json!({
        "path": device.path.display().to_string(),
        "name": device.name,
        "by_id": device.by_id.as_ref().map(|path| path.display().to_string()),
        "kind": device.kind.to_string(),
        "bus": device.bus.to_string(),
        "model": device.model,
        "reader": device.reader,
        "len": device.len(),
        "serial": device.id.serial,
        "serial_of_reader": device.serial_of_reader,
        "number": device.id.number,
        "diskseq": device.id.diskseq,
        "removable": device.removable,
        "read_only": device.read_only,
        "fixed": device.is_fixed(),
        "backing": device.backing.as_ref().map(|path| path.display().to_string()),
        "content": entry.content.to_string(),
        "refusals": refusals,
    })
}
