//! What people say of each other: endorsements from the offer to either end, an alert, a policy, and
//! a claim with its reveal, as a log of their own and what the views make of it.
//!
//! The endorser is `stranger` of `keys.json`, the endorsed key `follower`.

use diogenes_common::batch::{Chain, Trust};
use diogenes_common::canonical;
use diogenes_common::event::authorization::SignedAuthorization;
use diogenes_common::event::{
    AcceptRequest, AlertRequest, Asked, Authorization, ClaimRequest, ClaimReveal,
    EndorsementAcceptance, EndorsementOffer, Genesis, KeyRegistration, OfferRequest, Payload,
    RevokeAcceptanceRequest, TrustConfigRequest, TrustConfigRevocationRequest, WithdrawRequest,
    bound_commitment, loose_commitment,
};
use diogenes_common::keys::{HolderKey, KeyAlgorithm, SigningKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::Hash;
use diogenes_common::view::{self, Effect, LoadedRows, Needs, Overlay};
use serde_json::{Map, Value, json};

use super::identity::{is_good, unsigned};
use super::{at, compare_json, follower, operator, origin, stranger};

#[test]
fn what_people_say_of_each_other_is_as_in_the_golden_log() {
    let mut log = Log::new();
    tell(&mut log);
    let refused: Vec<Value> = refused(&log)
        .into_iter()
        .map(|(why, event_type, payload)| {
            assert!(!is_good(event_type, &canonical::to_vec(&payload)), "{why}");
            json!({"why": why, "event_type": event_type, "payload": payload})
        })
        .collect();
    compare_json(
        "trust.json",
        &json!({
            "origin": origin(),
            "entries": log.entries,
            "refused": refused,
            "views": views(&log.overlay),
        }),
    );
}

/// Who writes the log and folds it.
struct Log {
    chain: Chain,
    overlay: Overlay,
    entries: Vec<Value>,
}

impl Log {
    fn new() -> Self {
        let chain = Chain::new(Trust { operator: operator().fingerprint() });
        let mut log = Self { chain, overlay: Overlay::new(0), entries: Vec::new() };
        log.write(&Genesis::new(operator().public(), origin()), None);
        for key in [stranger(), follower()] {
            let registration = KeyRegistration {
                expiration_date: None,
                fingerprint: key.fingerprint(),
                key_algorithm: KeyAlgorithm::Ed25519,
                proof: None,
                pseudonym: "Somebody".to_owned().try_into().expect("a name"),
                public_key: key.public().into(),
            };
            log.write(&registration, None);
        }
        log
    }

    /// Writes an entry that has an effect; answers its id.
    fn write<P: Payload>(&mut self, payload: &P, signed: Option<Vec<u8>>) -> u64 {
        let id = self.chain.size().get() + 1;
        let kind = P::EVENT_TYPE.parse().expect("a type");
        let leaf = Leaf::build(id, self.chain.chain_head(), at(id), &kind, &payload.to_payload());
        let entry = self.chain.append(leaf.expect("a leaf"), &mut Vec::new()).expect("an entry");
        let mut needs = Needs::default();
        view::needs(&entry.event, &mut needs);
        let missing = self.overlay.missing(&needs);
        self.overlay.load(&missing, LoadedRows::default());
        assert_eq!(view::apply(&mut self.overlay, &entry), Effect::Applied, "{id}");
        let mut shown: Value = serde_json::from_str(&entry.leaf.to_json()).expect("JSON");
        let signed = signed.map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        shown = json!({ "entry": shown, "signed": signed });
        self.entries.push(shown);
        id
    }

    /// Writes what the holder of a key signed.
    fn ask<E: Asked>(
        &mut self,
        by: &SigningKey,
        request: &Value,
        event: impl FnOnce(E::Request, HolderKey, Authorization) -> E,
    ) -> u64 {
        let (signed, bytes) = authorization::<E>(by, request);
        let asked = serde_json::from_value(request.clone()).expect("a request");
        let event = event(asked, by.public().into(), Authorization::Signed(Box::new(signed)));
        self.write(&event, Some(bytes))
    }

    fn payload(&self, event_type: &str) -> Value {
        let of_type = |shown: &&Value| shown["entry"]["event_type"] == event_type;
        self.entries.iter().find(of_type).expect("such an entry")["entry"]["payload"].clone()
    }
}

/// The authorization of a request, and the bytes that were signed.
fn authorization<E: Asked>(by: &SigningKey, request: &Value) -> (SignedAuthorization, Vec<u8>) {
    let mut signed = unsigned(E::ACTION, request.clone());
    let bytes = {
        use diogenes_common::statement::Claim as _;
        signed.claim(&origin(), by.fingerprint()).signed_bytes()
    };
    signed.signature = by.sign(&bytes).into();
    (signed, bytes)
}

fn plaintext() -> Map<String, Value> {
    let salt = "00112233445566778899aabbccddeeff";
    Map::from_iter([("holds".to_owned(), json!("a lämp")), ("salt".to_owned(), json!(salt))])
}

/// Every event once at least, each as its author signed it.
fn tell(log: &mut Log) {
    let (alice, bob) = (stranger(), follower());
    let [from, to] = [alice.fingerprint(), bob.fingerprint()];
    let full = json!({
        "endorser_fingerprint": from, "endorsed_fingerprint": to,
        "category": "institutional_endorsement", "valid_until": "2099-01-15T01:00:00+01:00",
        "institutional_metadata": { "name": "Akademie “Ä”", "ror": "05gq02987" },
        "external_identifiers": [{ "type": "orcid", "value": "0000-0002-1825-0097" }],
    });
    let plain = json!({
        "endorser_fingerprint": from, "endorsed_fingerprint": to,
        "category": "x-diogenes:human_attestation",
    });
    let first = log.ask(&alice, &full, OfferRequest::event);
    let second = log.ask(&alice, &plain, OfferRequest::event);
    for offer in [first, second] {
        let request = json!({ "offer_entry_id": offer, "endorsed_fingerprint": to });
        log.ask(&bob, &request, |asked: AcceptRequest, key, by| -> EndorsementAcceptance {
            asked.event(key, by, from, at(offer + 3))
        });
    }
    log.ask(
        &alice,
        &json!({
            "endorser_fingerprint": from, "compromised_fingerprint": to,
            "reason": "stolen", "evidence": "she told me",
        }),
        AlertRequest::event,
    );
    let note =
        json!({ "original_offer_entry_id": first, "endorsed_fingerprint": to, "note": "no" });
    log.ask(&bob, &note, RevokeAcceptanceRequest::event);
    let mut note = note;
    note["original_offer_entry_id"] = json!(second);
    note["endorser_fingerprint"] = json!(from);
    log.ask(&alice, &note, WithdrawRequest::event);
    log.ask(&alice, &plain, OfferRequest::event);
    let config = json!({ "anchors": [from], "min_score": 0.5, "max_depth": 2 });
    let config = json!({ "fingerprint": to, "config": config });
    log.ask(&bob, &config, TrustConfigRequest::event);
    log.ask(&bob, &json!({ "fingerprint": to }), TrustConfigRevocationRequest::event);
    for (commitment, encryption) in [
        (bound_commitment(from, &origin(), &plaintext()), json!({ "algorithm": "age" })),
        (loose_commitment(&plaintext()), json!({ "algorithm": "age", "recipients": ["age1x"] })),
    ] {
        let request = json!({
            "claimant_fingerprint": from, "commitment": commitment, "ciphertext": "AAEC",
            "encryption": encryption,
        });
        let claim = log.ask(&alice, &request, ClaimRequest::event);
        let reveal = ClaimReveal::of(claim, (from, commitment), plaintext(), &origin());
        log.write(&reveal.expect("the plaintext"), None);
    }
}

fn refused(log: &Log) -> Vec<(&'static str, &'static str, Value)> {
    let other = || json!(Hash::of(b"x"));
    let changed = |event_type: &'static str, why, pointer: &str, to: Value| {
        let mut payload = log.payload(event_type);
        let before = payload.clone();
        *payload.pointer_mut(pointer).expect("a member") = to;
        assert_ne!(payload, before, "{pointer}");
        (why, event_type, payload)
    };
    let offer = EndorsementOffer::EVENT_TYPE;
    vec![
        changed(offer, "another endorsed key", "/endorsed_fingerprint", other()),
        changed(offer, "another endorser", "/endorser_fingerprint", other()),
        changed(offer, "a category of roles", "/category", json!("x-diogenes:witness")),
        changed(offer, "no end where one was asked for", "/valid_until", Value::Null),
        changed(offer, "identifiers left out", "/external_identifiers", json!([])),
        changed(
            offer,
            "another request",
            "/authorization/request/category",
            json!("human_attestation"),
        ),
        changed(
            offer,
            "another action",
            "/authorization/action",
            json!("POST /endorsements/accept"),
        ),
        changed(offer, "a recovery", "/authorization/recovery", json!(true)),
        changed("endorsement_acceptance", "another offer", "/offer_entry_id", json!(99)),
        changed(
            "endorsement_acceptance",
            "of oneself",
            "/endorser_fingerprint",
            json!(follower().fingerprint()),
        ),
        changed("endorsement_withdrawal", "another note", "/note", json!("yes")),
        changed("endorsement_acceptance_revocation", "another note", "/note", json!("yes")),
        changed("endorsement_revocation_alert", "no evidence", "/evidence", Value::Null),
        changed("trust_config", "another score", "/config/min_score", json!(0.25)),
        changed("trust_config_revocation", "another key", "/fingerprint", other()),
        changed("encrypted_claim", "another commitment", "/commitment", other()),
        changed("encrypted_claim", "another algorithm", "/encryption/algorithm", json!("rot13")),
        changed("claim_reveal", "another text", "/plaintext/holds", json!("a lamp")),
        changed("claim_reveal", "not as it was bound", "/bound", json!(false)),
        changed("claim_reveal", "another claimant", "/claimant_fingerprint", other()),
    ]
}

