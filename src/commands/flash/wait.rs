//! One card after another: waits for each to be inserted.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cards::{Chosen, Guard};
use super::show;
use super::write::Run;
use crate::card::{Content, Device, DeviceId, Size, printable_path};
use crate::commands::Context;
use crate::plan::guard::Refusal;
use crate::report::event::Event;
use crate::ui::ask;

/// How often the slots are looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a reader takes to tell of all cards that were inserted together.
const SETTLE: Duration = Duration::from_secs(2);

/// Writes every node of the plan to the cards that come.
pub(super) fn run(context: &mut Context<'_>, guard: &Guard, run: &mut Run<'_>) -> Result<()> {
    let mut waiting: Vec<usize> = (0..run.plan.cards.len()).collect();
    // Whoever is not asked must not lose what was in the machine before.
    let mut seen: Vec<DeviceId> = Vec::new();
    if run.args.yes {
        seen = scan(guard)?.into_iter().map(|device| device.id).collect();
    }
    let mut told = None;
    while let Some(&next) = waiting.first() {
        if context.interrupt.check().is_err() && !run.made.is_empty() {
            break;
        }
        context.interrupt.check()?;
        if told != Some(next) {
            let message = format!(
                "insert the card for {} ({} to go; Ctrl-C ends)",
                run.plan.cards[next].node.hostname,
                waiting.len()
            );
            run.sink.send(Event::Noticed { message: &message });
            told = Some(next);
        }
        let mut fresh = fresh(guard, next, &mut seen, run)?;
        if fresh.is_empty() {
            thread::sleep(PAUSE);
            continue;
        }
        if waiting.len() > 1 {
            thread::sleep(SETTLE);
            fresh.extend(self::fresh(guard, next, &mut seen, run)?);
        }
        let chosen = pair(context, guard, run, &waiting, fresh)?;
        waiting.retain(|card| !chosen.iter().any(|one| one.card == *card));
        if !chosen.is_empty() {
            run.write(context, chosen)?;
        }
        told = None;
    }
    Ok(())
}

fn scan(guard: &Guard) -> Result<Vec<Device>> {
    guard.system.scan().context("looking for cards")
}

/// Cards that were not there before and may be written.
fn fresh(
    guard: &Guard,
    next: usize,
    seen: &mut Vec<DeviceId>,
    run: &Run<'_>,
) -> Result<Vec<Device>> {
    let devices = scan(guard)?;
    // A card that was taken out may come back as a new one.
    seen.retain(|id| devices.iter().any(|device| device.id == *id));
    let mut fresh = Vec::new();
    for device in devices {
        if seen.contains(&device.id) {
            continue;
        }
        seen.push(device.id.clone());
        let refusals = guard.refusals(next, &device);
        let is_card = device.is_portable() && !device.is_fixed();
        if refusals.iter().all(Refusal::can_unmount) {
            fresh.push(device);
        } else if is_card {
            for refusal in refusals {
                let message = format!("{}: {refusal}", printable_path(&device.path));
                run.sink.send(Event::Noticed { message: &message });
            }
        }
    }
    Ok(fresh)
}

/// Gives the cards to the nodes that wait, in order, as far as the user agrees.
fn pair(
    context: &mut Context<'_>,
    guard: &Guard,
    run: &Run<'_>,
    waiting: &[usize],
    devices: Vec<Device>,
) -> Result<Vec<Chosen>> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for device in devices {
        let Some(&card) = waiting.get(chosen.len()) else {
            break;
        };
        let one = Chosen {
            card,
            content: Content::read(&device.path),
            device,
        };
        if !run.args.yes {
            if let Some(warning) = show::other_node(run.plan, &one) {
                context.tell(warning)?;
            }
            let question = format!(
                "Write {} to {}, {}, {}; on it now, and then lost: {}?",
                run.plan.cards[card].node.hostname,
                printable_path(&one.device.path),
                show::what(&one.device),
                Size(one.device.len()),
                one.content
            );
            if !ask::confirm(&question)? {
                continue;
            }
        }
        let device = guard.free(card, one.device)?;
        let refusals = guard.refusals(card, &device);
        for refusal in &refusals {
            let message = format!("{}: {refusal}", printable_path(&device.path));
            run.sink.send(Event::Noticed { message: &message });
        }
        if refusals.is_empty() {
            chosen.push(Chosen { device, ..one });
        }
    }
    Ok(chosen)
}
