//! Public keys of any algorithm, as people register them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::keys::{Fingerprint, KeyError, PublicKey, decode_public_pem};

/// A public key of any algorithm: its PEM text, kept verbatim, and its fingerprint.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SubjectKey {
    pem: String,
    fingerprint: Fingerprint,
}

impl SubjectKey {
    /// The PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key's identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key, if it is an Ed25519 key, the only kind that the federation's roles have.
    pub fn ed25519(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_pem(&self.pem)
    }
}

impl TryFrom<String> for SubjectKey {
    type Error = KeyError;

    fn try_from(pem: String) -> Result<Self, KeyError> {
        let fingerprint = Fingerprint::of_der(&decode_public_pem(&pem)?);
        Ok(Self { pem, fingerprint })
    }
}

impl From<&PublicKey> for SubjectKey {
    fn from(key: &PublicKey) -> Self {
        Self { pem: key.to_pem(), fingerprint: key.fingerprint() }
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubjectKey").field(&self.fingerprint).finish()
    }
}

impl Serialize for SubjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.pem)
    }
}

impl<'de> Deserialize<'de> for SubjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn the_fingerprint_is_that_of_the_der_whatever_the_line_ends() {
        let key = SigningKey::from_seed([1; 32]);
        let windows = key.public().to_pem().replace('\n', "\r\n");

        let subject = SubjectKey::try_from(windows.clone()).expect("PEM");

        assert_eq!(subject.fingerprint(), key.fingerprint());
        assert_eq!(subject.pem(), windows);
        assert_eq!(subject.ed25519().as_ref(), Ok(key.public()));
    }

    #[test]
    fn a_private_key_is_refused() {
        let pem = SigningKey::from_seed([1; 32]).to_pem().to_string();
        assert_eq!(SubjectKey::try_from(pem), Err(KeyError::PrivateKeyGiven));
    }
}
