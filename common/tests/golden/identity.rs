//! What people sign: a key's succession and revocation, attestations, challenges, manifests.
//!
//! The holder is `stranger` of `keys.json`; her second key is a P-256 one (32 bytes of 05 are its
//! private scalar) that OpenSSL signed with, as signatures of that algorithm are random.

use diogenes_common::canonical;
use diogenes_common::event::authorization::{
    Action, ChallengeClaim, ChallengeText, Purpose, SignedAuthorization,
};
use diogenes_common::event::{
    Attestation, AttestationClaim, Authorization, Event, KeyRevocation, KeySuccession, Payload,
    Signers, SubmitterClaims, SuccessorKey,
};
use diogenes_common::keys::{HolderKey, HolderSignature, KeyAlgorithm};
use diogenes_common::manifest::{
    AttestationId, AttestationType, Binds, Canonicalization, Identity, ShortId,
};
use diogenes_common::merkle::Hash;
use diogenes_common::statement::Claim;
use serde_json::{Value, json};

use super::{at, compare_json, operator, origin, stranger, text, value};

const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEB4EOqXTOpXc+Y7iX83476aCeel/p\n\
    uXGkTRBlrCo6kxFjfkek+ZRkoP3ORKiOx9cDqRg8HQZVLZ4ta3YGlIHFdw==\n\
    -----END PUBLIC KEY-----\n";
const P256_PROOF: &str =
    "lquqGkq45ut21OCA3mBxw1dayaFkSM1mrIX2NBViOUkiKH6AEDkkaJ2IPjZSRMCBLAlVRdoWIIuMlBfud7jdDA==";
const P256_REVOKES: &str =
    "WK31s/igIYMwxSgMQMCwqlDvX0a53ANP8Vp19z18ZpFG/t8+4Kiwdf1EXg2MT5L/GGdbtiD/7qSqSsSZzy49kA==";

#[test]
fn what_people_sign_is_as_in_the_golden_ones() {
    let entries: Vec<Value> = entries().into_iter().map(shown).collect();
    let refused: Vec<Value> = refused()
        .into_iter()
        .map(|(why, event_type, payload)| {
            let bytes = canonical::to_vec(&payload);
            assert!(!is_good(event_type, &bytes), "{why}");
            json!({"why": why, "event_type": event_type, "payload": payload})
        })
        .collect();
    let login = login();
    compare_json(
        "identity.json",
        &json!({
            "origin": origin(),
            "p256_key": P256,
            "entries": entries,
            "refused": refused,
            "login": {
                "signed": text(&login.signed_bytes()),
                "signature": holder_signature(&login.signed_bytes()),
                "body": value(&login),
            },
            "manifests": manifests(),
        }),
    );
}

/// An entry's payload, and the bytes of the signatures that it carries.
struct Case {
    name: &'static str,
    event_type: &'static str,
    payload: Vec<u8>,
    signed: Vec<Vec<u8>>,
}

fn case<P: Payload>(name: &'static str, payload: &P, signed: Vec<Vec<u8>>) -> Case {
    Case { name, event_type: P::EVENT_TYPE, payload: payload.to_payload(), signed }
}

fn shown(case: Case) -> Value {
    let Case { name, event_type, payload, signed } = case;
    assert!(is_good(event_type, &payload), "{name}");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    let signed: Vec<String> = signed.iter().map(|bytes| text(bytes)).collect();
    json!({"name": name, "event_type": event_type, "payload": payload, "signed": signed})
}

pub(super) fn is_good(event_type: &str, payload: &[u8]) -> bool {
    let operator = operator();
    let signers = Signers {
        origin: &origin(),
        operator: operator.public(),
        roles: &std::collections::BTreeMap::new(),
    };
    let event = Event::parse(event_type, payload);
    event.is_ok_and(|event| event.check_signatures(&signers).is_ok())
}

fn entries() -> Vec<Case> {
    let (succession, revocation) = (succession(), revocation());
    let first = attestation(Binds::All, Vec::new());
    let second = attestation(Binds::All, vec![first.attestation_id.short()]);
    let old = KeyRevocation { authorization: Authorization::Legacy {}, ..revocation.clone() };
    vec![
        case(
            "a succession, with proof and by signature",
            &succession,
            vec![
                succession.successor().proof_bytes(&origin()),
                signed_bytes(&succession.authorization, &succession.old_public_key),
            ],
        ),
        case(
            "a revocation, by signature",
            &revocation,
            vec![signed_bytes(&revocation.authorization, &revocation.public_key)],
        ),
        case("a revocation, by an old client's signature", &old, Vec::new()),
        case("an attestation that binds all", &first, vec![claim(&first).signed_bytes()]),
        case("an attestation that rests on it", &second, vec![claim(&second).signed_bytes()]),
        case(
            "an attestation that binds the manifest",
            &attestation(Binds::Manifest, Vec::new()),
            Vec::new(),
        ),
    ]
}

