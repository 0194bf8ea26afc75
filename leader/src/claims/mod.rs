//! Encrypted claims: posted, read by whoever has a session, revealed by whoever knows the text.

mod http;

use diogenes_common::event::{Authorization, ClaimRequest, ClaimReveal, EncryptedClaim};
use diogenes_common::keys::{Fingerprint, HolderKey};
use diogenes_common::store::StoreError;
use serde_json::{Map, Value};

pub(crate) use http::router;

use crate::app::App;
use crate::holders::{AskError, Request};

impl Request for ClaimRequest {
    type Event = EncryptedClaim;

    fn signer(&self) -> Fingerprint {
        self.claimant_fingerprint
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EncryptedClaim, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}

/// Why a claim can't be revealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevealError {
    /// No entry of that number is a claim.
    #[error("there is no such claim")]
    UnknownClaim,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reveal of a claim by its plaintext; nothing if its claimant committed to another text.
pub(crate) async fn reveal(
    app: &App,
    claim_entry_id: u64,
    plaintext: Map<String, Value>,
) -> Result<Option<ClaimReveal>, RevealError> {
    let claim = app.store.claim(claim_entry_id).await?.ok_or(RevealError::UnknownClaim)?;
    let committed = (claim.claimant, claim.commitment);
    Ok(ClaimReveal::of(claim_entry_id, committed, plaintext, &app.origin))
}
