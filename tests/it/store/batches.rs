//! What entries do to the views does not depend on how they are grouped into batches.
//!
//! `GROUPING_SEQUENCES` sets how many sequences each database is put through (3),
//! `GROUPING_LENGTH` how long each is (400), `GROUPING_SEED` the seed of the first one; the seed of
//! a sequence that fails is printed.

use diogenes_common::batch::{Chain, Entry, Trust};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{
    AcceptRequest, AlertRequest, Authorization, Genesis, KeyRegistration, KeyRevocation,
    OfferRequest, OperatorEndorsement, OperatorEndorsementRevocation, Payload,
    RevokeAcceptanceRequest, SuccessorKey, TrustConfigRequest, TrustConfigRevocationRequest,
    WithdrawRequest,
};
use diogenes_common::head::Origin;
use diogenes_common::keys::{KeyAlgorithm, SigningKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::TreeSize;
use diogenes_common::statement::{Category, OperatorStatement, Verb};
use diogenes_common::store::Store;
use diogenes_common::view::{self, Effect, LoadedRows, NEWEST_OF_PAIR, Needs, Overlay};
use serde_json::{Value, json};

use super::harness::{Database, START, at, on_both};
use crate::random::Random;
use crate::view_rows;

on_both!(
    views_are_the_same_however_entries_are_grouped,
    a_former_endorser_may_warn_whatever_became_of_later_offers_in_the_same_batch,
);

const HOUR: i64 = 60 * 60 * 1_000;
const PEOPLE: u8 = 9;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var_os(variable).and_then(|value| value.into_string().ok());
    text.map_or(default, |text| text.parse().unwrap())
}

async fn views_are_the_same_however_entries_are_grouped(database: Database) {
    let first = number("GROUPING_SEED", u64::from(std::process::id()));
    for more in 0..number("GROUPING_SEQUENCES", 3) {
        let seed = first.wrapping_add(more);
        let mut author = Author::new(seed);
        for _ in 0..number("GROUPING_LENGTH", 400) {
            author.write_something();
        }
        let expected = author.without_effect();
        let store = database.open().await;
        store.initialise().await.unwrap();
        let mut dumps = Vec::new();
        for most in [usize::MAX, 1, 7, 60] {
            store.wipe_views().await.unwrap();
            replay(&store, &author.entries, &mut Random::new(seed), most).await;
            dumps.push(view_rows::dump(&database.url).await);
        }
        store.close().await;
        assert_eq!(dumps[0]["view_no_effect"].len(), expected, "seed {seed}");
        for (most, dump) in ["one by one", "up to 7", "up to 60"].into_iter().zip(&dumps[1..]) {
            for (table, rows) in dump {
                assert_eq!(rows, &dumps[0][table], "{table}, {most} at a time, seed {seed}");
            }
        }
    }
}

/// Applies entries in batches, with what the database holds after the batch before.
async fn replay(store: &Store, entries: &[Entry], random: &mut Random, most: usize) {
    let (mut after, mut last_event_id) = (0, 0);
    while after < entries.len() {
        let left = entries.len() - after;
        let count = if most > left { left } else { 1 + random.below(most) };
        let batch = &entries[after..after + count];
        last_event_id = apply(store, batch, after, last_event_id).await;
        after += count;
    }
}

/// Applies the entries after the first `after` as one batch; answers the newest event.
async fn apply(store: &Store, batch: &[Entry], after: usize, last_event_id: u64) -> u64 {
    let (mut overlay, mut needs) = (Overlay::new(last_event_id), Needs::default());
    for entry in batch {
        view::needs(&entry.event, &mut needs);
    }
    store.load_overlay(&needs, &mut overlay).await.unwrap();
    for entry in batch {
        view::apply(&mut overlay, entry);
    }
    let [from, to] = [after, after + batch.len()].map(|size| TreeSize::ZERO.plus(size as u64));
    store.rebuild_views(&overlay.changes(), from, to).await.unwrap();
    overlay.last_event_id
}

