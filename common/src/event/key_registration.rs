//! `key_registration`: somebody's key and the pseudonym that goes with it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::subject_key::SubjectKey;
use super::text::Name;
use super::{CarriedFault, Event, EventError, Payload};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, Signature, SigningKey};
use crate::statement::Claim;

/// The algorithm of a registered key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA of 2048 to 4096 bits with SHA-256.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

impl KeyAlgorithm {
    /// The algorithm as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Rsa2048 => "rsa-2048",
        }
    }
}

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
    pub proof: Option<PossessionProof>,
    /// The name that the holder chose.
    pub pseudonym: Name,
    /// The key.
    pub public_key: SubjectKey,
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
        Self { proof: Some(PossessionProof(signature.as_bytes().to_vec())), ..self }
    }

    /// Checks the proof, if there is one. Those of other algorithms than Ed25519 are not looked
    /// at: they are the business of whoever lets them have an effect.
    pub(super) fn check_proof(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let (Some(proof), KeyAlgorithm::Ed25519) = (&self.proof, self.key_algorithm) else {
            return Ok(());
        };
        let signature = Signature::from_slice(&proof.0).ok_or(CarriedFault::BadSignature)?;
        let key = self.public_key.ed25519().map_err(|_| CarriedFault::OtherKey)?;
        key.verify(&self.proof_bytes(origin), &signature).map_err(|_| CarriedFault::BadSignature)
    }
}

impl Payload for KeyRegistration {
    const EVENT_TYPE: &'static str = "key_registration";

    fn check(&self) -> Result<(), EventError> {
        if self.public_key.fingerprint() != self.fingerprint {
            return Err(EventError::OtherKey);
        }
        if self.key_algorithm == KeyAlgorithm::Ed25519 {
            self.public_key.ed25519().map_err(EventError::Key)?;
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

/// A signature of any algorithm: 1 to 512 bytes, in JSON padded base64.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PossessionProof(Vec<u8>);

/// Why bytes are no proof of possession.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proof of possession is the padded base64 of 1 to 512 bytes")]
pub struct NotAProof;

impl PossessionProof {
    const MAX_BYTES: usize = 512;

    /// The bytes of the signature.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for PossessionProof {
    type Error = NotAProof;

    fn try_from(bytes: Vec<u8>) -> Result<Self, NotAProof> {
        if (1..=Self::MAX_BYTES).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(NotAProof) }
    }
}

impl fmt::Debug for PossessionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl Serialize for PossessionProof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PossessionProof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > Self::MAX_BYTES * 2 {
            return Err(serde::de::Error::custom(NotAProof));
        }
        let bytes = BASE64.decode(text).map_err(|_| serde::de::Error::custom(NotAProof))?;
        bytes.try_into().map_err(serde::de::Error::custom)
    }
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
