//! A document's manifest and what its attestations are worth.
//!
//! ```text
//! POST /api/v1/verify {"manifest":{...},"source_hash":"<64 hex>","require":{"witnesses":k}}
//! -> {"layer1":{"status","details","attestations":[...]},"layer2":{...},"layer3":{...},"overall_status",
//!     "attestation_graph":{"nodes","edges"},"manifest_hash","content_hash","log":{...}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::manifest::{AttestationId, AttestationType, Binds, Canonicalization, ShortId};
use crate::merkle::{Hash, TreeSize};
use crate::trust::{Millionths, Policy};
use crate::view::KeyState;

/// The body of `POST /api/v1/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DocumentQuestion {
    /// The manifest: `{"document":{"title","content_hash",...},"attestations":[...]}`, at most
    /// 128 KiB of canonical JSON.
    #[cfg_attr(feature = "shell", schema(value_type = crate::wire::ManifestShape))]
    pub manifest: Value,
    /// The SHA-256 digest of the document at hand, with or without `sha256:`.
    pub source_hash: String,
    /// What the verdict must rest on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Requirements>,
    /// Whose trust configuration layer 3 goes by; a key that has none trusts itself alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier_fingerprint: Option<Fingerprint>,
    /// The trust policy that layer 3 goes by, in place of the verifier's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub trust_config: Option<Value>,
}

/// What a verdict must rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// So many authorised witnesses must have signed a size that covers each attestation's entry.
    #[serde(default)]
    #[cfg_attr(feature = "shell", schema(minimum = 0, maximum = 100))]
    pub witnesses: u64,
}

/// The answer of `POST /api/v1/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct DocumentVerdict {
    /// What mathematics says: signatures over the manifest, and the document's hash.
    pub layer1: SignatureLayer,
    /// What the log says: whether the attestations are in it, and about their keys.
    pub layer2: KeyLayer,
    /// What one verifier thinks of the signers; only if it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer3: Option<TrustLayer>,
    /// The worst of the first two layers: trust is one verifier's, not the document's.
    pub overall_status: VerifyStatus,
    /// How the attestations stand on each other.
    pub attestation_graph: AttestationGraph,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The hash of the document, as the manifest has it.
    pub content_hash: Hash,
    /// What the verdict rests on.
    pub log: LogBasis,
}

/// How something turned out, from good to bad: the worst of several is the greatest.
///
/// `unwitnessed` lacks a confirmation only; `no_attestations` says nothing for the document;
/// `not_logged` and `unknown_key` cannot be relied on; `key_not_active` and `invalid` speak against
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    /// All that was asked holds.
    Valid,
    /// Too few witnesses have signed a size that covers the entry.
    Unwitnessed,
    /// The manifest lists none.
    NoAttestations,
    /// The log does not hold the attestation.
    NotLogged,
    /// The log did not know the key when the attestation was logged, or does not know it at all.
    UnknownKey,
    /// The key was revoked, expired or succeeded when the attestation was logged.
    KeyNotActive,
    /// The signature does not verify, or the document or the attestation is another one.
    Invalid,
}

/// Layer 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct SignatureLayer {
    /// The worst status of the attestations, and `invalid` for another document.
    pub status: VerifyStatus,
    /// One sentence.
    pub details: String,
    /// Whether the document at hand is the one that the manifest is about.
    pub content_hash_matches: bool,
    /// The attestations in the manifest's order.
    pub attestations: Vec<SignatureFinding>,
}

/// What mathematics says about one attestation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct SignatureFinding {
    /// Its id, as listed.
    pub attestation_id: ShortId,
    /// Its signer.
    pub signer_key_fingerprint: Fingerprint,
    /// Its type.
    #[serde(rename = "type")]
    pub attestation_type: AttestationType,
    /// How it turned out.
    pub status: VerifyStatus,
    /// One sentence.
    pub details: String,
    /// What the signature covers; null if it does not verify.
    pub binds: Option<Binds>,
    /// In which spelling the signed bytes were.
    pub canonicalization: Option<Canonicalization>,
    /// The attestations that the signature covers.
    pub parents: Vec<ShortId>,
    /// The whole identity of what was signed.
    pub identity: Option<AttestationId>,
}

/// Layer 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeyLayer {
    /// The worst status of the attestations.
    pub status: VerifyStatus,
    /// One sentence.
    pub details: String,
    /// The attestations in the manifest's order.
    pub attestations: Vec<KeyFinding>,
}

