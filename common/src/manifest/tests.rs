use serde_json::{Value, json};

use super::*;
use crate::event::AttestationClaim;
use crate::keys::{HolderKey, SigningKey};
use crate::statement::Claim as _;

fn alice() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn holder(key: &SigningKey) -> HolderKey {
    HolderKey::from(key.public())
}

fn content() -> Hash {
    Hash::of(b"the document")
}

fn id(digit: char) -> String {
    digit.to_string().repeat(32)
}

fn listed(id: &str) -> Value {
    json!({
        "id": id,
        "type": "authorship",
        "scope": { "content_hash": content() },
        "signer_key_fingerprint": alice().fingerprint(),
        "signature_algorithm": "ed25519",
        "signature": "AAAA",
        "timestamp": "2026-01-15T10:30:00.000Z",
    })
}

fn manifest_of(attestations: &[Value]) -> Value {
    json!({
        "document": { "title": "Über Maß", "content_hash": content(), "pages": 1.5e-5 },
        "attestations": attestations,
    })
}

fn read(value: Value) -> Result<Manifest, ManifestError> {
    Manifest::from_value(value)
}

/// The manifest with one value put at a JSON pointer's place.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = manifest_of(&[listed(&id('a')), listed(&id('b'))]);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(name.to_owned(), value);
    manifest
}

/// The manifest without the value at a JSON pointer's place.
fn without(pointer: &str) -> Value {
    let mut manifest = with(pointer, Value::Null);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    manifest
}

fn terms(position: usize) -> Terms<'static> {
    Terms {
        position,
        attestation_type: &AttestationType::PeerReview,
        intent_statement: Some("I read it"),
        parents: None,
    }
}

fn claim(manifest: &Manifest, parents: &[&str]) -> AttestationClaim {
    AttestationClaim {
        content_hash: content(),
        intent_statement: Some("I read it".to_owned()),
        manifest_hash: manifest.hash(),
        parents: parents.iter().map(|id| id.parse().unwrap()).collect(),
        attestation_type: AttestationType::PeerReview,
    }
}

#[test]
fn a_manifest_is_hashed_without_its_attestations() {
    let empty = read(manifest_of(&[])).unwrap();
    let full = read(manifest_of(&[listed(&id('a'))])).unwrap();
    let text = format!(
        r#"{{"attestations":[],"document":{{"content_hash":"{}","pages":0.000015,"title":"Über Maß"}}}}"#,
        content()
    );

    assert_eq!(empty.hash(), Hash::of(text.as_bytes()));
    assert_eq!(full.hash(), empty.hash());
    assert_eq!((full.content_hash(), full.title()), (content(), Some("Über Maß")));
    assert_eq!(full.listed()[0].id.to_string(), id('a'));
}

#[test]
fn signed_bytes_are_the_canonical_form_of_a_manifest_with_fewer_attestations() {
    let all = [listed(&id('a')), listed(&id('b')), listed(&id('c'))];
    let manifest = read(manifest_of(&all)).unwrap();

    for count in 0..=all.len() {
        let value = manifest_of(&all[..count]);
        let jcs = manifest.signed_bytes(count, Canonicalization::Jcs);
        let legacy = manifest.signed_bytes(count, Canonicalization::Legacy);
        assert_eq!(jcs, canonical::to_vec(&value));
        assert_eq!(legacy, canonical::to_legacy(&value));
    }
}

