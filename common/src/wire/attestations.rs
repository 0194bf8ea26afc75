//! Attestations as clients see and keep them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{Attestation, SubmitterClaims};
use crate::keys::{Fingerprint, HolderSignature, KeyAlgorithm};
use crate::manifest::{AttestationId, AttestationType, Binds, Canonicalization, ShortId};
use crate::merkle::Hash;

/// An attestation: what `POST /attestations` answers, and what manifests list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AttestationView {
    /// The first 32 hex digits of `attestation_id`.
    pub id: ShortId,
    /// In which part its signer attests.
    #[serde(rename = "type")]
    pub attestation_type: AttestationType,
    /// What it is about.
    pub scope: Scope,
    /// Whose it is.
    pub signer_key_fingerprint: Fingerprint,
    /// The algorithm of the signer's key.
    pub signature_algorithm: KeyAlgorithm,
    /// The signature as the log keeps it, base64.
    #[cfg_attr(feature = "shell", schema(value_type = String))]
    pub signature: HolderSignature,
    /// When the log recorded it.
    pub timestamp: Timestamp,
    /// Its identity: the hash of form, manifest, parents, signer and type.
    pub attestation_id: AttestationId,
    /// What the signature covers.
    pub binds: Binds,
    /// In which spelling the signed bytes were.
    pub canonicalization: Canonicalization,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The attestations that it stands on.
    pub parents: Vec<ShortId>,
    /// What its signer says about it.
    pub intent_statement: Option<String>,
    /// What came with it and nobody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub submitter_claims: Option<SubmitterClaims>,
    /// True where type and intent rest on the leader's word that its signer sent it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader_asserted: bool,
}

/// What an attestation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Scope {
    /// The hash of the document.
    pub content_hash: Hash,
}

impl AttestationView {
    /// The attestation that an entry of this time records.
    pub fn of(event: Attestation, timestamp: Timestamp) -> Self {
        Self {
            id: event.attestation_id.short(),
            leader_asserted: event.is_leader_asserted(),
            attestation_type: event.attestation_type,
            scope: Scope { content_hash: event.content_hash },
            signer_key_fingerprint: event.signer,
            signature_algorithm: event.signature_algorithm,
            signature: event.signature,
            timestamp,
            attestation_id: event.attestation_id,
            binds: event.binds,
            canonicalization: event.canonicalization,
            manifest_hash: event.manifest_hash,
            parents: event.parents,
            intent_statement: event.intent_statement,
            submitter_claims: event.submitter_claims,
        }
    }
}