/// A key endorsed another a while ago, and offered to it very often since. What it endorses still
/// passes to the successor, in the batch in which it warns of the key that was succeeded.
async fn a_former_endorser_may_warn_whatever_became_of_later_offers_in_the_same_batch(
    database: Database,
) {
    let mut author = Author::new(0);
    let [endorser, endorsed, successor] = [1, 2, PEOPLE].map(holder);
    let first = author.offer_of(&endorser, &endorsed, "human_attestation");
    author.accept_of(first, &endorser, &endorsed);
    author.withdraw_of(first, &endorser, &endorsed);
    for _ in 0..NEWEST_OF_PAIR - 2 {
        let offer = author.offer_of(&endorser, &endorsed, "human_attestation");
        author.withdraw_of(offer, &endorser, &endorsed);
    }
    for category in ["human_attestation", "institutional_endorsement"] {
        let offer = author.offer_of(&endorser, &endorsed, category);
        author.accept_of(offer, &endorser, &endorsed);
    }
    let before = author.entries.len();
    author.succeed_by(&endorsed, &successor);
    author.alert_of(&endorser, &endorsed);
    let store = database.open().await;
    store.initialise().await.unwrap();
    let mut dumps = Vec::new();
    for sizes in [[before, 1, 1].as_slice(), &[before, 2], &[before + 2]] {
        store.wipe_views().await.unwrap();
        let (mut after, mut last) = (0, 0);
        for size in sizes {
            last = apply(&store, &author.entries[after..after + size], after, last).await;
            after += size;
        }
        dumps.push(view_rows::dump(&database.url).await);
    }
    store.close().await;
    assert_eq!(dumps[0]["view_no_effect"], Vec::<String>::new());
    assert_eq!(dumps[1], dumps[0]);
    assert_eq!(dumps[2], dumps[0]);
}

/// Who writes a log that obeys no rule of state, and often breaks one.
struct Author {
    random: Random,
    operator: SigningKey,
    chain: Chain,
    entries: Vec<Entry>,
    /// What all entries together made.
    overlay: Overlay,
    now: Timestamp,
}

