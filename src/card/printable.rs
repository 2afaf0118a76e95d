//! Text that somebody else chose, made fit for a terminal.
//!
//! Model names, serial numbers, labels and mount points come from the hardware
//! or from whoever formatted the card. A control character among them could
//! repaint the very line that asks whether this is the right disk.

use std::path::Path;

/// The text with everything left out that would move the cursor or turn the
/// direction of writing.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|&letter| !letter.is_control() && !is_invisible(letter))
        .collect()
}

/// A path as it may be shown. Not to be opened: see [`printable`].
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A path as a shell takes it, to be shown within a command.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let text = printable_path(path);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@".contains(letter);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Zero-width and bidirectional format characters, line and paragraph separators.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}
