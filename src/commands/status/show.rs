//! What `status` found, as rows, as a table, as JSON, and as an alarm.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;

use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::cluster::monitoring::{GRAFANA_PORT, PROMETHEUS_PORT};
use crate::report::{Tone, drawn, plain_table};
use crate::status::{By, Found, Options, Outcome, Reach, Route, State, Told, Wanted};

/// A row of the live board.
pub(super) fn row(state: &State, found: &Found) -> String {
    let mut text = state.word().to_owned();
    if let Some(route) = &found.route {
        let _ = write!(text, "  {}", route.address);
    }
    let detail = state.detail();
    if !detail.is_empty() {
        let _ = write!(text, "  {detail}");
    }
    text
}

/// The table, then what is to be said about single nodes and the watch.
pub(super) fn all(out: &mut dyn Write, options: &Options, outcome: &Outcome) -> io::Result<()> {
    writeln!(out, "{}", nodes(options, outcome))?;
    for (wanted, (found, state)) in options.nodes.iter().zip(&outcome.nodes) {
        for line in remarks(wanted, found, state) {
            writeln!(out, "{}: {line}", wanted.hostname)?;
        }
    }
    watch(out, options, outcome)?;
    let mut shown = options.nodes.iter().zip(&outcome.nodes);
    let unnamed = shown.find(|(_, (found, _))| matches!(found.reach, Reach::NoAddress(_)));
    if let Some((wanted, _)) = unnamed {
        writeln!(
            out,
            "Where no name leads to a node, say where it is: cardmint status {}=192.168.1.57",
            wanted.hostname
        )?;
    }
    Ok(())
}

/// A row for each node.
fn nodes(options: &Options, outcome: &Outcome) -> String {
    let is_watched = options
        .nodes
        .iter()
        .take(options.shown)
        .any(|node| node.exporter);
    let mut table = plain_table();
    let mut header = vec![
        "node",
        "state",
        "address",
        "up",
        "root",
        "temp",
        "first boot",
    ];
    if is_watched {
        header.push("exporter");
    }
    if options.watcher.is_some() {
        header.push("prometheus");
    }
    table.set_header(header);
    for (wanted, (found, state)) in options.nodes.iter().zip(&outcome.nodes) {
        let told = found.told.as_ref();
        let mut cells = vec![
            wanted.hostname.clone(),
            state.word().to_owned(),
            address(found),
            told.and_then(|told| told.uptime)
                .map_or_else(dash, duration),
            told.and_then(|told| told.root_len)
                .map_or_else(dash, |len| HumanBytes(len).to_string()),
            told.and_then(|told| told.millidegrees)
                .map_or_else(dash, degrees),
            first_boot(told).to_owned(),
        ];
        if is_watched {
            cells.push(exporter(wanted, found).to_owned());
        }
        if options.watcher.is_some() {
            cells.push(scraped(wanted, found).to_owned());
        }
        table.add_row(cells);
    }
    let words = outcome
        .nodes
        .iter()
        .map(|(_, state)| (state.word(), tone(state)));
    drawn(&table, words)
}

fn tone(state: &State) -> Tone {
    match state {
        State::Ready => Tone::Good,
        State::Absent(_) | State::Starting(_) | State::Unwell(_) => Tone::Waits,
        State::Failed(_) | State::LockedOut(_) | State::Impostor(_) => Tone::Bad,
    }
}

fn watch(out: &mut dyn Write, options: &Options, outcome: &Outcome) -> io::Result<()> {
    let Some(host) = options
        .watcher
        .and_then(|watcher| options.nodes.get(watcher.index))
    else {
        return Ok(());
    };
    let name = &host.hostname;
    let url = |port| match outcome.watch.at {
        Some(address) => format!("http://{}", SocketAddr::from((address, port))),
        None => String::new(),
    };
    match &outcome.watch.prometheus {
        Some(Ok(up)) => {
            let reached = up.values().filter(|up| **up).count();
            writeln!(
                out,
                "Prometheus reaches {reached} of {}: {}",
                up.len(),
                url(PROMETHEUS_PORT)
            )?;
        }
        Some(Err(why)) => writeln!(out, "Prometheus on {name} does not answer: {why}")?,
        None => {}
    }
    match &outcome.watch.grafana {
        Some(Ok(())) => writeln!(out, "Grafana is up: {}", url(GRAFANA_PORT)),
        Some(Err(why)) => writeln!(out, "Grafana on {name} does not answer: {why}"),
        None => Ok(()),
    }
}

/// What is to be said about a node, beyond the table.
fn remarks(wanted: &Wanted, found: &Found, state: &State) -> Vec<String> {
    let mut remarks = Vec::new();
    let detail = state.detail();
    match state {
        State::Ready | State::Impostor(_) => {}
        State::Failed(steps) => {
            remarks.extend(
                steps
                    .iter()
                    .map(|step| format!("first boot failed at {step}")),
            );
            let advice = "what its first boot did is in /var/log/cardmint.log; what can be done \
                          again is, at each boot, five times in all. Otherwise mend \
                          cluster.toml and flash its card again";
            remarks.push(advice.to_owned());
        }
        State::LockedOut(_) => remarks.push(format!("its host key is right, but: {detail}")),
        State::Absent(_) | State::Starting(_) | State::Unwell(_) => remarks.push(detail),
    }
    if !matches!(state, State::Impostor(_)) {
        remarks.extend(found.strangers.iter().map(|stranger| {
            let by = source(*stranger, wanted);
            format!(
                "{by} leads to {}, which is another machine",
                stranger.address
            )
        }));
    }
    remarks
}

