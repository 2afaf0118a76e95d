//! One manual page: what clap knows of a command, and what all commands share.

use std::io::{self, Write as _};

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// Day of the release. The page says it; nothing else depends on it.
const DATE: &str = "2026-11-26";

const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "Wrong usage, or a manifest with problems."),
    ("3", "Refused for safety; what was refused is as it was."),
    ("4", "Verification found a difference."),
    ("130", "Interrupted; nothing is half-published."),
];

const FILES: [(&str, &str); 7] = [
    (
        "cluster.toml",
        "The manifest: what the nodes have in common, and what not.",
    ),
    (
        "cluster.key",
        "The secret that host keys, salts and ids are derived from. Keep it: with it a node whose card died comes back as itself.",
    ),
    (
        "cluster.lock",
        "The record: what was built and which card was written, where and when. Holds no secrets.",
    ),
    ("images/", "The images of the nodes."),
    (
        "handover/",
        "What the operator gets: ssh_config, known_hosts, an Ansible inventory, names, dashboards, labels.",
    ),
    (
        "templates/",
        "Templates that replace those of cardmint, by file name.",
    ),
    (
        "~/.cache/cardmint/",
        "Downloaded images and what was unpacked or compressed. It can be deleted at any time.",
    ),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "XDG_CACHE_HOME, XDG_CONFIG_HOME, HOME, TMPDIR",
        "Where caches, settings, keys and temporary files are.",
    ),
    ("NO_COLOR", "Turns colours off."),
    (
        "https_proxy, http_proxy, all_proxy, no_proxy",
        "Proxies for downloads, as curl(1) reads them.",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "In place of the system's CA certificates.",
    ),
    (
        "CARDMINT_OS_LIST",
        "Address of a mirror of the list of Raspberry Pi.",
    ),
    ("CARDMINT_COMPLETE", "Set by the completion scripts."),
];

const EXAMPLES: &str = "\
cardmint demo                       try it on practice images
cardmint init picluster && cd picluster
cardmint plan                       what each card will hold and why
cardmint devices                    the cards that may be written
cardmint flash                      asks for one card after another
cardmint status --wait 10m          after power-on";

/// Name of a command's page: `cardmint-images-fetch`.
pub(super) fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// Those of a command's subcommands that are for people.
pub(super) fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|below| !below.is_hide_set())
}

/// The page of a command that was built: roff, of the man macros.
pub(super) fn render(command: &Command) -> io::Result<Vec<u8>> {
    let is_root = command.get_name() == name(command);
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .date(DATE)
        .source(concat!("cardmint ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let help = Help::of(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    let mut add = |render: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let mut part = Vec::new();
        render(&mut part)?;
        page.extend_from_slice(without_preamble(&part));
        io::Result::Ok(())
    };
    add(&|part| man.render_name_section(part))?;
    add(&|part| part.write_all(&synopsis(command, &man)?))?;
    add(&|part| man.render_description_section(part))?;
    add(&|part| help.more.to_writer(part))?;
    add(&|part| man.render_options_section(part))?;
    if visible(command).next().is_some() {
        add(&|part| man.render_subcommands_section(part))?;
    }
    let mut rest = Roff::new();
    list(&mut rest, "EXIT STATUS", &EXIT_STATUS);
    if is_root {
        list(&mut rest, "FILES", &FILES);
        list(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
        section(&mut rest, "EXAMPLES");
        literal(&mut rest, EXAMPLES.lines());
    } else if !help.examples.is_empty() {
        section(&mut rest, "EXAMPLES");
        literal(&mut rest, help.examples.iter().map(String::as_str));
    }
    see_also(&mut rest, command, is_root);
    add(&|part| rest.to_writer(part))?;
    Ok(tidied(&String::from_utf8_lossy(&page)).into_bytes())
}

/// The synopsis with dots behind the names of what can be repeated, which clap_mangen
/// leaves out.
fn synopsis(command: &Command, man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_synopsis_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    let is_repeated = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Append);
    for arg in command.get_positionals().filter(is_repeated) {
        for name in arg.get_value_names().unwrap_or_default() {
            let name = format!("\\fI{name}\\fR");
            page = page.replace(&name, &format!("{name}..."));
        }
    }
    Ok(page.into_bytes())
}

/// Without blanks at the ends of lines, and without line breaks beside a paragraph's,
/// which do nothing and which `mandoc -T lint` complains of.
fn tidied(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_space =
        |at: Option<usize>| matches!(at.and_then(|at| lines.get(at)), Some(&"" | &".sp"));
    let mut tidied = String::new();
    for (at, line) in lines.iter().enumerate() {
        if *line == ".br" && (is_space(at.checked_sub(1)) || is_space(Some(at + 1))) {
            continue;
        }
        tidied.push_str(line);
        tidied.push('\n');
    }
    tidied
}

/// Every part that is rendered defines the apostrophe anew.
fn without_preamble(part: &[u8]) -> &[u8] {
    let mut rest = part;
    while rest.starts_with(b".ie") || rest.starts_with(b".el") {
        let line = rest.iter().position(|&byte| byte == b'\n');
        rest = &rest[line.map_or(rest.len(), |end| end + 1)..];
    }
    rest
}

/// What stands below a command's help, as parts of its page.
struct Help {
    more: Roff,
    examples: Vec<String>,
}

impl Help {
    fn of(command: &Command) -> Self {
        let text = command.get_after_help().map(ToString::to_string);
        // The root's says what EXIT STATUS and EXAMPLES do.
        let text = text.filter(|_| command.get_name() != name(command));
        let text = text.unwrap_or_default();
        let (more, examples) = match text.split_once("Examples:\n") {
            Some((more, examples)) => (more, examples),
            None => (text.as_str(), ""),
        };
        let mut roff = Roff::new();
        if !more.trim().is_empty() {
            roff.control("PP", []);
        }
        let lines: Vec<&str> = more.trim_end().lines().collect();
        for lines in lines.chunk_by(|a, b| is_indented(a) == is_indented(b)) {
            if is_indented(lines[0]) {
                roff.control("PP", []);
                literal(&mut roff, lines.iter().copied());
            } else {
                roff.text(vec![roman(lines.join(" ").trim())]);
            }
        }
        let examples = examples.lines().map(|line| line.trim_start().to_owned());
        Self {
            more: roff,
            examples: examples.collect(),
        }
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with(' ')
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

/// Terms, each with what it means.
fn list(roff: &mut Roff, title: &str, items: &[(&str, &str)]) {
    section(roff, title);
    for (term, meaning) in items {
        roff.control("TP", []);
        roff.text(vec![bold(*term)]);
        roff.text(vec![roman(*meaning)]);
    }
}

/// Lines as they are.
fn literal<'a>(roff: &mut Roff, lines: impl Iterator<Item = &'a str>) {
    roff.control("nf", []);
    for line in lines {
        roff.text(vec![roman(line)]);
    }
    roff.control("fi", []);
}

fn see_also(roff: &mut Roff, command: &Command, is_root: bool) {
    section(roff, "SEE ALSO");
    let mut pages: Vec<String> = Vec::new();
    if !is_root {
        pages.push("cardmint".to_owned());
    }
    pages.extend(visible(command).map(|below| name(below).to_owned()));
    let mut words = Vec::new();
    for page in &pages {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.push(bold(page));
        words.push(roman("(1)"));
    }
    if is_root {
        words.push(roman(". Every key of the manifest: "));
        words.push(italic("docs/manifest.md"));
        words.push(roman("."));
    }
    roff.text(words);
}
