//! The part of the views that one batch reads and writes, in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{
    AttestationRow, AttestedTypeRow, EndorsedRow, KeyRow, ProfileRow, Reference, Row, WitnessRow,
};
use super::trust_rows::{AlertRow, ClaimRow, EndorsementRow, TrustConfigRow};
use crate::keys::Fingerprint;
use crate::manifest::ShortId;
use crate::merkle::Hash;

/// The rows of one view table that a batch needs, and what it made of them.
#[derive(Clone, Debug)]
pub struct Table<R: Row> {
    rows: BTreeMap<R::Key, Slot<R>>,
    /// What rows were before they were written, since the savepoint.
    before: Option<Vec<Before<R>>>,
}

/// A row before it was written; `None` if it was not even loaded.
type Before<R> = (<R as Row>::Key, Option<Slot<R>>);

#[derive(Clone, Debug)]
struct Slot<R> {
    row: Option<R>,
    changed: bool,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: None }
    }
}

impl<R: Row> Table<R> {
    /// Takes what the database holds under `key`; a row that the batch already knows is kept.
    pub fn load(&mut self, key: R::Key, row: Option<R>) {
        self.rows.entry(key).or_insert(Slot { row, changed: false });
    }

    fn load_all(&mut self, rows: Vec<R>, asked: &BTreeSet<R::Key>) {
        for row in rows {
            self.load(row.key(), Some(row));
        }
        for key in asked {
            self.load(key.clone(), None);
        }
    }

    fn unloaded(&self, asked: &BTreeSet<R::Key>) -> BTreeSet<R::Key> {
        asked.iter().filter(|key| !self.is_loaded(key)).cloned().collect()
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
        let key = row.key();
        let before = self.rows.insert(key.clone(), Slot { row: Some(row), changed: true });
        if let Some(written) = &mut self.before {
            written.push((key, before));
        }
    }

