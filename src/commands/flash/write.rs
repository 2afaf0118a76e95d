//! Writing: open, note in the record, run the engine, note again, report.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};
use serde_json::json;

use super::cards::Chosen;
use super::fate::{self, Made};
use super::show;
use crate::base::{BaseError, Digests};
use crate::card::{
    CardError, Content, Flash, Job, Kind, OpenCard, OpenError, Outcome, System, Written,
};
use crate::cli::CardArgs;
use crate::cluster::record::Noted;
use crate::cluster::{CardEntry, CardState, Record};
use crate::commands::used::Maps;
use crate::commands::workspace::Workspace;
use crate::commands::{Context, exit_code, handover, made, told};
use crate::exit::ExitCode;
use crate::layout::UsedMap;
use crate::output::Expected;
use crate::plan::Plan;
use crate::report::event::{Event, Sink};

/// Everything that is written in one call of `flash`.
pub(super) struct Run<'a> {
    workspace: Workspace,
    pub(super) plan: &'a Plan<'a>,
    maps: &'a [Maps<'a>],
    /// What each card of the plan must hold.
    used: &'a [UsedMap],
    pub(super) args: &'a CardArgs,
    pub(super) sink: &'a dyn Sink,
    pub(super) made: Vec<Made>,
}

/// Opens the very card that was confirmed.
fn open_card(chosen: &mut Chosen) -> Result<OpenCard> {
    let device = &chosen.device;
    let card = match chosen.handed.take() {
        Some(handed) => OpenCard::take(device, handed),
        None => OpenCard::open(device),
    }?;
    // Nobody swaps it now; what sysfs says of it includes its serial number.
    if System::default().device(&device.path)?.id != device.id {
        bail!(OpenError::Changed {
            path: device.path.clone(),
            what: "another card was inserted",
        });
    }
    Ok(card)
}

/// A card that is open for writing.
struct Opened {
    chosen: Chosen,
    card: OpenCard,
    /// What it must hold: that of the plan, and zeros or whatever the image has there
    /// where the card holds settings of what it was before.
    used: UsedMap,
}

fn is_untouched(outcome: &Outcome) -> bool {
    matches!(outcome, Err(error) if error.is_untouched())
}

impl<'a> Run<'a> {
    pub(super) fn new(
        workspace: Workspace,
        plan: &'a Plan<'a>,
        (maps, used): (&'a [Maps<'a>], &'a [UsedMap]),
        args: &'a CardArgs,
        sink: &'a dyn Sink,
    ) -> Self {
        Self {
            workspace,
            plan,
            maps,
            used,
            args,
            sink,
            made: Vec::new(),
        }
    }

