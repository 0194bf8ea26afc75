//! `key_registration`: somebody's key and the pseudonym that goes with it.

use serde::{Deserialize, Serialize};

use super::text::Name;
use super::{CarriedFault, Event, EventError, Payload};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey, HolderSignature, KeyAlgorithm, SigningKey};
use crate::statement::Claim;

/// The payload of a `key_registration` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRegistration {
    /// From when on the key is expired; null for never.
    pub expiration_date: Option<Timestamp>,
    /// The fingerprint of `public_key`.
    pub fingerprint: Fingerprint,
    /// The algorithm of `public_key`.
    pub key_algorithm: KeyAlgorithm,
    /// The holder's signature over [`KeyRegistration::proof_bytes`]; null if possession was not
    /// proven.
    pub proof: Option<HolderSignature>,
    /// The name that the holder chose.
    pub pseudonym: Name,
    /// The key.
    pub public_key: HolderKey,
}

impl KeyRegistration {
    /// The bytes that a proof of possession signs: the log's origin and this payload with `proof`
    /// null, so that a proof is good for one log, one name and one expiry.
    pub fn proof_bytes(&self, origin: &Origin) -> Vec<u8> {
        let payload = Self { proof: None, ..self.clone() };
        PossessionClaim { origin: origin.clone(), payload }.signed_bytes()
    }

    /// The registration with its holder's proof of possession.
    #[must_use]
    pub fn proven(self, origin: &Origin, key: &SigningKey) -> Self {
        let signature = key.sign(&self.proof_bytes(origin));
        Self { proof: Some(signature.into()), ..self }
    }

    /// Checks the proof, if there is one.
    pub(super) fn check_proof(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let Some(proof) = &self.proof else { return Ok(()) };
        self.public_key
            .verify(&self.proof_bytes(origin), proof)
            .map_err(|_| CarriedFault::BadSignature)
    }
}

impl Payload for KeyRegistration {
    const EVENT_TYPE: &'static str = "key_registration";

    fn check(&self) -> Result<(), EventError> {
        if self.public_key.fingerprint() != self.fingerprint {
            return Err(EventError::OtherKey);
        }
        if self.public_key.algorithm() != self.key_algorithm {
            return Err(EventError::OtherAlgorithm);
        }
        Ok(())
    }
}

impl From<KeyRegistration> for Event {
    fn from(registration: KeyRegistration) -> Self {
        Self::KeyRegistration(Box::new(registration))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PossessionClaim {
    origin: Origin,
    payload: KeyRegistration,
}

impl Claim for PossessionClaim {
    const FIRST_LINE: &'static str = "diogenes-key-registration/v1\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(key: &SigningKey) -> KeyRegistration {
        KeyRegistration {
            expiration_date: None,
            fingerprint: key.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: Name::try_from("Alice".to_owned()).expect("a name"),
            public_key: key.public().into(),
        }
    }

    #[test]
    fn a_proof_covers_the_log_and_the_payload_without_itself() {
        let key = SigningKey::from_seed([1; 32]);
        let origin: Origin = "log.example/log-1".parse().expect("an origin");
        let proven = registration(&key).proven(&origin, &key);

        let text = String::from_utf8(proven.proof_bytes(&origin)).expect("text");

        assert!(text.starts_with(
            "diogenes-key-registration/v1\n{\"origin\":\"log.example/log-1\",\
             \"payload\":{\"expiration_date\":null,"
        ));
        assert!(text.contains("\"proof\":null"));
        assert_eq!(proven.check_proof(&origin), Ok(()));
        let other_log: Origin = "other.example".parse().expect("an origin");
        assert_eq!(proven.check_proof(&other_log), Err(CarriedFault::BadSignature));
        let renamed = KeyRegistration {
            pseudonym: Name::try_from("Bob".to_owned()).expect("a name"),
            ..proven
        };
        assert_eq!(renamed.check_proof(&origin), Err(CarriedFault::BadSignature));
    }

    #[test]
    fn the_key_must_be_the_one_that_the_fingerprint_names() {
        let [key, other] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
        let swapped = KeyRegistration { fingerprint: other.fingerprint(), ..registration(&key) };
        assert_eq!(Payload::check(&swapped), Err(EventError::OtherKey));
    }
}
