//! Registered keys.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
pub use crate::view::KeyState;
use crate::view::{Ending, KeyRow};

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
    /// When the registration that counts was logged.
    pub registered_at: Timestamp,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// The entry that registered it, or made it a successor.
    pub log_entry_id: u64,
    /// The first entry that registered it: its place in lists.
    pub first_entry_id: u64,
    /// Whether the registration proved that its sender holds the private key.
    pub proof_of_possession: bool,
    /// The key whose place it took.
    pub succeeds: Option<Fingerprint>,
    /// The key that took its place.
    pub succeeded_by: Option<Fingerprint>,
    /// When its holder revoked it.
    pub revoked_at: Option<Timestamp>,
    /// When it ended, by revocation or succession.
    pub ended_at: Option<Timestamp>,
    /// The entry that ended it.
    pub ended_entry_id: Option<u64>,
    /// Whether its end, or that of the key whose place it took, rests on the leader's word that
    /// the holder wanted it.
    pub leader_asserted: bool,
    /// How many of its endorsers warn now that it is compromised.
    #[serde(default)]
    pub alerts: u64,
    /// The instant that the answer is about: that of the served head, unless another was asked for.
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
    /// The key that took its place.
    pub succeeded_by: Option<Fingerprint>,
    /// Whether its end rests on the leader's word that the holder wanted it.
    pub leader_asserted: bool,
    /// The instant that the answer is about: that of the served head, unless another was asked for.
    pub as_of: Timestamp,
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeySummary {
    /// The key's full fingerprint.
    pub fingerprint: Fingerprint,
    /// The name that its holder chose.
    pub pseudonym: String,
    /// `ed25519`, `ecdsa-p256` or `rsa-2048`.
    pub algorithm: String,
    /// Whether it counts, as of the list's `as_of`.
    pub status: KeyState,
    /// When the registration that counts was logged.
    pub registered_at: Timestamp,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// The entry that registered it, or made it a successor.
    pub log_entry_id: u64,
    /// The first entry that registered it: its place in the list, and what `after` is about.
    pub first_entry_id: u64,
    /// Whether the registration proved that its sender holds the private key.
    pub proof_of_possession: bool,
    /// The key that took its place.
    pub succeeded_by: Option<Fingerprint>,
    /// Whether its end rests on the leader's word that the holder wanted it.
    pub leader_asserted: bool,
}

/// `GET /api/v1/keys` and `GET /api/v1/keys/search`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct KeyList {
    /// The keys of this page, in the order of their first entries.
    pub keys: Vec<KeySummary>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many keys a page has at most.
    pub per_page: u64,
    /// How many keys match.
    pub total: u64,
    /// True if more match than are counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_capped: bool,
    /// The instant that the answer is about: that of the served head, unless another was asked for.
    pub as_of: Timestamp,
}

impl KeyRecord {
    /// The record of a key as the log had it at an instant; `succession_asserted` says whether the
    /// leader alone vouches that it took another key's place.
    pub fn at(key: KeyRow, as_of: Timestamp, succession_asserted: bool) -> Self {
        let status = key.state_at(as_of);
        Self {
            status,
            succeeded_by: succeeded_by(&key),
            revoked_at: key.ended.filter(|_| status == KeyState::Revoked).map(|end| end.at),
            ended_at: key.ended.map(|end| end.at),
            ended_entry_id: key.ended.map(|end| end.entry_id),
            leader_asserted: is_asserted(&key) || succession_asserted,
            fingerprint: key.fingerprint,
            public_key: key.public_key,
            pseudonym: key.pseudonym,
            algorithm: key.algorithm,
            registered_at: key.registered_at,
            expires_at: key.expires_at,
            log_entry_id: key.entry_id,
            first_entry_id: key.first_entry_id,
            proof_of_possession: key.proven,
            succeeds: key.succeeds,
            alerts: 0,
            as_of,
        }
    }
}