/// What the log says in the end.
fn views(overlay: &Overlay) -> Value {
    let changes = overlay.changes();
    let endorsements: Vec<Value> = changes
        .endorsements
        .iter()
        .map(|row| {
            json!({
                "offer_id": row.offer_id, "endorser": row.endorser, "endorsed": row.endorsed,
                "category": row.category, "accept_id": row.accepted.map(|of| of.entry_id),
                "active_from": row.accepted.map(|of| of.active_from),
                "ended_how": row.ended.map(|end| end.how.as_str()),
                "ended_by": row.ended.map(|end| end.entry_id),
            })
        })
        .collect();
    let alerts: Vec<Value> = changes
        .alerts
        .iter()
        .map(|row| json!({ "entry_id": row.entry_id, "withdrawn_by": row.withdrawn_by }))
        .collect();
    let configs: Vec<Value> = changes
        .trust_configs
        .iter()
        .map(|row| json!({ "entry_id": row.entry_id, "revoked_by": row.revoked_by }))
        .collect();
    let mut claims: Vec<Value> = changes
        .claims
        .iter()
        .map(|row| json!({ "entry_id": row.entry_id, "revealed_by": row.revealed_by }))
        .collect();
    claims.sort_by_key(|row| row["entry_id"].as_u64());
    json!({ "endorsements": endorsements, "alerts": alerts, "trust_configs": configs, "claims": claims })
}