fn refused() -> Vec<(&'static str, &'static str, Value)> {
    let changed = |payload: Value, pointer: &str, to: Value| {
        let mut changed = payload.clone();
        *changed.pointer_mut(pointer).expect("a member") = to;
        assert_ne!(changed, payload, "{pointer}");
        changed
    };
    let (succession, revocation) = (value(&succession()), value(&revocation()));
    let attestation = value(&attestation(Binds::All, Vec::new()));
    let high_s = "WK31s/igIYMwxSgMQMCwqlDvX0a53ANP8Vp19z18ZpG5ASDAH1dPiwK7ofJzsG0ApH+e94YXr+BJbwYp\
                  LTTnwQ==";
    let other = json!(Hash::of(b"x"));
    let succeed = |why, pointer, to| {
        (why, KeySuccession::EVENT_TYPE, changed(succession.clone(), pointer, to))
    };
    let revoke = |why, pointer, to| {
        (why, KeyRevocation::EVENT_TYPE, changed(revocation.clone(), pointer, to))
    };
    let attest = |why, pointer, to| {
        (why, Attestation::EVENT_TYPE, changed(attestation.clone(), pointer, to))
    };
    vec![
        succeed("another expiry than was asked for", "/expiration_date", Value::Null),
        succeed("a proof that was asked for is left out", "/new_key_proof", Value::Null),
        succeed("a recovery that nobody signed", "/recovery", json!(true)),
        succeed("another old key", "/old_fingerprint", other.clone()),
        succeed("an algorithm that is not the key's", "/key_algorithm", json!("ed25519")),
        revoke("another request", "/authorization/request/payload/fingerprint", other.clone()),
        revoke("another action", "/authorization/action", json!("POST /keys/succeed")),
        revoke("another nonce", "/authorization/nonce", json!("AAAA")),
        revoke("the greater s", "/authorization/signature", json!(high_s)),
        attest("another document", "/content_hash", other.clone()),
        attest("another intent", "/intent_statement", json!("I did not write this.")),
        attest("a type that the id does not cover", "/type", json!("publication")),
        attest("the legacy form of all", "/canonicalization", json!("legacy")),
        attest("another signer", "/signer", other),
        attest("claims beside a statement", "/submitter_claims", json!({"intent_statement": "x"})),
    ]
}

fn succession() -> KeySuccession {
    let successor = SuccessorKey {
        old_fingerprint: stranger().fingerprint(),
        public_key: p256(),
        expiration_date: "2027-01-15T00:00:00.000Z".parse().ok(),
        proof: HolderSignature::from_base64(P256_PROOF).ok(),
    };
    let request = json!({"payload": {
        "old_fingerprint": stranger().fingerprint(),
        "new_public_key": P256,
        "new_algorithm": "ecdsa-p256",
        "expiration_date": "2027-01-15T00:00:00.000Z",
        "new_key_proof": P256_PROOF,
    }});
    let mut signed = unsigned(Action::Succeed, request);
    let claim = signed.claim(&origin(), stranger().fingerprint());
    signed.signature = holder_signature(&claim.signed_bytes());
    let old = HolderKey::from(stranger().public());
    successor.succeed(old, false, Authorization::Signed(Box::new(signed)))
}

fn revocation() -> KeyRevocation {
    let request = json!({"payload": {"fingerprint": p256().fingerprint()}});
    let mut signed = unsigned(Action::Revoke, request);
    signed.signature = HolderSignature::from_base64(P256_REVOKES).expect("a signature");
    KeyRevocation {
        authorization: Authorization::Signed(Box::new(signed)),
        fingerprint: p256().fingerprint(),
        public_key: p256(),
    }
}

/// An authorization whose signature is still to be made.
pub(super) fn unsigned(action: Action, request: Value) -> SignedAuthorization {
    SignedAuthorization {
        action,
        challenge_id: challenge_text("bm90IGEgcmVhbCBjaGFsbGVuZ2U"),
        expires_at: at(309),
        nonce: challenge_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        purpose: Purpose::General,
        recovery: false,
        request,
        signature: holder_signature(b""),
    }
}

