//! `cardmint images trust`: whose signatures count.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::base::catalogue::Catalogue;
use crate::base::signature::{Certificate, Keyring, SignatureError};
use crate::cli::ImagesTrustArgs;
use crate::commands::{Context, Refused, Usage};
use crate::exit::ExitCode;
use crate::ui::ask;

/// More than any key, and what a mistaken path may cost.
const MAX_LEN: u64 = 2 << 20;

pub(super) fn run(context: &mut Context<'_>, args: &ImagesTrustArgs) -> Result<ExitCode> {
    let keys = Keyring::open_default()?;
    match (&args.key, &args.remove) {
        (Some(path), _) => trust(context, args, &keys, path),
        (None, Some(fingerprint)) => remove(context, args, &keys, fingerprint),
        (None, None) => list(context, args, &keys),
    }
}

fn trust(
    context: &mut Context<'_>,
    args: &ImagesTrustArgs,
    keys: &Keyring,
    path: &Path,
) -> Result<ExitCode> {
    let failed = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(failed)?
        .take(MAX_LEN)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    let name = path.display().to_string();
    let found = Certificate::parse(&bytes, &name).map_err(|error| match error {
        SignatureError::SecretKey(_) => anyhow::Error::new(Refused(error.to_string())),
        error => Usage(error.to_string()).into(),
    })?;
    if !leave(context, args, &found)? {
        if args.json {
            return print_json(context, &[]);
        }
        context.tell("It is not trusted.")?;
        return Ok(ExitCode::Done);
    }
    for key in &found {
        keys.import(key)?;
    }
    if args.json {
        return print_json(context, &found);
    }
    context
        .tell("Signatures by it count from now on; `require_signature = true` insists on one.")?;
    Ok(ExitCode::Done)
}

/// Shows whose keys they are, and asks where that is to be asked.
fn leave(context: &mut Context<'_>, args: &ImagesTrustArgs, found: &[Certificate]) -> Result<bool> {
    // Standard output is for programs where they asked for it.
    let mut stderr = anstream::stderr();
    let out: &mut dyn Write = match args.json {
        true => &mut stderr,
        false => context.out,
    };
    if !args.yes || !args.json {
        for key in found {
            writeln!(out, "{}", describe(key))?;
        }
    }
    if args.yes {
        return Ok(true);
    }
    if !ask::can_ask() {
        bail!(Usage(
            "nobody is there to be asked: compare the fingerprint with the publisher's, and add \
             --yes"
                .into()
        ));
    }
    // Whoever answers must have seen it.
    out.flush()?;
    ask::confirm("Is this the fingerprint that the publisher gives?")
}

fn remove(
    context: &mut Context<'_>,
    args: &ImagesTrustArgs,
    keys: &Keyring,
    fingerprint: &str,
) -> Result<ExitCode> {
    if !keys.remove(fingerprint)? {
        bail!(Usage(format!(
            "no key {fingerprint} is trusted; `cardmint images trust` lists those that are"
        )));
    }
    if args.json {
        return print_json(context, &keys.certificates()?);
    }
    context.tell("Its signatures no longer count.")?;
    Ok(ExitCode::Done)
}

fn list(context: &mut Context<'_>, args: &ImagesTrustArgs, keys: &Keyring) -> Result<ExitCode> {
    let all = keys.certificates()?;
    if args.json {
        return print_json(context, &all);
    }
    for key in &all {
        writeln!(context.out, "{}", describe(key))?;
    }
    if all.is_empty() {
        let catalogue = Catalogue::builtin();
        context.tell(format_args!(
            "No key is trusted. Raspberry Pi's is at\n  {}\nwith the fingerprint\n  {}\n\
             Download it, and `cardmint images trust FILE` checks images by it.",
            catalogue.publisher_key_url(),
            catalogue.publisher_key()
        ))?;
    }
    Ok(ExitCode::Done)
}

fn describe(key: &Certificate) -> String {
    let known = match is_raspberry_pi(key) {
        true => "\n  the key that signs Raspberry Pi OS, as cardmint knows it",
        false => "",
    };
    let name = key.user_id().unwrap_or_else(|| "no name".to_owned());
    format!("{name}\n  {}{known}", key.fingerprint())
}

fn is_raspberry_pi(key: &Certificate) -> bool {
    key.fingerprint() == Catalogue::builtin().publisher_key()
}

fn print_json(context: &mut Context<'_>, keys: &[Certificate]) -> Result<ExitCode> {
    let all: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "fingerprint": key.fingerprint(),
                "user_id": key.user_id(),
                "raspberry_pi": is_raspberry_pi(key),
            })
        })
        .collect();
    context.print_json(&all)?;
    Ok(ExitCode::Done)
}
