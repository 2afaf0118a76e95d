//! What a person sees while work runs: progress, questions, complaints.
//!
//! [`progress`] and [`json_lines`] are two listeners to the same events of
//! [`report`](crate::report).

pub mod ask;
pub mod board;
mod hidden;
pub mod json_lines;
pub mod out;
pub mod progress;

use std::io::Write;

use dialoguer::console::Term;

/// Columns of the terminal that standard output is; `None` where it is none.
#[must_use]
pub fn width() -> Option<u16> {
    Term::stdout().size_checked().map(|(_, columns)| columns)
}

/// Prints a problem on standard error, in red where colours are wanted.
pub fn complain(message: &str) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    // Nothing can be done if standard error is closed.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {message}");
}
