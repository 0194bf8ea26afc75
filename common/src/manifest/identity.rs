//! What makes an attestation this one and no other.
//!
//! ```text
//! attestation_id = SHA-256(JCS({"form":"all","manifest_hash":"sha256:...","parents":["<id>",...],
//!                               "signer":"sha256:...","type":"authorship"}))
//! id             = its first 32 hex digits
//! ```
//!
//! No signature bytes are part of it: one statement has many valid signatures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical;
use crate::keys::Fingerprint;
use crate::leaf::EventType;
use crate::merkle::{Hash, NotAHash};

/// In which part its signer attests: one of four, or one of somebody's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttestationType {
    /// The signer wrote the document, alone or with others.
    #[default]
    Authorship,
    /// The signer reviewed and approved it editorially.
    EditorialReview,
    /// The signer reviewed it for scholarly or technical accuracy.
    PeerReview,
    /// The signer publishes it.
    Publication,
    /// `x-<namespace>:<name>`: what it means is that namespace's affair.
    Namespaced(EventType),
}

/// Why a text is not the type of an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an attestation is of type authorship, editorial_review, peer_review or publication, or \
     namespaced: `x-[a-z0-9][a-z0-9-]{{0,31}}:[a-z0-9][a-z0-9._-]{{0,63}}`"
)]
pub struct NotAnAttestationType;

impl AttestationType {
    /// The type as it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Authorship => "authorship",
            Self::EditorialReview => "editorial_review",
            Self::PeerReview => "peer_review",
            Self::Publication => "publication",
            Self::Namespaced(name) => name.as_str(),
        }
    }
}

impl FromStr for AttestationType {
    type Err = NotAnAttestationType;

    fn from_str(text: &str) -> Result<Self, NotAnAttestationType> {
        match text {
            "authorship" => Ok(Self::Authorship),
            "editorial_review" => Ok(Self::EditorialReview),
            "peer_review" => Ok(Self::PeerReview),
            "publication" => Ok(Self::Publication),
            _ => {
                let name: EventType = text.parse().map_err(|_| NotAnAttestationType)?;
                if !name.is_namespaced() {
                    return Err(NotAnAttestationType);
                }
                Ok(Self::Namespaced(name))
            }
        }
    }
}

impl fmt::Display for AttestationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AttestationType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AttestationType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the signature of an attestation covers; each form covers more than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub enum Binds {
    /// The manifest without its attestations.
    #[serde(rename = "manifest")]
    Manifest,
    /// The manifest with exactly the attestations that were there before: its parents.
    #[serde(rename = "manifest+parents")]
    ManifestAndParents,
    /// The manifest's hash, the parents, the type and the statement of intent.
    #[serde(rename = "all")]
    All,
}

impl Binds {
    /// The form as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::ManifestAndParents => "manifest+parents",
            Self::All => "all",
        }
    }

    /// Reads what [`Binds::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Manifest, Self::ManifestAndParents, Self::All]
            .into_iter()
            .find(|form| form.as_str() == name)
    }
}

impl fmt::Display for Binds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which spelling a manifest was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Canonicalization {
    /// RFC 8785.
    Jcs,
    /// What Python clients of the original system sign.
    Legacy,
}

impl Canonicalization {
    /// The spelling's name as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jcs => "jcs",
            Self::Legacy => "legacy",
        }
    }

    /// Reads what [`Canonicalization::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Jcs, Self::Legacy].into_iter().find(|spelling| spelling.as_str() == name)
    }
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an attestation's identity is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Identity<'a> {
    /// What the signature covers.
    pub form: Binds,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The attestations that this one stands on, in the manifest's order; none if it covers the
    /// manifest alone.
    pub parents: &'a [ShortId],
    /// Whose attestation it is.
    pub signer: Fingerprint,
    /// Its type.
    #[serde(rename = "type")]
    pub attestation_type: &'a AttestationType,
}

impl Identity<'_> {
    /// The attestation's id.
    ///
    /// # Panics
    /// Never: an identity holds texts and nothing else.
    pub fn id(&self) -> AttestationId {
        let members = serde_json::to_value(self).expect("an identity is a JSON object");
        AttestationId(Hash::of(&canonical::to_vec(&members)))
    }
}

