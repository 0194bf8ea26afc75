//! Trust configurations.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::trust::Policy;

/// The trust configuration of a key: `GET /api/v1/trust-configs/{fingerprint}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TrustConfigView {
    /// Whose it is.
    pub fingerprint: Fingerprint,
    /// The policy, as its holder gave it.
    pub config: Policy,
    /// The entry that set it.
    pub log_entry_id: u64,
    /// When that was logged.
    pub timestamp: Timestamp,
    /// Whether it rests on the leader's word alone that the holder wanted it.
    pub leader_asserted: bool,
}

/// `GET /api/v1/trust-configs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TrustConfigList {
    /// The configurations of this page that stand, in the order of the log.
    pub trust_configs: Vec<TrustConfigView>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many a page has at most.
    pub per_page: u64,
    /// How many there are.
    pub total: u64,
}
