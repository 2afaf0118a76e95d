//! Progress on standard error: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::report::event::{Event, Sink};

/// How much to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Bars, or a line for each step.
    Normal,
    /// A line for each step even where bars are shown.
    Verbose,
}

/// Turns events into bars or lines.
#[derive(Clone, Debug)]
pub struct Progress {
    verbosity: Verbosity,
    bars: Option<MultiProgress>,
    tasks: Arc<Mutex<HashMap<String, ProgressBar>>>,
}

impl Progress {
    /// Bars if standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let wants_bars = verbosity != Verbosity::Quiet && std::io::stderr().is_terminal();
        let bars = wants_bars.then(MultiProgress::new);
        Self {
            verbosity,
            // Bars that a terminal cannot draw would swallow the lines as well.
            bars: bars.filter(|bars| !bars.is_hidden()),
            tasks: Arc::default(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A bar that is drawn moves below the line.
            Some(bars) => drop(bars.println(text)),
            // Standard error may be closed; the work matters more.
            None => drop(writeln!(anstream::stderr(), "{text}")),
        }
    }

    fn start(&self, task: &str, verb: &str, total: u64) {
        let Some(bars) = &self.bars else {
            let size = if total > 4096 {
                format!(" {}", HumanBytes(total))
            } else {
                String::new()
            };
            return self.line(&format!("{task}: {verb}{size}"));
        };
        if self.verbosity == Verbosity::Verbose {
            self.line(&format!("{task}: {verb}"));
        }
        let bar = match total {
            0 => bars.add(ProgressBar::no_length()),
            total => bars.add(ProgressBar::new(total)),
        };
        // Constant templates: they parse.
        let template = if total == 0 {
            "{prefix:>16} {msg:<11} {bytes:>24}        {bytes_per_sec:>12}"
        } else if total > 4096 {
            "{prefix:>16} {msg:<11} {bar:24} {percent:>3}%  {bytes_per_sec:>12}  {eta:>4}"
        } else {
            "{prefix:>16} {msg:<11} {bar:24} {pos}/{len}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(task.to_owned());
        bar.set_message(verb.to_owned());
        if let Ok(mut tasks) = self.tasks.lock() {
            tasks.insert(task.to_owned(), bar);
        }
    }
}

impl Sink for Progress {
    fn send(&self, event: Event<'_>) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        match event {
            Event::Started { task, verb, total } => self.start(task, verb, total),
            Event::Noticed { message } => self.line(&format!("note: {message}")),
            Event::Progressed { task, done } => {
                if let Ok(tasks) = self.tasks.lock()
                    && let Some(bar) = tasks.get(task)
                {
                    bar.set_position(done);
                }
            }
            Event::Resumed { task, done } => {
                if let Ok(tasks) = self.tasks.lock()
                    && let Some(bar) = tasks.get(task)
                {
                    bar.set_position(done);
                    bar.reset_eta();
                }
            }
            Event::Ended { task } => {
                if let Ok(mut tasks) = self.tasks.lock()
                    && let Some(bar) = tasks.remove(task)
                {
                    bar.finish_and_clear();
                }
            }
        }
    }
}
