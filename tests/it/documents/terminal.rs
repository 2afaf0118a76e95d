//! A picture of a terminal: what was sent to it, drawn as SVG.

use std::fmt::Write as _;
use std::num::NonZero;

use anstyle_svg::Term;
use vt100::{Cell, Color, Parser, Screen};

/// Wide enough for every screen, and no wider than a page on GitHub.
pub(super) const COLUMNS: NonZero<u16> = NonZero::new(100).expect("not zero");
/// More than any screen has; what is empty at the end is cut off.
pub(super) const ROWS: NonZero<u16> = NonZero::new(100).expect("not zero");

/// Colours on a light and on a dark page, those of GitHub.
const COLORS: [(&str, &str, &str); 9] = [
    ("bg", "#f6f8fa", "#161b22"),
    ("fg", "#1f2328", "#e6edf3"),
    ("fg-red", "#cf222e", "#ff7b72"),
    ("fg-green", "#1a7f37", "#3fb950"),
    ("fg-yellow", "#9a6700", "#d29922"),
    ("fg-blue", "#0969da", "#58a6ff"),
    ("fg-magenta", "#8250df", "#bc8cff"),
    ("fg-cyan", "#1b7c83", "#39c5cf"),
    ("fg-bright-black", "#656d76", "#8b949e"),
];

/// Draws the screen that is left when all of `sent` has arrived.
pub(super) fn draw(sent: &str) -> String {
    let mut parser = Parser::new(ROWS, COLUMNS, 0);
    parser.process(sent.as_bytes());
    picture(parser.screen())
}

fn picture(screen: &Screen) -> String {
    let mut lines: Vec<String> = (0..ROWS.get())
        .map(|row| {
            let cells = (0..COLUMNS.get()).filter_map(|column| screen.cell(row, column));
            styled(cells)
        })
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let width = usize::from(COLUMNS.get()) * 84 / 10;
    let svg = Term::new()
        .min_width_px(width)
        .render_svg(&lines.join("\n"));
    let mut style = String::new();
    for (name, light, _) in COLORS {
        let _ = writeln!(style, "    .{name} {{ fill: {light} }}");
    }
    style += "    @media (prefers-color-scheme: dark) {\n";
    for (name, _, dark) in COLORS {
        let _ = writeln!(style, "      .{name} {{ fill: {dark} }}");
    }
    style += "    }\n  </style>";
    svg.replacen("  </style>", &style, 1)
}

/// A row with its colours, as escape sequences; without spaces at its end.
fn styled<'c>(cells: impl Iterator<Item = &'c Cell>) -> String {
    let (mut line, mut last) = (String::new(), String::new());
    let mut end = 0;
    for cell in cells.filter(|cell| !cell.is_wide_continuation()) {
        let style = sequence(cell);
        if style != last {
            line += &style;
            last = style;
        }
        match cell.contents() {
            "" => line.push(' '),
            text => line += text,
        }
        if !cell.contents().trim().is_empty() {
            end = line.len();
        }
    }
    line.truncate(end);
    line
}

fn sequence(cell: &Cell) -> String {
    let mut sequence = "\u{1b}[0".to_owned();
    for (is_so, code) in [
        (cell.bold(), ";1"),
        (cell.dim(), ";2"),
        (cell.inverse(), ";7"),
    ] {
        if is_so {
            sequence += code;
        }
    }
    if let Color::Idx(color @ 0..16) = cell.fgcolor() {
        let code = if color < 8 { 30 + color } else { 82 + color };
        let _ = write!(sequence, ";{code}");
    }
    sequence + "m"
}
