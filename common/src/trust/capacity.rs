//! How many endorsements a key may give, and what each of them weighs.
//!
//! A key has *standing* if it has a level: the operator 0, whom the operator endorses 1, everybody
//! else one more than the lowest level that its active endorsements were given from, up to 4.

use serde::{Deserialize, Serialize};

use super::Millionths;

/// What every key may give, whoever endorses it.
pub const MIN_CAPACITY: u32 = 5;

/// What a person may give at most.
pub const MAX_CAPACITY: u32 = 100;

/// What an institution that the operator endorses may give.
pub const CAPACITY_OF_INSTITUTION: u32 = 1_000;

/// The number of endorsers from which on more of them add no capacity.
pub const COUNTED_ENDORSERS: u32 = (MAX_CAPACITY - MIN_CAPACITY).div_ceil(CAPACITY_PER_ENDORSER);

const CAPACITY_PER_ENDORSER: u32 = 2;

/// How far a key stands from the operator: 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Level(u8);

/// A level is a number from 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is a number from 0 to 4")]
pub struct NotALevel;

impl Level {
    /// The operator's.
    pub const OPERATOR: Self = Self(0);

    /// That of keys which the operator endorses.
    pub const ENDORSED_BY_OPERATOR: Self = Self(1);

    /// The last one; whom a key of it endorses has none.
    pub const LAST: Self = Self(4);

    /// The level as a number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The level of those who are endorsed from this one.
    pub fn next(self) -> Option<Self> {
        Self::try_from(self.0 + 1).ok()
    }
}

impl TryFrom<u8> for Level {
    type Error = NotALevel;

    fn try_from(level: u8) -> Result<Self, NotALevel> {
        if level <= Self::LAST.0 { Ok(Self(level)) } else { Err(NotALevel) }
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level.0
    }
}

/// The level of a key: `recorded` is what was written into the acceptances of the endorsements
/// that it holds active, none for those whose endorser had no level.
pub fn level(
    is_operator: bool,
    is_endorsed_by_operator: bool,
    recorded: impl IntoIterator<Item = Option<Level>>,
) -> Option<Level> {
    if is_operator {
        return Some(Level::OPERATOR);
    }
    if is_endorsed_by_operator {
        return Some(Level::ENDORSED_BY_OPERATOR);
    }
    recorded.into_iter().flatten().min()?.next()
}

/// How many endorsements a key may have given that did not end: `endorsers` is the number of
/// distinct keys of standing that endorse it, active, and that it does not itself endorse.
pub fn capacity(endorsers: u32, is_institution: bool) -> u32 {
    if is_institution {
        return CAPACITY_OF_INSTITUTION;
    }
    endorsers.saturating_mul(CAPACITY_PER_ENDORSER).saturating_add(MIN_CAPACITY).min(MAX_CAPACITY)
}

/// Whether a key that uses `used` of its capacity may offer one endorsement more.
pub const fn has_room(capacity: u32, used: u32) -> bool {
    used < capacity
}

/// What each endorsement weighs of a key that has given `active_given` active ones: its capacity
/// shared among them, where it fell below their number.
pub fn weight(capacity: u32, active_given: u32) -> Millionths {
    Millionths::ratio(capacity, active_given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_by_two_for_each_endorser_of_standing() {
        for (endorsers, expected) in
            [(0, 5), (1, 7), (10, 25), (47, 99), (48, 100), (49, 100), (u32::MAX, 100)]
        {
            assert_eq!(capacity(endorsers, false), expected);
            assert_eq!(capacity(endorsers, true), 1_000);
        }
        assert_eq!(COUNTED_ENDORSERS, 48);
        assert_eq!(capacity(COUNTED_ENDORSERS, false), MAX_CAPACITY);
        assert!(capacity(COUNTED_ENDORSERS - 1, false) < MAX_CAPACITY);
    }

    #[test]
    fn the_last_place_can_be_used_and_no_other() {
        assert!(has_room(5, 4));
        assert!(!has_room(5, 5));
        assert!(!has_room(5, 6));
    }

    #[test]
    fn levels_go_from_the_operator_to_four_and_no_further() {
        let at = |level| Level::try_from(level).ok();

        assert_eq!(level(true, true, [at(3)]), at(0));
        assert_eq!(level(false, true, [at(3)]), at(1));
        assert_eq!(level(false, false, [at(3), None, at(1), at(2)]), at(2));
        assert_eq!(level(false, false, [at(3)]), at(4));
        assert_eq!(level(false, false, [at(4)]), None);
        assert_eq!(level(false, false, [None, None]), None);
        assert_eq!(level(false, false, []), None);
        assert_eq!(at(5), None);
    }

    #[test]
    fn a_level_is_a_number_in_json() {
        assert_eq!(serde_json::to_string(&Level::LAST).ok().as_deref(), Some("4"));
        assert_eq!(serde_json::from_str::<Level>("1").ok(), Some(Level::ENDORSED_BY_OPERATOR));
        let error = serde_json::from_str::<Level>("5").unwrap_err();
        assert_eq!(error.to_string(), NotALevel.to_string());
    }

    #[test]
    fn the_page_s_example_of_capacity_and_discount() {
        // Ada: ten endorsers of standing. Six of them withdraw; she has given 20.
        assert_eq!(capacity(10, false), 25);
        assert_eq!(weight(25, 20), Millionths::ONE);
        assert_eq!(capacity(4, false), 13);
        assert_eq!(weight(13, 20).get(), 650_000);
        // An institution that lost the operator's endorsement.
        assert_eq!(weight(capacity(3, false), 900).get(), 12_222);
    }
}
