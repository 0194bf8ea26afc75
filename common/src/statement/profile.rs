//! Profiles: how a follower or a witness wants to be shown.

use serde::{Deserialize, Serialize};

use super::{Claim, StatementError, Verified};
use crate::clock::Timestamp;
use crate::event::text::{Name, ServerUrl};
use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey, Signature, SigningKey};

/// What kind of node a profile is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProfileType {
    /// A follower.
    Federation,
    /// A witness.
    Witness,
}

impl ProfileType {
    /// The type as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Federation => "federation",
            Self::Witness => "witness",
        }
    }
}

/// What the holder of the key, or the operator, signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileClaim {
    /// The name to show.
    pub display_name: Name,
    /// Whose profile it is.
    pub fingerprint: Fingerprint,
    /// The log.
    pub origin: Origin,
    /// The URL to show; never dialled.
    pub server: Option<ServerUrl>,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// What kind of node it is.
    #[serde(rename = "type")]
    pub kind: ProfileType,
}

impl Claim for ProfileClaim {
    const FIRST_LINE: &'static str = "diogenes-profile/v1\n";
}

impl ProfileClaim {
    /// Signs the claim and makes the profile to send.
    pub fn into_profile(self, key: &SigningKey) -> Profile {
        let signature = self.sign(key);
        Profile {
            display_name: self.display_name,
            fingerprint: self.fingerprint,
            origin: self.origin,
            server: self.server,
            signature,
            signer: key.fingerprint(),
            timestamp: self.timestamp,
            kind: self.kind,
        }
    }
}

/// The body of `PUT /api/v1/profiles/{fp}` and the payload of an `operator_profile` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name to show.
    pub display_name: Name,
    /// Whose profile it is.
    pub fingerprint: Fingerprint,
    /// The log.
    pub origin: Origin,
    /// The URL to show; never dialled.
    pub server: Option<ServerUrl>,
    /// The signature over the claim.
    pub signature: Signature,
    /// The key that signed: the profile's own or the operator's.
    pub signer: Fingerprint,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// What kind of node it is.
    #[serde(rename = "type")]
    pub kind: ProfileType,
}

impl Profile {
    /// The members that the signature covers.
    pub fn claim(&self) -> ProfileClaim {
        ProfileClaim {
            display_name: self.display_name.clone(),
            fingerprint: self.fingerprint,
            origin: self.origin.clone(),
            server: self.server.clone(),
            timestamp: self.timestamp,
            kind: self.kind,
        }
    }

    /// Checks the signature under the signer's key. Whether that key may speak for this profile is
    /// for the caller to know.
    pub fn check(&self, signer: &PublicKey) -> Result<(), StatementError> {
        if signer.fingerprint() != self.signer {
            return Err(StatementError::OtherKey);
        }
        self.claim().check(signer, &self.signature)
    }

    /// [`Profile::check`] for a profile that arrived and is to be used.
    pub fn verify(self, signer: &PublicKey) -> Result<Verified<Self>, StatementError> {
        self.check(signer)?;
        Ok(Verified(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_holds_only_under_its_signer_and_as_it_was_signed() {
        let key = SigningKey::from_seed([8; 32]);
        let claim = ProfileClaim {
            display_name: Name::try_from("EU Mirror".to_owned()).expect("a name"),
            fingerprint: key.fingerprint(),
            origin: "log.example/log-1".parse().expect("an origin"),
            server: None,
            timestamp: "2026-01-15T10:30:00.000Z".parse().expect("a time"),
            kind: ProfileType::Federation,
        };
        let profile = claim.clone().into_profile(&key);

        assert_eq!(
            String::from_utf8(claim.signed_bytes()),
            Ok(format!(
                "diogenes-profile/v1\n{{\"display_name\":\"EU Mirror\",\"fingerprint\":\"{}\",\
                 \"origin\":\"log.example/log-1\",\"server\":null,\
                 \"timestamp\":\"2026-01-15T10:30:00.000Z\",\"type\":\"federation\"}}",
                key.fingerprint()
            ))
        );
        assert_eq!(profile.check(key.public()), Ok(()));
        let other = SigningKey::from_seed([9; 32]);
        assert_eq!(profile.check(other.public()), Err(StatementError::OtherKey));
        let renamed = Profile { kind: ProfileType::Witness, ..profile };
        assert_eq!(renamed.verify(key.public()), Err(StatementError::BadSignature));
    }
}
