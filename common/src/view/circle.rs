//! What one key gives and receives: its standing, and how many endorsements it may give.
//!
//! Everything here reads the un-ended endorsements of one key, of which rules bound the number: the
//! ones that it gives by its capacity, the ones that it received and accepted by
//! [`MAX_RECEIVED`].

use std::collections::BTreeSet;

use super::apply::is_endorsed;
use super::overlay::Overlay;
use super::rows::KeyRow;
use super::trust_rows::{EndorsementRow, EndorsementState};
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::statement::Category;
use crate::trust::{self, Level};

/// How many endorsements a key accepts at most at a time.
pub const MAX_RECEIVED: usize = 1_000;

/// What counts of a key's endorsements.
#[derive(Clone, Copy, Debug)]
pub struct Circle<'a> {
    overlay: &'a Overlay,
    key: Fingerprint,
    at: Timestamp,
}

impl<'a> Circle<'a> {
    /// The endorsements of a key, which must be loaded, at an instant.
    pub fn of(overlay: &'a Overlay, key: Fingerprint, at: Timestamp) -> Self {
        Self { overlay, key, at }
    }

    /// The endorsements that take up its capacity: offered, accepted and active ones.
    pub fn given(self) -> impl Iterator<Item = &'a EndorsementRow> {
        let Self { overlay, key, at } = self;
        overlay
            .endorsements
            .of(key)
            .filter(move |row| row.endorser == key && row.state_at(at).is_live())
    }

    /// The endorsements that it accepted and that are not over.
    pub fn accepted(self) -> impl Iterator<Item = &'a EndorsementRow> {
        let Self { overlay, key, at } = self;
        overlay.endorsements.of(key).filter(move |row| {
            row.endorsed == key && row.accepted.is_some() && row.state_at(at).is_live()
        })
    }

    /// Whether the operator stands for its holder.
    fn is_of_the_operators(self) -> bool {
        [Category::HumanAttestation, Category::InstitutionalEndorsement]
            .into_iter()
            .any(|category| is_endorsed(self.overlay, self.key, category))
    }

    /// Whether it may make use of what it was given: a successor that never showed to have its
    /// private key holds nothing.
    fn holds(self) -> bool {
        let key = self.overlay.keys.find(&self.key);
        key.is_some_and(KeyRow::holds_what_it_was_given)
    }

    /// The levels that its active endorsements were accepted with, by endorser.
    fn active_levels(self) -> impl Iterator<Item = (Fingerprint, Level)> {
        let active = move |row: &&EndorsementRow| row.state_at(self.at) == EndorsementState::Active;
        self.accepted().filter(active).filter_map(|row| Some((row.endorser, row.accepted?.level?)))
    }

    /// Its level of standing: 0 for the operator, 1 for whom the operator endorses, else one more
    /// than the lowest level that it was endorsed from; none above 4.
    pub fn level(self) -> Option<Level> {
        let key = self.overlay.keys.find(&self.key)?;
        if !self.holds() {
            return None;
        }
        let recorded = self.active_levels().map(|(_, level)| Some(level));
        trust::level(key.is_operator(), self.is_of_the_operators(), recorded)
    }

    /// How many endorsements it may have given at a time.
    pub fn capacity(self) -> u32 {
        if !self.holds() {
            return trust::capacity(0, false);
        }
        let given: BTreeSet<_> = self.given().map(|row| row.endorsed).collect();
        let of_standing: BTreeSet<_> = self
            .active_levels()
            .map(|(endorser, _)| endorser)
            .filter(|endorser| !given.contains(endorser))
            .collect();
        let endorsers = of_standing.len() + usize::from(self.is_of_the_operators());
        let institution = is_endorsed(self.overlay, self.key, Category::InstitutionalEndorsement);
        trust::capacity(u32::try_from(endorsers).unwrap_or(u32::MAX), institution)
    }
}

impl KeyRow {
    /// Whether it may make use of what its predecessor had: only once its holder showed to have
    /// the private key.
    pub const fn holds_what_it_was_given(&self) -> bool {
        self.succeeds.is_none() || self.proven || self.used_v1
    }
}

#[cfg(test)]
mod tests;
