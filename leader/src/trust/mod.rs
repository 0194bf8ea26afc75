//! Trust policies of the holders of keys.

mod http;

use diogenes_common::event::{
    Authorization, TrustConfig, TrustConfigRequest, TrustConfigRevocation,
    TrustConfigRevocationRequest,
};
use diogenes_common::keys::{Fingerprint, HolderKey};

pub(crate) use http::router;

use crate::app::App;
use crate::holders::{AskError, Request};

impl Request for TrustConfigRequest {
    type Event = TrustConfig;

    fn signer(&self) -> Fingerprint {
        self.fingerprint
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<TrustConfig, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}

impl Request for TrustConfigRevocationRequest {
    type Event = TrustConfigRevocation;

    fn signer(&self) -> Fingerprint {
        self.fingerprint
    }

    async fn event(
        self,
        _: &App,
        key: HolderKey,
        authorization: Authorization,
    ) -> Result<TrustConfigRevocation, AskError> {
        Ok(Self::event(self, key, authorization))
    }
}