fn login() -> ChallengeClaim {
    let asked = unsigned(Action::Login, Value::Null).claim(&origin(), stranger().fingerprint());
    ChallengeClaim { payload_hash: None, purpose: Purpose::Login, ..asked }
}

fn attestation(binds: Binds, parents: Vec<ShortId>) -> Attestation {
    let manifest = manifest(&json!([]));
    let intent = Some("Ich war’s.".to_owned());
    let (intent_statement, submitter_claims) = match (binds, intent) {
        (Binds::All, intent) => (intent, None),
        (_, intent) => (None, intent.map(|intent_statement| SubmitterClaims { intent_statement })),
    };
    let mut attestation = Attestation {
        attestation_id: AttestationId::new(Hash::of(b"")),
        authorization: None,
        binds,
        canonicalization: Canonicalization::Jcs,
        content_hash: content_hash(),
        intent_statement,
        manifest_hash: Hash::of(&canonical::to_vec(&manifest)),
        parents,
        public_key: HolderKey::from(stranger().public()),
        signature: holder_signature(&canonical::to_vec(&manifest)),
        signature_algorithm: KeyAlgorithm::Ed25519,
        signer: stranger().fingerprint(),
        submitter_claims,
        title: Some("Über “nichts” 😀".to_owned()),
        attestation_type: AttestationType::Authorship,
    };
    attestation.attestation_id = Identity {
        form: attestation.binds,
        manifest_hash: attestation.manifest_hash,
        parents: &attestation.parents,
        signer: attestation.signer,
        attestation_type: &attestation.attestation_type,
    }
    .id();
    if binds == Binds::All {
        attestation.signature = holder_signature(&claim(&attestation).signed_bytes());
    }
    attestation
}

fn claim(attestation: &Attestation) -> AttestationClaim {
    AttestationClaim {
        content_hash: attestation.content_hash,
        intent_statement: attestation.intent_statement.clone(),
        manifest_hash: attestation.manifest_hash,
        parents: attestation.parents.clone(),
        attestation_type: attestation.attestation_type.clone(),
    }
}

/// A manifest signed in each form that is not a statement of its own.
fn manifests() -> Vec<Value> {
    let parent = attestation(Binds::All, Vec::new());
    let listed = json!([{"id": parent.attestation_id.short(), "type": "authorship"}]);
    let forms = [
        ("manifest", "jcs", manifest(&json!([]))),
        ("manifest", "legacy", manifest(&json!([]))),
        ("manifest+parents", "jcs", manifest(&listed)),
        ("manifest+parents", "legacy", manifest(&listed)),
    ];
    let whole = manifest(&listed);
    let signed = |canonicalization: &str, covered: &Value| match canonicalization {
        "jcs" => canonical::to_vec(covered),
        _ => canonical::to_legacy(covered),
    };
    forms
        .iter()
        .map(|(binds, canonicalization, covered)| {
            let signed = signed(canonicalization, covered);
            json!({
                "manifest": whole,
                "binds": binds,
                "canonicalization": canonicalization,
                "signed": text(&signed),
                "signature": holder_signature(&signed),
                "signer": stranger().fingerprint(),
            })
        })
        .collect()
}

/// A manifest with what makes the two spellings differ.
fn manifest(attestations: &Value) -> Value {
    json!({
        "attestations": attestations,
        "document": {
            "content_hash": content_hash(),
            "pages": 1.50,
            "ratio": 2.5e-7,
            "title": "Über “nichts” 😀",
            "\u{1f600}": "\u{7f}",
            "\u{e000}": null,
        },
    })
}

fn content_hash() -> Hash {
    Hash::of(b"the golden document\n")
}

fn p256() -> HolderKey {
    HolderKey::from_pem(P256).expect("a key")
}

fn challenge_text(text: &str) -> ChallengeText {
    text.to_owned().try_into().expect("base64url")
}

/// The stranger's signature.
fn holder_signature(message: &[u8]) -> HolderSignature {
    stranger().sign(message).into()
}

fn signed_bytes(authorization: &Authorization, key: &HolderKey) -> Vec<u8> {
    let Authorization::Signed(signed) = authorization else { return Vec::new() };
    signed.claim(&origin(), key.fingerprint()).signed_bytes()
}
