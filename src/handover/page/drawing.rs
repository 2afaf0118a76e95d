//! Where everything lies in the drawing. Units are those of the SVG, pixels on
//! a screen.
//!
//! Nodes stand in a grid of at most four columns below the network that joins
//! them. Cables enter the first row from above; further rows are reached through
//! the gaps between columns. What is drawn of a node depends on its place and
//! itself alone, so one more node changes little.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde::Serialize;

use super::card::{self, NodeCard};
use super::{Page, PageNode, text};

/// More are too small to read on paper.
const MAX_COLUMNS: usize = 4;
/// White around the drawing; the first column's cables run in it.
const MARGIN: u32 = 40;
/// Between columns: room for the cables of the rows below.
const GUTTER: u32 = 32;
/// Between rows.
const ROW_GAP: u32 = 28;
/// Width and height of the box that stands for the network.
const HUB: (u32, u32) = (224, 64);
/// Room for words in it.
const HUB_TEXT: u32 = 138;
/// Where Wi-Fi starts, right of its middle.
const RADIO: u32 = 56;
/// Font sizes of the domain and of the cluster's name.
const DOMAIN: u32 = 12;
const TITLE: u32 = 20;
/// From the network to the first row: room for the two horizontal lines.
const FAN: u32 = 60;
/// What fits on a sheet of paper below a heading: six usual rows.
const SHEET: u32 = 1700;
/// Above the network.
const TOP: u32 = 24;
/// Where a line enters a card from the left, below the card's top.
const ENTRY: u32 = 26;
/// Radius of a line's bends.
const BEND: u32 = 8;

/// The drawing, ready to be rendered.
#[derive(Debug, Serialize)]
pub(super) struct Drawing {
    width: u32,
    height: u32,
    /// Name of the cluster, as far as there is room for it.
    title: String,
    /// Too high to be read on a sheet of paper.
    tall: bool,
    hub: Hub,
    nodes: Vec<Placed>,
}

/// The box that stands for the network.
#[derive(Debug, Serialize)]
struct Hub {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    /// Whether any node joins by Wi-Fi, and where from.
    wifi: bool,
    radio_x: u32,
    domain: Option<String>,
    domain_size: u32,
}

/// A node and its place.
#[derive(Debug, Serialize)]
struct Placed {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    /// The line from the network, as the `d` of an SVG path.
    line: String,
    /// Where the line ends.
    end: Point,
    #[serde(flatten)]
    card: NodeCard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Point {
    x: u32,
    y: u32,
}

impl Drawing {
    pub(super) fn of(page: &Page<'_>) -> Self {
        let columns = page.nodes.len().clamp(1, MAX_COLUMNS);
        let width = (0..columns).map(|_| card::WIDTH + GUTTER).sum::<u32>() - GUTTER + 2 * MARGIN;
        let hub = Hub {
            x: (width - HUB.0) / 2,
            y: TOP,
            width: HUB.0,
            height: HUB.1,
            wifi: page.nodes.iter().any(|node| node.wifi),
            radio_x: HUB.0 / 2 + RADIO,
            domain: page.domain.map(|domain| one_line(domain, HUB_TEXT, DOMAIN)),
            domain_size: DOMAIN,
        };
        let mut y = TOP + HUB.1 + FAN;
        let mut nodes = Vec::with_capacity(page.nodes.len());
        for (row, members) in page.nodes.chunks(columns).enumerate() {
            let row = place(page, members, row == 0, y, &hub);
            y += row.iter().map(|node| node.height).max().unwrap_or(0) + ROW_GAP;
            nodes.extend(row);
        }
        let height = y - ROW_GAP + TOP;
        Self {
            width,
            height,
            tall: height > SHEET,
            title: one_line(page.cluster, width - 2 * MARGIN, TITLE),
            hub,
            nodes,
        }
    }
}

/// `text` in `width`, its middle left out if need be.
fn one_line(text: &str, width: u32, size: u32) -> String {
    text::lines(text, text::columns(width, size), 1).concat()
}

/// A row of nodes, all as high as the highest.
fn place(page: &Page<'_>, members: &[PageNode<'_>], first: bool, y: u32, hub: &Hub) -> Vec<Placed> {
    let card = |node| NodeCard::of(node, &links(page, node));
    let cards: Vec<NodeCard> = members.iter().map(card).collect();
    let height = cards.iter().map(NodeCard::height).max().unwrap_or(0);
    let lefts = (0..).map(|column| MARGIN + column * (card::WIDTH + GUTTER));
    lefts
        .zip(members)
        .zip(cards)
        .map(|((x, node), card)| {
            let line = line(hub, Point { x, y }, node.wifi, first);
            Placed {
                x,
                y,
                width: card::WIDTH,
                height,
                line: path(&line),
                end: line.end,
                card: card.stretched(height),
            }
        })
        .collect()
}

