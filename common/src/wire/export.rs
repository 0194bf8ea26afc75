//! Exports of the audit trail.

use serde::{Deserialize, Serialize};

use super::log::base64_list;
use crate::clock::Timestamp;
use crate::export::Scope;
use crate::head::HeadJson;
use crate::keys::{Fingerprint, PublicKey};
use crate::merkle::Hash;

/// What an export is about: all of it must hold for every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ExportFilters {
    /// Events of these types.
    pub scope: Scope,
    /// Entries that refer to this key.
    #[serde(deserialize_with = "Option::deserialize")]
    pub fingerprint: Option<Fingerprint>,
    /// Entries about the document with this content or manifest hash.
    #[serde(deserialize_with = "Option::deserialize")]
    pub document_hash: Option<Hash>,
    /// Entries from this instant on.
    #[serde(deserialize_with = "Option::deserialize")]
    pub start_date: Option<Timestamp>,
    /// Entries up to this instant, included.
    #[serde(deserialize_with = "Option::deserialize")]
    pub end_date: Option<Timestamp>,
    /// Entries after this id; 0 for all.
    pub after: u64,
}

/// Everything of an export but its entries: the first line of NDJSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ExportHeader {
    /// How many entries this file has.
    pub count: u64,
    /// What it is about.
    pub filters: ExportFilters,
    /// When it was made.
    pub generated_at: Timestamp,
    /// Where the entries after these are; null after the last.
    #[serde(deserialize_with = "Option::deserialize")]
    pub next: Option<String>,
    /// The key that signed the head, as PEM: to be compared with what is known of the log.
    pub operator_public_key: PublicKey,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many entries a page has at most.
    pub page_size: u64,
    /// Whether the entries carry inclusion proofs.
    pub proofs: bool,
    /// How many entries match.
    pub total: u64,
    /// True if more match than are counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_capped: bool,
    /// The signed head that covers every entry of the file.
    pub tree_head: HeadJson,
}

/// An entry of an export: the log's own bytes, with their hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ExportEntry {
    /// The hash of the entry's canonical JSON: its own five members.
    pub entry_hash: Hash,
    /// What kind of event it records.
    pub event_type: String,
    /// Its number, from 1.
    pub id: u64,
    /// The event.
    #[cfg_attr(feature = "shell", schema(value_type = Object))]
    pub payload: serde_json::Value,
    /// The hash of the entry before; null in entry 1 alone.
    pub previous_hash: Option<Hash>,
    /// When the leader appended it.
    pub timestamp: Timestamp,
    /// With `proofs=true`: the RFC 9162 inclusion path to `tree_head`, in base64.
    #[serde(default, with = "optional_proof", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Vec<crate::wire::Base64>>))]
    pub inclusion_proof: Option<Vec<Hash>>,
}

/// `GET /api/v1/audit/export` in its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ExportPage {
    /// Everything but the entries.
    #[serde(flatten)]
    #[cfg_attr(feature = "shell", schema(inline))]
    pub header: ExportHeader,
    /// The entries, by id.
    pub entries: Vec<ExportEntry>,
}

mod optional_proof {
    use serde::{Deserializer, Serializer};

    use super::base64_list;
    use crate::merkle::Hash;

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        proof: &Option<Vec<Hash>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        base64_list::serialize(proof.as_deref().unwrap_or_default(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        source: D,
    ) -> Result<Option<Vec<Hash>>, D::Error> {
        base64_list::deserialize(source).map(Some)
    }
}
