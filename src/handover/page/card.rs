//! What stands on the card of one node, from top to bottom, measured from the
//! card's own corner.

use serde::Serialize;

use super::{PageNode, text};

/// Width of every card.
pub(super) const WIDTH: u32 = 248;
/// White inside its edge.
const PADDING: u32 = 14;
/// Room for text that starts at the edge.
const INNER: u32 = WIDTH - 2 * PADDING;
/// Where text beside an icon starts, and its room.
const INDENT: u32 = 38;
const INDENTED: u32 = WIDTH - PADDING - INDENT;
/// Font sizes: a hostname that fits into a line, one that does not, the name to
/// connect to, and facts beside icons.
const HOST: (u32, u32) = (17, 13);
const NAME: u32 = 12;
const FACT: u32 = 11;
/// Characters of a fingerprint's piece, pieces on a line, and their distance.
const PIECE: usize = 4;
const PIECES: usize = 6;
const PIECE_PITCH: u32 = 33;
/// Height of a link's button, and the gaps around it.
const BUTTON: u32 = 22;
const BUTTON_GAP: u32 = 6;

/// The card of a node.
#[derive(Debug, Serialize)]
pub(super) struct NodeCard {
    number: u32,
    wifi: bool,
    monitoring: bool,
    ssh: String,
    /// The edges of what stands on the card.
    left: u32,
    right: u32,
    host_size: u32,
    host: Vec<Line>,
    name_size: u32,
    /// What to connect to, and the address.
    names: Vec<Line>,
    /// Where the rule below the names lies.
    rule: u32,
    fact_size: u32,
    indent: u32,
    board: Fact,
    key: Key,
    card: Fact,
    /// Where the buttons start.
    buttons_y: u32,
    button: u32,
    buttons: Vec<Button>,
}

/// A line of text: its baseline and what it says.
#[derive(Debug, Serialize)]
struct Line {
    y: u32,
    text: String,
}

/// Something known of the node, or that it is not known.
#[derive(Debug, Serialize)]
struct Fact {
    y: u32,
    known: bool,
    lines: Vec<Line>,
}

/// A fingerprint in pieces that can be compared by eye.
#[derive(Debug, Serialize)]
struct Key {
    y: u32,
    /// `SHA256:`, if it starts so.
    algorithm: Option<&'static str>,
    rows: Vec<KeyRow>,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    y: u32,
    pieces: Vec<Piece>,
}

#[derive(Debug, Serialize)]
struct Piece {
    x: u32,
    text: String,
}

/// A link.
#[derive(Debug, Serialize)]
struct Button {
    x: u32,
    y: u32,
    width: u32,
    text: &'static str,
    url: String,
}

/// Hands out baselines from the top down.
struct Pen(u32);

impl Pen {
    fn lines(&mut self, lines: Vec<String>, height: u32) -> Vec<Line> {
        let next = |text| {
            self.0 += height;
            Line { y: self.0, text }
        };
        lines.into_iter().map(next).collect()
    }

    fn fact(&mut self, known: Option<&str>, unknown: &str) -> Fact {
        let y = self.0;
        let columns = text::columns(INDENTED, FACT);
        let lines = text::lines(known.unwrap_or(unknown), columns, 4);
        Fact {
            y,
            known: known.is_some(),
            lines: self.lines(lines, FACT + 4),
        }
    }

    fn key(&mut self, fingerprint: &str) -> Key {
        const SHA256: &str = "SHA256:";
        let y = self.0;
        let (algorithm, digest) = match fingerprint.strip_prefix(SHA256) {
            Some(digest) => (Some(SHA256), digest),
            None => (None, fingerprint),
        };
        if algorithm.is_some() {
            self.0 += FACT + 4;
        }
        let characters: Vec<char> = digest.chars().collect();
        let rows = characters.chunks(PIECE * PIECES).map(|row| {
            self.0 += FACT + 4;
            let lefts = (0..).map(|piece| INDENT + piece * PIECE_PITCH);
            let pieces = lefts.zip(row.chunks(PIECE)).map(|(x, piece)| Piece {
                x,
                text: piece.iter().collect(),
            });
            KeyRow {
                y: self.0,
                pieces: pieces.collect(),
            }
        });
        let rows = rows.collect();
        Key { y, algorithm, rows }
    }
}

impl NodeCard {
    pub(super) fn of(node: &PageNode<'_>, links: &[(&'static str, &str)]) -> Self {
        let mut pen = Pen(28);
        let (large, small) = HOST;
        let one_line = text::width(node.hostname) <= text::columns(INNER, large);
        let host_size = if one_line { large } else { small };
        let host = text::lines(node.hostname, text::columns(INNER, host_size), 3);
        let host = pen.lines(host, host_size + 5);
        let names = names(node)
            .iter()
            .flat_map(|name| text::lines(name, text::columns(INNER, NAME), 3))
            .collect();
        pen.0 += 1;
        let names = pen.lines(names, NAME + 5);
        let rule = pen.0 + 12;
        pen.0 = rule + 6;
        let board = pen.fact(node.board, "any board");
        pen.0 += 7;
        let key = pen.key(node.fingerprint);
        pen.0 += 7;
        let card = pen.fact(node.card.as_deref(), "no card written yet");
        Self {
            number: node.number,
            wifi: node.wifi,
            monitoring: node.is_monitoring_host,
            ssh: node.ssh_url(),
            left: PADDING,
            right: WIDTH - PADDING,
            host_size,
            host,
            name_size: NAME,
            names,
            rule,
            fact_size: FACT,
            indent: INDENT,
            board,
            key,
            card,
            buttons_y: pen.0 + 16,
            button: BUTTON,
            buttons: buttons(&node.ssh_url(), links),
        }
    }

    /// The least height that holds all of it.
    pub(super) fn height(&self) -> u32 {
        let last = self.buttons.last().map_or(0, |button| button.y);
        self.buttons_y + last + BUTTON + PADDING
    }

    /// The same in a card of `height`, its buttons at the bottom.
    pub(super) fn stretched(self, height: u32) -> Self {
        let more = height.saturating_sub(self.height());
        Self {
            buttons_y: self.buttons_y + more,
            ..self
        }
    }
}

/// What to connect to and the address, each where it tells something new.
pub(super) fn names(node: &PageNode<'_>) -> Vec<String> {
    let address = node.address.as_deref();
    let told = address.is_some_and(|address| address.split('/').next() == Some(&node.name));
    let mut names = Vec::new();
    if node.name != node.hostname && !told {
        names.push(node.name.clone());
    }
    names.push(address.unwrap_or("address by DHCP").to_owned());
    names
}

/// Buttons side by side, in as many rows as they need.
fn buttons(ssh: &str, links: &[(&'static str, &str)]) -> Vec<Button> {
    let (mut x, mut y) = (PADDING, 0);
    let mut buttons = Vec::with_capacity(1 + links.len());
    for (text, url) in [("ssh", ssh)].iter().chain(links) {
        let letters: u32 = text.chars().map(|_| 7).sum();
        let width = letters + 18;
        if x + width > WIDTH - PADDING {
            (x, y) = (PADDING, y + BUTTON + BUTTON_GAP);
        }
        buttons.push(Button {
            x,
            y,
            width,
            text,
            url: (*url).to_owned(),
        });
        x += width + BUTTON_GAP;
    }
    buttons
}
