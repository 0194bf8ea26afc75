//! The JSON of the operator's API, as handlers write it and the command line reads it.

use diogenes_common::clock::Timestamp;
use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::keys::{AnyFingerprint, Fingerprint, ShortFingerprint};
use diogenes_common::statement::{Category, ProfileType};
use diogenes_common::store::{Incident, PendingKey, ReservedKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key to authorise or endorse; either `fingerprint` or `public_key`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndorseBody {
    /// The fingerprint, full or its first 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<AnyFingerprint>,
    /// The key itself, PEM `SubjectPublicKeyInfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
    /// The name that the operator gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Name>,
    /// `human_attestation` or `institutional_endorsement`, with or without `x-diogenes:`; for
    /// endorsements only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "human_attestation")]
    pub(crate) category: Option<String>,
}

/// An authorisation that waits for its key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReservedAnswer {
    /// The fingerprint as it was given: 16 hex digits, or the full one.
    pub(crate) reserved: AnyFingerprint,
}

/// A reservation that was given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReleasedAnswer {
    /// The fingerprint as it was reserved.
    pub(crate) released: AnyFingerprint,
}

/// An incident that was acknowledged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AcknowledgedAnswer {
    /// Its number.
    pub(crate) id: i64,
}

/// How a node is to be shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileBody {
    /// Whose profile it is: the fingerprint of an authorised node, full or short.
    pub(crate) fingerprint: AnyFingerprint,
    /// `federation` or `witness`.
    #[serde(rename = "type")]
    pub(crate) kind: ProfileType,
    /// The name to show.
    pub(crate) display_name: Name,
    /// The URL to show; never dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerUrl>,
}

/// `GET /operator/pending`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PendingList {
    /// Keys that sent a valid proof and that nobody authorised yet.
    pub(crate) pending: Vec<PendingItem>,
    /// Authorisations that wait for their key.
    pub(crate) reserved: Vec<ReservedItem>,
}

/// A key that waits for the operator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PendingItem {
    /// The key's full fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// The first 16 hex digits of that.
    pub(crate) short_fingerprint: ShortFingerprint,
    /// The key in PEM.
    pub(crate) public_key: String,
    /// The network that its proof came from.
    pub(crate) network: String,
    /// When it came.
    pub(crate) first_seen: Timestamp,
}

/// An authorisation that waits for a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReservedItem {
    /// What the operator gave: 16 hex digits, or a full fingerprint.
    pub(crate) key: AnyFingerprint,
    /// The name to give.
    pub(crate) name: Option<String>,
    /// The category to endorse.
    pub(crate) category: String,
    /// Until when it waits.
    pub(crate) expires_at: Timestamp,
}

/// `GET /operator/incidents`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct IncidentList {
    /// The incidents, newest first.
    pub(crate) incidents: Vec<IncidentItem>,
}

/// An incident, open until it is acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct IncidentItem {
    /// Its number.
    pub(crate) id: i64,
    /// What kind of trouble.
    pub(crate) kind: String,
    /// Whom it is about.
    pub(crate) subject: String,
    /// `latched` or `transient`.
    pub(crate) class: String,
    /// The reason's code.
    pub(crate) reason: String,
    /// The reason in words.
    pub(crate) detail: String,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// When it was acknowledged.
    pub(crate) acked_at: Option<Timestamp>,
    /// The evidence or observation that was kept, if any.
    pub(crate) evidence_id: Option<i64>,
}

/// The category that an endorsement names, with or without `x-diogenes:`.
pub(super) fn category_named(text: &str) -> Option<Category> {
    let name = text.strip_prefix("x-diogenes:").unwrap_or(text);
    serde_json::from_value(format!("x-diogenes:{name}").into()).ok()
}

impl From<PendingKey> for PendingItem {
    fn from(key: PendingKey) -> Self {
        Self {
            fingerprint: key.fingerprint,
            short_fingerprint: key.fingerprint.short(),
            public_key: key.public_key,
            network: key.network,
            first_seen: key.first_seen,
        }
    }
}

impl From<ReservedKey> for ReservedItem {
    fn from(key: ReservedKey) -> Self {
        Self { key: key.key, name: key.name, category: key.category, expires_at: key.expires_at }
    }
}

impl From<Incident> for IncidentItem {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            kind: incident.kind,
            subject: incident.subject,
            class: incident.class,
            reason: incident.reason,
            detail: incident.detail,
            opened_at: incident.opened_at,
            acked_at: incident.acked_at,
            evidence_id: incident.evidence_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_named_with_or_without_its_namespace() {
        for text in ["human_attestation", "x-diogenes:human_attestation"] {
            assert_eq!(category_named(text), Some(Category::HumanAttestation));
        }
        assert_eq!(category_named("witness"), Some(Category::Witness));
        assert_eq!(category_named("x-acme:human_attestation"), None);
        assert_eq!(category_named(""), None);
    }
}
