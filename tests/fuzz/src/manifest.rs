//! Manifests, as whoever attests or verifies sends them.

use std::sync::LazyLock;

use diogenes_common::canonical;
use diogenes_common::keys::HolderKey;
use diogenes_common::manifest::{Canonicalization, Intent, Manifest, Terms};
use serde_json::Value;

/// A manifest is the same after writing in either spelling, and no signature binds it but those
/// that were made over these very bytes.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let count = manifest.listed().len();
    let jcs = manifest.signed_bytes(count, Canonicalization::Jcs);
    let value = canonical::parse(data, canonical::MAX_DEPTH).expect("a manifest is I-JSON");
    assert_eq!(jcs, canonical::to_vec(&value));
    let legacy = manifest.signed_bytes(count, Canonicalization::Legacy);
    for spelled in [jcs, legacy] {
        assert_eq!(Manifest::parse(&spelled).as_ref(), Ok(&manifest));
    }
    let alone = manifest.signed_bytes(0, Canonicalization::Jcs);
    assert_eq!(Manifest::parse(&alone).map(|alone| alone.hash()), Ok(manifest.hash()));
    for position in 0..count.min(8) {
        assert!(binds_what_was_signed(&manifest, position), "a signature that nobody made");
    }
}

fn binds_what_was_signed(manifest: &Manifest, position: usize) -> bool {
    let listed = &manifest.listed()[position];
    let intent_statement = match &listed.intent_statement {
        Intent::Kept(intent) => intent.as_deref(),
        Intent::NotKept => None,
    };
    let terms = Terms {
        position,
        attestation_type: &listed.attestation_type,
        intent_statement,
        parents: listed.parents.as_deref(),
    };
    let mut keys = GOLDEN.keys.iter().filter(|key| key.fingerprint() == listed.signer);
    // Whatever else was changed, the document and its metadata are signed in every form.
    keys.all(|key| {
        manifest.bind(key, &listed.signature, &terms).is_err()
            || manifest.hash() == GOLDEN.manifest.hash()
    })
}

/// The seeds of the target.
pub fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    let manifest = &GOLDEN.manifest;
    let counts = 0..=manifest.listed().len();
    let spelled =
        |spelling| counts.clone().map(move |count| manifest.signed_bytes(count, spelling));
    let all = spelled(Canonicalization::Jcs).chain(spelled(Canonicalization::Legacy));
    (target == "manifest").then(|| all.collect())
}

struct Golden {
    manifest: Manifest,
    keys: Vec<HolderKey>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let text = include_str!("../../vectors/manifest.json");
    let vector: Value = serde_json::from_str(text).expect("JSON");
    let attestations = vector["attestations"].as_array().into_iter().flatten();
    Golden {
        manifest: Manifest::from_value(vector["manifest"].clone()).expect("a manifest"),
        keys: attestations
            .filter_map(|of| HolderKey::from_pem(of["public_key"].as_str()?).ok())
            .collect(),
    }
});
