//! `key_revocation`: a key stops counting, for good.

use serde::{Deserialize, Serialize};

use super::authorization::{Action, Authorization};
use super::key_succession::Asked;
use super::{CarriedFault, Event, EventError, Payload};
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey};

/// The payload of a `key_revocation` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevocation {
    /// How its holder authorised it.
    pub authorization: Authorization,
    /// The fingerprint of the key.
    pub fingerprint: Fingerprint,
    /// The key.
    pub public_key: HolderKey,
}

/// `payload` of `POST /keys/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The key to revoke.
    pub fingerprint: Fingerprint,
}

impl KeyRevocation {
    /// Checks the signature, and that the entry is what was asked for.
    pub(super) fn check_signatures(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let Authorization::Signed(signed) = &self.authorization else { return Ok(()) };
        signed.check(Action::Revoke, origin, &self.public_key)?;
        let want = Asked { payload: RevocationRequest { fingerprint: self.fingerprint } };
        let asked = serde_json::from_value(signed.request.clone()).ok();
        if !signed.recovery && asked == Some(want) {
            Ok(())
        } else {
            Err(CarriedFault::OtherRequest)
        }
    }
}

impl Payload for KeyRevocation {
    const EVENT_TYPE: &'static str = "key_revocation";

    fn check(&self) -> Result<(), EventError> {
        if self.public_key.fingerprint() == self.fingerprint {
            Ok(())
        } else {
            Err(EventError::OtherKey)
        }
    }
}

impl From<KeyRevocation> for Event {
    fn from(revocation: KeyRevocation) -> Self {
        Self::KeyRevocation(Box::new(revocation))
    }
}