    fn roll_back(&mut self) {
        for (key, slot) in self.before.take().into_iter().flatten().rev() {
            match slot {
                Some(slot) => self.rows.insert(key, slot),
                None => self.rows.remove(&key),
            };
        }
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

/// Endorsements, found by the keys that they are about too.
#[derive(Clone, Debug, Default)]
pub struct Endorsements {
    rows: Table<EndorsementRow>,
    /// The offers that name a key, or once did.
    of_key: BTreeMap<Fingerprint, BTreeSet<u64>>,
    /// The keys of which all is loaded.
    circles: BTreeSet<Fingerprint>,
    /// The pairs of which the newest are loaded.
    pairs: BTreeSet<(Fingerprint, Fingerprint)>,
}

/// How many endorsements of one key by another are looked at that have ended, the newest ones.
pub const NEWEST_OF_PAIR: usize = 64;

impl Endorsements {
    /// The endorsement of this offer.
    pub fn find(&self, offer_id: u64) -> Option<&EndorsementRow> {
        self.rows.find(&offer_id)
    }

    /// Writes a row.
    pub fn put(&mut self, row: EndorsementRow) {
        self.index(&row);
        self.rows.put(row);
    }

    /// The loaded ones that a key gives or receives, oldest first.
    pub fn of(&self, key: Fingerprint) -> impl Iterator<Item = &EndorsementRow> {
        let offers = self.of_key.get(&key).into_iter().flatten();
        offers
            .filter_map(|offer| self.rows.find(offer))
            .filter(move |row| row.endorser == key || row.endorsed == key)
    }

    /// The newest ones of one key by another: those that no entry has ended, and the newest that
    /// one has.
    ///
    /// The two are counted apart. One that has not ended passes to a successor, and no older one
    /// may take its place then: a batch that loaded the pair before does not hold it.
    pub fn of_pair(
        &self,
        (endorser, endorsed): (Fingerprint, Fingerprint),
    ) -> impl Iterator<Item = &EndorsementRow> {
        let offers = self.of_key.get(&endorser).into_iter().flatten().rev();
        let rows = offers
            .filter_map(|offer| self.rows.find(offer))
            .filter(move |row| row.endorser == endorser && row.endorsed == endorsed);
        let mut ended = 0;
        rows.filter(move |row| {
            ended += usize::from(row.ended.is_some());
            row.ended.is_none() || ended <= NEWEST_OF_PAIR
        })
    }

    // An undone row leaves its offer here, which then leads nowhere.
    fn index(&mut self, row: &EndorsementRow) {
        for key in [row.endorser, row.endorsed] {
            self.of_key.entry(key).or_default().insert(row.offer_id);
        }
    }

    fn load(&mut self, needs: &Needs, rows: Vec<EndorsementRow>) {
        for row in &rows {
            self.index(row);
        }
        self.rows.load_all(rows, &needs.offers);
        self.circles.extend(&needs.circles);
        self.pairs.extend(&needs.pairs);
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
    /// Attestations.
    pub attestations: BTreeSet<ShortId>,
    /// Signers, manifests and forms whose type is needed.
    pub attested_types: BTreeSet<<AttestedTypeRow as Row>::Key>,
    /// Endorsements.
    pub offers: BTreeSet<u64>,
    /// Keys of which every endorsement is needed that no entry has ended, but for offers that they
    /// have not answered.
    pub circles: BTreeSet<Fingerprint>,
    /// Endorsers and endorsed keys of which the newest endorsements are needed, and all that no
    /// entry has ended.
    pub pairs: BTreeSet<(Fingerprint, Fingerprint)>,
    /// Alerters and alerted keys.
    pub alerts: BTreeSet<<AlertRow as Row>::Key>,
    /// Keys of which every alert is needed that stands, by them and of them.
    pub alerts_of: BTreeSet<Fingerprint>,
    /// Keys whose trust policy is needed.
    pub trust_configs: BTreeSet<Fingerprint>,
    /// Commitments.
    pub claims: BTreeSet<Hash>,
}

impl Needs {
    /// Whether nothing has to be loaded.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.endorsed.is_empty()
            && self.profiles.is_empty()
            && self.witnesses.is_empty()
            && self.attestations.is_empty()
            && self.attested_types.is_empty()
            && self.offers.is_empty()
            && self.circles.is_empty()
            && self.pairs.is_empty()
            && self.alerts.is_empty()
            && self.alerts_of.is_empty()
            && self.trust_configs.is_empty()
            && self.claims.is_empty()
    }

    /// Adds what others need.
    pub fn extend(&mut self, other: &Self) {
        self.keys.extend(&other.keys);
        self.endorsed.extend(&other.endorsed);
        self.profiles.extend(&other.profiles);
        self.witnesses.extend(&other.witnesses);
        self.attestations.extend(&other.attestations);
        self.attested_types.extend(&other.attested_types);
        self.offers.extend(&other.offers);
        self.circles.extend(&other.circles);
        self.pairs.extend(&other.pairs);
        self.alerts.extend(&other.alerts);
        self.alerts_of.extend(&other.alerts_of);
        self.trust_configs.extend(&other.trust_configs);
        self.claims.extend(&other.claims);
    }

    /// Everything that the log says about one key.
    pub fn key(&mut self, fingerprint: Fingerprint) {
        self.keys.insert(fingerprint);
        self.endorsed.insert(fingerprint);
    }

    /// A key and what counts of its endorsements.
    pub fn circle(&mut self, fingerprint: Fingerprint) {
        self.key(fingerprint);
        self.circles.insert(fingerprint);
    }

    /// Everything that passes to the successor of a key, or ends with it.
    pub fn estate(&mut self, fingerprint: Fingerprint) {
        self.circle(fingerprint);
        self.alerts_of.insert(fingerprint);
        self.trust_configs.insert(fingerprint);
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
    /// Attestations.
    pub attestations: Table<AttestationRow>,
    /// Types of attestations whose signature does not cover them.
    pub attested_types: Table<AttestedTypeRow>,
    /// Endorsements of keys by each other.
    pub endorsements: Endorsements,
    /// Alerts.
    pub alerts: Table<AlertRow>,
    /// Keys of which every alert that stands is loaded.
    alerts_of: BTreeSet<Fingerprint>,
    /// Trust policies.
    pub trust_configs: Table<TrustConfigRow>,
    /// Encrypted claims.
    pub claims: Table<ClaimRow>,
    /// How many keys the batch registers for the first time.
    pub new_keys: u64,
    /// Entries per event type that the batch adds.
    pub counts: BTreeMap<String, u64>,
    /// References that the batch adds.
    pub references: Vec<Reference>,
    /// Entries of the batch that have no effect, with the reason.
    pub without_effect: Vec<(u64, &'static str)>,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
}

/// The rows that the database holds of those that a batch needs.
#[derive(Clone, Debug, Default)]
pub struct LoadedRows {
    /// Registered keys.
    pub keys: Vec<KeyRow>,
    /// Endorsements by the operator.
    pub endorsed: Vec<EndorsedRow>,
    /// Profiles.
    pub profiles: Vec<ProfileRow>,
    /// Newest proofs of witnesses.
    pub witnesses: Vec<WitnessRow>,
    /// Attestations.
    pub attestations: Vec<AttestationRow>,
    /// Types of attestations whose signature does not cover them.
    pub attested_types: Vec<AttestedTypeRow>,
    /// Endorsements of keys by each other.
    pub endorsements: Vec<EndorsementRow>,
    /// Alerts.
    pub alerts: Vec<AlertRow>,
    /// Trust policies.
    pub trust_configs: Vec<TrustConfigRow>,
    /// Encrypted claims.
    pub claims: Vec<ClaimRow>,
}

/// A state of an [`Overlay`] to go back to.
#[derive(Debug)]
pub struct Savepoint {
    counts: BTreeMap<String, u64>,
    new_keys: u64,
    references: usize,
    without_effect: usize,
    last_event_id: u64,
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
    /// Rows to write to `view_attestations`.
    pub attestations: Vec<AttestationRow>,
    /// Rows to write to `view_attested_types`.
    pub attested_types: Vec<AttestedTypeRow>,
    /// Rows to write to `view_endorsements`.
    pub endorsements: Vec<EndorsementRow>,
    /// Rows to write to `view_alerts`.
    pub alerts: Vec<AlertRow>,
    /// Rows to write to `view_trust_configs`.
    pub trust_configs: Vec<TrustConfigRow>,
    /// Rows to write to `view_claims`.
    pub claims: Vec<ClaimRow>,
    /// What to add to the number of keys.
    pub new_keys: u64,
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
        Needs {
            keys: self.keys.unloaded(&needs.keys),
            endorsed: needs
                .endorsed
                .iter()
                .filter(|key| !self.endorsed.is_loaded(&(**key, ALL_CATEGORIES.to_owned())))
                .copied()
                .collect(),
            profiles: self.profiles.unloaded(&needs.profiles),
            witnesses: self.witnesses.unloaded(&needs.witnesses),
            attestations: self.attestations.unloaded(&needs.attestations),
            attested_types: self.attested_types.unloaded(&needs.attested_types),
            offers: self.endorsements.rows.unloaded(&needs.offers),
            circles: needs.circles.difference(&self.endorsements.circles).copied().collect(),
            pairs: needs.pairs.difference(&self.endorsements.pairs).copied().collect(),
            alerts: self.alerts.unloaded(&needs.alerts),
            alerts_of: needs.alerts_of.difference(&self.alerts_of).copied().collect(),
            trust_configs: self.trust_configs.unloaded(&needs.trust_configs),
            claims: self.claims.unloaded(&needs.claims),
        }
    }

    /// Takes the rows that the database holds for `needs`; what it does not hold is known to be
    /// absent from now on.
    pub fn load(&mut self, needs: &Needs, rows: LoadedRows) {
        self.keys.load_all(rows.keys, &needs.keys);
        let all = needs.endorsed.iter().map(|key| (*key, ALL_CATEGORIES.to_owned())).collect();
        self.endorsed.load_all(rows.endorsed, &all);
        self.profiles.load_all(rows.profiles, &needs.profiles);
        self.witnesses.load_all(rows.witnesses, &needs.witnesses);
        self.attestations.load_all(rows.attestations, &needs.attestations);
        self.attested_types.load_all(rows.attested_types, &needs.attested_types);
        self.endorsements.load(needs, rows.endorsements);
        self.alerts.load_all(rows.alerts, &needs.alerts);
        self.alerts_of.extend(&needs.alerts_of);
        self.trust_configs.load_all(rows.trust_configs, &needs.trust_configs);
        self.claims.load_all(rows.claims, &needs.claims);
    }

    /// Remembers what is written from now on, until it is kept or rolled back. Costs what is
    /// written meanwhile, however much is loaded.
    pub fn savepoint(&mut self) -> Savepoint {
        self.keys.before = Some(Vec::new());
        self.endorsed.before = Some(Vec::new());
        self.profiles.before = Some(Vec::new());
        self.witnesses.before = Some(Vec::new());
        self.attestations.before = Some(Vec::new());
        self.attested_types.before = Some(Vec::new());
        self.endorsements.rows.before = Some(Vec::new());
        self.alerts.before = Some(Vec::new());
        self.trust_configs.before = Some(Vec::new());
        self.claims.before = Some(Vec::new());
        Savepoint {
            counts: self.counts.clone(),
            new_keys: self.new_keys,
            references: self.references.len(),
            without_effect: self.without_effect.len(),
            last_event_id: self.last_event_id,
        }
    }

    /// Undoes what was written since the newest savepoint.
    pub fn roll_back(&mut self, to: Savepoint) {
        self.keys.roll_back();
        self.endorsed.roll_back();
        self.profiles.roll_back();
        self.witnesses.roll_back();
        self.attestations.roll_back();
        self.attested_types.roll_back();
        self.endorsements.rows.roll_back();
        self.alerts.roll_back();
        self.trust_configs.roll_back();
        self.claims.roll_back();
        self.counts = to.counts;
        self.new_keys = to.new_keys;
        self.references.truncate(to.references);
        self.without_effect.truncate(to.without_effect);
        self.last_event_id = to.last_event_id;
    }

    /// What the batch changed.
    pub fn changes(&self) -> Changes {
        Changes {
            keys: self.keys.changed(),
            endorsed: self.endorsed.changed(),
            profiles: self.profiles.changed(),
            witnesses: self.witnesses.changed(),
            attestations: self.attestations.changed(),
            attested_types: self.attested_types.changed(),
            endorsements: self.endorsements.rows.changed(),
            alerts: self.alerts.changed(),
            trust_configs: self.trust_configs.changed(),
            claims: self.claims.changed(),
            new_keys: self.new_keys,
            counts: self.counts.clone(),
            references: self.references.clone(),
            without_effect: self.without_effect.clone(),
            last_event_id: self.last_event_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Binds;
    use crate::merkle::Hash;

    fn row(n: u8, attestation_type: &str) -> AttestedTypeRow {
        AttestedTypeRow {
            manifest_hash: Hash::of(&[n]),
            signer: Fingerprint::new(Hash::of(&[n])),
            binds: Binds::Manifest,
            attestation_type: attestation_type.to_owned(),
        }
    }

    #[test]
    fn what_was_written_since_a_savepoint_is_undone_and_no_more() {
        let mut overlay = Overlay::new(7);
        overlay.attested_types.load(row(1, "loaded").key(), Some(row(1, "loaded")));
        overlay.attested_types.put(row(2, "kept"));
        overlay.counts.insert("x-a:b".to_owned(), 1);
        let before = overlay.changes();

        let savepoint = overlay.savepoint();
        for kind in ["once", "twice"] {
            for n in [1, 2, 3] {
                overlay.attested_types.put(row(n, kind));
            }
        }
        overlay.counts.insert("x-a:b".to_owned(), 9);
        overlay.new_keys = 2;
        overlay.last_event_id = 12;
        overlay.roll_back(savepoint);

        assert_eq!(overlay.changes(), before);
        assert_eq!(overlay.attested_types.find(&row(1, "").key()), Some(&row(1, "loaded")));
        assert!(!overlay.attested_types.is_loaded(&row(3, "").key()));
    }
}
