//! `key_succession`: a key gives way to another one.
//!
//! ```text
//! new_key_proof signs "diogenes-key-registration/v1\n" || JCS({"kind":"successor","origin":...,
//!     "payload":{expiration_date, fingerprint, key_algorithm, old_fingerprint, "proof":null, public_key}})
//! ```
//! where `fingerprint` and `public_key` are the new key's. The entry holds the old key too, so that
//! what it signed can be checked from the entry alone.

use serde::{Deserialize, Serialize};

use super::authorization::{Action, Authorization};
use super::{CarriedFault, Event, EventError, Payload};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey, HolderSignature, KeyAlgorithm};
use crate::shape::Misfit;
use crate::statement::Claim;

/// The payload of a `key_succession` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySuccession {
    /// How the holder of the old key authorised it.
    pub authorization: Authorization,
    /// From when on the new key is expired; null for never.
    pub expiration_date: Option<Timestamp>,
    /// The algorithm of the new key.
    pub key_algorithm: KeyAlgorithm,
    /// The fingerprint of the new key.
    pub new_fingerprint: Fingerprint,
    /// The new key's signature over [`SuccessorKey::proof_bytes`]; null if possession was not
    /// proven.
    pub new_key_proof: Option<HolderSignature>,
    /// The new key.
    pub new_public_key: HolderKey,
    /// The fingerprint of the old key.
    pub old_fingerprint: Fingerprint,
    /// The old key.
    pub old_public_key: HolderKey,
    /// Whether an expired key is recovered.
    pub recovery: bool,
}

/// `payload` of `POST /keys/succeed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SuccessionRequest {
    /// The key that gives way.
    pub old_fingerprint: Fingerprint,
    /// Its successor, PEM `SubjectPublicKeyInfo`.
    pub new_public_key: String,
    /// `ed25519`, `ecdsa-p256` or `rsa-2048`.
    pub new_algorithm: String,
    /// From when on the successor is expired, as `2027-01-15T00:00:00.000Z`; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<String>,
    /// The successor's proof of possession, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_key_proof: Option<String>,
}

/// Why a request cannot become an entry, whatever the log holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A member is missing, unknown, or not of its type.
    #[error(transparent)]
    Shape(#[from] Misfit),
    /// A member is not as it should be.
    #[error("{member}: {detail}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What to change.
        detail: String,
    },
    /// The proof of possession does not verify.
    #[error("{member} does not verify over this log's origin and the payload")]
    Proof {
        /// The member's name.
        member: &'static str,
    },
}

/// A key that takes the place of another one: what a request says of it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessorKey {
    /// The key that gives way.
    pub old_fingerprint: Fingerprint,
    /// The new key.
    pub public_key: HolderKey,
    /// From when on it is expired.
    pub expiration_date: Option<Timestamp>,
    /// Its proof of possession, as entries keep it.
    pub proof: Option<HolderSignature>,
}

impl SuccessorKey {
    /// What a request asks for: the one way from a request to an entry, for whoever writes the
    /// entry and for whoever checks it.
    pub fn of(request: &SuccessionRequest, origin: &Origin) -> Result<Self, BadRequest> {
        let member = |member, detail: String| BadRequest::Member { member, detail };
        let public_key = HolderKey::from_pem(&request.new_public_key)
            .map_err(|error| member("new_public_key", error.to_string()))?;
        let algorithm = public_key.algorithm();
        if request.new_algorithm != algorithm.as_str() {
            return Err(member("new_algorithm", format!("the new key's algorithm is {algorithm}")));
        }
        let expiration_date = request
            .expiration_date
            .as_deref()
            .map(str::parse::<Timestamp>)
            .transpose()
            .map_err(|error| member("expiration_date", error.to_string()))?;
        let old_fingerprint = request.old_fingerprint;
        let mut successor = Self { old_fingerprint, public_key, expiration_date, proof: None };
        if let Some(proof) = &request.new_key_proof {
            let given = HolderSignature::from_base64(proof)
                .map_err(|error| member("new_key_proof", error.to_string()))?;
            let bytes = successor.proof_bytes(origin);
            let proof = successor.public_key.accept(&bytes, given.as_bytes());
            let wrong = BadRequest::Proof { member: "new_key_proof" };
            successor.proof = Some(proof.map_err(|_| wrong)?);
        }
        Ok(successor)
    }