/// What can be opened on `node`, beside itself.
fn links<'p>(page: &'p Page<'_>, node: &'p PageNode<'_>) -> Vec<(&'static str, &'p str)> {
    let host = |url: &'p Option<String>| url.as_deref().filter(|_| node.is_monitoring_host);
    let links = [
        ("metrics", node.exporter.as_deref()),
        ("Prometheus", host(&page.prometheus)),
        ("Grafana", host(&page.grafana)),
    ];
    let given = |(text, url): (_, Option<_>)| Some((text, url?));
    links.into_iter().filter_map(given).collect()
}

/// A line from the network to a card.
struct Line {
    /// Where it turns, its start included and its end not.
    corners: Vec<Point>,
    end: Point,
}

/// The line to the card whose corner is `card`. Cables and Wi-Fi keep apart:
/// each has its own way across and down.
fn line(hub: &Hub, card: Point, wifi: bool, first: bool) -> Line {
    let bottom = hub.y + hub.height;
    let middle = hub.x + hub.width / 2;
    let (from, across, down) = match wifi {
        false => (middle, bottom + FAN / 2, card.x - GUTTER / 2),
        true => (middle + RADIO, bottom + FAN / 4, card.x - GUTTER / 4),
    };
    let (down, end) = match first {
        true => {
            let x = card.x + card::WIDTH / 2;
            (x, Point { x, y: card.y })
        }
        false => {
            let (x, y) = (card.x, card.y + ENTRY);
            (down, Point { x, y })
        }
    };
    let mut corners = vec![
        Point { x: from, y: bottom },
        Point { x: from, y: across },
        Point { x: down, y: across },
    ];
    if !first {
        corners.push(Point { x: down, y: end.y });
    }
    // Straight down there is no turn.
    corners.dedup();
    if from == down {
        corners.remove(1);
    }
    Line { corners, end }
}

/// A line as a path, its bends rounded. Every leg is level or upright.
fn path(line: &Line) -> String {
    let mut path = String::new();
    let mut from: Option<Point> = None;
    let after = line.corners.iter().skip(1).chain([&line.end]);
    for (corner, next) in line.corners.iter().zip(after) {
        let written = match from {
            None => write!(path, "M{} {}", corner.x, corner.y),
            Some(from) => {
                let bend = BEND
                    .min(length(from, *corner) / 2)
                    .min(length(*corner, *next) / 2);
                let (enter, leave) = (toward(*corner, from, bend), toward(*corner, *next, bend));
                write!(
                    path,
                    "L{} {}Q{} {} {} {}",
                    enter.x, enter.y, corner.x, corner.y, leave.x, leave.y
                )
            }
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        from = Some(*corner);
    }
    path + &format!("L{} {}", line.end.x, line.end.y)
}

fn length(a: Point, b: Point) -> u32 {
    a.x.abs_diff(b.x) + a.y.abs_diff(b.y)
}

/// The point `by` from `from` on the way to `to`.
fn toward(from: Point, to: Point, by: u32) -> Point {
    let step = |a: u32, b: u32| match a.cmp(&b) {
        Ordering::Less => a + by,
        Ordering::Equal => a,
        Ordering::Greater => a - by,
    };
    Point {
        x: step(from.x, to.x),
        y: step(from.y, to.y),
    }
}
