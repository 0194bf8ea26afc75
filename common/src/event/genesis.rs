//! `log_genesis`: entry 1, which names the log and the key that signs for it.

use serde::{Deserialize, Serialize};

use super::{Event, EventError, Payload};
use crate::head::{EPOCH, Origin};
use crate::keys::{Fingerprint, PublicKey};

/// The payload of entry 1. The log's id is that entry's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The epoch that begins here: [`EPOCH`].
    pub epoch: u64,
    /// The fingerprint of the operator's key.
    pub operator_fingerprint: Fingerprint,
    /// The key that signs the log's tree heads for ever.
    pub operator_public_key: PublicKey,
    /// The log's name, fixed for ever.
    pub origin: Origin,
}

impl Genesis {
    /// The genesis of a log under this key and name.
    pub fn new(operator: &PublicKey, origin: Origin) -> Self {
        Self {
            epoch: EPOCH,
            operator_fingerprint: operator.fingerprint(),
            operator_public_key: operator.clone(),
            origin,
        }
    }
}

impl Payload for Genesis {
    const EVENT_TYPE: &'static str = "log_genesis";

    fn check(&self) -> Result<(), EventError> {
        if self.epoch != EPOCH {
            return Err(EventError::Epoch);
        }
        if self.operator_public_key.fingerprint() != self.operator_fingerprint {
            return Err(EventError::OtherKey);
        }
        Ok(())
    }
}

impl From<Genesis> for Event {
    fn from(genesis: Genesis) -> Self {
        Self::Genesis(Box::new(genesis))
    }
}
