//! Registering a key: the request, its rules, the command.

use diogenes_common::clock::Timestamp;
use diogenes_common::event::text::Name;
use diogenes_common::event::{CheckedPayload, KeyRegistration, Unfit};
use diogenes_common::head::Origin;
use diogenes_common::keys::{HolderKey, HolderSignature, KeyAlgorithm};
use diogenes_common::shape::{self, Misfit};
use serde::Deserialize;
use serde_json::Value;

/// What a client sends to register a key (`payload` of `POST /keys/register`, or the payload of
/// a `key_registration` event).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrationRequest {
    /// The public key, PEM `SubjectPublicKeyInfo`.
    #[schema(example = "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n")]
    pub(crate) public_key: String,
    /// A name of 1 to 100 characters.
    #[schema(example = "Alice Scholar")]
    pub(crate) pseudonym: String,
    /// `ed25519`, `ecdsa-p256` or `rsa-2048`.
    #[schema(example = "ed25519")]
    pub(crate) key_algorithm: String,
    /// From when on the key is expired, RFC 3339; never if left out.
    #[serde(default)]
    pub(crate) expiration_date: Option<String>,
    /// Signature of the key over `"diogenes-key-registration/v1\n"` and the canonical JSON of
    /// `{origin, payload}`, base64.
    #[serde(default)]
    pub(crate) proof: Option<String>,
}

/// Why a registration can't be taken, whatever the log holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRegistration {
    /// A member is missing, unknown, or not of its type.
    #[error(transparent)]
    Shape(#[from] Misfit),
    /// A member that is not as it should be.
    #[error("{detail}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What to change.
        detail: String,
    },
    /// Somebody sent a private key.
    #[error("the body holds a private key; send the public key, and replace this key pair")]
    PrivateKey,
    /// This log takes no registration without proof.
    #[error("this log registers keys with a proof of possession only; send `proof`")]
    ProofNeeded,
    /// The proof does not verify.
    #[error("the proof does not verify over this log's origin and the payload")]
    Proof,
}

impl RegistrationRequest {
    /// Reads the payload of a `key_registration` event.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, BadRegistration> {
        let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        Ok(shape::read(&payload)?)
    }

    /// Checks everything that does not depend on the log's state; answers what is to be logged.
    pub(crate) fn check(
        self,
        origin: &Origin,
        now: Timestamp,
        proof_needed: bool,
    ) -> Result<CheckedPayload, BadRegistration> {
        let member = |member, detail: String| BadRegistration::Member { member, detail };
        if self.public_key.contains("PRIVATE KEY") {
            return Err(BadRegistration::PrivateKey);
        }
        if KeyAlgorithm::from_name(&self.key_algorithm).is_none() {
            let detail = "use ed25519, ecdsa-p256 or rsa-2048".to_owned();
            return Err(member("key_algorithm", detail));
        }
        // Parsed and printed again, so that one key has one text in the log.
        let key = HolderKey::from_pem(&self.public_key)
            .map_err(|error| member("public_key", error.to_string()))?;
        if self.key_algorithm != key.algorithm().as_str() {
            let detail = format!("the algorithm of public_key is {}", key.algorithm());
            return Err(member("key_algorithm", detail));
        }
        let pseudonym = Name::try_from(self.pseudonym)
            .map_err(|error| member("pseudonym", error.to_string()))?;
        let expires = |text: String| match &self.proof {
            // A signed member must arrive exactly as it will be stored.
            Some(_) => text.parse(),
            None => Timestamp::from_rfc3339(&text),
        };
        let expiration_date = self
            .expiration_date
            .map(expires)
            .transpose()
            .map_err(|error| member("expiration_date", error.to_string()))?;
        if expiration_date.is_some_and(|date| date <= now) {
            return Err(member("expiration_date", "give a date in the future".to_owned()));
        }
        let mut event = KeyRegistration {
            expiration_date,
            fingerprint: key.fingerprint(),
            key_algorithm: key.algorithm(),
            proof: None,
            pseudonym,
            public_key: key.clone(),
        };
        if self.proof.is_none() && proof_needed {
            return Err(BadRegistration::ProofNeeded);
        }
        if let Some(proof) = self.proof {
            let given = HolderSignature::from_base64(&proof)
                .map_err(|error| member("proof", error.to_string()))?;
            let kept = key.kept_form(&event.proof_bytes(origin), given.as_bytes());
            event.proof = Some(kept.map_err(|_| BadRegistration::Proof)?);
        }
        CheckedPayload::of(&event, origin).map_err(|unfit| match unfit {
            Unfit::Carried(_) => BadRegistration::Proof,
            Unfit::Event(_) | Unfit::DependsOnPlace => member("public_key", unfit.to_string()),
        })
    }
}
