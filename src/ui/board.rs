//! A row for each of many things, which change while one looks on: in place on a
//! terminal, a line for each change elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::Verbosity;

/// Rows beyond these would scroll out of most terminals.
const MAX_ROWS: usize = 40;

/// The rows, on standard error.
#[derive(Debug)]
pub struct Board {
    names: Vec<String>,
    width: usize,
    rows: Option<(MultiProgress, Vec<ProgressBar>)>,
    is_quiet: bool,
}

impl Board {
    /// A board with a row for each name.
    #[must_use]
    pub fn new(names: Vec<String>, verbosity: Verbosity) -> Self {
        let is_quiet = verbosity == Verbosity::Quiet;
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let wants_rows = !is_quiet && std::io::stderr().is_terminal() && names.len() <= MAX_ROWS;
        let rows = wants_rows.then(MultiProgress::new);
        // Rows that a terminal cannot draw would swallow the lines as well.
        let rows = rows.filter(|rows| !rows.is_hidden()).map(|rows| {
            let bars = names.iter().map(|name| row(&rows, name, width)).collect();
            (rows, bars)
        });
        Self {
            names,
            width,
            rows,
            is_quiet,
        }
    }

    /// Changes a row; `done` where it will not change again.
    pub fn set(&self, index: usize, text: &str, done: bool) {
        match (&self.rows, self.names.get(index)) {
            (Some((_, bars)), _) => {
                if let Some(bar) = bars.get(index) {
                    bar.set_message(text.to_owned());
                    if done {
                        bar.disable_steady_tick();
                    }
                    bar.tick();
                }
            }
            (None, Some(name)) if !self.is_quiet => {
                // Standard error may be closed; the work matters more.
                let width = self.width;
                let _ = writeln!(anstream::stderr(), "{name:<width$}  {text}");
            }
            _ => {}
        }
    }

    /// Takes the rows away, for what is printed at last.
    pub fn clear(self) {
        if let Some((rows, bars)) = self.rows {
            for bar in bars {
                bar.finish_and_clear();
            }
            let _ = rows.clear();
        }
    }
}

fn row(rows: &MultiProgress, name: &str, width: usize) -> ProgressBar {
    let bar = rows.add(ProgressBar::new_spinner());
    // A constant template: it parses.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{name:<width$}"));
    bar.set_message("asking");
    bar.enable_steady_tick(Duration::from_millis(150));
    bar
}
