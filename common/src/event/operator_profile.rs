//! `operator_profile`: how a follower or a witness is shown. Its payload is the signed profile.

use super::{CarriedFault, Event, EventError, Payload, SignerKnown, Signers};
use crate::statement::{Profile, StatementError};

impl Payload for Profile {
    const EVENT_TYPE: &'static str = "operator_profile";

    fn check(&self) -> Result<(), EventError> {
        Ok(())
    }
}

impl From<Profile> for Event {
    fn from(profile: Profile) -> Self {
        Self::OperatorProfile(Box::new(profile))
    }
}

/// Checks a profile under the operator's key or that of a role; a signer that the log does not
/// know leaves it unchecked, which is no fault of the entry.
pub(super) fn check_signature(
    profile: &Profile,
    signers: &Signers<'_>,
) -> Result<SignerKnown, CarriedFault> {
    signers.expect_origin(&profile.origin)?;
    let Some(key) = signers.key(profile.signer) else {
        return Ok(SignerKnown::No);
    };
    match profile.check(&key) {
        Ok(()) => Ok(SignerKnown::Yes),
        Err(StatementError::BadSignature) => Err(CarriedFault::BadSignature),
        Err(error) => Err(CarriedFault::Statement(error)),
    }
}
