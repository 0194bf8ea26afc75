//! Evidence files: statements of one key that contradict each other or the log's bytes, with
//! everything that a stranger needs to see it offline.
//!
//! What proves is signatures of the accused key and hashes, nothing else: the rest of a file
//! (explanation, time, observer) can be changed by anyone and changes nothing. What only looks
//! wrong is kept as an [`Observation`] and is never called proof.

mod explain;
mod observation;
mod parting;
#[cfg(test)]
mod tests;
mod verify;
mod weigh;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use explain::explain;
pub use observation::Observation;
pub use parting::{Own, Parting, Step, Traces, parting, traces};
pub use verify::{EvidenceError, NotProven, Proven, verify};
pub use weigh::{Against, Identity, Rejected, Watched, Weighed, weigh};

use crate::batch::{Log, base64_hashes};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::head::{Contradiction, SignedHead};
use crate::keys::{Fingerprint, PublicKey, Signature};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeRoot, TreeSize};
use crate::statement::{Claim as _, WitnessProof};

/// The longest evidence file.
pub const MAX_EVIDENCE_BYTES: usize = 1024 * 1024;

/// What evidence proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One size, two roots or two chain heads.
    ForkSameSize,
    /// A larger tree that does not extend a smaller one.
    ForkPrefix,
    /// A smaller size at a later time.
    Truncated,
    /// A larger size at an earlier time.
    TimestampRegressed,
    /// A head whose chain head is not the last entry of its tree.
    ChainMerkleMismatch,
    /// An entry under a signed head that breaks a rule of the log.
    BadEntry,
    /// A witness that signed two histories.
    WitnessEquivocated,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::ForkSameSize,
        Self::ForkPrefix,
        Self::Truncated,
        Self::TimestampRegressed,
        Self::ChainMerkleMismatch,
        Self::BadEntry,
        Self::WitnessEquivocated,
    ];

    /// What it says, in words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ForkSameSize => "one size of the log was signed with two contents",
            Self::ForkPrefix => {
                "a larger log was signed that does not contain a smaller signed one"
            }
            Self::Truncated => "a smaller log was signed after a larger one",
            Self::TimestampRegressed => "a larger log was signed with an earlier time",
            Self::ChainMerkleMismatch => "a head was signed whose last entry is not its tree's",
            Self::BadEntry => "a head was signed over an entry that breaks a rule of the log",
            Self::WitnessEquivocated => "a witness signed two histories of one log",
        }
    }

    /// Whether it is proven by the key of a log, which ends that log; the other one accuses a
    /// witness.
    pub const fn is_against_the_log(self) -> bool {
        !matches!(self, Self::WitnessEquivocated)
    }

    /// The kind as it is written; also the reason that a status shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForkSameSize => "fork_same_size",
            Self::ForkPrefix => "fork_prefix",
            Self::Truncated => "truncated",
            Self::TimestampRegressed => "timestamp_regressed",
            Self::ChainMerkleMismatch => "chain_merkle_mismatch",
            Self::BadEntry => "bad_entry",
            Self::WitnessEquivocated => "witness_equivocated",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NotAKind)
    }
}

/// No kind of evidence has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of evidence has this name")]
pub struct NotAKind;

impl From<Contradiction> for Kind {
    fn from(found: Contradiction) -> Self {
        match found {
            Contradiction::ForkSameSize => Self::ForkSameSize,
            Contradiction::Truncated => Self::Truncated,
            Contradiction::TimestampRegressed => Self::TimestampRegressed,
        }
    }
}

/// Who observed something, and when. Neither is part of any proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// When it was observed.
    pub at: Timestamp,
    /// The observer, as it names itself.
    pub by: String,
}

/// The key that evidence is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accused {
    fingerprint: Fingerprint,
    genesis: Option<Bytes>,
    key: PublicKey,
}

impl Accused {
    /// The operator's key of a log; `genesis` is the log's entry 1.
    pub fn log(key: &PublicKey, genesis: &Leaf) -> Self {
        Self { genesis: Some(Bytes(genesis.bytes().to_vec())), ..Self::witness(key) }
    }

