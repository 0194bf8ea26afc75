//! Layer 1: the signature over the manifest, and the document that it is about.

use super::{LogEvidence, worst};
use crate::keys::HolderKey;
use crate::manifest::{Binds, Bound, Intent, Listed, Manifest, Terms};
use crate::merkle::Hash;
use crate::wire::verify::{SignatureFinding, SignatureLayer, VerifyStatus};

/// Finds what the signature of a listed attestation covers; `None` if nothing, or if its key is
/// not known.
pub(super) fn bind(manifest: &Manifest, position: usize, log: &LogEvidence) -> Option<Bound> {
    let listed = &manifest.listed()[position];
    let key = HolderKey::from_pem(&log.key(&listed.signer)?.public_key).ok()?;
    let intent_statement = match &listed.intent_statement {
        Intent::Kept(intent) => intent.as_deref(),
        Intent::NotKept => log.intents.get(&listed.id).map(String::as_str),
    };
    let terms = Terms {
        position,
        attestation_type: &listed.attestation_type,
        intent_statement,
        parents: listed.parents.as_deref(),
    };
    manifest.bind(&key, &listed.signature, &terms).ok()
}

pub(super) fn layer(
    manifest: &Manifest,
    source: Hash,
    bound: &[Option<Bound>],
    log: &LogEvidence,
) -> SignatureLayer {
    let attestations: Vec<SignatureFinding> = manifest
        .listed()
        .iter()
        .zip(bound)
        .map(|(listed, bound)| finding(manifest, listed, bound.as_ref(), log))
        .collect();
    let content_hash_matches = manifest.content_hash() == source;
    let (status, details) = if content_hash_matches {
        let all_is_well = "Every signature verifies, and the manifest is about this document.";
        let findings = attestations.iter();
        worst(findings.map(|of| (of.attestation_id, of.status, &*of.details)), all_is_well)
    } else {
        let about = manifest.content_hash();
        let details = format!("The manifest is about {about}, which is another document.");
        (VerifyStatus::Invalid, details)
    };
    SignatureLayer { status, details, content_hash_matches, attestations }
}

fn finding(
    manifest: &Manifest,
    listed: &Listed,
    bound: Option<&Bound>,
    log: &LogEvidence,
) -> SignatureFinding {
    let (status, details) = match bound {
        _ if listed.content_hash.is_some_and(|hash| hash != manifest.content_hash()) => {
            (VerifyStatus::Invalid, "It says that it is about another document.")
        }
        None if log.key(&listed.signer).is_none() => {
            (VerifyStatus::UnknownKey, "The log knows no key with its signer's fingerprint.")
        }
        None => {
            (VerifyStatus::Invalid, "Its signature does not verify over this manifest in any form.")
        }
        Some(bound) if bound.id.short() != listed.id => (
            VerifyStatus::Invalid,
            "Its id is that of another attestation: its type, its id or what it stands on was \
             changed.",
        ),
        Some(bound) => (VerifyStatus::Valid, covered(bound.binds)),
    };
    SignatureFinding {
        attestation_id: listed.id,
        signer_key_fingerprint: listed.signer,
        attestation_type: listed.attestation_type.clone(),
        status,
        details: details.to_owned(),
        binds: bound.map(|bound| bound.binds),
        canonicalization: bound.map(|bound| bound.canonicalization),
        parents: bound.map(|bound| bound.parents.clone()).unwrap_or_default(),
        identity: bound.map(|bound| bound.id),
    }
}

const fn covered(binds: Binds) -> &'static str {
    match binds {
        Binds::Manifest => {
            "The signature covers the document and its metadata; its type, its intent and what it \
             stands on are not signed."
        }
        Binds::ManifestAndParents => {
            "The signature covers the document, its metadata and the attestations before it; its \
             type and its intent are not signed."
        }
        Binds::All => {
            "The signature covers the document, its metadata, what it stands on, its type and its \
             intent."
        }
    }
}
