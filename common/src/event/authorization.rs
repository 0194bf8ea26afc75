//! `authorization`: what an entry says of how its author proved to be the holder of a key.
//!
//! ```text
//! signed bytes = "diogenes-challenge/v1\n" || JCS({action, challenge_id, expires_at, fingerprint,
//!                                                 nonce, origin, payload_hash, purpose, recovery})
//! payload_hash = SHA-256(JCS(the request without `auth`)), null for a login
//! ```
//! The signature binds the answer to one log, one purpose, one action and one request: it is
//! worth nothing anywhere else. The two other forms are the leader's word.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::CarriedFault;
use crate::canonical;
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey, HolderSignature};
use crate::merkle::Hash;
use crate::statement::Claim;

/// How the holder of a key authorised an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "lowercase", deny_unknown_fields)]
pub enum Authorization {
    /// By a signature that every node checks.
    Signed(Box<SignedAuthorization>),
    /// By a signature over a bare nonce, which says nothing about the request: the leader's word.
    Legacy {},
    /// By a session: the leader's word.
    Session {},
}

impl Authorization {
    /// Whether only the leader says that the holder wanted it.
    pub const fn is_leader_asserted(&self) -> bool {
        !matches!(self, Self::Signed(_))
    }
}

/// The members of a signed authorization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAuthorization {
    /// What was asked for.
    pub action: Action,
    /// The challenge that was answered.
    pub challenge_id: ChallengeText,
    /// Until when that could be done.
    pub expires_at: Timestamp,
    /// What the challenge asked to sign.
    pub nonce: ChallengeText,
    /// What the challenge was for.
    pub purpose: Purpose,
    /// Whether it was asked for to recover an expired key.
    pub recovery: bool,
    /// The request without `auth`, as it was received.
    pub request: Value,
    /// The signature over [`SignedAuthorization::claim`].
    pub signature: HolderSignature,
}

impl SignedAuthorization {
    /// What the holder of a key signed.
    pub fn claim(&self, origin: &Origin, fingerprint: Fingerprint) -> ChallengeClaim {
        ChallengeClaim {
            action: Some(self.action),
            challenge_id: self.challenge_id.clone(),
            expires_at: self.expires_at,
            fingerprint,
            nonce: self.nonce.clone(),
            origin: origin.clone(),
            payload_hash: Some(payload_hash(&self.request)),
            purpose: self.purpose,
            recovery: self.recovery,
        }
    }

    /// Checks the signature, and that it is about this action. Whether the entry follows from the
    /// request is for the event to say.
    pub(super) fn check(
        &self,
        action: Action,
        origin: &Origin,
        key: &HolderKey,
    ) -> Result<(), CarriedFault> {
        key.verify(&self.claim(origin, key.fingerprint()).signed_bytes(), &self.signature)
            .map_err(|_| CarriedFault::BadSignature)?;
        if self.action == action && self.purpose == Purpose::General {
            Ok(())
        } else {
            Err(CarriedFault::OtherRequest)
        }
    }
}

/// What the holder of a key signs to answer a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeClaim {
    /// What is asked for; null in the form that a challenge is shown with.
    pub action: Option<Action>,
    /// The challenge.
    pub challenge_id: ChallengeText,
    /// Until when it may be answered.
    pub expires_at: Timestamp,
    /// The key that answers.
    pub fingerprint: Fingerprint,
    /// The challenge's random text.
    pub nonce: ChallengeText,
    /// The log.
    pub origin: Origin,
    /// The hash of the request; null for a login.
    pub payload_hash: Option<Hash>,
    /// What the challenge is for.
    pub purpose: Purpose,
    /// Whether it was asked for to recover an expired key.
    pub recovery: bool,
}

impl Claim for ChallengeClaim {
    const FIRST_LINE: &'static str = "diogenes-challenge/v1\n";
}

/// The hash that binds a signature to a request.
pub fn payload_hash(request: &Value) -> Hash {
    Hash::of(&canonical::to_vec(request))
}