    /// The key of a witness, which may have witnessed a log whose genesis is not at hand.
    pub fn witness(key: &PublicKey) -> Self {
        Self { fingerprint: key.fingerprint(), genesis: None, key: key.clone() }
    }

    /// The key's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl From<&Log> for Accused {
    fn from(log: &Log) -> Self {
        Self::log(log.operator(), log.genesis())
    }
}

/// A statement of the accused key: the signed bytes verbatim, and the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Statement {
    /// A tree head.
    TreeHead {
        /// Its signature.
        signature: Signature,
        /// Its signed bytes.
        signed: Bytes,
    },
    /// A checkpoint, which counts as a head without a time and without a chain head.
    Checkpoint {
        /// The signed note.
        note: String,
    },
    /// A witness proof, which vouches for two trees of one history.
    WitnessProof {
        /// Its signature.
        signature: Signature,
        /// Its signed bytes.
        signed: Bytes,
    },
    /// A cosigned checkpoint.
    Cosignature {
        /// The checkpoint's note with the cosignature line.
        note: String,
    },
}

impl From<&SignedHead> for Statement {
    fn from(head: &SignedHead) -> Self {
        Self::TreeHead { signature: *head.signature(), signed: Bytes(head.head().signed_bytes()) }
    }
}

impl From<&WitnessProof> for Statement {
    fn from(proof: &WitnessProof) -> Self {
        Self::WitnessProof {
            signature: proof.signature,
            signed: Bytes(proof.claim().signed_bytes()),
        }
    }
}

/// A Merkle proof towards a tree that a statement signs, or that an earlier proof led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// The first tree is the beginning of the second.
    Consistency {
        /// The size of the smaller tree.
        first: TreeSize,
        /// The root of the smaller tree.
        first_root: Hash,
        /// The proof.
        #[serde(with = "base64_hashes")]
        hashes: Vec<Hash>,
        /// The size of the larger tree.
        second: TreeSize,
        /// The root of the larger tree.
        second_root: Hash,
    },
    /// The bytes are a leaf of the tree.
    Inclusion {
        /// The proof.
        #[serde(with = "base64_hashes")]
        hashes: Vec<Hash>,
        /// The leaf.
        leaf: Bytes,
        /// Its place.
        leaf_index: u64,
        /// The tree's root.
        root_hash: Hash,
        /// The tree's size.
        tree_size: TreeSize,
    },
}

impl Proof {
    /// The step from one tree to a larger one.
    pub fn consistency(first: TreeRoot, second: TreeRoot, hashes: Vec<Hash>) -> Self {
        Self::Consistency {
            first: first.size,
            first_root: first.hash,
            hashes,
            second: second.size,
            second_root: second.hash,
        }
    }

    /// The place of a leaf in a tree.
    pub fn inclusion(leaf: Vec<u8>, leaf_index: u64, tree: TreeRoot, hashes: Vec<Hash>) -> Self {
        Self::Inclusion {
            hashes,
            leaf: Bytes(leaf),
            leaf_index,
            root_hash: tree.hash,
            tree_size: tree.size,
        }
    }

