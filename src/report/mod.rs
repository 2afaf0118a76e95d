//! What happened, as values: events while work runs and outcomes when it ends.
//!
//! Nothing here prints. `ui` and `commands` turn these into bars, tables and JSON.

pub mod event;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

/// An empty table without lines: columns alone carry the eye.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// The same for a terminal of so many columns, where it is one: what is too long for its
/// column goes on below.
pub(crate) fn plain_table_within(width: Option<u16>) -> Table {
    let mut table = plain_table();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // The blank at the end is not shown.
        table.set_width(width.saturating_add(1));
    }
    table
}

/// The end of a path, where the whole is longer than `room`.
pub(crate) fn end_of(path: &str, room: usize) -> String {
    match path.chars().count().checked_sub(room) {
        None | Some(0) => path.to_owned(),
        Some(over) => format!("…{}", path.chars().skip(over + 1).collect::<String>()),
    }
}

/// How a thing went, as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Not yet, or not wholly.
    Waits,
    /// Wrong.
    Bad,
}

/// A table as a terminal shows it: its head in bold, and in each row the word that
/// tells how it went in the colour of that. What is no terminal is printed to without.
pub(crate) fn drawn<'w>(table: &Table, words: impl IntoIterator<Item = (&'w str, Tone)>) -> String {
    let text = table.trim_fmt();
    let (head, rows) = text.split_once('\n').unwrap_or((&text, ""));
    let bold = Style::new().bold();
    let mut drawn = format!("{bold}{head}{bold:#}");
    let mut words = words.into_iter();
    for row in rows.lines() {
        let row = match words.next() {
            Some((word, tone)) => {
                let color = match tone {
                    Tone::Good => AnsiColor::Green,
                    Tone::Waits => AnsiColor::Yellow,
                    Tone::Bad => AnsiColor::Red,
                };
                let color = color.on_default();
                row.replacen(
                    &format!("  {word}"),
                    &format!("  {color}{word}{color:#}"),
                    1,
                )
            }
            None => row.to_owned(),
        };
        drawn.push('\n');
        drawn.push_str(&row);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_has_no_room_for_goes_on_below_or_keeps_its_end() {
        let table = |width| {
            let mut table = plain_table_within(width);
            table.add_row(["new", "all settings, for cloud-init"]);
            table.trim_fmt()
        };
        assert_eq!(table(None), " new  all settings, for cloud-init");
        assert_eq!(table(Some(34)), table(None));
        assert_eq!(table(Some(33)), " new  all settings, for\n      cloud-init");
        assert_eq!(end_of("images/a.img", 12), "images/a.img");
        assert_eq!(end_of("images/a.img", 6), "…a.img");
    }

    #[test]
    fn colours_take_no_room_and_no_text() {
        let mut table = plain_table();
        table.set_header(["node", "state"]);
        table.add_row(["a", "ready"]);
        table.add_row(["bb", "not there"]);
        let words = [("ready", Tone::Good), ("not there", Tone::Waits)];
        let shown = drawn(&table, words);
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            table.trim_fmt()
        );
        assert!(shown.contains("\u{1b}[32mready\u{1b}[0m"), "{shown:?}");
        assert!(shown.contains("\u{1b}[33mnot there\u{1b}[0m"), "{shown:?}");
    }
}
