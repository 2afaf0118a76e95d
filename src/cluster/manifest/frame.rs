//! `[cluster]`: names, numbers and the base.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::check;
use super::files::Files;
use super::image::read_image;
use super::read::{At, Section};
use super::shared::{checked, judge};
use crate::cluster::node::Image;
use crate::layout::Mechanism;

/// More nodes than this are a slip of the finger.
const MAX_COUNT: u32 = 10_000;
/// Numbers stay far from the end of their type.
const MAX_FIRST: u32 = 1_000_000_000;

/// `[cluster]`. What is wrong has been complained about and stands as if it
/// were not there, so that the other sections are checked all the same.
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) hostname: At<String>,
    /// The numbers of the nodes; `None` where `count` or `first` is wrong.
    pub(super) numbers: Option<RangeInclusive<u32>>,
    pub(super) domain: Option<Arc<str>>,
    pub(super) image: Option<Arc<Image>>,
    /// Whether an image is named, if only wrongly.
    pub(super) names_image: bool,
    /// Whether images must be signed by a trusted key.
    pub(super) require_signature: bool,
    pub(super) mechanism: Option<Mechanism>,
    pub(super) gateway: Option<At<IpAddr>>,
    pub(super) dns: Vec<IpAddr>,
}

pub(super) fn read_frame(mut section: Section<'_, '_>, files: &Files) -> Frame {
    let span = section.span.clone();
    let name = checked(&mut section, "name", check::hostname);
    let hostname = section.string("hostname");
    let count = section.number("count");
    let first = section.number("first");
    let domain = checked(&mut section, "domain", check::domain);
    let require_signature = section
        .boolean("require_signature")
        .is_some_and(|required| required.value);
    let image = read_image(&mut section, files, None, require_signature);
    let mechanism = section.string("mechanism").and_then(|text| {
        let parsed = text.value.parse::<Mechanism>();
        judge(
            &section,
            &text,
            parsed.map_err(|error| (error.to_string(), String::new())),
        )
    });
    let gateway = read_ip(&mut section, "gateway");
    let dns = read_dns(&mut section);
    let need = |key: &str, example: &str| {
        if !section.gives(key) {
            section.problem(&span, format!("[cluster] needs `{key}`"), example);
        }
    };
    need("name", "name = \"picluster\"");
    need("count", "count = 4");
    let hostname = hostname.unwrap_or(At {
        value: "raspberrypi{n}".to_owned(),
        span: span.clone(),
    });
    check_template(&section, &hostname, count.as_ref());
    let numbers = read_numbers(&section, count, first);
    let names_image = section.gives("image");
    if !names_image && section.gives("sha256") {
        let message = "[cluster] gives a `sha256`, but no `image` that it belongs to";
        section.problem(&span, message, "give `image` beside it");
    }
    section.finish();
    Frame {
        name: name.map_or_else(String::new, |name| name.value),
        hostname,
        numbers,
        domain: domain.map(|domain| domain.value.into()),
        image,
        names_image,
        require_signature,
        mechanism,
        gateway,
        dns,
    }
}

/// The numbers that `count` and `first` make, where both are right.
fn read_numbers(
    section: &Section<'_, '_>,
    count: Option<At<u32>>,
    first: Option<At<u32>>,
) -> Option<RangeInclusive<u32>> {
    let first = match first {
        None => (!section.gives("first")).then_some(0),
        Some(first) if first.value <= MAX_FIRST => Some(first.value),
        Some(first) => {
            let message = format!("node numbers end at {MAX_FIRST}");
            section.problem(&first.span, message, "lower `first`");
            None
        }
    };
    let count = count?;
    match count.value {
        0 => section.problem(
            &count.span,
            "a cluster of no nodes",
            "set count to 1 or more",
        ),
        1..=MAX_COUNT => return first.map(|first| first..=first + (count.value - 1)),
        n => {
            let message = format!("{n} nodes are more than the {MAX_COUNT} that cardmint numbers");
            section.problem(
                &count.span,
                message,
                "split the cluster into several directories",
            );
        }
    }
    None
}

fn check_template(section: &Section<'_, '_>, hostname: &At<String>, count: Option<&At<u32>>) {
    let count = count.map_or(1, |count| count.value);
    match expand_template(&hostname.value, 0) {
        Err(what) => section.problem(&hostname.span, what, "use {n}, or {n:02} for two digits"),
        Ok(name) if name == hostname.value && count > 1 => section.problem(
            &hostname.span,
            format!("all {count} nodes would be called `{name}`"),
            "put {n} where the node's number goes, as in \"raspberrypi{n}\"",
        ),
        Ok(_) => {}
    }
}

/// Puts a node's number into a hostname template.
pub(super) fn expand_template(template: &str, number: u32) -> Result<String, String> {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        name.push_str(before);
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{template}` has a {{ without its }}"))?;
        let width = match inside {
            "n" => 1,
            _ => inside
                .strip_prefix("n:0")
                .and_then(|width| width.parse::<usize>().ok())
                .filter(|width| (1..=9).contains(width))
                .ok_or_else(|| format!("`{{{inside}}}` in `{template}` is not known"))?,
        };
        name.push_str(&format!("{number:0width$}"));
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

pub(super) fn read_ip(section: &mut Section<'_, '_>, key: &'static str) -> Option<At<IpAddr>> {
    let text = section.string(key)?;
    let parsed = text.value.parse();
    let complaint = |_| (format!("`{}` is no address", text.value), String::new());
    Some(text.with(judge(section, &text, parsed.map_err(complaint))?))
}

pub(super) fn read_dns(section: &mut Section<'_, '_>) -> Vec<IpAddr> {
    let servers = section.strings("dns", true);
    let parse = |text: At<String>| {
        let complaint = |_| (format!("`{}` is no address", text.value), String::new());
        judge(section, &text, text.value.parse().map_err(complaint))
    };
    servers.into_iter().filter_map(parse).collect()
}
