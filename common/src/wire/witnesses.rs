//! Witnesses and the proofs that they signed.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey, ShortFingerprint, Signature};
use crate::merkle::{Hash, TreeSize};
use crate::statement::WitnessProof;

/// A recorded witness proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ProofRecord {
    /// The entry that records it.
    pub proof_id: u64,
    /// The witness's key.
    pub witness: Fingerprint,
    /// The first 16 hex digits of that.
    pub short_fingerprint: ShortFingerprint,
    /// The witness's name, from its profile or the operator's statement.
    pub display_name: Option<String>,
    /// The log.
    pub origin: Origin,
    /// The size that the witness knew before.
    pub old_tree_size: TreeSize,
    /// The root at that size.
    pub old_root: Hash,
    /// The size that it checked.
    pub new_tree_size: TreeSize,
    /// The root at that size.
    pub new_root: Hash,
    /// When it signed.
    pub timestamp: Timestamp,
    /// The witness's key as PEM.
    pub public_key: PublicKey,
    /// Its signature.
    pub signature: Signature,
    /// The tree head that it signed about, verbatim.
    #[cfg_attr(feature = "shell", schema(value_type = crate::head::HeadJson))]
    pub head: serde_json::Value,
    /// The C2SP cosignature line.
    pub cosignature: Option<String>,
    /// When the log recorded the proof.
    pub recorded_at: Timestamp,
    /// Whether the witness is authorised now.
    pub authorized: bool,
}

impl ProofRecord {
    /// The record of a proof that entry `proof_id` holds.
    pub fn new(
        proof_id: u64,
        recorded_at: Timestamp,
        proof: WitnessProof,
        display_name: Option<String>,
        authorized: bool,
    ) -> Self {
        Self {
            proof_id,
            witness: proof.witness,
            short_fingerprint: proof.witness.short(),
            display_name,
            origin: proof.origin,
            old_tree_size: proof.old_tree_size,
            old_root: proof.old_root,
            new_tree_size: proof.new_tree_size,
            new_root: proof.new_root,
            timestamp: proof.timestamp,
            public_key: proof.public_key,
            signature: proof.signature,
            head: serde_json::to_value(&proof.head).unwrap_or_default(),
            cosignature: proof.cosignature,
            recorded_at,
            authorized,
        }
    }
}

/// `GET /api/v1/log/witnesses`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ProofPage {
    /// The proofs of this page, in the order asked for.
    pub proofs: Vec<ProofRecord>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many proofs a page has at most.
    pub per_page: u64,
    /// How many proofs match.
    pub total: u64,
    /// True if more match than are counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_capped: bool,
}

/// What the operator decided about a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WitnessState {
    /// Its proofs are accepted.
    Authorized,
    /// The operator reserved a place for the short fingerprint; its first proof is awaited.
    Reserved,
    /// It sent a valid proof, and the operator has not decided.
    Pending,
    /// Its authorisation was ended.
    Revoked,
    /// Nothing is known about it here.
    Unknown,
}

/// A witness's newest cosignature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct LastCosignature {
    /// The size that it signed.
    pub tree_size: TreeSize,
    /// The checkpoint of that size with the cosignature, if the node can show it.
    pub checkpoint: Option<String>,
}

/// `GET /api/v1/log/witnesses/{fingerprint}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WitnessRecord {
    /// The full fingerprint; what was asked for, if nothing longer is known.
    pub fingerprint: String,
    /// What the operator decided.
    pub state: WitnessState,
    /// Since when it is in that state.
    pub since: Option<Timestamp>,
    /// Its name.
    pub display_name: Option<String>,
    /// Its URL, shown and never dialled.
    pub server: Option<String>,
    /// Its cosigner key as a C2SP vkey.
    pub vkey: Option<String>,
    /// Its newest recorded proof.
    pub last_proof: Option<ProofRecord>,
    /// Its newest cosignature.
    pub last_cosignature: Option<LastCosignature>,
}

/// The answer to a witness proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WitnessAnswer {
    /// The entry that records it; null if the round rules do not record it.
    pub proof_id: Option<u64>,
    /// Whether it is recorded.
    pub recorded: bool,
}
