//! `endorsement_revocation_alert`: an endorser warns that a key it endorsed is compromised.

use serde::{Deserialize, Serialize};

use super::asked::{Asked, asked};
use super::authorization::{Action, Authorization};
use super::text::Words;
use super::{Event, EventError, Payload};
use crate::keys::{Fingerprint, HolderKey};

/// Why an alert is raised: 1 to 1,000 characters.
type Reason = Words<1, 1_000>;
/// What supports an alert: 1 to 5,000 characters.
type EvidenceText = Words<1, 5_000>;

/// The payload of an `endorsement_revocation_alert` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementRevocationAlert {
    /// How the endorser authorised it.
    pub authorization: Authorization,
    /// The key that is said to be compromised.
    pub compromised_fingerprint: Fingerprint,
    /// The endorser.
    pub endorser_fingerprint: Fingerprint,
    /// What supports it.
    pub evidence: Option<EvidenceText>,
    /// The endorser's key.
    pub public_key: HolderKey,
    /// Why.
    pub reason: Reason,
}

/// The body of `POST /endorsements/revocation-alert` without `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertRequest {
    /// The endorser that warns.
    pub endorser_fingerprint: Fingerprint,
    /// The key that is said to be compromised.
    #[cfg_attr(
        feature = "shell",
        schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$", examples(
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ))
    )]
    pub compromised_fingerprint: Fingerprint,
    /// Why, in 1 to 1,000 characters.
    #[cfg_attr(feature = "shell", schema(value_type = String, min_length = 1, max_length = 1000))]
    pub reason: Reason,
    /// What supports it, in at most 5,000 characters.
    #[serde(default)]
    #[cfg_attr(feature = "shell", schema(value_type = Option<String>, min_length = 1, max_length = 5000))]
    pub evidence: Option<EvidenceText>,
}

impl AlertRequest {
    /// The event that is asked for.
    pub fn event(
        self,
        public_key: HolderKey,
        authorization: Authorization,
    ) -> EndorsementRevocationAlert {
        EndorsementRevocationAlert {
            authorization,
            compromised_fingerprint: self.compromised_fingerprint,
            endorser_fingerprint: self.endorser_fingerprint,
            evidence: self.evidence,
            public_key,
            reason: self.reason,
        }
    }
}

asked!(
    EndorsementRevocationAlert,
    Alert,
    endorser_fingerprint,
    AlertRequest { endorser_fingerprint, compromised_fingerprint, reason, evidence }
);

impl Payload for EndorsementRevocationAlert {
    const EVENT_TYPE: &'static str = "endorsement_revocation_alert";

    fn check(&self) -> Result<(), EventError> {
        if self.endorser_fingerprint == self.compromised_fingerprint {
            return Err(EventError::Contradiction);
        }
        self.check_key()
    }
}
