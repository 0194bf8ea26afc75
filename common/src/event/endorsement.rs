//! `endorsement_offer`, `endorsement_acceptance`: one key stands for another, and that one agrees.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::asked::{Asked, asked, instant};
use super::authorization::{Action, Authorization};
use super::text::{Name, folded};
use super::{Event, EventError, Payload};
use crate::canonical;
use crate::clock::Timestamp;
use crate::identifiers::{ExternalIdentifier, IdentifierType};
use crate::keys::{Fingerprint, HolderKey};
use crate::statement::Category;

/// How many external identifiers an offer has at most.
const MAX_IDENTIFIERS: usize = 16;

/// The payload of an `endorsement_offer` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementOffer {
    /// How the endorser authorised it.
    pub authorization: Authorization,
    /// What is said about the endorsed key.
    pub category: Category,
    /// The key that is endorsed.
    pub endorsed_fingerprint: Fingerprint,
    /// The key that endorses.
    pub endorser_fingerprint: Fingerprint,
    /// Who else the holder of the endorsed key is, as the endorser knows.
    pub external_identifiers: Vec<ExternalIdentifier>,
    /// The institution that stands behind it.
    pub institutional_metadata: Option<Metadata>,
    /// The endorser's key.
    pub public_key: HolderKey,
    /// From when on it is expired; null for never.
    pub valid_until: Option<Timestamp>,
}

/// The body of `POST /endorsements/offer` without `auth`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OfferRequest {
    /// The key that endorses.
    pub endorser_fingerprint: Fingerprint,
    /// The key to endorse.
    #[cfg_attr(
        feature = "shell",
        schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$", examples(
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ))
    )]
    pub endorsed_fingerprint: Fingerprint,
    /// `x-diogenes:human_attestation` or `x-diogenes:institutional_endorsement`; the prefix may be
    /// left out.
    #[serde(deserialize_with = "category")]
    #[cfg_attr(feature = "shell", schema(value_type = String))]
    pub category: Category,
    /// From when on it is expired, RFC 3339; never if left out.
    #[serde(default, deserialize_with = "instant")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<String>, format = DateTime))]
    pub valid_until: Option<Timestamp>,
    /// The institution that stands behind it, at most 4 KiB; `name` and `ror` are known.
    #[serde(default)]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub institutional_metadata: Option<Metadata>,
    /// Who else the holder of the endorsed key is; at most 16.
    #[serde(default, deserialize_with = "identifiers")]
    #[cfg_attr(feature = "shell", schema(max_items = 16))]
    pub external_identifiers: Vec<ExternalIdentifier>,
}

impl OfferRequest {
    /// The event that is asked for.
    pub fn event(self, public_key: HolderKey, authorization: Authorization) -> EndorsementOffer {
        EndorsementOffer {
            authorization,
            category: self.category,
            endorsed_fingerprint: self.endorsed_fingerprint,
            endorser_fingerprint: self.endorser_fingerprint,
            external_identifiers: self.external_identifiers,
            institutional_metadata: self.institutional_metadata,
            public_key,
            valid_until: self.valid_until,
        }
    }
}

asked!(
    EndorsementOffer,
    Offer,
    endorser_fingerprint,
    OfferRequest {
        endorser_fingerprint,
        endorsed_fingerprint,
        category,
        valid_until,
        institutional_metadata,
        external_identifiers,
    }
);

impl EndorsementOffer {
    /// The institution's name, folded for comparing.
    pub fn institution(&self) -> Option<String> {
        self.institutional_metadata.as_ref()?.name().map(folded)
    }
}

impl Payload for EndorsementOffer {
    const EVENT_TYPE: &'static str = "endorsement_offer";

    fn check(&self) -> Result<(), EventError> {
        if self.category.gives_role() || self.endorser_fingerprint == self.endorsed_fingerprint {
            return Err(EventError::Contradiction);
        }
        if self.external_identifiers.len() > MAX_IDENTIFIERS {
            return Err(EventError::Members);
        }
        self.check_key()
    }
}