#[test]
fn every_broken_rule_is_refused_with_its_place() {
    let many: Vec<Value> = (0..=MAX_LISTED).map(|n| listed(&format!("{n:032}"))).collect();
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let listed_at = |position, fault| ManifestError::Listed { position, fault };
    for (value, error, pointer) in [
        (json!([]), ManifestError::NotAnObject, ""),
        (
            with("/extra", json!(1)),
            ManifestError::UnknownMember { name: "extra".to_owned() },
            "/extra",
        ),
        (without("/document"), ManifestError::Document, "/document"),
        (with("/document", json!([])), ManifestError::Document, "/document"),
        (without("/document/content_hash"), ManifestError::ContentHash, "/document/content_hash"),
        (
            with("/document/content_hash", json!("abc")),
            ManifestError::ContentHash,
            "/document/content_hash",
        ),
        (with("/document/title", json!("")), ManifestError::Title, "/document/title"),
        (with("/document/title", json!(7)), ManifestError::Title, "/document/title"),
        (
            with("/document/title", json!("é".repeat(MAX_TITLE_CHARS + 1))),
            ManifestError::Title,
            "/document/title",
        ),
        (without("/attestations"), ManifestError::Attestations, "/attestations"),
        (with("/attestations", json!({})), ManifestError::Attestations, "/attestations"),
        (with("/attestations", json!(many)), ManifestError::TooMany, "/attestations"),
        (
            manifest_of(&[listed(&id('a')), json!(1)]),
            listed_at(1, ListedFault::NotAnObject),
            "/attestations/1",
        ),
        (
            manifest_of(&[listed(&id('a')), listed(&id('a'))]),
            ManifestError::Twice { position: 1 },
            "/attestations/1/id",
        ),
        (with("/document/notes", deep), ManifestError::TooDeep, ""),
        (with("/document/notes", json!("x".repeat(MAX_BYTES))), ManifestError::TooLarge, ""),
    ] {
        let found = read(value).unwrap_err();
        assert_eq!(found, error);
        assert_eq!(found.pointer(), pointer);
    }
}

#[test]
fn what_is_needed_of_a_listed_attestation_is_read_strictly() {
    for (name, bad, fault) in [
        ("id", json!("A".repeat(32)), ListedFault::Id),
        ("type", json!("reading"), ListedFault::Type),
        ("signer_key_fingerprint", json!("alice"), ListedFault::Signer),
        ("signature", json!(""), ListedFault::Signature),
        ("signature", json!("not base64!"), ListedFault::Signature),
        ("signature", json!("A".repeat(1024)), ListedFault::Signature),
        ("scope", json!({ "content_hash": "md5:1" }), ListedFault::Scope),
        ("parents", json!("none"), ListedFault::Parents),
        ("parents", json!(["x"]), ListedFault::Parents),
        ("intent_statement", json!(1), ListedFault::Intent),
    ] {
        let mut one = listed(&id('a'));
        one[name] = bad;
        let found = read(manifest_of(&[one])).unwrap_err();
        assert_eq!(found, ManifestError::Listed { position: 0, fault }, "{name}");
        assert!(found.pointer().starts_with(&format!("/attestations/0/{name}")));
    }
}

#[test]
fn what_is_not_needed_is_not_looked_at() {
    let mut one = listed(&id('a'));
    for (name, value) in
        [("binds", json!(5)), ("timestamp", json!(null)), ("scope", json!(null)), ("x", json!({}))]
    {
        one[name] = value;
    }
    let minimal = json!({
        "id": id('b'),
        "type": "x-acme:seen",
        "signer_key_fingerprint": alice().fingerprint(),
        "signature": "AAAA",
        "intent_statement": null,
    });

    let manifest = read(manifest_of(&[one, minimal])).unwrap();

    assert_eq!(manifest.listed()[0].intent_statement, Intent::NotKept);
    assert_eq!(manifest.listed()[1].intent_statement, Intent::Kept(None));
    assert_eq!(manifest.listed()[1].content_hash, None);
}

#[test]
fn a_title_may_be_left_out() {
    assert_eq!(read(without("/document/title")).unwrap().title(), None);
    assert_eq!(read(with("/document/title", json!(null))).unwrap().title(), None);
}

#[test]
fn what_two_readers_could_read_differently_is_no_manifest() {
    let text = r#"{"attestations":[],"attestations":[],"document":{}}"#;
    assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Json(_))));
    let text = canonical::to_vec(&manifest_of(&[]));
    assert_eq!(Manifest::parse(&text), read(manifest_of(&[])));
}

