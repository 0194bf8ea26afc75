//! Types of external identifiers.

use serde::{Deserialize, Serialize};

use crate::identifiers::IdentifierType;

/// `GET /api/v1/identifier-types`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct IdentifierTypes {
    /// Every type that endorsements may name.
    pub identifier_types: Vec<IdentifierTypeInfo>,
}

/// A type of identifiers, for those who show a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct IdentifierTypeInfo {
    /// Its name in JSON.
    #[serde(rename = "type")]
    pub kind: IdentifierType,
    /// Its name for people.
    pub label: String,
    /// An identifier of this type.
    pub example: String,
    /// Where to look one up: `{value}` stands for its value, percent-encoded. Null where no such
    /// address can be made.
    #[serde(deserialize_with = "Option::deserialize")]
    pub url_template: Option<String>,
}

impl IdentifierTypes {
    /// All that this version knows.
    pub fn known() -> Self {
        Self { identifier_types: IdentifierType::ALL.iter().copied().map(Into::into).collect() }
    }
}

impl From<IdentifierType> for IdentifierTypeInfo {
    fn from(kind: IdentifierType) -> Self {
        Self {
            kind,
            label: kind.label().to_owned(),
            example: kind.example().to_owned(),
            url_template: kind.url_template().map(str::to_owned),
        }
    }
}
