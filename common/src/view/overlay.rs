//! The part of the views that one batch reads and writes, in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{EndorsedRow, KeyRow, ProfileRow, Reference, Row, WitnessRow};
use crate::keys::Fingerprint;

/// The rows of one view table that a batch needs, and what it made of them.
#[derive(Clone, Debug)]
pub struct Table<R: Row> {
    rows: BTreeMap<R::Key, Slot<R>>,
}

#[derive(Clone, Debug)]
struct Slot<R> {
    row: Option<R>,
    changed: bool,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<R: Row> Table<R> {
    /// Takes what the database holds under `key`; a row that the batch already knows is kept.
    pub fn load(&mut self, key: R::Key, row: Option<R>) {
        self.rows.entry(key).or_insert(Slot { row, changed: false });
    }

    /// Whether the database was asked for `key`.
    pub fn is_loaded(&self, key: &R::Key) -> bool {
        self.rows.contains_key(key)
    }

    /// The row as the batch sees it now.
    pub fn find(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key).and_then(|slot| slot.row.as_ref())
    }

    /// Writes a row.
    pub fn put(&mut self, row: R) {
        self.rows.insert(row.key(), Slot { row: Some(row), changed: true });
    }

    /// The rows that the batch wrote, in the order of their keys.
    pub fn changed(&self) -> Vec<R> {
        self.rows.values().filter(|slot| slot.changed).filter_map(|slot| slot.row.clone()).collect()
    }

    /// Every row that is loaded.
    pub fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values().filter_map(|slot| slot.row.as_ref())
    }
}

/// Which rows a batch has to load before it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Keys of `view_keys`.
    pub keys: BTreeSet<Fingerprint>,
    /// Fingerprints whose endorsements, in all categories, are needed.
    pub endorsed: BTreeSet<Fingerprint>,
    /// Fingerprints whose profiles are needed.
    pub profiles: BTreeSet<Fingerprint>,
    /// Fingerprints whose newest proof is needed.
    pub witnesses: BTreeSet<Fingerprint>,
}

impl Needs {
    /// Whether nothing has to be loaded.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.endorsed.is_empty()
            && self.profiles.is_empty()
            && self.witnesses.is_empty()
    }

    /// Everything that the log says about one key.
    pub fn key(&mut self, fingerprint: Fingerprint) {
        self.keys.insert(fingerprint);
        self.endorsed.insert(fingerprint);
    }
}

/// Stands in the overlay for "the endorsements of this key were loaded, whatever the category".
const ALL_CATEGORIES: &str = "";

/// The views as one batch sees them: what it loaded, and what its entries made of that.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Registered keys.
    pub keys: Table<KeyRow>,
    /// Endorsements by the operator. Loaded per fingerprint: all categories or none.
    pub endorsed: Table<EndorsedRow>,
    /// Profiles.
    pub profiles: Table<ProfileRow>,
    /// Newest proofs of witnesses.
    pub witnesses: Table<WitnessRow>,
    /// Entries per event type that the batch adds.
    pub counts: BTreeMap<String, u64>,
    /// References that the batch adds.
    pub references: Vec<Reference>,
    /// Entries of the batch that have no effect, with the reason.
    pub without_effect: Vec<(u64, &'static str)>,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
}

/// What a batch changed in the views: the rows to write in its transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows to write to `view_keys`.
    pub keys: Vec<KeyRow>,
    /// Rows to write to `view_endorsed`.
    pub endorsed: Vec<EndorsedRow>,
    /// Rows to write to `view_profiles`.
    pub profiles: Vec<ProfileRow>,
    /// Rows to write to `view_witnesses`.
    pub witnesses: Vec<WitnessRow>,
    /// What to add to `view_event_counts`.
    pub counts: BTreeMap<String, u64>,
    /// Rows to add to `view_refs`.
    pub references: Vec<Reference>,
    /// Rows to add to `view_no_effect`.
    pub without_effect: Vec<(u64, &'static str)>,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
}

impl Overlay {
    /// An overlay with nothing loaded yet.
    pub fn new(last_event_id: u64) -> Self {
        Self { last_event_id, ..Self::default() }
    }

    /// What of `needs` was not loaded yet.
    pub fn missing(&self, needs: &Needs) -> Needs {
        let fresh = |asked: &BTreeSet<Fingerprint>, known: &dyn Fn(&Fingerprint) -> bool| {
            asked.iter().copied().filter(|key| !known(key)).collect()
        };
        Needs {
            keys: fresh(&needs.keys, &|key| self.keys.is_loaded(key)),
            endorsed: fresh(&needs.endorsed, &|key| {
                self.endorsed.is_loaded(&(*key, ALL_CATEGORIES.to_owned()))
            }),
            profiles: fresh(&needs.profiles, &|key| self.profiles.is_loaded(key)),
            witnesses: fresh(&needs.witnesses, &|key| self.witnesses.is_loaded(key)),
        }
    }

    /// Takes the rows that the database holds for `needs`; what it does not hold is known to be
    /// absent from now on.
    pub fn load(
        &mut self,
        needs: &Needs,
        keys: Vec<KeyRow>,
        endorsed: Vec<EndorsedRow>,
        profiles: Vec<ProfileRow>,
        witnesses: Vec<WitnessRow>,
    ) {
        for row in keys {
            self.keys.load(row.key(), Some(row));
        }
        for row in endorsed {
            self.endorsed.load(row.key(), Some(row));
        }
        for row in profiles {
            self.profiles.load(row.key(), Some(row));
        }
        for row in witnesses {
            self.witnesses.load(row.key(), Some(row));
        }
        for key in &needs.keys {
            self.keys.load(*key, None);
        }
        for key in &needs.endorsed {
            self.endorsed.load((*key, ALL_CATEGORIES.to_owned()), None);
        }
        for key in &needs.profiles {
            self.profiles.load(*key, None);
        }
        for key in &needs.witnesses {
            self.witnesses.load(*key, None);
        }
    }

    /// What the batch changed.
    pub fn changes(&self) -> Changes {
        Changes {
            keys: self.keys.changed(),
            endorsed: self.endorsed.changed(),
            profiles: self.profiles.changed(),
            witnesses: self.witnesses.changed(),
            counts: self.counts.clone(),
            references: self.references.clone(),
            without_effect: self.without_effect.clone(),
            last_event_id: self.last_event_id,
        }
    }
}
