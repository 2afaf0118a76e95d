//! Lengths as they are printed on cards.

use std::fmt;

/// A length in decimal units, `15.9 GB`: what is printed on the card that a
/// person holds against the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(u64, &str); 4] = [
    (1_000_000_000_000, "TB"),
    (1_000_000_000, "GB"),
    (1_000_000, "MB"),
    (1_000, "kB"),
];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, name)) = UNITS.iter().find(|(unit, _)| self.0 >= *unit) else {
            return write!(f, "{} bytes", self.0);
        };
        // Rounded down: a card never looks larger than it is.
        let (whole, tenth) = (self.0 / unit, self.0 % unit / (unit / 10));
        write!(f, "{whole}.{tenth} {name}")
    }
}