    /// Writes the cards that were chosen, all of one base at once.
    pub(super) fn write(&mut self, context: &Context<'_>, mut chosen: Vec<Chosen>) -> Result<()> {
        for base in 0..self.plan.bases.len() {
            let of_base = |one: &mut Chosen| self.plan.cards[one.card].base == base;
            let group: Vec<Chosen> = chosen.extract_if(.., of_base).collect();
            // Opened no sooner than they are written: a reader that looks idle
            // may be given another card.
            let opened = self.open(context, group);
            if !opened.is_empty() {
                self.write_group(context, base, &opened)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, context: &Context<'_>, chosen: Vec<Chosen>) -> Vec<Opened> {
        let mut opened = Vec::new();
        for mut chosen in chosen {
            if let Some(message) = show::other_node(self.plan, &chosen) {
                self.sink.send(Event::Noticed { message: &message });
            }
            let result = match context.interrupt.check() {
                Ok(()) => open_card(&mut chosen),
                Err(_) => Err(CardError::Untouched.into()),
            };
            match result {
                Ok(card) => {
                    let used = self.used[chosen.card].with(chosen.settings.iter().cloned());
                    opened.push(Opened { chosen, card, used });
                }
                Err(error) => self.made.push(Made {
                    card: chosen.card,
                    device: chosen.device,
                    result: Err(error),
                    is_ejected: false,
                }),
            }
        }
        opened
    }

    /// Writes the cards of one base from one reading of it.
    fn write_group(&mut self, context: &Context<'_>, base: usize, group: &[Opened]) -> Result<()> {
        let (args, on) = (self.args, &self.plan.bases[base]);
        let base_used = self.maps[base].of_base();
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| anyhow!("asking for random numbers: {error}"))?;
        let noted = self.note_begun(group)?;
        let ejected: Vec<AtomicBool> = group.iter().map(|_| AtomicBool::new(false)).collect();
        // Told and let go one by one: the others may take long, or for ever.
        let done = |number: usize, outcome: &Outcome| {
            let Opened { chosen, card, .. } = &group[number];
            if !is_untouched(outcome) {
                self.tell_if_failed(self.note(chosen, fate::state(outcome)));
            }
            let is_ejected = card.release(outcome.is_ok() && !args.no_eject);
            ejected[number].store(is_ejected, Ordering::Relaxed);
        };
        let flash = Flash {
            base: &on.base,
            disk: &on.layout.disk,
            boot: on.layout.boot.partition.number,
            used: base_used,
            cache: &self.workspace.cache,
            verify: !args.no_verify,
            wipe: args.wipe,
            nonce,
            done: &done,
            sink: self.sink,
            interrupt: &context.interrupt,
        };
        let jobs: Vec<Job<'_>> = group.iter().map(|one| self.job(one)).collect();
        let (digests, outcomes) = flash.run(&jobs);
        self.tell_if_failed(self.take_back(&noted, &outcomes));
        let made = group.iter().zip(outcomes).zip(ejected);
        let made: Vec<Made> = made
            .map(|((one, outcome), ejected)| Made {
                card: one.chosen.card,
                device: one.chosen.device.clone(),
                result: outcome.map_err(anyhow::Error::from),
                is_ejected: ejected.into_inner(),
            })
            .collect();
        self.made.extend(made);
        self.keep(base, &digests)
    }

    fn job<'j>(&'j self, one: &'j Opened) -> Job<'j> {
        let card = &self.plan.cards[one.chosen.card];
        let args = self.args;
        let is_ours = matches!(one.chosen.content, Content::Node { .. });
        let delta = args.delta || is_ours && !args.full && !args.wipe;
        Job {
            name: &card.node.hostname,
            overlay: &card.overlay,
            used: &one.used,
            medium: &one.card,
            delta,
            // A card that is compared first has proved itself by what it holds,
            // and marks would spoil that.
            probe: !delta && !args.no_probe && one.chosen.device.kind != Kind::File,
            scrub: &one.chosen.settings,
        }
    }

    /// Records the nodes of a base whose cards are complete.
    fn keep(&mut self, base: usize, digests: &Result<Digests, BaseError>) -> Result<()> {
        let Ok(digests) = digests else { return Ok(()) };
        let plan = self.plan;
        let on = &plan.bases[base];
        let entry = |made: &Made| {
            let written: &Written = made.result.as_ref().ok()?;
            let card = &plan.cards[made.card];
            if card.base != base {
                return None;
            }
            let expected = Expected::from_patched(
                on.layout.disk.len,
                &digests.chunks,
                written.patched.clone(),
            );
            let entry = made::entry(card, on, digests.raw, expected.image_digest());
            Some((card.node.number, entry))
        };
        let entries: Vec<_> = self.made.iter().filter_map(entry).collect();
        made::keep(&self.workspace, entries, self.sink)
    }

    /// Records how far a card got.
    fn note(&self, chosen: &Chosen, state: CardState) -> Result<()> {
        let number = self.plan.cards[chosen.card].node.number;
        let entry = self.entry(chosen, state);
        let set = |record: &mut Record| drop(record.set_card(number, entry, None));
        self.workspace.update_record(set)
    }

    /// Records that cards are being written: all of them, or none.
    fn note_begun(&self, group: &[Opened]) -> Result<Vec<Noted>> {
        self.workspace.update_record(|record| {
            let each = group.iter().map(|Opened { chosen, .. }| {
                let number = self.plan.cards[chosen.card].node.number;
                // Once it is being written it holds that no more.
                let held = match &chosen.content {
                    Content::Node { instance_id, .. } => Some(instance_id.as_str()),
                    _ => None,
                };
                record.set_card(number, self.entry(chosen, CardState::Writing), held)
            });
            each.collect()
        })
    }

    /// Takes that back of the cards to which nothing was written.
    fn take_back(&self, noted: &[Noted], outcomes: &[Outcome]) -> Result<()> {
        let those = |untouched| -> Vec<&Noted> {
            let each = noted.iter().zip(outcomes);
            let each = each.filter(|(_, outcome)| is_untouched(outcome) == untouched);
            each.map(|(noted, _)| noted).collect()
        };
        let (untouched, written) = (those(true), those(false));
        if untouched.is_empty() {
            return Ok(());
        }
        let unset = |record: &mut Record| record.unset_cards(&untouched, &written);
        self.workspace.update_record(unset)
    }

    /// What the record says of a card.
    fn entry(&self, chosen: &Chosen, state: CardState) -> CardEntry {
        let card = &self.plan.cards[chosen.card];
        let device = &chosen.device;
        let own_serial = device.id.serial.clone();
        CardEntry {
            state,
            at: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            device: device.path.display().to_string(),
            serial: own_serial.filter(|_| !device.serial_of_reader),
            model: device.model.clone(),
            len: device.len(),
            overlay: card.overlay.digest(),
            instance_id: card.boot_files.instance_id.clone(),
            generation: card.generation,
            copies: 1,
        }
    }

    /// The cards are what they are, whether that could be noted or not.
    fn tell_if_failed(&self, result: Result<()>) {
        if let Err(error) = result {
            let message = told(&error);
            self.sink.send(Event::Noticed { message: &message });
        }
    }

    /// Forgets what this run made where another node was written over it since: its node
    /// wants another card.
    pub(super) fn forget_lost(&mut self) -> Result<()> {
        let record = Record::load(&self.workspace.dir)?;
        let plan = self.plan;
        let is_lost = |one: &mut Made| {
            let entry = record.card(plan.cards[one.card].node.number);
            one.result.is_ok() && entry.is_some_and(|it| it.state == CardState::Overwritten)
        };
        for one in self.made.extract_if(.., is_lost) {
            let node = &plan.cards[one.card].node.hostname;
            let message = format!("{node} is on no card any more: another node was written to it");
            self.sink.send(Event::Noticed { message: &message });
        }
        Ok(())
    }

    /// Whether a card with this instance-id was written by this very run.
    pub(super) fn has_made(&self, instance_id: &str) -> bool {
        self.made.iter().any(|one| {
            one.result.is_ok() && self.plan.cards[one.card].boot_files.instance_id == instance_id
        })
    }

    /// Shows the report and writes the hand-over. `stop` is what made an end before all
    /// nodes were on a card; where that is all there is to tell, it comes back.
    pub(super) fn finish(
        mut self,
        context: &mut Context<'_>,
        stop: Result<()>,
    ) -> Result<ExitCode> {
        let stop = match stop {
            Err(error) if self.made.is_empty() => return Err(error),
            stop => stop.err(),
        };
        self.made.sort_by_key(|one| one.card);
        let codes = self.made.iter().map(Made::code);
        let code = ExitCode::merge(codes.chain(stop.as_ref().map(exit_code)));
        let handover = handover::write_beside(context, &self.workspace);
        // Whoever closed the pipe still gets the exit code.
        let _ = self.report(context, handover.as_deref().ok());
        for one in &self.made {
            if let Some(problem) = one.problem() {
                let node = &self.plan.cards[one.card].node.hostname;
                let path = crate::card::printable_path(&one.device.path);
                crate::ui::complain(&format!("{node} on {path}: {problem}"));
            }
        }
        if let Some(stop) = stop {
            let cards = self.plan.cards.iter().enumerate();
            let left: Vec<&str> = cards
                .filter(|(card, _)| self.made.iter().all(|one| one.card != *card))
                .map(|(_, card)| card.node.hostname.as_str())
                .collect();
            let left = left.join(", ");
            match (exit_code(&stop), &*left) {
                (ExitCode::Interrupted, "") => {}
                (ExitCode::Interrupted, left) => {
                    crate::ui::complain(&format!("interrupted; not written: {left}"));
                }
                (_, "") => crate::ui::complain(&told(&stop)),
                (_, left) => {
                    crate::ui::complain(&format!("{}; not written: {left}", told(&stop)));
                }
            }
        }
        let folder = handover?;
        if let (ExitCode::Done, false, Some(first)) = (code, self.args.json, self.made.first()) {
            let first = &self.plan.cards[first.card].node.hostname;
            let _ = context.tell(format_args!(
                "\nPower the nodes on, then:\n  cardmint status --wait 10m{}",
                handover::login(&folder, first)
            ));
        }
        Ok(code)
    }

    fn report(&self, context: &mut Context<'_>, handover: Option<&Path>) -> Result<()> {
        if self.args.json {
            let nodes = self.made.iter().map(|one| show::to_json(self.plan, one));
            let line = json!({
                "event": "done",
                "cluster": self.plan.cluster,
                "nodes": nodes.collect::<Vec<_>>(),
                "handover": handover.map(|folder| folder.display().to_string()),
            });
            writeln!(context.out, "{line}")?;
        } else if !self.made.is_empty() {
            context.tell(show::table(self.plan, &self.made))?;
            for one in self.made.iter().filter(|one| one.result.is_ok()) {
                context.tell(show::label(self.plan, one))?;
            }
        }
        Ok(())
    }
}
