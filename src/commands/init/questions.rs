//! What `init` asks, each answer looked at before the next question.

use std::path::Path;

use anyhow::{Result, bail};
use secrecy::SecretString;

use super::{PSK_FILE, image_path, problems_of};
use crate::cli::InitArgs;
use crate::cluster::manifest::check_passphrase;
use crate::cluster::new::{NewManifest, NewWifi};
use crate::cluster::{password_hash, wifi_psk};
use crate::ui::{ask, complain};

/// Country that is offered for the Wi-Fi network: Raspberry Pi's.
const DEFAULT_COUNTRY: &str = "GB";

/// Asks for what was not given; returns the Wi-Fi key, if there is one.
pub(super) fn ask_all(
    args: &InitArgs,
    dir: &Path,
    answers: &mut NewManifest,
) -> Result<Option<SecretString>> {
    if args.count.is_none() {
        let offered = answers.count.to_string();
        let question = "How many nodes";
        ask_for(question, &offered, dir, answers, |answers, count| {
            answers.count = match count.trim().parse() {
                Ok(count) => count,
                Err(_) => bail!("`{count}` is no number"),
            };
            Ok(())
        })?;
    }
    if args.hostname.is_none() {
        let question = "Their hostname ({n} is the node's number)";
        let offered = answers.hostname.clone();
        ask_for(question, &offered, dir, answers, |answers, hostname| {
            answers.hostname = hostname;
            Ok(())
        })?;
    }
    if args.image.is_none() {
        let offered = answers.image.clone();
        let question = "Image to build on";
        ask_for(question, &offered, dir, answers, |answers, image| {
            // What was offered is as the manifest reads it.
            if image != answers.image {
                answers.image = image_path(&image, dir)?;
            }
            Ok(())
        })?;
    }
    if args.user.is_none() {
        let offered = answers.user.clone();
        let question = "User on the nodes";
        ask_for(question, &offered, dir, answers, |answers, user| {
            answers.user = user;
            Ok(())
        })?;
    }
    let question = "Password of that user (empty: log in with a key only)";
    if let Some(password) = ask::secret(question)? {
        answers.password_hash = Some(password_hash(&password)?);
    }
    if !ask::confirm("Join a Wi-Fi network")? {
        return Ok(None);
    }
    ask_wifi(dir, answers)
}

/// Asks until the answer is one that the manifest can have; `set` puts it there.
fn ask_for(
    question: &str,
    offered: &str,
    dir: &Path,
    answers: &mut NewManifest,
    set: impl Fn(&mut NewManifest, String) -> Result<()>,
) -> Result<()> {
    loop {
        let answer = ask::text(question, offered.to_owned())?;
        let mut draft = answers.clone();
        if let Err(error) = set(&mut draft, answer) {
            complain(&format!("{error:#}"));
            continue;
        }
        match problems_of(&draft, dir)?.first() {
            None => {
                *answers = draft;
                return Ok(());
            }
            Some(problem) => complain(&problem.to_string()),
        }
    }
}

/// Asks about the network; returns its derived key.
fn ask_wifi(dir: &Path, answers: &mut NewManifest) -> Result<Option<SecretString>> {
    let question = "Name of the network";
    ask_for(question, "", dir, answers, |answers, ssid| {
        answers.wifi = Some(NewWifi {
            ssid,
            country: DEFAULT_COUNTRY.to_owned(),
            psk_file: None,
        });
        Ok(())
    })?;
    let question = "Country it is in (two letters)";
    ask_for(
        question,
        DEFAULT_COUNTRY,
        dir,
        answers,
        |answers, country| {
            if let Some(wifi) = &mut answers.wifi {
                wifi.country = country.to_uppercase();
            }
            Ok(())
        },
    )?;
    let passphrase = loop {
        let answer = ask::secret("Passphrase (empty: an open network)")?;
        match answer
            .as_ref()
            .map(|secret| check_passphrase(secret, false))
        {
            Some(Err((message, _))) => complain(&message),
            _ => break answer,
        }
    };
    let (Some(passphrase), Some(wifi)) = (passphrase, &mut answers.wifi) else {
        return Ok(None);
    };
    wifi.psk_file = Some(PSK_FILE.to_owned());
    Ok(Some(wifi_psk(&passphrase, &wifi.ssid)))
}
