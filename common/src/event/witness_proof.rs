//! `witness_proof`: a witness vouched for a tree head. Its payload is the body that it submitted.

use super::{CarriedFault, Event, EventError, Payload, Signers};
use crate::head::HeadError;
use crate::statement::{StatementError, WitnessProof};

impl Payload for WitnessProof {
    const EVENT_TYPE: &'static str = "witness_proof";

    fn check(&self) -> Result<(), EventError> {
        Ok(())
    }
}

impl From<WitnessProof> for Event {
    fn from(proof: WitnessProof) -> Self {
        Self::WitnessProof(Box::new(proof))
    }
}

/// Checks the witness's signature and the operator's under the head that it is about. The
/// cosignature belongs to the checkpoint and not to the proof: it is not looked at here.
pub(super) fn check_signature(
    proof: &WitnessProof,
    signers: &Signers<'_>,
) -> Result<(), CarriedFault> {
    signers.expect_origin(&proof.origin)?;
    proof.check().map_err(|error| match error {
        StatementError::BadSignature => CarriedFault::BadSignature,
        error => CarriedFault::Statement(error),
    })?;
    proof.head.verify(signers.operator, signers.origin).map_err(|error| match error {
        HeadError::BadSignature => CarriedFault::BadSignature,
        error => CarriedFault::Head(error),
    })?;
    Ok(())
}