fn holder(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

fn origin() -> Origin {
    "log.example/it".parse().unwrap()
}

impl Author {
    fn new(seed: u64) -> Self {
        let operator = holder(100);
        let chain = Chain::new(Trust { operator: operator.fingerprint() });
        let mut author = Self {
            random: Random::new(seed),
            operator,
            chain,
            entries: Vec::new(),
            overlay: Overlay::new(0),
            now: at(START),
        };
        author.write(&Genesis::new(author.operator.public(), origin()));
        for n in 1..=PEOPLE - 3 {
            author.register(&holder(n));
        }
        author
    }

    fn without_effect(&self) -> usize {
        self.overlay.without_effect.len()
    }

    fn write<P: Payload>(&mut self, payload: &P) -> Effect {
        let (id, kind) = (self.chain.size().get() + 1, P::EVENT_TYPE.parse().unwrap());
        let payload = payload.to_payload();
        let leaf = Leaf::build(id, self.chain.chain_head(), self.now, &kind, &payload).unwrap();
        let entry = self.chain.append(leaf, &mut Vec::new()).unwrap();
        let mut needs = Needs::default();
        view::needs(&entry.event, &mut needs);
        let missing = self.overlay.missing(&needs);
        self.overlay.load(&missing, LoadedRows::default());
        let effect = view::apply(&mut self.overlay, &entry);
        self.entries.push(entry);
        effect
    }

    fn somebody(&mut self) -> SigningKey {
        holder(1 + u8::try_from(self.random.below(PEOPLE.into())).unwrap())
    }

    /// Mostly the key of this fingerprint, which somebody holds.
    fn mostly(&mut self, fingerprint: &Value) -> SigningKey {
        let its = (1..=PEOPLE).map(holder).find(|key| json!(key.fingerprint()) == *fingerprint);
        its.filter(|_| !self.random.chance(10)).unwrap_or_else(|| self.somebody())
    }

    /// An offer that the log holds, mostly one of the newest: its entry and the keys that it is
    /// about now.
    fn some_offer(&mut self) -> Option<(u64, Value, Value)> {
        let of_type = |entry: &&Entry| entry.leaf.event_type() == "endorsement_offer";
        let ids: Vec<u64> =
            self.entries.iter().filter(of_type).map(|entry| entry.leaf.id()).collect();
        let newest = ids.len().saturating_sub(if self.random.chance(70) { 8 } else { ids.len() });
        let ids = &ids[newest..];
        let id = if ids.is_empty() { return None } else { self.random.pick(ids) };
        let row = self.overlay.endorsements.find(id)?;
        Some((id, json!(row.endorser), json!(row.endorsed)))
    }

    fn write_something(&mut self) {
        let wait = self.random.pick(&[0, 1, 1, HOUR, 30 * HOUR]);
        self.now = self.now.plus_millis(wait);
        let by = Authorization::Session {};
        match self.random.below(100) {
            0..32 => self.offer(by),
            32..58 => self.accept(by),
            58..66 => self.withdraw(by),
            66..72 => self.take_back(by),
            72..80 => self.alert(by),
            80..86 => self.succeed(by),
            86..88 => {
                let key = self.somebody();
                let (public_key, fingerprint) = (key.public().into(), key.fingerprint());
                self.write(&KeyRevocation { authorization: by, fingerprint, public_key });
            }
            88..92 => self.decide_as_operator(),
            92..95 => {
                let key = self.somebody();
                let config = json!({ "anchors": [self.somebody().fingerprint()] });
                let asked = json!({ "fingerprint": key.fingerprint(), "config": config });
                let asked: TrustConfigRequest = serde_json::from_value(asked).unwrap();
                self.write(&asked.event(key.public().into(), by));
            }
            95..97 => {
                let key = self.somebody();
                let asked = TrustConfigRevocationRequest { fingerprint: key.fingerprint() };
                self.write(&asked.event(key.public().into(), by));
            }
            _ => {
                let key = self.somebody();
                self.register(&key);
            }
        }
    }

    fn register(&mut self, key: &SigningKey) {
        self.write(&KeyRegistration {
            expiration_date: None,
            fingerprint: key.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: "Alice".to_owned().try_into().unwrap(),
            public_key: key.public().into(),
        });
    }

    fn offer_of(&mut self, from: &SigningKey, to: &SigningKey, category: &str) -> u64 {
        let asked: OfferRequest = serde_json::from_value(json!({
            "endorser_fingerprint": from.fingerprint(), "category": category,
            "endorsed_fingerprint": to.fingerprint(),
        }))
        .unwrap();
        self.write(&asked.event(from.public().into(), Authorization::Session {}));
        self.chain.size().get()
    }

    fn accept_of(&mut self, offer_entry_id: u64, from: &SigningKey, to: &SigningKey) {
        let asked = AcceptRequest { offer_entry_id, endorsed_fingerprint: to.fingerprint() };
        let (key, by) = (to.public().into(), Authorization::Session {});
        self.write(&asked.event(key, by, from.fingerprint(), self.now));
    }

    fn withdraw_of(&mut self, offer: u64, from: &SigningKey, to: &SigningKey) {
        self.now = self.now.plus_millis(1);
        let asked: WithdrawRequest = serde_json::from_value(json!({
            "endorser_fingerprint": from.fingerprint(), "original_offer_entry_id": offer,
            "endorsed_fingerprint": to.fingerprint(), "note": "we parted",
        }))
        .unwrap();
        self.write(&asked.event(from.public().into(), Authorization::Session {}));
    }

    fn alert_of(&mut self, by: &SigningKey, of: &SigningKey) {
        let asked: AlertRequest = serde_json::from_value(json!({
            "endorser_fingerprint": by.fingerprint(), "reason": "its key was stolen",
            "compromised_fingerprint": of.fingerprint(),
        }))
        .unwrap();
        self.write(&asked.event(by.public().into(), Authorization::Session {}));
    }

    fn succeed_by(&mut self, old: &SigningKey, new: &SigningKey) {
        let mut successor = SuccessorKey {
            old_fingerprint: old.fingerprint(),
            public_key: new.public().into(),
            expiration_date: None,
            proof: None,
        };
        successor.proof = Some(new.sign(&successor.proof_bytes(&origin())).into());
        let by = Authorization::Session {};
        self.write(&successor.succeed(old.public().into(), false, by));
    }

    fn offer(&mut self, by: Authorization) {
        let (endorser, endorsed) = (self.somebody(), self.somebody());
        if endorser.fingerprint() == endorsed.fingerprint() {
            return;
        }
        let until = self.random.pick(&[None, None, Some(2 * HOUR), Some(90 * HOUR)]);
        let category = self.random.pick(&["human_attestation", "institutional_endorsement"]);
        let asked = json!({
            "endorser_fingerprint": endorser.fingerprint(), "category": category,
            "endorsed_fingerprint": endorsed.fingerprint(),
            "valid_until": until.map(|millis| self.now.plus_millis(millis)),
        });
        let asked: OfferRequest = serde_json::from_value(asked).unwrap();
        self.write(&asked.event(endorser.public().into(), by));
    }

    fn accept(&mut self, by: Authorization) {
        let Some((offer_entry_id, endorser, endorsed)) = self.some_offer() else { return };
        let (endorser, endorsed) = (self.mostly(&endorser), self.mostly(&endorsed));
        if endorser.fingerprint() == endorsed.fingerprint() {
            return;
        }
        let active_from = self.now.plus_millis(self.random.pick(&[0, 1, HOUR]));
        let asked = AcceptRequest { offer_entry_id, endorsed_fingerprint: endorsed.fingerprint() };
        let key = endorsed.public().into();
        self.write(&asked.event(key, by, endorser.fingerprint(), active_from));
    }

    fn withdraw(&mut self, by: Authorization) {
        let Some((offer, endorser, endorsed)) = self.some_offer() else { return };
        let endorser = self.mostly(&endorser);
        let asked = json!({
            "endorser_fingerprint": endorser.fingerprint(), "endorsed_fingerprint": endorsed,
            "original_offer_entry_id": offer, "note": "we parted",
        });
        let asked: WithdrawRequest = serde_json::from_value(asked).unwrap();
        if asked.endorser_fingerprint != asked.endorsed_fingerprint {
            self.write(&asked.event(endorser.public().into(), by));
        }
    }

    fn take_back(&mut self, by: Authorization) {
        let Some((offer, _, endorsed)) = self.some_offer() else { return };
        let endorsed = self.mostly(&endorsed);
        let asked = json!({
            "endorsed_fingerprint": endorsed.fingerprint(), "note": "a mistake",
            "original_offer_entry_id": offer,
        });
        let asked: RevokeAcceptanceRequest = serde_json::from_value(asked).unwrap();
        self.write(&asked.event(endorsed.public().into(), by));
    }

    fn alert(&mut self, by: Authorization) {
        let Some((_, endorser, endorsed)) = self.some_offer() else { return };
        let (endorser, compromised) = (self.mostly(&endorser), self.mostly(&endorsed));
        if endorser.fingerprint() == compromised.fingerprint() {
            return;
        }
        let asked = json!({
            "endorser_fingerprint": endorser.fingerprint(), "reason": "its key was stolen",
            "compromised_fingerprint": compromised.fingerprint(),
        });
        let asked: AlertRequest = serde_json::from_value(asked).unwrap();
        self.write(&asked.event(endorser.public().into(), by));
    }

    fn succeed(&mut self, by: Authorization) {
        let (old, new) = (self.somebody(), self.somebody());
        if old.fingerprint() == new.fingerprint() {
            return;
        }
        let mut successor = SuccessorKey {
            old_fingerprint: old.fingerprint(),
            public_key: new.public().into(),
            expiration_date: None,
            proof: None,
        };
        if self.random.chance(70) {
            successor.proof = Some(new.sign(&successor.proof_bytes(&origin())).into());
        }
        self.write(&successor.succeed(old.public().into(), false, by));
    }

    fn decide_as_operator(&mut self) {
        let key = self.somebody();
        let category = Category::HumanAttestation;
        let row = self.overlay.endorsed.find(&(key.fingerprint(), category.as_str().to_owned()));
        let standing = row.filter(|row| row.revoked_by.is_none()).map(|row| row.entry_id);
        let verb = if standing.is_some() { Verb::Revoke } else { Verb::Endorse };
        let statement = OperatorStatement {
            after: self.chain.size(),
            category,
            display_name: (),
            fingerprint: key.fingerprint(),
            name: None,
            origin: origin(),
            server: (),
            timestamp: self.now,
            verb,
        };
        let (subject, operator) = (key.public().into(), &self.operator);
        if let Some(id) = standing {
            let event = OperatorEndorsementRevocation::sign(statement, subject, id, operator);
            self.write(&event);
        } else {
            let event = OperatorEndorsement::sign(statement, subject, operator);
            self.write(&event);
        }
    }
}
