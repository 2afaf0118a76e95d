//! Questions, asked only where somebody can answer.

use std::io::{IsTerminal, Write as _};

use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Password};
use secrecy::SecretString;

use crate::cluster::Ask;

/// Whether questions can be asked at all.
#[must_use]
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a line of text; Enter takes `default`.
///
/// # Errors
/// Where the terminal fails.
pub fn text(question: &str, default: String) -> dialoguer::Result<String> {
    Input::with_theme(&ColorfulTheme::default())
        .with_prompt(question)
        .show_default(!default.is_empty())
        .default(default)
        .interact_text()
}

/// Asks yes or no; Enter says no.
///
/// # Errors
/// Where the terminal fails.
pub fn confirm(question: &str) -> dialoguer::Result<bool> {
    // Once answered, only the last line of a prompt is drawn over: the others would stand twice.
    let last = match question.rsplit_once('\n') {
        Some((before, last)) => {
            writeln!(anstream::stderr(), "{before}")?;
            last
        }
        None => question,
    };
    Confirm::with_theme(&ColorfulTheme::default())
        .with_prompt(last)
        .default(false)
        .interact()
}

/// Asks for a secret, which is not shown, twice; nothing where it is left empty.
///
/// # Errors
/// Where the terminal fails.
pub fn secret(question: &str) -> dialoguer::Result<Option<SecretString>> {
    let theme = ColorfulTheme::default();
    loop {
        let answer = Password::with_theme(&theme)
            .with_prompt(question)
            .allow_empty_password(true)
            .interact()?;
        if answer.is_empty() {
            return Ok(None);
        }
        let again = Password::with_theme(&theme).with_prompt("The same once more");
        if again.allow_empty_password(true).interact()? == answer {
            return Ok(Some(answer.into()));
        }
        super::complain("the two differ; once again, please");
    }
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
