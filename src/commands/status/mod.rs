//! `cardmint status`: whether the nodes came up, are themselves, and are watched.

mod show;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::workspace::Workspace;
use super::{Context, Usage};
use crate::cli::StatusArgs;
use crate::cluster::{HostKey, Node};
use crate::exit::ExitCode;
use crate::handover::ssh::{public_key, quoted};
use crate::status::{self, Options, Outcome, State, Wanted, Watcher};
use crate::ui::board::Board;
use crate::ui::progress::Verbosity;

pub(super) fn run(context: &mut Context<'_>, args: &StatusArgs) -> Result<ExitCode> {
    let workspace = Workspace::open_unasked(context)?;
    let nodes = targets(&workspace, &args.nodes)?;
    let login_key = workspace.login_key()?;
    if let Some(key) = &login_key {
        quoted(key).map_err(|error| Usage(error.to_string()))?;
    }
    let want = |(node, given): &(Node, Option<String>)| {
        wanted(&workspace, node, given.clone(), login_key.clone())
    };
    let mut all: Vec<Wanted> = nodes.iter().map(want).collect::<Result<_>>()?;
    let shown = all.len();
    let host = monitoring_host(&workspace);
    if let Some((host, _)) = host
        && !all.iter().any(|node| node.number == host.number)
    {
        all.push(want(&(host.clone(), None))?);
    }
    let watcher = host.and_then(|(host, grafana)| {
        let index = all.iter().position(|node| node.number == host.number)?;
        Some(Watcher { index, grafana })
    });
    let options = Options {
        nodes: all,
        shown,
        watcher,
        wait: args.wait,
    };
    let shown = options.nodes.iter().take(shown);
    let names = shown.map(|node| node.hostname.clone());
    let verbosity = match args.json {
        true => Verbosity::Quiet,
        false => context.verbosity,
    };
    let board = Board::new(names.collect(), verbosity);
    let outcome = status::watch(&options, &context.interrupt, &mut |index, state, found| {
        board.set(index, &show::row(state, found), state.is_final());
    });
    board.clear();
    let outcome = outcome?;
    if args.json {
        let report = show::to_json(&workspace.cluster.name, &options, &outcome);
        context.print_json(&report)?;
    } else {
        show::all(context.out, &options, &outcome)?;
    }
    let fingerprints = fingerprints(&workspace, &outcome)?;
    let shown = options.nodes.iter().zip(&outcome.nodes);
    // Whoever is in the place of the monitoring host matters to all nodes.
    let host = options.watcher.filter(|host| host.index >= options.shown);
    let host = host.and_then(|host| options.nodes.get(host.index).zip(outcome.host.as_ref()));
    for (wanted, (found, state)) in shown.chain(host) {
        if let State::Impostor(offered) = state {
            crate::ui::complain(&show::alarm(
                wanted,
                found,
                offered.as_deref(),
                &fingerprints,
            ));
        }
    }
    Ok(code(&options, &outcome))
}

/// What was typed, as nodes with their addresses.
fn targets(workspace: &Workspace, typed: &[String]) -> Result<Vec<(Node, Option<String>)>> {
    if typed.is_empty() {
        let nodes = workspace.select(None)?.into_iter();
        return Ok(nodes.map(|node| (node, None)).collect());
    }
    let mut targets: Vec<(Node, Option<String>)> = Vec::new();
    for text in typed {
        let found = match text.split_once('=') {
            Some((node, address)) => {
                vec![(workspace.select_one(node)?, Some(check_address(address)?))]
            }
            None => {
                let nodes = workspace.select(Some(text))?.into_iter();
                nodes.map(|node| (node, None)).collect()
            }
        };
        for (node, given) in found {
            if targets.iter().any(|(other, _)| other.number == node.number) {
                bail!(Usage(format!("{} is named twice", node.hostname)));
            }
            targets.push((node, given));
        }
    }
    Ok(targets)
}

/// An address, or a name that leads to one.
fn check_address(text: &str) -> Result<String> {
    let is_name = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        !text.is_empty() && text.chars().all(plain)
    };
    if text.parse::<IpAddr>().is_ok() || is_name(text) {
        return Ok(text.to_owned());
    }
    bail!(Usage(format!(
        "`{text}` is neither an address nor a name; write NODE=10.0.0.7"
    )))
}

fn wanted(
    workspace: &Workspace,
    node: &Node,
    given: Option<String>,
    identity_file: Option<PathBuf>,
) -> Result<Wanted> {
    let record = &workspace.record;
    let key = HostKey::derive(&workspace.key, node, record.generation(node.number))?;
    Ok(Wanted {
        number: node.number,
        hostname: node.hostname.clone(),
        name: node.fqdn(),
        user: node.user.name.clone(),
        host_key: public_key(&key.public),
        fingerprint: key.fingerprint,
        fixed: node.address.as_ref().map(|fixed| fixed.address),
        given,
        identity_file,
        instances: record.instance_ids(node.number),
        exporter: node.exporter.is_some(),
    })
}

/// The monitoring host, and whether it runs Grafana.
fn monitoring_host(workspace: &Workspace) -> Option<(&Node, bool)> {
    let host = workspace.cluster.monitoring.as_ref()?.host.as_ref()?;
    let mut nodes = workspace.cluster.nodes.iter();
    let node = nodes.find(|node| node.number == host.number)?;
    Some((node, host.docker))
}

/// Whose key each fingerprint is, where a stranger was met: cards get swapped.
fn fingerprints(workspace: &Workspace, outcome: &Outcome) -> Result<Vec<(String, String)>> {
    let is_impostor = |(_, state): &(_, State)| matches!(state, State::Impostor(_));
    if !outcome.nodes.iter().chain(&outcome.host).any(is_impostor) {
        return Ok(Vec::new());
    }
    let of = |node: &Node| {
        let generation = workspace.record.generation(node.number);
        let key = HostKey::derive(&workspace.key, node, generation)?;
        Ok((key.fingerprint, node.hostname.clone()))
    };
    workspace.cluster.nodes.iter().map(of).collect()
}

fn code(options: &Options, outcome: &Outcome) -> ExitCode {
    let nodes = options.nodes.iter().zip(&outcome.nodes);
    let codes = nodes.map(|(wanted, (found, state))| match state {
        State::Ready => ExitCode::Done,
        State::Impostor(_) => ExitCode::Different,
        // All that is the matter with it is who the monitoring host is.
        _ if outcome.is_blind() && State::of(wanted, found, false) == State::Ready => {
            ExitCode::Different
        }
        _ => ExitCode::Failed,
    });
    let watch = match outcome.watch.is_well() {
        true => ExitCode::Done,
        false if outcome.is_blind() => ExitCode::Different,
        false => ExitCode::Failed,
    };
    ExitCode::merge(codes.chain([watch]))
}
