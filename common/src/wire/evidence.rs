//! Files that show what went wrong.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::merkle::Hash;

/// `GET /api/v1/evidence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EvidenceList {
    /// The files, the newest last.
    pub evidence: Vec<EvidenceItem>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// A file that this node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EvidenceItem {
    /// Its number; later files have larger ones.
    pub id: i64,
    /// What it proves, or `observation`.
    #[cfg_attr(feature = "shell", schema(example = "fork_same_size"))]
    pub kind: String,
    /// Whether anybody can check it offline; an observation proves nothing.
    pub proof: bool,
    /// When this node kept it.
    pub created_at: Timestamp,
    /// How long it is.
    pub bytes: u64,
    /// The hash of the file.
    pub sha256: Hash,
    /// Where it is.
    #[cfg_attr(feature = "shell", schema(example = "/api/v1/evidence/1"))]
    pub href: String,
}

/// An evidence file, as far as a form can say: docs/protocol.md has the bytes.
#[cfg(feature = "shell")]
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `evidence::Evidence` reads")]
pub struct EvidenceFile {
    /// `diogenes-evidence/v1`.
    #[schema(rename = "type", example = "diogenes-evidence/v1")]
    kind_of_file: String,
    /// What it proves.
    #[schema(example = "fork_same_size")]
    kind: String,
    /// The key that it is held against, with the log's first entry.
    accused: AccusedKey,
    /// When it was observed; proves nothing.
    observed_at: Timestamp,
    /// Who observed it; proves nothing.
    #[schema(example = "follower sha256:e3b0c44298fc1c14")]
    observer: String,
    /// The signed statements, verbatim.
    statements: Vec<serde_json::Value>,
    /// The Merkle proofs.
    proofs: Vec<serde_json::Value>,
    /// The same in words; proves nothing.
    #[schema(example = "the log signed one size with two roots")]
    explanation: String,
}

/// The key that an evidence file is held against.
#[cfg(feature = "shell")]
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `evidence::Accused` reads")]
pub struct AccusedKey {
    /// Its fingerprint.
    #[schema(example = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    fingerprint: String,
    /// The bytes of the log's entry 1, in base64.
    #[schema(example = "e30=")]
    genesis: Option<String>,
    /// The key in PEM.
    key: crate::keys::PublicKey,
}
