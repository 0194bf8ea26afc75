use super::super::Effect;
use super::super::testing::{Log, key, origin};
use super::*;
use crate::event::{Authorization, bound_commitment};
use crate::keys::SigningKey;
use serde_json::{Map, Value, json};

fn none(reason: NoEffect) -> Effect {
    Effect::None(reason)
}

fn config(of: &SigningKey) -> TrustConfig {
    let anchors = json!({ "anchors": [key(2).fingerprint()] });
    TrustConfig {
        authorization: Authorization::Session {},
        config: serde_json::from_value(anchors).expect("a policy"),
        fingerprint: of.fingerprint(),
        public_key: of.public().into(),
    }
}

fn end_of_config(of: &SigningKey) -> TrustConfigRevocation {
    TrustConfigRevocation {
        authorization: Authorization::Session {},
        fingerprint: of.fingerprint(),
        public_key: of.public().into(),
    }
}

fn plaintext() -> Map<String, Value> {
    Map::from_iter([("holds".to_owned(), json!("a passport"))])
}

fn claim(by: &SigningKey) -> EncryptedClaim {
    EncryptedClaim {
        authorization: Authorization::Session {},
        claimant_fingerprint: by.fingerprint(),
        ciphertext: serde_json::from_value(json!("AAAA")).expect("a ciphertext"),
        commitment: bound_commitment(by.fingerprint(), &origin(), &plaintext()),
        encryption: serde_json::from_value(json!({ "algorithm": "age" })).expect("a way"),
        public_key: by.public().into(),
    }
}

fn reveal(claim: &EncryptedClaim, id: u64) -> ClaimReveal {
    let of = (claim.claimant_fingerprint, claim.commitment);
    ClaimReveal::of(id, of, plaintext(), &origin()).expect("the plaintext")
}

#[test]
fn a_policy_stands_until_the_next_one_or_its_end() {
    let mut log = Log::new();
    let [alice, gone] = log.holders(2);
    log.write(&log.revocation(&gone));
    let standing = |log: &Log| {
        let row = log.overlay.trust_configs.find(&alice.fingerprint());
        row.filter(|row| row.revoked_by.is_none()).map(|row| row.entry_id)
    };

    assert_eq!(log.write(&end_of_config(&alice)), none(NoEffect::NoTrustConfig));
    assert_eq!(log.write(&config(&key(9))), none(NoEffect::UnknownKey));
    assert_eq!(log.write(&config(&gone)), none(NoEffect::KeyNotActive));
    for _ in 0..2 {
        assert_eq!(log.write(&config(&alice)), Effect::Applied);
        assert_eq!(standing(&log), Some(log.newest()));
    }
    assert_eq!(log.write(&end_of_config(&alice)), Effect::Applied);
    assert_eq!(standing(&log), None);
    assert_eq!(log.write(&end_of_config(&alice)), none(NoEffect::NoTrustConfig));
    assert_eq!(log.write(&config(&alice)), Effect::Applied);
    assert_eq!(standing(&log), Some(log.newest()));
}

#[test]
fn a_commitment_is_in_the_log_once_and_revealed_once() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let of_alice = claim(&alice);
    assert_eq!(log.write(&reveal(&of_alice, 4)), none(NoEffect::UnknownClaim));
    assert_eq!(log.write(&claim(&key(9))), none(NoEffect::UnknownKey));

    assert_eq!(log.write(&of_alice), Effect::Applied);
    let id = log.newest();

    let copied = EncryptedClaim { commitment: of_alice.commitment, ..claim(&bob) };
    assert_eq!(log.write(&copied), none(NoEffect::CommitmentExists));
    assert_eq!(log.write(&of_alice), none(NoEffect::CommitmentExists));
    assert_eq!(log.write(&reveal(&of_alice, id + 1)), none(NoEffect::UnknownClaim));
    assert_eq!(log.write(&reveal(&of_alice, id)), Effect::Applied);
    let row = log.overlay.claims.find(&of_alice.commitment);
    assert_eq!(row.and_then(|row| row.revealed_by), Some(log.newest()));
    assert_eq!(log.write(&reveal(&of_alice, id)), none(NoEffect::AlreadyRevealed));
    assert_eq!(log.write(&of_alice), none(NoEffect::CommitmentExists), "revealed or not");
}