/// What the log says about one attestation and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeyFinding {
    /// Its id, as listed.
    pub attestation_id: ShortId,
    /// Its signer.
    pub signer_key_fingerprint: Fingerprint,
    /// How it turned out.
    pub status: VerifyStatus,
    /// One sentence.
    pub details: String,
    /// What the signature covers, as the log has it.
    pub binds: Option<Binds>,
    /// The entry that holds it.
    pub log_entry_id: Option<u64>,
    /// When that was logged.
    pub logged_at: Option<Timestamp>,
    /// Whether its type or intent rests on the leader's word that the signer sent it.
    pub leader_asserted: bool,
    /// The state of the key before that entry.
    pub key_status_at_entry: Option<KeyState>,
    /// The state of the key at the time of the head that the verdict rests on.
    pub key_status_now: Option<KeyState>,
    /// The key that took its place.
    pub succeeded_by: Option<Fingerprint>,
    /// The keys that took its place, one after the other.
    pub successors: Vec<Fingerprint>,
    /// Whether each of them says that it took the place of the one before; null without any.
    pub successors_confirmed: Option<bool>,
}

/// Layer 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TrustLayer {
    /// `trusted` if every signer is.
    pub status: TrustStatus,
    /// One sentence.
    pub details: String,
    /// The attestations in the manifest's order.
    pub attestations: Vec<TrustFinding>,
    /// Whose view it is, if one was named.
    pub verifier_fingerprint: Option<Fingerprint>,
    /// The policy that it goes by.
    pub policy: Policy,
    /// The instant that it is about.
    pub as_of: Timestamp,
}

/// Whether a policy is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TrustStatus {
    /// It is.
    Trusted,
    /// There is nobody to trust: the manifest lists no attestation.
    NoAttestations,
    /// It is not.
    Untrusted,
}

/// What one verifier thinks of one signer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TrustFinding {
    /// The attestation, as listed.
    pub attestation_id: ShortId,
    /// Its signer.
    pub signer_key_fingerprint: Fingerprint,
    /// The key that holds the signer's endorsements now: its last successor, or itself.
    pub assessed_fingerprint: Fingerprint,
    /// Whether the policy is met.
    pub status: TrustStatus,
    /// One sentence.
    pub details: String,
    /// The score of the best path, 0 to 1.
    pub score: Millionths,
    /// The path that gives it, from the anchor on; empty for an anchor, and where there is none.
    pub best_path: Vec<TrustStep>,
    /// How many paths that share no key between their ends are good enough, up to those wanted.
    pub disjoint_paths: u64,
    /// Whether endorsements were left out: the whole graph may say more of the signer.
    pub truncated: bool,
}

/// One endorsement of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TrustStep {
    /// The entry that offered it.
    pub offer_entry_id: u64,
    /// Who gave it.
    pub endorser_fingerprint: Fingerprint,
    /// Who received it.
    pub endorsed_fingerprint: Fingerprint,
    /// Whether an alert halved its weight.
    pub halved: bool,
    /// The score of the path up to here, 0 to 1.
    pub score: Millionths,
}

/// How attestations stand on each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AttestationGraph {
    /// The listed attestations, then those that they name and the manifest does not list.
    pub nodes: Vec<GraphNode>,
    /// What stands on what, as far as signatures cover it.
    pub edges: Vec<GraphEdge>,
}

/// An attestation in the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct GraphNode {
    /// Its id.
    pub id: ShortId,
    /// Whether the manifest lists it; of others only the id is known.
    pub listed: bool,
    /// Its type.
    #[serde(rename = "type")]
    pub attestation_type: Option<AttestationType>,
    /// Its signer.
    pub signer_key_fingerprint: Option<Fingerprint>,
    /// The worse of its two statuses.
    pub status: Option<VerifyStatus>,
}

/// One attestation stands on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct GraphEdge {
    /// The earlier one.
    pub from: ShortId,
    /// The one whose signature names it.
    pub to: ShortId,
}

/// What a verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct LogBasis {
    /// The signed head of the log, as `/log/sth` shows it.
    #[cfg_attr(feature = "shell", schema(value_type = crate::head::HeadJson))]
    pub tree_head: Value,
    /// The largest size that the required number of authorised witnesses signed, at least one of
    /// them; null if so many did not.
    pub witnessed_tree_size: Option<TreeSize>,
    /// What each authorised witness signed, the largest size first.
    pub witnesses: Vec<WitnessedSize>,
    /// How much of the log another machine is known to hold: of a follower its own size, of a
    /// leader the largest that a follower reported with the same root.
    pub replicated: Option<TreeSize>,
}

/// The size that a witness signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WitnessedSize {
    /// The witness.
    pub fingerprint: Fingerprint,
    /// The size.
    pub tree_size: TreeSize,
}