#[test]
fn a_signature_is_found_in_every_form_and_spelling() {
    let manifest = read(manifest_of(&[listed(&id('a')), listed(&id('b'))])).unwrap();
    let (key, before) = (alice(), [id('a'), id('b')]);
    let over = |count, spelling| key.sign(&manifest.signed_bytes(count, spelling));
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let all = key.sign(&claim(&manifest, &before).signed_bytes());
    let (jcs, legacy) = (Canonicalization::Jcs, Canonicalization::Legacy);

    for (signature, binds, spelling, parents) in [
        (over(0, jcs), Binds::Manifest, jcs, 0),
        (over(0, legacy), Binds::Manifest, legacy, 0),
        (over(2, jcs), Binds::ManifestAndParents, jcs, 2),
        (over(2, legacy), Binds::ManifestAndParents, legacy, 2),
        (all, Binds::All, jcs, 2),
    ] {
        let bound = manifest.bind(&holder(&key), signature.as_bytes(), &terms(2)).unwrap();
        assert_eq!((bound.binds, bound.canonicalization), (binds, spelling));
        assert_eq!(bound.parents.len(), parents);
        assert_eq!(bound.signature, signature.into());
        let identity = Identity {
            form: binds,
            manifest_hash: manifest.hash(),
            parents: &bound.parents,
            signer: key.fingerprint(),
            attestation_type: &AttestationType::PeerReview,
        };
        assert_eq!(bound.id, identity.id());
    }
}

#[test]
fn parents_are_exactly_the_attestations_before() {
    let manifest = read(manifest_of(&[listed(&id('a')), listed(&id('b'))])).unwrap();
    let key = alice();
    let signature = key.sign(&manifest.signed_bytes(2, Canonicalization::Jcs));
    let found = |position| manifest.bind(&holder(&key), signature.as_bytes(), &terms(position));

    assert_eq!(found(2).unwrap().parents.len(), 2);
    assert_eq!(found(1), Err(NotBound));
    assert_eq!(found(0), Err(NotBound));
}

#[test]
fn the_first_attestation_binds_the_manifest_and_no_parents() {
    let manifest = read(manifest_of(&[])).unwrap();
    let key = alice();
    let signature = key.sign(&manifest.signed_bytes(0, Canonicalization::Jcs));

    let bound = manifest.bind(&holder(&key), signature.as_bytes(), &terms(0)).unwrap();

    assert_eq!(bound.binds, Binds::Manifest);
}

#[test]
fn a_signature_over_all_covers_type_intent_and_the_parents_that_are_named() {
    let manifest = read(manifest_of(&[listed(&id('a')), listed(&id('b'))])).unwrap();
    let (key, named) = (alice(), [id('b').parse::<ShortId>().unwrap()]);
    let signature = key.sign(&claim(&manifest, &[&id('b')]).signed_bytes());
    let of = |terms: &Terms<'_>| manifest.bind(&holder(&key), signature.as_bytes(), terms);
    let right = Terms { parents: Some(&named), ..terms(2) };

    assert_eq!(of(&right).unwrap().parents, named);
    let publication = &AttestationType::Publication;
    for other in [
        terms(2),
        Terms { parents: Some(&[]), ..right },
        Terms { intent_statement: None, ..right },
        Terms { attestation_type: publication, ..right },
    ] {
        assert_eq!(of(&other), Err(NotBound), "{other:?}");
    }
}

#[test]
fn nobody_elses_signature_and_no_other_manifest_is_bound() {
    let manifest = read(manifest_of(&[])).unwrap();
    let signature = alice().sign(&manifest.signed_bytes(0, Canonicalization::Jcs));
    let bob = SigningKey::from_seed([2; 32]);
    let mut other = manifest_of(&[]);
    other["document"]["title"] = json!("Another");
    let other = read(other).unwrap();

    assert_eq!(manifest.bind(&holder(&bob), signature.as_bytes(), &terms(0)), Err(NotBound));
    assert_eq!(other.bind(&holder(&alice()), signature.as_bytes(), &terms(0)), Err(NotBound));
    assert_eq!(manifest.bind(&holder(&alice()), b"short", &terms(0)), Err(NotBound));
}
