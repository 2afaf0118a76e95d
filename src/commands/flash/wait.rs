//! One card after another: waits for each to be inserted.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cards::{Chosen, Guard};
use super::show;
use super::write::Run;
use crate::card::uevents::Uevents;
use crate::card::{Content, Device, DeviceId, Size, printable_path};
use crate::commands::{Context, told};
use crate::interrupt::Interrupt;
use crate::plan::guard::Refusal;
use crate::report::event::Event;
use crate::ui::ask;
use crate::ui::progress::Verbosity;

/// How often the slots are looked at where the kernel tells nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a reader takes to tell of all cards that were inserted together, and
/// a desktop to mount them.
const SETTLE: Duration = Duration::from_secs(2);

/// A slot that was seen with something in it.
#[derive(Clone)]
struct Slot {
    /// Number of its device.
    number: (u32, u32),
    /// Number of the medium: it may be another one by the time that somebody looks again.
    /// A reader that was reset counts its card as another one, too.
    diskseq: Option<u64>,
    /// Whether it counts for known until it was seen empty, whatever is in it.
    is_shut: bool,
}

impl Slot {
    fn of(device: &DeviceId, is_shut: bool) -> Self {
        Self {
            number: device.number,
            diskseq: device.diskseq,
            is_shut,
        }
    }

    fn holds(&self, device: &DeviceId) -> bool {
        self.number == device.number && (self.is_shut || self.diskseq == device.diskseq)
    }
}

/// Writes the nodes of the plan to the cards that come.
pub(super) fn run(context: &Context<'_>, guard: &Guard, run: &mut Run<'_>) -> Result<()> {
    let mut left: Vec<usize> = (0..run.plan.cards.len()).collect();
    let mut slots: Vec<Slot> = Vec::new();
    if run.args.yes {
        // Whoever is not asked must not lose what was in the machine before, also in a
        // reader that nobody has looked into yet.
        guard.system.wake_empty_readers();
        let there = scan(guard)?;
        tell_left_alone(guard, run, &left, &there);
        slots = there.iter().map(|it| Slot::of(&it.id, true)).collect();
    }
    let uevents = Uevents::listen();
    let mut told = None;
    while let Some(&next) = left.first() {
        if told.replace((next, left.len())) != Some((next, left.len())) {
            let message = format!(
                "insert the card for {} ({} to go; Ctrl-C ends)",
                run.plan.cards[next].node.hostname,
                left.len()
            );
            prompt(context, run, &message);
        }
        if inserted(guard, run, &mut slots.clone())?.is_empty() {
            uevents.wait(PAUSE);
            context.interrupt.check()?;
            guard.system.wake_empty_readers();
            // Slots that are empty now may be filled next time.
            let there = scan(guard)?;
            slots.retain(|seen| there.iter().any(|device| seen.holds(&device.id)));
            continue;
        }
        pause(SETTLE, &context.interrupt)?;
        let mut fresh = inserted(guard, run, &mut slots)?.into_iter();
        let chosen = pair(context, guard, run, &left, &mut fresh)?;
        // Those that no node was left for count as inserted again, if a card of another fails.
        let spare: Vec<Device> = fresh.collect();
        slots.retain(|seen| !spare.iter().any(|device| seen.holds(&device.id)));
        let written = run.write(context, chosen);
        let forgotten = run.forget_lost();
        let plan = run.plan;
        let done = || run.made.iter().filter(|one| one.result.is_ok());
        left = (0..plan.cards.len())
            .filter(|card| done().all(|one| one.card != *card))
            .collect();
        for one in done() {
            // Told from another card by what it holds.
            let its = slots.iter_mut().filter(|seen| seen.holds(&one.device.id));
            its.for_each(|seen| *seen = Slot::of(&one.device.id, false));
        }
        written.and(forgotten)?;
        // A node that found no good card is asked for again.
        for one in run.made.iter().filter(|one| left.contains(&one.card)) {
            if let Some(problem) = one.problem() {
                let node = &plan.cards[one.card].node.hostname;
                let message = format!("{node} is not on a card: {problem}");
                run.sink.send(Event::Noticed { message: &message });
            }
        }
        context.interrupt.check()?;
        run.made.retain(|one| !left.contains(&one.card));
        told = None;
    }
    Ok(())
}

/// Asks for a card, even where little is to be said: nothing goes on without one.
fn prompt(context: &Context<'_>, run: &Run<'_>, message: &str) {
    if context.verbosity == Verbosity::Quiet && !run.args.json {
        // Standard error may be closed; a card may be inserted all the same.
        let _ = writeln!(anstream::stderr(), "{message}");
    } else {
        run.sink.send(Event::Noticed { message });
    }
}

/// Says of cards that are in already why nothing happens to them.
fn tell_left_alone(guard: &Guard, run: &Run<'_>, left: &[usize], there: &[Device]) {
    let Some(&next) = left.first() else { return };
    let is_card = |device: &&Device| {
        let refusals = guard.refusals(next, device);
        let may_be_written = refusals.iter().all(Refusal::can_unmount);
        may_be_written && device.is_portable() && !device.is_fixed() && !show::is_disk(device)
    };
    for device in there.iter().filter(is_card) {
        let message = format!(
            "{} was in before and stays as it is, since nobody is asked: name it, or insert it \
             again",
            printable_path(&device.path)
        );
        run.sink.send(Event::Noticed { message: &message });
    }
}

