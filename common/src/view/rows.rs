//! The rows that views hold: what the log says about keys and peers, one struct per table.

use super::lifecycle::Ended;
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::manifest::{AttestationId, Binds, Canonicalization, ShortId};
use crate::merkle::{Hash, TreeSize};

/// One row of a view table.
pub trait Row: Clone + PartialEq {
    /// What identifies the row within its table.
    type Key: Clone + Ord + std::hash::Hash;

    /// The key under which the row is stored.
    fn key(&self) -> Self::Key;
}

/// What a key may do on this log. A key has one role for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs tree heads and operator statements.
    Operator,
    /// Mirrors the log.
    Federation,
    /// Signs witness proofs.
    Witness,
}

impl Role {
    /// The role as views store it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Federation => "federation",
            Self::Witness => "witness",
        }
    }

    /// Reads what [`Role::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Operator, Self::Federation, Self::Witness].into_iter().find(|r| r.as_str() == name)
    }
}

/// A registered key (`view_keys`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key's full fingerprint.
    pub fingerprint: Fingerprint,
    /// The key in PEM.
    pub public_key: String,
    /// Its algorithm, as registered.
    pub algorithm: String,
    /// The name that its holder chose.
    pub pseudonym: String,
    /// The pseudonym folded for searching.
    pub pseudonym_folded: String,
    /// When the registration that counts was logged.
    pub registered_at: Timestamp,
    /// From when on the key is expired.
    pub expires_at: Option<Timestamp>,
    /// The entry that registered it, or made it a successor.
    pub entry_id: u64,
    /// Whether that entry proved possession of the private key.
    pub proven: bool,
    /// The first entry that registered it; `entry_id` may be a later one that proved more.
    pub first_entry_id: u64,
    /// Whether the log holds a signature of this key that says all that it is about.
    pub used_v1: bool,
    /// The key whose place it took.
    pub succeeds: Option<Fingerprint>,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

impl Row for KeyRow {
    type Key = Fingerprint;

    fn key(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A key that the operator endorsed, or once did (`view_endorsed`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsedRow {
    /// The endorsed key.
    pub fingerprint: Fingerprint,
    /// The category of the endorsement, e.g. `x-diogenes:witness`.
    pub category: String,
    /// The key in PEM.
    pub public_key: String,
    /// The name that the operator gave.
    pub name: Option<String>,
    /// The entry that endorsed it.
    pub entry_id: u64,
    /// When that entry was logged.
    pub since: Timestamp,
    /// The entry that ended the endorsement.
    pub revoked_by: Option<u64>,
    /// The size named by the last statement about this key and category.
    pub after: TreeSize,
}

impl Row for EndorsedRow {
    type Key = (Fingerprint, String);

    fn key(&self) -> Self::Key {
        (self.fingerprint, self.category.clone())
    }
}

/// The profile of a follower or witness (`view_profiles`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRow {
    /// Whose profile it is.
    pub fingerprint: Fingerprint,
    /// `federation` or `witness`.
    pub kind: String,
    /// The name to show.
    pub display_name: String,
    /// The URL to show; never dialled.
    pub server: Option<String>,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// The entry that set it.
    pub entry_id: u64,
}

impl Row for ProfileRow {
    type Key = Fingerprint;

    fn key(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The newest recorded proof of a witness (`view_witnesses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessRow {
    /// The witness's key.
    pub fingerprint: Fingerprint,
    /// The entry that holds the proof.
    pub proof_id: u64,
    /// The size that the proof reaches.
    pub tree_size: TreeSize,
    /// The root at that size.
    pub root_hash: Hash,
    /// When the witness signed.
    pub signed_at: Timestamp,
    /// When the log recorded it.
    pub recorded_at: Timestamp,
    /// The cosigner name of the first cosignature that verified.
    pub cosigner: Option<String>,
}

impl Row for WitnessRow {
    type Key = Fingerprint;

    fn key(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// An attestation that is in the log (`view_attestations`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRow {
    /// Its identity.
    pub attestation_id: AttestationId,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The hash of the document.
    pub content_hash: Hash,
    /// Whose it is.
    pub signer: Fingerprint,
    /// Its type.
    pub attestation_type: String,
    /// What the signature covers.
    pub binds: Binds,
    /// In which spelling the signed bytes were.
    pub canonicalization: Canonicalization,
    /// The entry that holds it.
    pub entry_id: u64,
    /// When that was logged.
    pub at: Timestamp,
    /// Whether its type rests on the leader's word that the signer sent it.
    pub leader_asserted: bool,
}

impl Row for AttestationRow {
    type Key = ShortId;

    fn key(&self) -> ShortId {
        self.attestation_id.short()
    }
}

/// The type that attestations of one signer, manifest and form have, where the signature does not
/// cover it (`view_attested_types`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedTypeRow {
    /// The manifest.
    pub manifest_hash: Hash,
    /// The signer.
    pub signer: Fingerprint,
    /// The form.
    pub binds: Binds,
    /// The type: the first one, or the last one that the signer stands for.
    pub attestation_type: String,
}

impl Row for AttestedTypeRow {
    type Key = (Hash, Fingerprint, Binds);

    fn key(&self) -> Self::Key {
        (self.manifest_hash, self.signer, self.binds)
    }
}

/// A lifecycle entry that refers to a key or a document (`view_refs`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// What kind of thing is referred to, e.g. `fingerprint`.
    pub kind: &'static str,
    /// The thing itself.
    pub value: String,
    /// The referring entry.
    pub id: u64,
}
