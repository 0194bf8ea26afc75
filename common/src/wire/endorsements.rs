//! Endorsements and alerts.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identifiers::ExternalIdentifier;
use crate::keys::Fingerprint;
use crate::statement::Category;
use crate::trust::{Level, Millionths};
pub use crate::view::EndorsementState;

/// An endorsement of one key by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EndorsementView {
    /// The entry that offered it; of the operator's own, the entry that made it.
    pub offer_entry_id: u64,
    /// The key that endorses.
    pub endorser_fingerprint: Fingerprint,
    /// The key that is endorsed.
    pub endorsed_fingerprint: Fingerprint,
    /// As what.
    #[cfg_attr(feature = "shell", schema(value_type = String))]
    pub category: Category,
    /// Where it stands, as of `as_of` of the list.
    pub status: EndorsementState,
    /// When it was offered.
    pub offered_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// From when on it counts.
    pub active_at: Option<Timestamp>,
    /// From when on it is expired.
    pub valid_until: Option<Timestamp>,
    /// When it ended otherwise.
    pub ended_at: Option<Timestamp>,
    /// The institution that stands behind it.
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub institutional_metadata: Option<serde_json::Value>,
    /// Who else the holder of the endorsed key is.
    pub external_identifiers: Vec<ExternalIdentifier>,
    /// What it weighs, 0 to 1: less than 1 if its endorser gives more than its capacity. Null
    /// unless it is active.
    pub weight: Option<Millionths>,
    /// The endorser's level of standing when it was accepted.
    #[cfg_attr(feature = "shell", schema(value_type = Option<u8>, minimum = 0, maximum = 4))]
    pub level: Option<Level>,
    /// Whether a part of it rests on the leader's word alone that the holder of a key wanted it.
    pub leader_asserted: bool,
}

/// `GET /api/v1/endorsements/{fingerprint}` and `/issued`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EndorsementList {
    /// The endorsements of this page, in the order of the log; those by the operator come first.
    pub endorsements: Vec<EndorsementView>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many a page has at most.
    pub per_page: u64,
    /// How many there are.
    pub total: u64,
    /// The instant that `status` and `weight` are about.
    pub as_of: Timestamp,
}

/// How many endorsements are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EndorsementCounts {
    /// Not answered.
    pub offered: u64,
    /// Accepted; the activation delay runs.
    pub accepted: u64,
    /// Counting.
    pub active: u64,
    /// Withdrawn by the endorser.
    pub withdrawn: u64,
    /// No longer accepted by the endorsed key.
    pub acceptance_revoked: u64,
    /// Over by their own date.
    pub expired: u64,
    /// Over since a key ended.
    pub void: u64,
}

impl EndorsementCounts {
    /// Counts more of a state.
    pub fn add(&mut self, state: EndorsementState, count: u64) {
        *match state {
            EndorsementState::Offered => &mut self.offered,
            EndorsementState::Accepted => &mut self.accepted,
            EndorsementState::Active => &mut self.active,
            EndorsementState::Withdrawn => &mut self.withdrawn,
            EndorsementState::AcceptanceRevoked => &mut self.acceptance_revoked,
            EndorsementState::Expired => &mut self.expired,
            EndorsementState::Void => &mut self.void,
        } += count;
    }
}

/// `GET /api/v1/endorsements/{fingerprint}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EndorsementStatus {
    /// The key.
    pub fingerprint: Fingerprint,
    /// What it received.
    pub received: EndorsementCounts,
    /// What it gave.
    pub issued: EndorsementCounts,
    /// How many endorsements it may have given at a time.
    pub capacity: u32,
    /// How many it has: offered, accepted and active ones.
    pub used: u32,
    /// What each of its active endorsements weighs, 0 to 1.
    pub discount: Millionths,
    /// Its level of standing: 0 for the operator, 1 for whom the operator endorses, up to 4; null
    /// for none.
    #[cfg_attr(feature = "shell", schema(value_type = Option<u8>, minimum = 0, maximum = 4))]
    pub level: Option<Level>,
    /// How many endorsers warn of it.
    pub alerts: u64,
    /// The instant that the answer is about.
    pub as_of: Timestamp,
}

/// An endorser's warning that a key is compromised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AlertView {
    /// The entry.
    pub entry_id: u64,
    /// Who warns.
    pub endorser_fingerprint: Fingerprint,
    /// Why.
    pub reason: String,
    /// What supports it.
    pub evidence: Option<String>,
    /// When it was logged.
    pub timestamp: Timestamp,
}

/// `GET /api/v1/endorsements/revocation-alerts/{fingerprint}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AlertList {
    /// The alerts of this page that stand, in the order of the log.
    pub alerts: Vec<AlertView>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many a page has at most.
    pub per_page: u64,
    /// How many there are.
    pub total: u64,
}