    /// The tree that the proof leads to.
    pub(crate) fn towards(&self) -> TreeRoot {
        match self {
            Self::Consistency { second, second_root, .. } => {
                TreeRoot { size: *second, hash: *second_root }
            }
            Self::Inclusion { tree_size, root_hash, .. } => {
                TreeRoot { size: *tree_size, hash: *root_hash }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum EvidenceType {
    #[serde(rename = "diogenes-evidence/v1")]
    V1,
}

/// An evidence file. Having one proves nothing: [`verify`] says whether it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    accused: Accused,
    explanation: String,
    kind: Kind,
    observed_at: Timestamp,
    observer: String,
    proofs: Vec<Proof>,
    statements: Vec<Statement>,
    #[serde(rename = "type")]
    version: EvidenceType,
}

impl Evidence {
    /// Puts a file together. The functions of this module know what each kind needs.
    pub fn new(
        kind: Kind,
        accused: Accused,
        statements: Vec<Statement>,
        proofs: Vec<Proof>,
        explanation: String,
        observed: &Observed,
    ) -> Self {
        Self {
            accused,
            explanation,
            kind,
            observed_at: observed.at,
            observer: observed.by.clone(),
            proofs,
            statements,
            version: EvidenceType::V1,
        }
    }

    /// What the file claims to prove.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Never: evidence is texts, integers and hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("evidence is a JSON object");
        bytes.push(b'\n');
        bytes
    }
}

/// Two heads that contradict each other by themselves, in the order in which they were seen.
pub fn contradiction(
    found: Contradiction,
    accused: Accused,
    [earlier, later]: [&SignedHead; 2],
    observed: &Observed,
) -> Evidence {
    let kind = found.into();
    let explanation = explain_contradiction(kind, earlier, later);
    let statements = vec![earlier.into(), later.into()];
    Evidence::new(kind, accused, statements, Vec::new(), explanation, observed)
}

/// A head of some size, a larger one, and consistency proofs from the larger one down to a tree of
/// the smaller one's size that has another root.
///
/// Every proof's second tree is the larger head's or the first tree of a proof before it.
pub fn fork_prefix(
    accused: Accused,
    [smaller, larger]: [Statement; 2],
    proofs: Vec<Proof>,
    observed: &Observed,
) -> Evidence {
    let explanation = "the log signed a tree that does not extend one that it signed before";
    let statements = vec![smaller, larger];
    Evidence::new(Kind::ForkPrefix, accused, statements, proofs, explanation.into(), observed)
}

/// A head and its tree's last leaf, which is not the one that its chain head names.
pub fn chain_merkle_mismatch(
    accused: Accused,
    head: &SignedHead,
    last: Proof,
    observed: &Observed,
) -> Evidence {
    let explanation = "the tree head names another last entry than its own tree holds";
    let statements = vec![head.into()];
    let kind = Kind::ChainMerkleMismatch;
    Evidence::new(kind, accused, statements, vec![last], explanation.into(), observed)
}

/// A head, the steps from it down to the tree of the inclusion proofs, the bad entry's inclusion
/// proof, and those of the entries beside which it is bad.
pub fn bad_entry(
    accused: Accused,
    head: &SignedHead,
    proofs: Vec<Proof>,
    explanation: String,
    observed: &Observed,
) -> Evidence {
    Evidence::new(Kind::BadEntry, accused, vec![head.into()], proofs, explanation, observed)
}

/// Two statements of a witness about one log that lie on two histories: trees of one size with two
/// roots, or, with consistency proofs from the second statement's tree down, as in
/// [`fork_prefix`].
pub fn witness_equivocated(
    accused: Accused,
    statements: [Statement; 2],
    proofs: Vec<Proof>,
    observed: &Observed,
) -> Evidence {
    let explanation = "the witness signed two histories of one log";
    let kind = Kind::WitnessEquivocated;
    Evidence::new(kind, accused, statements.into(), proofs, explanation.into(), observed)
}

pub(crate) fn explain_contradiction(
    kind: Kind,
    earlier: &SignedHead,
    later: &SignedHead,
) -> String {
    let (a, b) = (earlier.head(), later.head());
    format!(
        "{}: the log signed size {} with root {} at {}, and size {} with root {} at {}",
        kind.as_str(),
        a.tree_size,
        a.root_hash,
        a.timestamp,
        b.tree_size,
        b.root_hash,
        b.timestamp
    )
}

/// The key of a role that must have signed what this leaf carries, if it carries such.
pub(crate) fn role_signer(leaf: &[u8]) -> Option<Fingerprint> {
    let leaf = Leaf::parse(leaf).ok()?;
    match Event::parse(leaf.event_type(), leaf.payload()).ok()? {
        Event::OperatorProfile(profile) => Some(profile.signer),
        _ => None,
    }
}

/// Bytes that JSON holds in padded base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
