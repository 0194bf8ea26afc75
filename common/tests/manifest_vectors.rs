//! A manifest that Python clients signed, with keys of every algorithm and in every form.

use diogenes_common::keys::HolderKey;
use diogenes_common::manifest::{Intent, Manifest, NotBound, Terms};
use serde_json::{Value, json};

fn vector() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/manifest.json")).expect("JSON")
}

fn manifest(vector: &Value) -> Manifest {
    Manifest::parse(vector["manifest"].to_string().as_bytes()).expect("a manifest")
}

fn terms(manifest: &Manifest, position: usize) -> Terms<'_> {
    let listed = &manifest.listed()[position];
    let intent_statement = match &listed.intent_statement {
        Intent::Kept(intent) => intent.as_deref(),
        Intent::NotKept => None,
    };
    Terms {
        position,
        attestation_type: &listed.attestation_type,
        intent_statement,
        parents: listed.parents.as_deref(),
    }
}

#[test]
fn what_python_signed_is_bound_as_it_was_signed() {
    let vector = vector();
    let manifest = manifest(&vector);
    assert_eq!(json!(manifest.hash()), vector["manifest_hash"]);

    for (position, expected) in vector["attestations"].as_array().unwrap().iter().enumerate() {
        let key = HolderKey::from_pem(expected["public_key"].as_str().unwrap()).unwrap();
        let signature = &manifest.listed()[position].signature;

        let bound = manifest.bind(&key, signature, &terms(&manifest, position)).unwrap();

        assert_eq!(json!(bound.binds), expected["binds"], "{position}");
        assert_eq!(json!(bound.canonicalization), expected["canonicalization"], "{position}");
        assert_eq!(json!(bound.parents), expected["parents"], "{position}");
        assert_eq!(json!(bound.id), expected["attestation_id"], "{position}");
        assert_eq!(bound.id.short(), manifest.listed()[position].id, "{position}");
    }
}

#[test]
fn no_signature_is_bound_to_another_document() {
    let mut vector = vector();
    vector["manifest"]["document"]["pages"] = json!(13);
    let manifest = manifest(&vector);

    for (position, expected) in vector["attestations"].as_array().unwrap().iter().enumerate() {
        let key = HolderKey::from_pem(expected["public_key"].as_str().unwrap()).unwrap();
        let signature = &manifest.listed()[position].signature;
        let bound = manifest.bind(&key, signature, &terms(&manifest, position));
        assert_eq!(bound, Err(NotBound), "{position}");
    }
}
