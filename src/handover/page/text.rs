//! Fitting text into boxes without knowing the reader's font.
//!
//! SVG does not wrap. What a person or a manufacturer named is therefore set in
//! a monospaced font and counted in columns.

use std::collections::VecDeque;

/// Advance of a column in thousandths of the font size: the widest among the
/// monospaced fonts of common systems (SF Mono, 0.618).
const ADVANCE: u32 = 620;

/// Columns that fit into `width` at the font size `size`, in the same unit.
pub(super) const fn columns(width: u32, size: u32) -> usize {
    (width * 1000 / (size * ADVANCE)) as usize
}

/// Columns that `text` takes. What is not ASCII may be as wide as two.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

fn cells(c: char) -> usize {
    match c.is_ascii() {
        true => 1,
        false => 2,
    }
}

/// `text` in at most `most` lines of at most `columns` columns.
///
/// Lines end at white space, where a word is too long at punctuation, else
/// anywhere; where nothing fits, the middle is left out, since names differ at
/// their ends.
pub(super) fn lines(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(2);
    let pleasing = wrap(text, columns, &[" ", "-.,:/@_"]);
    if pleasing.len() <= most {
        return pleasing;
    }
    let filled = wrap(text, columns, &[]);
    if filled.len() <= most {
        return filled;
    }
    wrap(&shortened(text, columns, most), columns, &[])
}

/// Breaks after one of the characters of `ends`, the earlier ones preferred; a
/// word that holds none is broken where the line ends.
fn wrap(text: &str, columns: usize, ends: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let full = fitting(rest, columns);
        let end = match full == rest.len() {
            true => full,
            false => ends
                .iter()
                .find_map(|ends| rest[..full].rfind(|c| ends.contains(c)))
                .map_or(full, |at| at + 1),
        };
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    lines
}

/// Bytes of `text` that fit on a line.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        // A space that hangs over the edge takes no room.
        if used + cells(c) > columns && c != ' ' {
            return at;
        }
        used += cells(c);
    }
    text.len()
}

/// Head and tail of `text` around an ellipsis, to fill `most` lines.
fn shortened(text: &str, columns: usize, most: usize) -> String {
    // A wide character may leave a column of each line empty.
    let room = (columns - 1) * most;
    let (mut head, mut tail) = (String::new(), VecDeque::new());
    let (mut front, mut back) = (text.chars(), text.chars().rev());
    let mut used = cells('…');
    while let (Some(first), Some(last)) = (front.next(), back.next()) {
        used += cells(first) + cells(last);
        if used > room {
            break;
        }
        head.push(first);
        tail.push_front(last);
    }
    head.push('…');
    head.extend(tail);
    head
}
