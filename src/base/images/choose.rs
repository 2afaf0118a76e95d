//! Which of the images that are here a name stands for, where there are several.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::{Request, Source};
use crate::base::fetch::{Note, Stored};

/// Puts images that answer a request in order, that which is to be taken last: the one
/// used before, or else the [`current`] one.
pub(super) fn sort(found: &mut [Stored], request: &Request) {
    let key = request.source.key();
    let answers = Answers {
        last: last(found, &key),
        are_of_a_name: matches!(request.source, Source::Name(_)),
        key: &key,
    };
    found.sort_by_key(|stored| {
        let is_before = request.before.as_ref() == Some(&stored.note.name);
        (is_before, answers.rank(&stored.note))
    });
}

/// Which of the images in the store a name of the catalogue stands for: the newest, or
/// the one that was found to be it since the newest arrived.
#[must_use]
pub fn current<'a>(all: &'a [Stored], name: &str) -> Option<&'a Stored> {
    let answers = Answers {
        last: last(all, name),
        are_of_a_name: true,
        key: name,
    };
    all.iter()
        .filter(|stored| stored.note.asked.iter().any(|asked| asked == name))
        .max_by_key(|stored| answers.rank(&stored.note))
}

fn last(all: &[Stored], key: &str) -> Option<Timestamp> {
    let answered = |stored: &Stored| stored.note.answered.get(key).copied();
    all.iter().filter_map(answered).max()
}

/// When a key is looked up now; later than ever before, also where the clock once ran
/// ahead: what was found then would be taken until it has caught up.
pub(super) fn next(all: &[Stored], key: &str) -> Timestamp {
    let after = |last: Timestamp| last.checked_add(SignedDuration::from_nanos(1)).ok();
    let least = last(all, key).and_then(after);
    least.map_or_else(Timestamp::now, |least| least.max(Timestamp::now()))
}

/// What was found when a key was looked up.
struct Answers<'a> {
    key: &'a str,
    last: Option<Timestamp>,
    are_of_a_name: bool,
}

impl Answers<'_> {
    /// A publisher may have gone back to an earlier image: what was found last comes
    /// before what is newer.
    fn rank(&self, note: &Note) -> (bool, Option<Date>, Timestamp) {
        let answered = note.answered.get(self.key).copied();
        // What was fetched by its date is one of the name, and as new as it is.
        let known = answered.or(self.are_of_a_name.then_some(note.arrived));
        // Lists write dates as they like; no order is better than a wrong one.
        let released = note.released.as_deref().and_then(|date| date.parse().ok());
        (known >= self.last, released, note.arrived)
    }
}
