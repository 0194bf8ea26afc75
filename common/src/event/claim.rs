//! `encrypted_claim`, `claim_reveal`: a statement that nobody can read yet, and its text.
//!
//! ```text
//! commitment = SHA-256("diogenes-claim/v1\n" || JCS({claimant, origin, plaintext}))   bound
//!            | SHA-256(JCS(plaintext))                                                of old clients
//! ```
//! A bound commitment is worth nothing to whoever copies it, since it names its claimant and log.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::asked::{Asked, asked};
use super::authorization::{Action, Authorization};
use super::text::{Base64Text, Words};
use super::{CarriedFault, Event, EventError, Payload};
use crate::canonical;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey};
use crate::merkle::Hash;

/// How many bytes a ciphertext has at most.
const MAX_CIPHERTEXT: usize = 32 * 1_024;
/// How many recipients a claim names at most.
const MAX_RECIPIENTS: usize = 16;

/// An encrypted text, base64.
type Ciphertext = Base64Text<MAX_CIPHERTEXT>;

/// The payload of an `encrypted_claim` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptedClaim {
    /// How the claimant authorised it.
    pub authorization: Authorization,
    /// Whose claim it is.
    pub claimant_fingerprint: Fingerprint,
    /// What is claimed, encrypted.
    pub ciphertext: Ciphertext,
    /// The hash that binds the claimant to the plaintext.
    pub commitment: Hash,
    /// How it is encrypted, in the claimant's words.
    pub encryption: Encryption,
    /// The claimant's key.
    pub public_key: HolderKey,
}

/// How a claim is encrypted; the log looks at none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// The algorithm, 1 to 64 characters.
    #[cfg_attr(feature = "shell", schema(value_type = String, min_length = 1, max_length = 64))]
    pub algorithm: Words<1, 64>,
    /// Whom it is encrypted for, if that is to be known; at most 16 of at most 512 characters.
    #[serde(default, deserialize_with = "recipients", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Vec<String>>, max_items = 16))]
    pub recipients: Option<Vec<Words<1, 512>>>,
}

/// The body of `POST /claims` without `auth`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Whose claim it is.
    pub claimant_fingerprint: Fingerprint,
    /// The hash that binds the claimant to the plaintext.
    pub commitment: Hash,
    /// What is claimed, encrypted: base64 of at most 32 KiB.
    #[cfg_attr(feature = "shell", schema(value_type = String, max_length = 43_692, examples("AAECAwQ=")))]
    pub ciphertext: Ciphertext,
    /// How it is encrypted.
    pub encryption: Encryption,
}

impl ClaimRequest {
    /// The event that is asked for.
    pub fn event(self, public_key: HolderKey, authorization: Authorization) -> EncryptedClaim {
        EncryptedClaim {
            authorization,
            claimant_fingerprint: self.claimant_fingerprint,
            ciphertext: self.ciphertext,
            commitment: self.commitment,
            encryption: self.encryption,
            public_key,
        }
    }
}

asked!(
    EncryptedClaim,
    Claim,
    claimant_fingerprint,
    ClaimRequest { claimant_fingerprint, commitment, ciphertext, encryption }
);

impl Payload for EncryptedClaim {
    const EVENT_TYPE: &'static str = "encrypted_claim";

    fn check(&self) -> Result<(), EventError> {
        self.check_key()
    }
}

/// The payload of a `claim_reveal` entry. Whoever knows the plaintext may reveal it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimReveal {
    /// Whether the commitment names its claimant and log.
    pub bound: bool,
    /// The entry of the claim.
    pub claim_entry_id: u64,
    /// Whose claim it is.
    pub claimant_fingerprint: Fingerprint,
    /// The claim's commitment.
    pub commitment: Hash,
    /// What was claimed.
    pub plaintext: Map<String, Value>,
}

impl ClaimReveal {
    /// The reveal of a claim, if the plaintext is what its claimant committed to.
    pub fn of(
        claim_entry_id: u64,
        claim: (Fingerprint, Hash),
        plaintext: Map<String, Value>,
        origin: &Origin,
    ) -> Option<Self> {
        let (claimant_fingerprint, commitment) = claim;
        let bound = commitment == bound_commitment(claimant_fingerprint, origin, &plaintext);
        (bound || commitment == loose_commitment(&plaintext)).then_some(Self {
            bound,
            claim_entry_id,
            claimant_fingerprint,
            commitment,
            plaintext,
        })
    }

    /// Whether somebody could have guessed the plaintext before: it holds no `salt` of 16 bytes or
    /// more in hex.
    pub fn is_unsalted(&self) -> bool {
        let salt = self.plaintext.get("salt").and_then(Value::as_str).unwrap_or_default();
        salt.len() < 32 || !salt.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Checks that the plaintext is what was committed to.
    pub(super) fn check_commitment(&self, origin: &Origin) -> Result<(), CarriedFault> {
        let claimed = if self.bound {
            bound_commitment(self.claimant_fingerprint, origin, &self.plaintext)
        } else {
            loose_commitment(&self.plaintext)
        };
        if claimed == self.commitment { Ok(()) } else { Err(CarriedFault::OtherCommitment) }
    }
}

impl Payload for ClaimReveal {
    const EVENT_TYPE: &'static str = "claim_reveal";

    fn check(&self) -> Result<(), EventError> {
        Ok(())
    }
}

impl From<ClaimReveal> for Event {
    fn from(reveal: ClaimReveal) -> Self {
        Self::ClaimReveal(Box::new(reveal))
    }
}

#[derive(Serialize)]
struct Committed<'a> {
    claimant: Fingerprint,
    origin: &'a Origin,
    plaintext: &'a Map<String, Value>,
}

/// The commitment of a claimant to a plaintext, on the log of this name.
pub fn bound_commitment(
    claimant: Fingerprint,
    origin: &Origin,
    plaintext: &Map<String, Value>,
) -> Hash {
    let committed = serde_json::to_value(Committed { claimant, origin, plaintext });
    let mut bytes = b"diogenes-claim/v1\n".to_vec();
    canonical::write(&committed.unwrap_or_default(), &mut bytes);
    Hash::of(&bytes)
}

/// The commitment of clients that bind nothing but the plaintext.
pub fn loose_commitment(plaintext: &Map<String, Value>) -> Hash {
    Hash::of(&canonical::to_vec(&Value::Object(plaintext.clone())))
}

fn recipients<'de, D, W>(deserializer: D) -> Result<Option<Vec<W>>, D::Error>
where
    D: Deserializer<'de>,
    W: Deserialize<'de>,
{
    let given: Option<Vec<W>> = Option::deserialize(deserializer)?;
    match &given {
        Some(list) if list.len() > MAX_RECIPIENTS => Err(serde::de::Error::custom(TooMany)),
        _ => Ok(given),
    }
}

struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_RECIPIENTS} recipients")
    }
}
