//! The graph of endorsements around a key.
//!
//! ```text
//! {"root":"sha256:...","depth":2,"truncated":false,"as_of":"2026-01-15T10:30:00.000Z",
//!  "nodes":[{"fingerprint","pseudonym","status","depth","alerts"}],
//!  "edges":[{"offer_entry_id","endorser_fingerprint","endorsed_fingerprint","category","status",
//!            "active_at","valid_until"}]}
//! ```

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::statement::Category;
use crate::view::{EndorsementState, KeyState};

/// `GET /api/v1/graph/{fingerprint}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EndorsementGraph {
    /// The key that the walk began at.
    pub root: Fingerprint,
    /// How many steps the farthest key of the answer is away.
    pub depth: u32,
    /// Whether there is more than the answer holds: it reached a limit, or took too long.
    pub truncated: bool,
    /// The instant that every state is told for: the time of the newest head when the answer was
    /// made.
    pub as_of: Timestamp,
    /// The keys, the nearest first; at most 5,000.
    pub nodes: Vec<GraphNode>,
    /// The endorsements between them, the nearest first; at most 20,000.
    pub edges: Vec<GraphEdge>,
}

/// A key of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema), schema(as = EndorsementGraphNode))]
pub struct GraphNode {
    /// The key's full fingerprint.
    pub fingerprint: Fingerprint,
    /// The name that its holder chose; null if the operator endorsed a key that nobody registered.
    pub pseudonym: Option<String>,
    /// Whether it counts; null likewise.
    pub status: Option<KeyState>,
    /// How many steps it is away from the root.
    pub depth: u32,
    /// How many of its endorsers warn that it is in wrong hands.
    pub alerts: u64,
}

/// An endorsement of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema), schema(as = EndorsementGraphEdge))]
pub struct GraphEdge {
    /// The entry that offered it; of an endorsement by the operator, the entry that made it.
    pub offer_entry_id: u64,
    /// Who gave it: of a key that was succeeded, its successor.
    pub endorser_fingerprint: Fingerprint,
    /// Who received it: likewise.
    pub endorsed_fingerprint: Fingerprint,
    /// As what.
    #[cfg_attr(feature = "shell", schema(value_type = String, example = "x-diogenes:human_attestation"))]
    pub category: Category,
    /// What became of it.
    pub status: EndorsementState,
    /// From when on it counts, if it was accepted.
    pub active_at: Option<Timestamp>,
    /// From when on it is expired.
    pub valid_until: Option<Timestamp>,
}