    /// The bytes that the successor's proof of possession signs.
    pub fn proof_bytes(&self, origin: &Origin) -> Vec<u8> {
        let payload = SuccessorPayload {
            expiration_date: self.expiration_date,
            fingerprint: self.public_key.fingerprint(),
            key_algorithm: self.public_key.algorithm(),
            old_fingerprint: self.old_fingerprint,
            proof: (),
            public_key: self.public_key.clone(),
        };
        SuccessorClaim { kind: Successor::Successor, origin: origin.clone(), payload }
            .signed_bytes()
    }

    /// The payload of the entry.
    pub fn succeed(self, old: HolderKey, recovery: bool, by: Authorization) -> KeySuccession {
        KeySuccession {
            authorization: by,
            expiration_date: self.expiration_date,
            key_algorithm: self.public_key.algorithm(),
            new_fingerprint: self.public_key.fingerprint(),
            new_key_proof: self.proof,
            new_public_key: self.public_key,
            old_fingerprint: self.old_fingerprint,
            old_public_key: old,
            recovery,
        }
    }
}

impl KeySuccession {
    /// The new key as this entry says it.
    pub fn successor(&self) -> SuccessorKey {
        SuccessorKey {
            old_fingerprint: self.old_fingerprint,
            public_key: self.new_public_key.clone(),
            expiration_date: self.expiration_date,
            proof: self.new_key_proof.clone(),
        }
    }

    /// Checks both signatures, and that the entry is what was asked for.
    pub(super) fn check_signatures(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let successor = self.successor();
        if let Some(proof) = &self.new_key_proof {
            self.new_public_key
                .verify(&successor.proof_bytes(origin), proof)
                .map_err(|_| CarriedFault::BadSignature)?;
        }
        let Authorization::Signed(signed) = &self.authorization else { return Ok(()) };
        signed.check(Action::Succeed, origin, &self.old_public_key)?;
        let asked: Option<Asked<SuccessionRequest>> =
            serde_json::from_value(signed.request.clone()).ok();
        let asked = asked.and_then(|asked| SuccessorKey::of(&asked.payload, origin).ok());
        if signed.recovery == self.recovery && asked == Some(successor) {
            Ok(())
        } else {
            Err(CarriedFault::OtherRequest)
        }
    }
}

impl Payload for KeySuccession {
    const EVENT_TYPE: &'static str = "key_succession";

    fn check(&self) -> Result<(), EventError> {
        if self.new_public_key.fingerprint() != self.new_fingerprint
            || self.old_public_key.fingerprint() != self.old_fingerprint
        {
            return Err(EventError::OtherKey);
        }
        if self.new_public_key.algorithm() != self.key_algorithm {
            return Err(EventError::OtherAlgorithm);
        }
        // No session of an expired key exists that could ask for its recovery.
        if self.recovery && matches!(self.authorization, Authorization::Session {}) {
            return Err(EventError::Contradiction);
        }
        Ok(())
    }
}

impl From<KeySuccession> for Event {
    fn from(succession: KeySuccession) -> Self {
        Self::KeySuccession(Box::new(succession))
    }
}

/// A request without its `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked<P> {
    pub(super) payload: P,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Successor {
    Successor,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessorClaim {
    kind: Successor,
    origin: Origin,
    payload: SuccessorPayload,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessorPayload {
    expiration_date: Option<Timestamp>,
    fingerprint: Fingerprint,
    key_algorithm: KeyAlgorithm,
    old_fingerprint: Fingerprint,
    proof: (),
    public_key: HolderKey,
}

/// Shares the first line of a registration's proof; `kind` tells the two apart.
impl Claim for SuccessorClaim {
    const FIRST_LINE: &'static str = "diogenes-key-registration/v1\n";
}
