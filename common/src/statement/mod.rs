//! The statements that nodes and operators sign, one file per kind.
//!
//! Every statement is signed over its own first line and the RFC 8785 form of its members, so that
//! no signature of one kind can ever be taken for one of another. The members are a *claim*; a
//! claim with its signature is what travels.

mod operator;
mod profile;
mod refusal;
mod report;
mod witness_proof;

use std::fmt;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

pub use operator::{Category, OperatorStatement, Verb};
pub use profile::{Profile, ProfileClaim, ProfileType};
pub use refusal::{Refusal, RefusalClaim};
pub use report::{FollowerStatus, ReplicationReport, ReportClaim};
pub use witness_proof::{WitnessClaim, WitnessProof};

use crate::canonical;
use crate::keys::{PublicKey, Signature, SigningKey};

/// The members of a statement that its signature covers.
pub trait Claim: Serialize + DeserializeOwned {
    /// What the signed bytes begin with, the line end included.
    const FIRST_LINE: &'static str;

    /// The exact bytes that are signed.
    ///
    /// # Panics
    /// Never: claims hold texts, integers, nulls and nothing else.
    fn signed_bytes(&self) -> Vec<u8> {
        let members = serde_json::to_value(self).expect("a claim is a JSON object");
        let mut bytes = Self::FIRST_LINE.as_bytes().to_vec();
        canonical::write(&members, &mut bytes);
        bytes
    }

    /// Reads signed bytes back; `None` unless they are exactly what this claim's signer signs.
    fn from_signed_bytes(bytes: &[u8]) -> Option<Self> {
        let members = bytes.strip_prefix(Self::FIRST_LINE.as_bytes())?;
        let claim: Self = serde_json::from_slice(members).ok()?;
        (claim.signed_bytes() == bytes).then_some(claim)
    }

    /// Signs the claim.
    fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(&self.signed_bytes())
    }

    /// Checks a signature over the claim, by the strict rule.
    fn check(&self, key: &PublicKey, signature: &Signature) -> Result<(), StatementError> {
        key.verify(&self.signed_bytes(), signature).map_err(|_| StatementError::BadSignature)
    }
}

/// A statement whose signature was checked; only this module's `verify` functions make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Gives the statement up as an ordinary value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why a statement does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The signature is not one of the key over these bytes.
    #[error("the signature does not verify over the statement's exact bytes")]
    BadSignature,
    /// The statement names another key than the one it is checked with.
    #[error("the statement names the fingerprint of another key")]
    OtherKey,
    /// The attached tree head has another origin, size or root than the statement.
    #[error("the attached tree head is not the one that the statement is about")]
    OtherHead,
    /// The old size is not below the new one.
    #[error("the old size must be below the new one")]
    SizesReversed,
    /// Size 0 with a root that is not the hash of the empty tree.
    #[error("the root of size 0 is the hash of the empty tree")]
    EmptyTreeRoot,
}

/// A machine-readable reason: 1 to 64 characters of `a-z`, `0-9` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

/// Why a text is not a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 1 to 64 characters of a-z, 0-9 and _")]
pub struct NotAReason;

impl Reason {
    /// The reason as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = NotAReason;

    fn try_from(text: String) -> Result<Self, NotAReason> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits { Ok(Self(text)) } else { Err(NotAReason) }
    }
}

impl TryFrom<&str> for Reason {
    type Error = NotAReason;

    fn try_from(text: &str) -> Result<Self, NotAReason> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_plain() {
        assert_eq!(
            Reason::try_from("leader_stale").map(|r| r.to_string()),
            Ok("leader_stale".into())
        );
        for bad in ["", "Bad", "two words", &"a".repeat(65), "<b>"] {
            assert_eq!(Reason::try_from(bad), Err(NotAReason), "{bad}");
        }
    }

    #[test]
    fn no_two_kinds_share_a_first_line() {
        let mut lines = vec![
            OperatorStatement::FIRST_LINE,
            ProfileClaim::FIRST_LINE,
            RefusalClaim::FIRST_LINE,
            ReportClaim::FIRST_LINE,
            WitnessClaim::FIRST_LINE,
        ];
        assert!(lines.iter().all(|line| line.starts_with("diogenes-") && line.ends_with("/v1\n")));
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 5);
    }
}