fn scan(guard: &Guard) -> Result<Vec<Device>> {
    guard.system.scan().context("looking for cards")
}

fn pause(time: Duration, interrupt: &Interrupt) -> Result<()> {
    interrupt.check()?;
    thread::sleep(time);
    Ok(interrupt.check()?)
}

/// What is in slots that were empty before. Where nobody is asked, only what was seen to go
/// makes room for another: a card must not be written, or tried again, for a hiccup of its
/// reader.
fn inserted(guard: &Guard, run: &Run<'_>, slots: &mut Vec<Slot>) -> Result<Vec<Device>> {
    let mut fresh = Vec::new();
    for device in scan(guard)? {
        if !slots.iter().any(|seen| seen.holds(&device.id)) {
            slots.push(Slot::of(&device.id, run.args.yes));
            fresh.push(device);
        }
    }
    Ok(fresh)
}

/// Gives the cards to the nodes that wait, in order, as far as the user agrees; takes no
/// more of them than that needs.
fn pair(
    context: &Context<'_>,
    guard: &Guard,
    run: &Run<'_>,
    left: &[usize],
    devices: &mut impl Iterator<Item = Device>,
) -> Result<Vec<Chosen>> {
    let mut chosen: Vec<Chosen> = Vec::new();
    while let Some(&card) = left.get(chosen.len()) {
        let Some(device) = devices.next() else {
            break;
        };
        let path = printable_path(&device.path);
        match choose(guard, run, card, &device) {
            Ok(Some(one)) => chosen.push(one),
            Ok(None) => {}
            Err(error) => {
                context.interrupt.check()?;
                let message = format!("{path}: {}", told(&error));
                run.sink.send(Event::Noticed { message: &message });
            }
        }
    }
    Ok(chosen)
}

/// A card that may be written and shall be; says why not where somebody could
/// wonder.
fn choose(guard: &Guard, run: &Run<'_>, card: usize, found: &Device) -> Result<Option<Chosen>> {
    let tell = |message: &str| run.sink.send(Event::Noticed { message });
    let path = printable_path(&found.path);
    let refusals = guard.refusals(card, found);
    if !refusals.iter().all(Refusal::can_unmount) {
        if found.is_portable() && !found.is_fixed() {
            for refusal in refusals {
                tell(&format!("{path}: {refusal}"));
            }
        }
        return Ok(None);
    }
    if run.args.yes && show::is_disk(found) {
        tell(&format!("{path} is a disk: name it, and it is written"));
        return Ok(None);
    }
    if run.args.yes && is_kept(run, card, &path, &Content::read(&found.path)) {
        return Ok(None);
    }
    let device = guard.free(card, found.clone())?;
    if device.id != found.id {
        let advice = match run.args.yes {
            true => "; take it out and insert it again",
            false => "",
        };
        tell(&format!("{path}: another card was inserted{advice}"));
        return Ok(None);
    }
    let refusals = guard.refusals(card, &device);
    if !refusals.is_empty() {
        for refusal in &refusals {
            tell(&format!("{path}: {refusal}"));
        }
        return Ok(None);
    }
    let one = guard.look(card, device)?;
    if is_kept(run, card, &path, &one.content) {
        return Ok(None);
    }
    if !run.args.yes && !agrees(run, &one)? {
        tell(&format!(
            "{path} stays as it is; insert it again to be asked once more"
        ));
        return Ok(None);
    }
    Ok(Some(one))
}

/// Whether a card stays as it is because it holds what this run has written. An older card
/// of that node looks the same, so where somebody is asked, they are told and decide.
fn is_kept(run: &Run<'_>, card: usize, path: &str, content: &Content) -> bool {
    if !matches!(content, Content::Node { instance_id, .. } if run.has_made(instance_id)) {
        return false;
    }
    let node = &run.plan.cards[card].node.hostname;
    let unless = if run.args.yes {
        format!(". If it is an older card: cardmint flash {node}={path}")
    } else {
        ", unless it is an older card".to_owned()
    };
    let message = format!("{path} holds what was written just now: {content}. Take it out{unless}");
    run.sink.send(Event::Noticed { message: &message });
    run.args.yes
}

fn agrees(run: &Run<'_>, one: &Chosen) -> Result<bool> {
    if let Some(message) = show::other_node(run.plan, one) {
        run.sink.send(Event::Noticed { message: &message });
    }
    show::confirm_disk(&one.device)?;
    let path = printable_path(&one.device.path);
    // The question itself is short: one that wraps is not drawn over when it is answered.
    let question = format!(
        "{path}: {}, {}; on it now, and then lost: {}\nWrite {} to {path}?",
        show::what(&one.device),
        Size(one.device.len()),
        one.content,
        run.plan.cards[one.card].node.hostname,
    );
    ask::confirm(&question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_shut_holds_whatever_is_in_it() {
        let id = |number, diskseq| DeviceId {
            number,
            inode: None,
            diskseq: Some(diskseq),
            len: 0,
            serial: None,
        };
        let card = id((8, 0), 1);
        for is_shut in [false, true] {
            let seen = Slot::of(&card, is_shut);
            assert!(seen.holds(&card));
            assert_eq!(seen.holds(&id((8, 0), 2)), is_shut);
            assert!(!seen.holds(&id((8, 16), 1)));
        }
    }
}
