//! The cards in the record: which node each was made for, and which node lost it.

use serde::{Deserialize, Serialize};

use super::{Number, Record};
use crate::base::Sha256Digest;

/// How far a card got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CardState {
    /// Being written; stays so if the machine dies meanwhile.
    Writing,
    /// Written and read back.
    Verified,
    /// Written, and by the user's wish not read back.
    Unverified,
    /// Writing or reading back failed.
    Failed,
    /// Complete once; since then another node was written to the card.
    Overwritten,
}

/// The card that was last written for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardEntry {
    /// How far it got.
    pub state: CardState,
    /// When that was, in UTC (RFC 3339).
    pub at: String,
    /// Where the card was.
    pub device: String,
    /// Its own serial number, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Vendor and model.
    pub model: String,
    /// Length in bytes, as it claims.
    pub len: u64,
    /// Digest of the overlay.
    pub overlay: Sha256Digest,
    /// cloud-init's instance-id.
    pub instance_id: String,
    /// Identity generation.
    pub generation: u32,
    /// How many cards were made with this instance-id.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub copies: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(copies: &u32) -> bool {
    *copies == 1
}

/// What [`Record::set_card`] changed, so that it can be taken back.
#[derive(Debug)]
pub struct Noted {
    number: Number,
    /// What was noted, and what was there before.
    entry: CardEntry,
    before: Option<CardEntry>,
    /// The instance-id that was on the card.
    held: Option<String>,
    /// Nodes that lost their card by it, and what they had before.
    overwritten: Vec<(Number, CardEntry)>,
}

impl Record {
    /// Notes how far a node's card got. A node whose only card this was, going by
    /// the instance-id `held` that was found on it, has lost it: to be told once, before
    /// the card is written, since another card may be made for that node meanwhile.
    pub fn set_card(&mut self, number: u32, mut card: CardEntry, held: Option<&str>) -> Noted {
        let number = Number(number);
        let mut overwritten = Vec::new();
        for (&other, entry) in &mut self.cards {
            if other != number && entry.is_on(&card, held) {
                overwritten.push((other, entry.clone()));
                entry.state = CardState::Overwritten;
            }
        }
        let before = self.cards.get(&number).cloned();
        // A second card with the same instance-id: neither can be told by it.
        if let Some(before) = &before
            && before.instance_id == card.instance_id
        {
            let is_another = before.state.is_complete() && held != Some(&card.instance_id);
            card.copies = before.copies + u32::from(is_another);
        }
        self.cards.insert(number, card.clone());
        Noted {
            number,
            entry: card,
            before,
            held: held.map(str::to_owned),
            overwritten,
        }
    }

    /// Takes back what was noted of cards to which nothing was written, as far as nobody
    /// noted something else since. Both are in the order in which they were noted; a node
    /// that has its card again may have lost that to one of the cards that were `written`.
    pub fn unset_cards(&mut self, untouched: &[&Noted], written: &[&Noted]) {
        for noted in untouched.iter().rev() {
            self.unset_card(noted);
        }
        for noted in untouched {
            let Some(entry) = self.cards.get_mut(&noted.number) else {
                continue;
            };
            let is_lost = |other: &&Noted| entry.is_on(&other.entry, other.held.as_deref());
            if noted.before.as_ref() == Some(entry) && written.iter().any(is_lost) {
                entry.state = CardState::Overwritten;
            }
        }
    }

    fn unset_card(&mut self, noted: &Noted) {
        if self.cards.get(&noted.number) == Some(&noted.entry) {
            match &noted.before {
                Some(before) => drop(self.cards.insert(noted.number, before.clone())),
                None => drop(self.cards.remove(&noted.number)),
            }
        }
        for (number, before) in &noted.overwritten {
            let lost = CardEntry {
                state: CardState::Overwritten,
                ..before.clone()
            };
            if self.cards.get(number) == Some(&lost) {
                self.cards.insert(*number, before.clone());
            }
        }
    }
}

impl CardState {
    /// Whether there is a card that holds its node.
    fn is_complete(self) -> bool {
        match self {
            Self::Verified | Self::Unverified => true,
            Self::Writing | Self::Failed | Self::Overwritten => false,
        }
    }
}

