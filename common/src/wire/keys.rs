//! Registered keys.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::view::KeyRow;
pub use crate::view::KeyState;

/// `GET /api/v1/keys/{fingerprint}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeyRecord {
    /// The key's full fingerprint.
    pub fingerprint: Fingerprint,
    /// The key as PEM.
    pub public_key: String,
    /// The name that its holder chose.
    pub pseudonym: String,
    /// `ed25519`, `ecdsa-p256` or `rsa-2048`.
    pub algorithm: String,
    /// Whether it counts, as of `as_of`.
    pub status: KeyState,
    /// When the registration was logged.
    pub registered_at: Timestamp,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// The entry that registered it.
    pub log_entry_id: u64,
    /// Whether the registration proved that its sender holds the private key.
    pub proof_of_possession: bool,
    /// The instant that `status` is about: the time of the served head.
    pub as_of: Timestamp,
}

/// `GET /api/v1/keys/{fingerprint}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeyStatus {
    /// The key's full fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it counts, as of `as_of`.
    pub status: KeyState,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// The instant that `status` is about: the time of the served head.
    pub as_of: Timestamp,
}

impl KeyRecord {
    /// The record of a key at an instant.
    pub fn at(key: KeyRow, as_of: Timestamp) -> Self {
        Self {
            status: key.state_at(as_of),
            fingerprint: key.fingerprint,
            public_key: key.public_key,
            pseudonym: key.pseudonym,
            algorithm: key.algorithm,
            registered_at: key.registered_at,
            expires_at: key.expires_at,
            log_entry_id: key.entry_id,
            proof_of_possession: key.proven,
            as_of,
        }
    }
}

impl KeyStatus {
    /// The status of a key at an instant.
    pub fn at(key: &KeyRow, as_of: Timestamp) -> Self {
        Self {
            fingerprint: key.fingerprint,
            status: key.state_at(as_of),
            expires_at: key.expires_at,
            as_of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;

    #[test]
    fn a_key_is_expired_from_its_expiry_date_on() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let key = KeyRow {
            fingerprint: Fingerprint::new(Hash::EMPTY_TREE),
            public_key: String::new(),
            algorithm: "ed25519".to_owned(),
            pseudonym: "Alice".to_owned(),
            pseudonym_folded: "alice".to_owned(),
            registered_at: at(0),
            expires_at: Some(at(1000)),
            entry_id: 2,
            proven: true,
            first_entry_id: 2,
            used_v1: false,
            succeeds: None,
            ended: None,
        };
        assert_eq!(key.state_at(at(999)), KeyState::Active);
        assert_eq!(key.state_at(at(1000)), KeyState::Expired);
        let endless = KeyRow { expires_at: None, ..key };
        assert_eq!(endless.state_at(at(i64::from(u32::MAX))), KeyState::Active);
    }
}
