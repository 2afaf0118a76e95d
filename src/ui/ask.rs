//! Questions, asked only where somebody can answer.

use std::io::{self, ErrorKind, IsTerminal, Write as _};

use anyhow::{Context as _, Result};
use dialoguer::console::Term;
use dialoguer::theme::{ColorfulTheme, Theme as _};
use dialoguer::{Confirm, Input};
use secrecy::SecretString;

use super::hidden::Unseen;
use crate::cluster::Ask;
use crate::interrupt::Interrupted;

/// Whether questions can be asked at all.
#[must_use]
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line of text; Enter takes `default`.
///
/// # Errors
/// [`Interrupted`] on Ctrl-C, and where the terminal fails.
pub fn text(question: &str, default: String) -> Result<String> {
    let theme = ColorfulTheme::default();
    let input = Input::with_theme(&theme)
        .with_prompt(question)
        .show_default(!default.is_empty())
        .default(default);
    answer(input.interact_text().map_err(from_dialoguer))
}

/// Asks yes or no; Enter says no.
///
/// # Errors
/// [`Interrupted`] on Ctrl-C, and where the terminal fails.
pub fn confirm(question: &str) -> Result<bool> {
    // Once answered, only the last line of a prompt is drawn over: the others would stand twice.
    let last = match question.rsplit_once('\n') {
        Some((before, last)) => {
            writeln!(anstream::stderr(), "{before}")?;
            last
        }
        None => question,
    };
    let theme = ColorfulTheme::default();
    let confirm = Confirm::with_theme(&theme).with_prompt(last).default(false);
    answer(confirm.interact().map_err(from_dialoguer))
}

/// Asks for a secret, which is not shown, twice; nothing where it is left empty.
///
/// # Errors
/// [`Interrupted`] on Ctrl-C, and where the terminal fails.
pub fn secret(question: &str) -> Result<Option<SecretString>> {
    loop {
        let secret = unseen(question)?;
        if secret.is_empty() {
            answered(question, "none")?;
            return Ok(None);
        }
        if unseen("The same once more")? == secret {
            answered(question, "********")?;
            return Ok(Some(secret.into()));
        }
        super::complain("the two differ; once again, please");
    }
}

/// Asks for what is not shown. The question is gone from the screen then.
fn unseen(question: &str) -> Result<String> {
    let mut prompt = String::new();
    ColorfulTheme::default().format_input_prompt(&mut prompt, question, None)?;
    let mut terminal = anstream::stderr();
    // Before the question is there: whoever answers fast is not seen, either.
    let input = Unseen::start().context("asking at the terminal")?;
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let line = answer(input.read_line())?;
    write!(terminal, "\r\x1b[2K")?;
    Ok(line)
}

/// Shows a question with its answer, as one that was answered before their eyes.
fn answered(question: &str, answer: &str) -> Result<()> {
    let mut line = String::new();
    ColorfulTheme::default().format_input_prompt_selection(&mut line, question, answer)?;
    Ok(writeln!(anstream::stderr(), "{line}")?)
}

/// What was answered. Where nobody did, the line of the question is ended, so that what
/// is said next has its own.
fn answer<T>(answer: io::Result<T>) -> Result<T> {
    answer.or_else(|error| {
        let _ = Term::stderr().show_cursor();
        let _ = writeln!(anstream::stderr());
        match error.kind() {
            ErrorKind::Interrupted => Err(Interrupted.into()),
            _ => Err(error).context("asking at the terminal"),
        }
    })
}

fn from_dialoguer(dialoguer::Error::IO(error): dialoguer::Error) -> io::Error {
    error
}

/// Answers what a manifest leaves open, at the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal;

impl Ask for Terminal {
    fn wifi_passphrase(&mut self, ssid: &str) -> Option<SecretString> {
        if !can_ask() {
            return None;
        }
        secret(&format!("Passphrase of the Wi-Fi network {ssid:?}"))
            .ok()
            .flatten()
    }
}
