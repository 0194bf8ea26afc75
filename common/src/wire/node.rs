//! What a node says about itself.

use serde::{Deserialize, Serialize};

use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey};
use crate::merkle::Hash;

/// What a node of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// The only writer.
    Leader,
    /// A read-only mirror.
    Follower,
}

impl NodeRole {
    /// The role as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        }
    }
}

/// `GET /api/v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Health {
    /// Always `ok`: the process lives.
    #[cfg_attr(feature = "shell", schema(example = "ok"))]
    pub status: String,
    /// The program's version.
    #[cfg_attr(feature = "shell", schema(example = "0.1.0"))]
    pub version: String,
}

/// How many witnesses must sign a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct QuorumRule {
    /// So many must sign.
    pub required: u32,
    /// Out of so many that are authorised.
    pub of: u32,
}

/// `GET /.well-known/diogenes`: what somebody needs to know before the first request. Advice: all
/// of it is checked against the log itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WellKnown {
    /// Where the API begins.
    #[cfg_attr(feature = "shell", schema(example = "/api/v1"))]
    pub api: String,
    /// The program's version.
    pub version: String,
    /// What this node is.
    pub role: NodeRole,
    /// The log's name.
    pub origin: Origin,
    /// The hash of entry 1.
    pub log_id: Hash,
    /// The log's epoch.
    pub epoch: u64,
    /// The key that signs the log's heads, as PEM.
    pub operator_public_key: PublicKey,
    /// That key's fingerprint.
    pub operator_fingerprint: Fingerprint,
    /// Where the leader is, if this node knows.
    pub leader_url: Option<String>,
    /// A new head comes at least so often.
    pub heartbeat_seconds: u64,
    /// How many witnesses must sign a head.
    pub witness_quorum: QuorumRule,
}

/// One thing that must be right before a node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it is right.
    pub ok: bool,
    /// What was found.
    pub detail: Option<String>,
}

impl Check {
    /// A check that passed.
    pub fn passed(name: &str) -> Self {
        Self { name: name.to_owned(), ok: true, detail: None }
    }

    /// A check that failed.
    pub fn failed(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: false, detail: Some(detail.into()) }
    }

    /// A check that passed if `ok`; `detail` says what was found either way.
    pub fn of(name: &str, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok, detail: Some(detail.into()) }
    }
}

/// `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// Always `ready`: otherwise the answer is a problem.
    #[cfg_attr(feature = "shell", schema(example = "ready"))]
    pub status: String,
    /// What was checked, with `?verbose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Check>>,
}
