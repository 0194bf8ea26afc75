//! Endorsements: what the holders of keys may ask for.

mod http;

use diogenes_common::event::{
    AcceptRequest, AlertRequest, Authorization, EndorsementAcceptance,
    EndorsementAcceptanceRevocation, EndorsementOffer, EndorsementRevocationAlert,
    EndorsementWithdrawal, OfferRequest, RevokeAcceptanceRequest, WithdrawRequest,
};
use diogenes_common::keys::{Fingerprint, HolderKey};
use serde_json::Value;

pub(crate) use http::router;

use crate::app::App;
use crate::holders::{AskError, Request};

/// The categories in which the operator alone endorses.
const RESERVED: [&str; 2] = ["federation_operator", "witness"];

impl Request for OfferRequest {
    type Event = EndorsementOffer;

    fn signer(&self) -> Fingerprint {
        self.endorser_fingerprint
    }

    fn look(request: &Value) -> Result<(), AskError> {
        let category = request.get("category").and_then(Value::as_str).unwrap_or_default();
        let name = category.strip_prefix("x-diogenes:").unwrap_or(category);
        if RESERVED.contains(&name) { Err(AskError::CategoryReserved) } else { Ok(()) }
    }

    fn check(&self) -> Result<(), AskError> {
        if self.endorser_fingerprint == self.endorsed_fingerprint {
            let detail = "a key can't endorse itself; name another one";
            return Err(AskError::Member { member: "endorsed_fingerprint", detail });
        }
        Ok(())
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EndorsementOffer, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}

impl Request for AcceptRequest {
    type Event = EndorsementAcceptance;

    fn signer(&self) -> Fingerprint {
        self.endorsed_fingerprint
    }

    async fn event(
        self,
        app: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EndorsementAcceptance, AskError> {
        let offer = app.store.endorsement(self.offer_entry_id).await?.ok_or(AskError::NoOffer)?;
        let active_from = app.clock.now().plus_millis(app.activation_delay_millis);
        if offer.endorser == self.endorsed_fingerprint {
            return Err(AskError::NoOffer);
        }
        Ok(Self::event(self, key, authorization, offer.endorser, active_from))
    }
}

impl Request for WithdrawRequest {
    type Event = EndorsementWithdrawal;

    fn signer(&self) -> Fingerprint {
        self.endorser_fingerprint
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EndorsementWithdrawal, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}

impl Request for RevokeAcceptanceRequest {
    type Event = EndorsementAcceptanceRevocation;

    fn signer(&self) -> Fingerprint {
        self.endorsed_fingerprint
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EndorsementAcceptanceRevocation, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}

impl Request for AlertRequest {
    type Event = EndorsementRevocationAlert;

    fn signer(&self) -> Fingerprint {
        self.endorser_fingerprint
    }

    fn check(&self) -> Result<(), AskError> {
        if self.endorser_fingerprint == self.compromised_fingerprint {
            let detail = "a key can't warn of itself; revoke it";
            return Err(AskError::Member { member: "compromised_fingerprint", detail });
        }
        Ok(())
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<EndorsementRevocationAlert, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}