impl KeyStatus {
    /// The status of a key as the log had it at an instant.
    pub fn at(key: &KeyRow, as_of: Timestamp) -> Self {
        Self {
            fingerprint: key.fingerprint,
            status: key.state_at(as_of),
            expires_at: key.expires_at,
            succeeded_by: succeeded_by(key),
            leader_asserted: is_asserted(key),
            as_of,
        }
    }
}

impl KeySummary {
    /// The row of a key as the log had it at an instant.
    pub fn at(key: KeyRow, as_of: Timestamp) -> Self {
        Self {
            status: key.state_at(as_of),
            succeeded_by: succeeded_by(&key),
            leader_asserted: is_asserted(&key),
            fingerprint: key.fingerprint,
            pseudonym: key.pseudonym,
            algorithm: key.algorithm,
            registered_at: key.registered_at,
            expires_at: key.expires_at,
            log_entry_id: key.entry_id,
            first_entry_id: key.first_entry_id,
            proof_of_possession: key.proven,
        }
    }
}

fn succeeded_by(key: &KeyRow) -> Option<Fingerprint> {
    match key.ended?.how {
        Ending::Succeeded { by } => Some(by),
        Ending::Revoked => None,
    }
}

/// Whether what is said about the key's end rests on the leader's word.
pub fn is_asserted(key: &KeyRow) -> bool {
    key.ended.is_some_and(|end| end.leader_asserted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;
    use crate::view::Ended;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn fingerprint(name: &str) -> Fingerprint {
        Fingerprint::new(Hash::of(name.as_bytes()))
    }

    fn key(ended: Option<Ended>) -> KeyRow {
        KeyRow {
            fingerprint: fingerprint("key"),
            public_key: "PEM".to_owned(),
            algorithm: "ed25519".to_owned(),
            pseudonym: "Alice".to_owned(),
            pseudonym_folded: "alice".to_owned(),
            registered_at: at(0),
            expires_at: Some(at(1000)),
            entry_id: 3,
            proven: true,
            first_entry_id: 2,
            used_v1: false,
            succeeds: Some(fingerprint("old")),
            ended,
        }
    }

    #[test]
    fn a_revoked_key_says_when_and_on_whose_word() {
        let ended = Ended { how: Ending::Revoked, entry_id: 9, at: at(500), leader_asserted: true };
        let record = KeyRecord::at(key(Some(ended)), at(2000), false);
        assert_eq!((record.status, record.revoked_at), (KeyState::Revoked, Some(at(500))));
        assert_eq!((record.ended_at, record.ended_entry_id), (Some(at(500)), Some(9)));
        assert_eq!((record.succeeded_by, record.leader_asserted), (None, true));
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!((&json["status"], &json["log_entry_id"]), (&"revoked".into(), &3.into()));
    }

    #[test]
    fn a_succeeded_key_names_its_successor_and_was_not_revoked() {
        let how = Ending::Succeeded { by: fingerprint("new") };
        let ended = Ended { how, entry_id: 9, at: at(500), leader_asserted: false };
        let key = key(Some(ended));
        let record = KeyRecord::at(key.clone(), at(2000), false);
        assert_eq!((record.status, record.revoked_at), (KeyState::Succeeded, None));
        assert_eq!(
            (record.succeeded_by, record.ended_at),
            (Some(fingerprint("new")), Some(at(500)))
        );
        assert_eq!((record.succeeds, record.leader_asserted), (Some(fingerprint("old")), false));
        assert!(KeyRecord::at(key.clone(), at(2000), true).leader_asserted);
        let status = KeyStatus::at(&key, at(2000));
        assert_eq!((status.status, status.succeeded_by), (record.status, record.succeeded_by));
        let row = KeySummary::at(key, at(2000));
        assert_eq!((row.status, row.succeeded_by), (record.status, record.succeeded_by));
    }

    #[test]
    fn a_key_is_expired_from_its_expiry_date_on() {
        assert_eq!(KeyStatus::at(&key(None), at(999)).status, KeyState::Active);
        assert_eq!(KeyStatus::at(&key(None), at(1000)).status, KeyState::Expired);
    }
}