/// What led to an address.
fn source(route: Route, wanted: &Wanted) -> String {
    match route.by {
        By::Given => "what was given".to_owned(),
        By::Manifest => "the manifest".to_owned(),
        By::Name => wanted.name.clone(),
        By::Mdns => format!("{}.local", wanted.hostname),
    }
}

fn dash() -> String {
    "–".to_owned()
}

fn address(found: &Found) -> String {
    match &found.route {
        None => dash(),
        Some(route) if route.by == By::Mdns => format!("{} (mDNS)", route.address),
        Some(route) => route.address.to_string(),
    }
}

/// The two greatest units: `3 d 4 h`.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn degrees(millidegrees: i64) -> String {
    let tenths = millidegrees / 100;
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{} °C", tenths / 10, tenths % 10)
}

fn first_boot(told: Option<&Told>) -> &'static str {
    let report = told.map(|told| told.report.as_ref());
    match report.map(|report| report.and_then(|report| report.ok)) {
        Some(Some(true)) => "ok",
        Some(Some(false)) => "failed",
        Some(None) => "going on",
        None => "–",
    }
}

fn exporter(wanted: &Wanted, found: &Found) -> &'static str {
    match &found.exporter {
        _ if !wanted.exporter => "–",
        Some(Ok(())) => "ok",
        Some(Err(_)) => "silent",
        None => "–",
    }
}

fn scraped(wanted: &Wanted, found: &Found) -> &'static str {
    match found.scraped {
        _ if !wanted.exporter => "–",
        Some(true) => "up",
        Some(false) => "down",
        None => "–",
    }
}

/// As loud as ssh is about it.
pub(super) fn alarm(
    wanted: &Wanted,
    found: &Found,
    offered: Option<&str>,
    fingerprints: &[(String, String)],
) -> String {
    let line = "@".repeat(59);
    let place = found.route.map_or_else(dash, |route| {
        format!("{} ({})", route.address, source(route, wanted))
    });
    let Wanted {
        hostname,
        fingerprint,
        ..
    } = wanted;
    let title = format!("{hostname} IS NOT WHO IT SHOULD BE!");
    let offered_text = offered.unwrap_or("a key that ssh does not tell");
    let owner = fingerprints
        .iter()
        .find(|(print, _)| offered == Some(print));
    let advice = match owner {
        Some((_, other)) => format!(
            "That is the key of {other}: the cards of {hostname} and {other} may be swapped, or \
             a name leads to the wrong machine."
        ),
        None => format!(
            "The card in it may be an older one, or not one of this cluster; or somebody is in \
             between. Nothing was sent to it. If the card is right, flash it once more: \
             cardmint replace {hostname}"
        ),
    };
    format!(
        "{hostname}: wrong identity\n{line}\n@{title:^57}@\n{line}\n\
         What answers at {place} has another SSH host key.\n  \
         expected  {fingerprint}\n  offered   {offered_text}\n{advice}"
    )
}

/// For programs.
pub(super) fn to_json(cluster: &str, options: &Options, outcome: &Outcome) -> Value {
    let nodes = options.nodes.iter().zip(&outcome.nodes);
    let nodes: Vec<Value> = nodes.map(|(wanted, found)| node(wanted, found)).collect();
    let result = |result: &Result<(), String>| match result {
        Ok(()) => json!({ "ok": true }),
        Err(problem) => json!({ "ok": false, "problem": problem }),
    };
    let watch = &outcome.watch;
    let prometheus = watch.prometheus.as_ref().map(|answer| match answer {
        Ok(up) => json!({ "ok": true, "up": up }),
        Err(problem) => json!({ "ok": false, "problem": problem }),
    });
    json!({
        "cluster": cluster,
        "nodes": nodes,
        "prometheus": prometheus,
        "grafana": watch.grafana.as_ref().map(result),
    })
}

fn node(wanted: &Wanted, (found, state): &(Found, State)) -> Value {
    let offered = match state {
        State::Impostor(offered) => offered.as_deref(),
        _ => None,
    };
    let detail = state.detail();
    let told = found.told.as_ref();
    json!({
        "hostname": wanted.hostname,
        "number": wanted.number,
        "state": state.word().to_ascii_lowercase().replace(' ', "-"),
        "problem": (!detail.is_empty()).then_some(detail),
        "address": found.route.map(|route| route.address),
        "found_by": found.route.map(|route| route.by),
        "host_key": wanted.fingerprint,
        "offered_host_key": offered,
        "strangers": found.strangers.iter().map(|stranger| stranger.address).collect::<Vec<_>>(),
        "calls_itself": told.map(|told| &told.hostname),
        "uptime": told.and_then(|told| told.uptime),
        "root_len": told.and_then(|told| told.root_len),
        "root_free": told.and_then(|told| told.root_free),
        "millidegrees": told.and_then(|told| told.millidegrees),
        "model": told.and_then(|told| told.model.as_ref()),
        "report": told.and_then(|told| told.report.as_ref()),
        "exporter": found.exporter.as_ref().map(Result::is_ok),
        "scraped": found.scraped,
    })
}