/// What an answer to a challenge is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// A session.
    #[serde(rename = "login")]
    Login,
    /// Setting a password.
    #[serde(rename = "POST /auth/password")]
    Password,
    /// Replacing a key.
    #[serde(rename = "POST /keys/succeed")]
    Succeed,
    /// Revoking a key.
    #[serde(rename = "POST /keys/revoke")]
    Revoke,
    /// Offering an endorsement.
    #[serde(rename = "POST /endorsements/offer")]
    Offer,
    /// Accepting one.
    #[serde(rename = "POST /endorsements/accept")]
    Accept,
    /// Withdrawing one.
    #[serde(rename = "POST /endorsements/withdraw")]
    Withdraw,
    /// No longer accepting one.
    #[serde(rename = "POST /endorsements/revoke-acceptance")]
    RevokeAcceptance,
    /// Warning of a key that one endorsed.
    #[serde(rename = "POST /endorsements/revocation-alert")]
    Alert,
    /// Setting a trust policy.
    #[serde(rename = "POST /trust-configs")]
    TrustConfig,
    /// Ending a trust policy.
    #[serde(rename = "POST /trust-configs/revoke")]
    RevokeTrustConfig,
    /// Posting an encrypted claim.
    #[serde(rename = "POST /claims")]
    Claim,
    /// Recording a composite document.
    #[serde(rename = "POST /composite/compile")]
    Composite,
}

/// What a challenge is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Anything that takes an `auth` object, and a login.
    #[default]
    General,
    /// A login and nothing else.
    Login,
}

impl Purpose {
    /// The purpose as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Login => "login",
        }
    }
}

/// The id or the nonce of a challenge: 1 to 64 characters of base64url.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ChallengeText(String);

/// Why a text is neither the id nor the nonce of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("challenges have ids and nonces of 1 to 64 characters A-Z, a-z, 0-9, - and _")]
pub struct NotAChallengeText;

impl ChallengeText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ChallengeText {
    type Error = NotAChallengeText;

    fn try_from(text: String) -> Result<Self, NotAChallengeText> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(Self(text)) } else { Err(NotAChallengeText) }
    }
}

/// Challenges are secrets until they are answered.
impl fmt::Debug for ChallengeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeText(..)")
    }
}

impl<'de> Deserialize<'de> for ChallengeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn claim() -> ChallengeClaim {
        ChallengeClaim {
            action: Some(Action::Revoke),
            challenge_id: "c1".to_owned().try_into().unwrap(),
            expires_at: "2026-01-15T10:35:00.000Z".parse().unwrap(),
            fingerprint: SigningKey::from_seed([4; 32]).fingerprint(),
            nonce: "n-1_".to_owned().try_into().unwrap(),
            origin: "log.example/log-1".parse().unwrap(),
            payload_hash: None,
            purpose: Purpose::General,
            recovery: false,
        }
    }

    #[test]
    fn every_member_is_written_and_signed() {
        let text = String::from_utf8(claim().signed_bytes()).unwrap();
        let fingerprint = claim().fingerprint;

        assert_eq!(
            text,
            format!(
                "diogenes-challenge/v1\n{{\"action\":\"POST /keys/revoke\",\"challenge_id\":\"c1\",\
                 \"expires_at\":\"2026-01-15T10:35:00.000Z\",\"fingerprint\":\"{fingerprint}\",\
                 \"nonce\":\"n-1_\",\"origin\":\"log.example/log-1\",\"payload_hash\":null,\
                 \"purpose\":\"general\",\"recovery\":false}}"
            )
        );
        assert_eq!(ChallengeClaim::from_signed_bytes(text.as_bytes()), Some(claim()));
    }

    #[test]
    fn a_challenge_is_base64url_and_is_not_printed() {
        for bad in ["", "a b", "a+b", "é", &"a".repeat(65)] {
            assert_eq!(ChallengeText::try_from(bad.to_owned()), Err(NotAChallengeText), "{bad}");
        }
        assert!(!format!("{:?}", claim()).contains("n-1_"));
    }

    #[test]
    fn the_forms_that_are_the_leaders_word_say_so() {
        let read = |text: &str| serde_json::from_str::<Authorization>(text);

        let session = read(r#"{"form":"session"}"#).unwrap();
        assert_eq!(session, Authorization::Session {});
        assert!(session.is_leader_asserted());
        assert_eq!(serde_json::to_string(&session).unwrap(), r#"{"form":"session"}"#);
        assert!(read(r#"{"form":"legacy","nonce":"x"}"#).is_err());
        assert!(read(r#"{"form":"signed"}"#).is_err());
    }
}