/// The whole id of an attestation, shown as hash text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttestationId(Hash);

impl AttestationId {
    /// Wraps a hash that is already known to be such an id.
    pub const fn new(hash: Hash) -> Self {
        Self(hash)
    }

    /// The first 32 hex digits: the `id` that clients see and that parents are named by.
    pub fn short(&self) -> ShortId {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0.as_bytes()[..16]);
        ShortId(first)
    }
}

impl fmt::Display for AttestationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AttestationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AttestationId {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        text.parse().map(Self)
    }
}

/// The `id` of an attestation: the first 32 hex digits of its [`AttestationId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortId([u8; 16]);

/// Why a text is not the id of an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of an attestation is 32 lower-case hex digits")]
pub struct NotAShortId;

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ShortId {
    type Err = NotAShortId;

    fn from_str(text: &str) -> Result<Self, NotAShortId> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAShortId);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAShortId)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ShortId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShortId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity<'a>(attestation_type: &'a AttestationType, parents: &'a [ShortId]) -> Identity<'a> {
        Identity {
            form: Binds::ManifestAndParents,
            manifest_hash: Hash::of(b"manifest"),
            parents,
            signer: Fingerprint::new(Hash::of(b"key")),
            attestation_type,
        }
    }

    #[test]
    fn an_id_is_the_hash_of_five_members() {
        let parent = AttestationId::new(Hash::of(b"parent")).short();
        let (manifest, key) = (Hash::of(b"manifest"), Hash::of(b"key"));
        let bytes = format!(
            "{{\"form\":\"manifest+parents\",\"manifest_hash\":\"{manifest}\",\
             \"parents\":[\"{parent}\"],\"signer\":\"{key}\",\"type\":\"peer_review\"}}"
        );

        let id = identity(&AttestationType::PeerReview, &[parent]).id();

        assert_eq!(id, AttestationId::new(Hash::of(bytes.as_bytes())));
        assert_eq!(id.short().to_string(), id.to_string()[7..39]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn every_member_makes_another_attestation() {
        let parent = AttestationId::new(Hash::of(b"parent")).short();
        let parents = [parent];
        let of = identity(&AttestationType::Authorship, &parents);
        let others = [
            Identity { form: Binds::All, ..of },
            Identity { manifest_hash: Hash::of(b"other"), ..of },
            Identity { parents: &[], ..of },
            Identity { signer: Fingerprint::new(Hash::of(b"other")), ..of },
            Identity { attestation_type: &AttestationType::Publication, ..of },
        ];
        for other in others {
            assert_ne!(other.id(), of.id(), "{other:?}");
        }
    }

    #[test]
    fn types_are_four_words_or_namespaced() {
        for name in ["authorship", "editorial_review", "peer_review", "publication", "x-acme:seen"]
        {
            let parsed: AttestationType = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(serde_json::to_value(&parsed).unwrap(), name);
        }
        assert_eq!(AttestationType::default().as_str(), "authorship");
        for bad in ["", "Authorship", "review", "key_registration", "x-acme", "x-:a", "x-a:B"] {
            assert_eq!(bad.parse::<AttestationType>(), Err(NotAnAttestationType), "{bad}");
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        let digits = "0123456789abcdef0123456789abcdef";
        let id: ShortId = digits.parse().unwrap();
        assert_eq!(id.to_string(), digits);
        let upper = digits.to_uppercase();
        for bad in ["", &digits[1..], &format!("{digits}00"), &upper, &format!("sha256:{digits}")] {
            assert_eq!(bad.parse::<ShortId>(), Err(NotAShortId), "{bad}");
        }
    }

    #[test]
    fn forms_and_spellings_have_one_name_each() {
        for form in [Binds::Manifest, Binds::ManifestAndParents, Binds::All] {
            assert_eq!(Binds::from_name(form.as_str()), Some(form));
            assert_eq!(serde_json::to_value(form).unwrap(), form.as_str());
        }
        for spelling in [Canonicalization::Jcs, Canonicalization::Legacy] {
            assert_eq!(Canonicalization::from_name(spelling.as_str()), Some(spelling));
            assert_eq!(serde_json::to_value(spelling).unwrap(), spelling.as_str());
        }
    }
}
