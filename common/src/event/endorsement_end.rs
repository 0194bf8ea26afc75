//! `endorsement_withdrawal`, `endorsement_acceptance_revocation`: either side ends an endorsement.

use serde::{Deserialize, Serialize};

use super::asked::{Asked, asked};
use super::authorization::{Action, Authorization};
use super::text::Words;
use super::{Event, EventError, Payload};
use crate::keys::{Fingerprint, HolderKey};

/// A reason that both sides can read: 1 to 1,000 characters.
type Note = Words<1, 1_000>;

/// The payload of an `endorsement_withdrawal` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementWithdrawal {
    /// How the endorser authorised it.
    pub authorization: Authorization,
    /// The endorsed key.
    pub endorsed_fingerprint: Fingerprint,
    /// The endorser.
    pub endorser_fingerprint: Fingerprint,
    /// Why.
    pub note: Note,
    /// The entry of the offer.
    pub original_offer_entry_id: u64,
    /// The endorser's key.
    pub public_key: HolderKey,
}

/// The body of `POST /endorsements/withdraw` without `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// The endorser.
    pub endorser_fingerprint: Fingerprint,
    /// The endorsed key.
    pub endorsed_fingerprint: Fingerprint,
    /// The entry of the offer.
    pub original_offer_entry_id: u64,
    /// Why, in 1 to 1,000 characters.
    #[cfg_attr(feature = "shell", schema(value_type = String, min_length = 1, max_length = 1000))]
    pub note: Note,
}

impl WithdrawRequest {
    /// The event that is asked for.
    pub fn event(
        self,
        public_key: HolderKey,
        authorization: Authorization,
    ) -> EndorsementWithdrawal {
        EndorsementWithdrawal {
            authorization,
            endorsed_fingerprint: self.endorsed_fingerprint,
            endorser_fingerprint: self.endorser_fingerprint,
            note: self.note,
            original_offer_entry_id: self.original_offer_entry_id,
            public_key,
        }
    }
}

asked!(
    EndorsementWithdrawal,
    Withdraw,
    endorser_fingerprint,
    WithdrawRequest { endorser_fingerprint, endorsed_fingerprint, original_offer_entry_id, note }
);

impl Payload for EndorsementWithdrawal {
    const EVENT_TYPE: &'static str = "endorsement_withdrawal";

    fn check(&self) -> Result<(), EventError> {
        self.check_key()
    }
}

/// The payload of an `endorsement_acceptance_revocation` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementAcceptanceRevocation {
    /// How the endorsed key authorised it.
    pub authorization: Authorization,
    /// The endorsed key.
    pub endorsed_fingerprint: Fingerprint,
    /// Why.
    pub note: Note,
    /// The entry of the offer.
    pub original_offer_entry_id: u64,
    /// The endorsed key.
    pub public_key: HolderKey,
}

/// The body of `POST /endorsements/revoke-acceptance` without `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeAcceptanceRequest {
    /// The endorsed key.
    pub endorsed_fingerprint: Fingerprint,
    /// The entry of the offer.
    pub original_offer_entry_id: u64,
    /// Why, in 1 to 1,000 characters.
    #[cfg_attr(feature = "shell", schema(value_type = String, min_length = 1, max_length = 1000))]
    pub note: Note,
}

impl RevokeAcceptanceRequest {
    /// The event that is asked for.
    pub fn event(
        self,
        public_key: HolderKey,
        authorization: Authorization,
    ) -> EndorsementAcceptanceRevocation {
        EndorsementAcceptanceRevocation {
            authorization,
            endorsed_fingerprint: self.endorsed_fingerprint,
            note: self.note,
            original_offer_entry_id: self.original_offer_entry_id,
            public_key,
        }
    }
}

asked!(
    EndorsementAcceptanceRevocation,
    RevokeAcceptance,
    endorsed_fingerprint,
    RevokeAcceptanceRequest { endorsed_fingerprint, original_offer_entry_id, note }
);

impl Payload for EndorsementAcceptanceRevocation {
    const EVENT_TYPE: &'static str = "endorsement_acceptance_revocation";

    fn check(&self) -> Result<(), EventError> {
        self.check_key()
    }
}