/// The payload of an `endorsement_acceptance` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementAcceptance {
    /// From when on the endorsement counts.
    pub active_from: Timestamp,
    /// How the endorsed key authorised it.
    pub authorization: Authorization,
    /// The key that is endorsed.
    pub endorsed_fingerprint: Fingerprint,
    /// The key that endorses, as the log names it when the offer is accepted.
    pub endorser_fingerprint: Fingerprint,
    /// The offer.
    pub offer_entry_id: u64,
    /// The endorsed key.
    pub public_key: HolderKey,
}

/// The body of `POST /endorsements/accept` without `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The entry of the offer.
    pub offer_entry_id: u64,
    /// The key that is endorsed.
    pub endorsed_fingerprint: Fingerprint,
}

impl AcceptRequest {
    /// The event that is asked for, of an offer by this key.
    pub fn event(
        self,
        public_key: HolderKey,
        authorization: Authorization,
        endorser_fingerprint: Fingerprint,
        active_from: Timestamp,
    ) -> EndorsementAcceptance {
        EndorsementAcceptance {
            active_from,
            authorization,
            endorsed_fingerprint: self.endorsed_fingerprint,
            endorser_fingerprint,
            offer_entry_id: self.offer_entry_id,
            public_key,
        }
    }
}

asked!(
    EndorsementAcceptance,
    Accept,
    endorsed_fingerprint,
    AcceptRequest { offer_entry_id, endorsed_fingerprint }
);

impl Payload for EndorsementAcceptance {
    const EVENT_TYPE: &'static str = "endorsement_acceptance";

    fn check(&self) -> Result<(), EventError> {
        if self.endorser_fingerprint == self.endorsed_fingerprint {
            return Err(EventError::Contradiction);
        }
        self.check_key()
    }
}

/// What an endorser says about the institution that stands behind an endorsement: a JSON object of
/// at most 4 KiB whose `name` and `ror`, if it has them, are what they seem.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

/// Why an object is no metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMetadata {
    /// It is too large.
    #[error("institutional metadata has at most {} bytes of canonical JSON", Metadata::MAX_BYTES)]
    TooLarge,
    /// `name` is not a name.
    #[error(
        "`name` is a text of 1 to 100 characters in Unicode's form C, without control characters"
    )]
    Name,
    /// `ror` is not an identifier of the Research Organization Registry.
    #[error("`ror` is an identifier of the Research Organization Registry: {0}")]
    Ror(String),
}

impl Metadata {
    /// How many bytes it has at most, as canonical JSON.
    pub const MAX_BYTES: usize = 4_096;

    /// The institution's name.
    pub fn name(&self) -> Option<&str> {
        self.0.get("name").and_then(Value::as_str)
    }
}

impl From<Metadata> for Value {
    fn from(metadata: Metadata) -> Self {
        Self::Object(metadata.0)
    }
}

impl TryFrom<Map<String, Value>> for Metadata {
    type Error = NotMetadata;

    fn try_from(object: Map<String, Value>) -> Result<Self, NotMetadata> {
        if let Some(name) = object.get("name") {
            let name = name.as_str().ok_or(NotMetadata::Name)?;
            Name::try_from(name.to_owned()).map_err(|_| NotMetadata::Name)?;
        }
        if let Some(ror) = object.get("ror") {
            let ror = ror.as_str().unwrap_or_default();
            ExternalIdentifier::new(IdentifierType::Ror, ror)
                .map_err(|e| NotMetadata::Ror(e.to_string()))?;
        }
        let value = Value::Object(object);
        if canonical::to_vec(&value).len() > Self::MAX_BYTES {
            return Err(NotMetadata::TooLarge);
        }
        match value {
            Value::Object(object) => Ok(Self(object)),
            _ => unreachable!("it was made an object above"),
        }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Reads a category, with or without the prefix that all of them have.
fn category<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Category, D::Error> {
    let text = String::deserialize(deserializer)?;
    Category::of_trust(&text).ok_or_else(|| {
        serde::de::Error::custom(
            "use x-diogenes:human_attestation or x-diogenes:institutional_endorsement",
        )
    })
}

/// Reads at most [`MAX_IDENTIFIERS`]; null says the same as none.
fn identifiers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ExternalIdentifier>, D::Error> {
    let given: Vec<_> = Option::deserialize(deserializer)?.unwrap_or_default();
    if given.len() > MAX_IDENTIFIERS {
        return Err(serde::de::Error::custom("at most 16 external identifiers"));
    }
    Ok(given)
}