impl CardEntry {
    /// Whether what this entry tells of is the card of another entry, on which the
    /// instance-id `held` was found.
    fn is_on(&self, card: &Self, held: Option<&str>) -> bool {
        let serials = self.serial.as_ref().zip(card.serial.as_ref());
        self.state.is_complete()
            && held == Some(self.instance_id.as_str())
            && self.copies == 1
            && self.len == card.len
            && serials.is_none_or(|(one, other)| one == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: CardState, instance_id: &str, device: &str) -> CardEntry {
        CardEntry {
            state,
            at: String::new(),
            device: device.to_owned(),
            serial: None,
            model: String::new(),
            len: 0,
            overlay: Sha256Digest::of(b""),
            instance_id: instance_id.to_owned(),
            generation: 0,
            copies: 1,
        }
    }

    fn state(record: &Record, number: u32) -> CardState {
        record.card(number).unwrap().state
    }

    /// A record of these cards, all verified: node, its instance-id, where it is.
    fn cards(cards: &[(u32, &str, &str)]) -> Record {
        let mut record = Record::default();
        for (number, instance_id, device) in cards {
            let card = entry(CardState::Verified, instance_id, device);
            record.set_card(*number, card, None);
        }
        record
    }

    #[test]
    fn a_node_may_run_its_last_card_or_its_last_image() {
        let text = "version = 1\ncluster = \"a\"\nkey_id = \"b\"\n[node.1]\nhostname = \"a\"\n\
                    generation = 0\nbase_name = \"b\"\nimage = \"c\"\nhost_key = \"d\"\n\
                    instance_id = \"e\"\ntool = \"f\"\n";
        let digest = "00".repeat(32);
        let text = format!("{text}base = \"{digest}\"\noverlay = \"{digest}\"\n");
        let mut built = Record::parse(&text, std::path::Path::new("cluster.lock")).unwrap();
        assert_eq!(built.instance_ids(1), ["e"]);
        built.set_card(1, entry(CardState::Verified, "flashed", "x"), None);
        assert_eq!(built.instance_ids(1), ["flashed", "e"]);
        assert!(built.instance_ids(2).is_empty());
    }

    #[test]
    fn a_card_that_was_not_written_takes_back_what_it_changed_and_no_more() {
        let before = cards(&[(0, "zero", "x"), (1, "one", "y"), (2, "two", "z")]);
        let mut record = before.clone();
        // Onto x goes the node that it holds, onto y and z other ones.
        let x = record.set_card(0, entry(CardState::Writing, "zero", "x"), Some("zero"));
        let y = record.set_card(3, entry(CardState::Writing, "three", "y"), Some("one"));
        let z = record.set_card(4, entry(CardState::Writing, "four", "z"), Some("two"));
        assert_eq!(state(&record, 1), CardState::Overwritten);
        record.unset_cards(&[&x, &z], &[&y]);
        assert_eq!(record.card(0), before.card(0));
        assert_eq!(state(&record, 1), CardState::Overwritten);
        assert_eq!(record.card(2), before.card(2));
        assert_eq!(record.card(4), None);
        record.unset_cards(&[&y], &[]);
        assert_eq!(record, before);
    }

    #[test]
    fn two_cards_that_change_places_are_told_apart_whichever_was_written() {
        let before = cards(&[(0, "zero", "x"), (1, "one", "y")]);
        let exchanged = || {
            let mut record = before.clone();
            let zero = record.set_card(0, entry(CardState::Writing, "zero", "y"), Some("one"));
            let one = record.set_card(1, entry(CardState::Writing, "one", "x"), Some("zero"));
            (record, zero, one)
        };
        let (mut record, zero, one) = exchanged();
        record.unset_cards(&[&zero, &one], &[]);
        assert_eq!(record, before);
        let (mut record, zero, one) = exchanged();
        record.set_card(1, entry(CardState::Verified, "one", "x"), None);
        record.unset_cards(&[&zero], &[&one]);
        assert_eq!(state(&record, 0), CardState::Overwritten);
        assert_eq!(state(&record, 1), CardState::Verified);
        let (mut record, zero, one) = exchanged();
        record.set_card(0, entry(CardState::Verified, "zero", "y"), None);
        record.unset_cards(&[&one], &[&zero]);
        assert_eq!(state(&record, 0), CardState::Verified);
        assert_eq!(state(&record, 1), CardState::Overwritten);
    }

    #[test]
    fn what_somebody_noted_meanwhile_is_not_taken_back() {
        let mut record = cards(&[(0, "zero", "x"), (1, "one", "y")]);
        let noted = record.set_card(0, entry(CardState::Writing, "zero", "y"), Some("one"));
        record.set_card(0, entry(CardState::Verified, "zero", "other"), None);
        record.set_card(1, entry(CardState::Verified, "one", "other"), None);
        let since = record.clone();
        record.unset_cards(&[&noted], &[]);
        assert_eq!(record, since);
    }

    #[test]
    fn only_a_complete_card_is_one_more() {
        let lost = [CardState::Failed, CardState::Overwritten];
        for first in lost.into_iter().chain([CardState::Writing]) {
            let mut record = Record::default();
            record.set_card(1, entry(first, "one", "x"), None);
            record.set_card(1, entry(CardState::Writing, "one", "y"), None);
            record.set_card(1, entry(CardState::Verified, "one", "y"), None);
            assert_eq!(record.card(1).unwrap().copies, 1, "{first:?}");
            record.set_card(2, entry(CardState::Writing, "two", "y"), Some("one"));
            assert_eq!(state(&record, 1), CardState::Overwritten, "{first:?}");
        }
        let mut record = cards(&[(1, "one", "x")]);
        record.set_card(1, entry(CardState::Writing, "one", "y"), None);
        record.set_card(1, entry(CardState::Failed, "one", "y"), None);
        record.set_card(1, entry(CardState::Writing, "one", "y"), None);
        record.set_card(1, entry(CardState::Verified, "one", "y"), None);
        assert_eq!(record.card(1).unwrap().copies, 2);
    }

    #[test]
    fn a_card_that_is_being_made_is_not_lost_with_the_one_before() {
        let mut record = cards(&[(1, "one", "x")]);
        // At once: onto x another node, and onto y the node that was on x.
        record.set_card(0, entry(CardState::Writing, "zero", "x"), Some("one"));
        record.set_card(1, entry(CardState::Writing, "one", "y"), None);
        record.set_card(1, entry(CardState::Verified, "one", "y"), None);
        record.set_card(0, entry(CardState::Verified, "zero", "x"), None);
        assert_eq!(state(&record, 1), CardState::Verified);
        let mut record = Record::default();
        record.set_card(1, entry(CardState::Failed, "one", "x"), None);
        record.set_card(1, entry(CardState::Writing, "one", "y"), None);
        record.set_card(0, entry(CardState::Writing, "zero", "x"), Some("one"));
        assert_eq!(state(&record, 1), CardState::Writing);
    }
}
