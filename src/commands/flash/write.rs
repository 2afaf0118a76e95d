//! Writing: open, note in the record, run the engine, note again, report.

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::cards::Chosen;
use super::fate::Made;
use super::show;
use crate::base::{BaseError, Digests};
use crate::card::{Content, Flash, Job, Kind, OpenCard, Written};
use crate::cli::CardArgs;
use crate::cluster::{CardEntry, CardState, Record};
use crate::commands::workspace::Workspace;
use crate::commands::{Context, build};
use crate::exit::ExitCode;
use crate::layout::UsedMap;
use crate::output::Expected;
use crate::plan::Plan;
use crate::report::event::{Event, Sink};

/// Everything that is written in one call of `flash`.
pub(super) struct Run<'a> {
    workspace: Workspace,
    pub(super) plan: &'a Plan<'a>,
    /// What each card of the plan must hold.
    used: &'a [UsedMap],
    pub(super) args: &'a CardArgs,
    pub(super) sink: &'a dyn Sink,
    pub(super) made: Vec<Made>,
}

/// A card that is open for writing.
struct Opened {
    chosen: Chosen,
    card: OpenCard,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        workspace: Workspace,
        plan: &'a Plan<'a>,
        used: &'a [UsedMap],
        args: &'a CardArgs,
        sink: &'a dyn Sink,
    ) -> Self {
        Self {
            workspace,
            plan,
            used,
            args,
            sink,
            made: Vec::new(),
        }
    }

    /// Writes the cards that were chosen, all at once.
    pub(super) fn write(&mut self, context: &Context<'_>, chosen: Vec<Chosen>) -> Result<()> {
        let mut opened = Vec::new();
        for chosen in chosen {
            if let Some(message) = show::other_node(self.plan, &chosen) {
                self.sink.send(Event::Noticed { message: &message });
            }
            match OpenCard::open(&chosen.device) {
                Ok(card) => opened.push(Opened { chosen, card }),
                Err(error) => self.made.push(Made {
                    card: chosen.card,
                    device: chosen.device,
                    result: Err(error.into()),
                    is_ejected: false,
                }),
            }
        }
        self.note(opened.iter().map(|one| (&one.chosen, CardState::Writing)))?;
        for base in 0..self.plan.bases.len() {
            let of_base = |one: &mut Opened| self.plan.cards[one.chosen.card].base == base;
            let group: Vec<Opened> = opened.extract_if(.., of_base).collect();
            if !group.is_empty() {
                self.write_group(context, base, group)?;
            }
        }
        Ok(())
    }

    /// Writes the cards of one base from one reading of it.
    fn write_group(
        &mut self,
        context: &Context<'_>,
        base: usize,
        group: Vec<Opened>,
    ) -> Result<()> {
        let (args, on) = (self.args, &self.plan.bases[base]);
        let base_used = if args.full {
            UsedMap::whole(on.layout.disk.len)
        } else {
            UsedMap::read(&on.base, &on.layout.disk).with_context(|| on.base.name().to_owned())?
        };
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| anyhow!("asking for random numbers: {error}"))?;
        let flash = Flash {
            base: &on.base,
            disk: &on.layout.disk,
            used: &base_used,
            cache: &self.workspace.cache,
            verify: !args.no_verify,
            wipe: args.wipe,
            nonce,
            sink: self.sink,
            interrupt: &context.interrupt,
        };
        let jobs: Vec<Job<'_>> = group.iter().map(|one| self.job(one)).collect();
        let (digests, outcomes) = flash.run(&jobs);
        drop(jobs);
        let mut states = Vec::new();
        for (Opened { chosen, card }, outcome) in group.into_iter().zip(outcomes) {
            let result = outcome.map_err(anyhow::Error::from);
            let is_ejected = card.release(result.is_ok() && !args.no_eject);
            let made = Made {
                card: chosen.card,
                device: chosen.device.clone(),
                result,
                is_ejected,
            };
            states.push((chosen, made.state()));
            self.made.push(made);
        }
        self.keep(base, &digests)?;
        self.note(states.iter().map(|(chosen, state)| (chosen, *state)))
    }

    fn job<'j>(&'j self, one: &'j Opened) -> Job<'j> {
        let card = &self.plan.cards[one.chosen.card];
        let args = self.args;
        let is_ours = matches!(one.chosen.content, Content::Node { .. });
        let delta = args.delta || is_ours && !args.full && !args.wipe;
        Job {
            name: &card.node.hostname,
            overlay: &card.overlay,
            used: &self.used[one.chosen.card],
            medium: &one.card,
            delta,
            // A card that is compared first has proved itself by what it holds,
            // and marks would spoil that.
            probe: !delta && !args.no_probe && one.chosen.device.kind != Kind::File,
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
            let entry = build::entry(card, on, digests.raw, expected.image_digest());
            Some((card.node.number, entry))
        };
        let entries: Vec<_> = self.made.iter().filter_map(entry).collect();
        self.workspace.record = Record::update(&self.workspace.dir, |record| {
            record.belongs_to(&self.workspace.cluster.name, &self.workspace.key);
            for (number, entry) in entries {
                record.set(number, entry);
            }
        })?;
        Ok(())
    }

    /// Records how far cards got.
    fn note<'c>(&self, cards: impl Iterator<Item = (&'c Chosen, CardState)>) -> Result<()> {
        let at = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
        let entries: Vec<_> = cards
            .map(|(chosen, state)| {
                let card = &self.plan.cards[chosen.card];
                let device = &chosen.device;
                let held = match &chosen.content {
                    Content::Node { instance_id, .. } => Some(instance_id.clone()),
                    _ => None,
                };
                let entry = CardEntry {
                    state,
                    at: at.clone(),
                    device: device.path.display().to_string(),
                    serial: device
                        .id
                        .serial
                        .clone()
                        .filter(|_| !device.serial_of_reader),
                    model: device.model.clone(),
                    len: device.len(),
                    overlay: card.overlay.digest(),
                    instance_id: card.boot_files.instance_id.clone(),
                };
                (card.node.number, entry, held)
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        Record::update(&self.workspace.dir, |record| {
            record.belongs_to(&self.workspace.cluster.name, &self.workspace.key);
            for (number, entry, held) in entries {
                record.set_card(number, entry, held.as_deref());
            }
        })?;
        Ok(())
    }

    /// Writes the hand-over and the report.
    pub(super) fn finish(mut self, context: &mut Context<'_>) -> Result<ExitCode> {
        let handover = self.workspace.write_handover()?;
        self.made.sort_by_key(|one| one.card);
        let code = ExitCode::merge(self.made.iter().map(Made::code));
        if self.args.json {
            let nodes: Vec<_> = self
                .made
                .iter()
                .map(|one| show::to_json(self.plan, one))
                .collect();
            let line = json!({
                "event": "done",
                "cluster": self.plan.cluster,
                "nodes": nodes,
                "handover": handover.display().to_string(),
            });
            writeln!(context.out, "{line}")?;
        } else if !self.made.is_empty() {
            context.tell(show::table(self.plan, &self.made))?;
            for one in self.made.iter().filter(|one| one.result.is_ok()) {
                context.tell(show::label(self.plan, one))?;
            }
        }
        for one in &self.made {
            if let Some(problem) = one.problem() {
                let node = &self.plan.cards[one.card].node.hostname;
                let path = crate::card::printable_path(&one.device.path);
                crate::ui::complain(&format!("{node} on {path}: {problem}"));
            }
        }
        if let (ExitCode::Done, false, Some(first)) = (code, self.args.json, self.made.first()) {
            let first = &self.plan.cards[first.card].node.hostname;
            context.tell(format_args!(
                "\nPower the nodes on, then:\n  ssh -F {} {first}",
                handover.join("ssh_config").display()
            ))?;
        }
        Ok(code)
    }
}
