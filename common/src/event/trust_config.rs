//! `trust_config`, `trust_config_revocation`: by which policy the holder of a key trusts others.

use serde::{Deserialize, Serialize};

use super::asked::{Asked, asked};
use super::authorization::{Action, Authorization};
use super::{Event, EventError, Payload};
use crate::keys::{Fingerprint, HolderKey};
use crate::trust::Policy;

/// The payload of a `trust_config` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// How the holder of the key authorised it.
    pub authorization: Authorization,
    /// The policy, in place of the key's last one.
    pub config: Policy,
    /// Whose policy it is.
    pub fingerprint: Fingerprint,
    /// The key.
    pub public_key: HolderKey,
}

/// The body of `POST /trust-configs` without `auth`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustConfigRequest {
    /// Whose policy it is.
    pub fingerprint: Fingerprint,
    /// The policy.
    pub config: Policy,
}

impl TrustConfigRequest {
    /// The event that is asked for.
    pub fn event(self, public_key: HolderKey, authorization: Authorization) -> TrustConfig {
        let Self { fingerprint, config } = self;
        TrustConfig { authorization, config, fingerprint, public_key }
    }
}

asked!(TrustConfig, TrustConfig, fingerprint, TrustConfigRequest { fingerprint, config });

impl Payload for TrustConfig {
    const EVENT_TYPE: &'static str = "trust_config";

    fn check(&self) -> Result<(), EventError> {
        self.check_key()
    }
}

/// The payload of a `trust_config_revocation` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfigRevocation {
    /// How the holder of the key authorised it.
    pub authorization: Authorization,
    /// Whose policy ends.
    pub fingerprint: Fingerprint,
    /// The key.
    pub public_key: HolderKey,
}

/// The body of `POST /trust-configs/revoke` without `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustConfigRevocationRequest {
    /// Whose policy ends.
    pub fingerprint: Fingerprint,
}

impl TrustConfigRevocationRequest {
    /// The event that is asked for.
    pub fn event(
        self,
        public_key: HolderKey,
        authorization: Authorization,
    ) -> TrustConfigRevocation {
        TrustConfigRevocation { authorization, fingerprint: self.fingerprint, public_key }
    }
}

asked!(
    TrustConfigRevocation,
    RevokeTrustConfig,
    fingerprint,
    TrustConfigRevocationRequest { fingerprint }
);

impl Payload for TrustConfigRevocation {
    const EVENT_TYPE: &'static str = "trust_config_revocation";

    fn check(&self) -> Result<(), EventError> {
        self.check_key()
    }
}
