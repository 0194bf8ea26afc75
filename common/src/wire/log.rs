//! Entries, pages of them and proofs about them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::merkle::{Hash, TreeSize};

/// An entry as it is shown. Handlers write it by splicing the logged bytes; this is the shape that
/// clients read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EntryView {
    /// The hash of the entry's canonical JSON: the five members without this one.
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
    /// `none` if the entry breaks a rule of state, so that it is kept but changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// The rule that it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_reason: Option<String>,
}

/// The answer to one event that was appended. Handlers write it by hand: the head's text is shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Appended {
    /// The entry's number.
    pub id: u64,
    /// Its hash.
    pub entry_hash: Hash,
    /// What kind of event it records.
    pub event_type: String,
    /// When the leader appended it.
    pub timestamp: Timestamp,
    /// The size that the head of the receipt covers.
    pub tree_size: TreeSize,
    /// The hash of the entry before.
    pub previous_hash: Option<Hash>,
    /// What shows offline that the entry is in the log.
    pub receipt: Receipt,
}

/// What shows offline that an entry is in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The entry's place in the tree: its id less one.
    pub leaf_index: u64,
    /// The size of the tree.
    pub tree_size: TreeSize,
    /// The RFC 9162 inclusion path, in base64.
    #[serde(with = "base64_list")]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<crate::wire::Base64>))]
    pub inclusion_proof: Vec<Hash>,
    /// The head that covers the entry.
    #[cfg_attr(feature = "shell", schema(value_type = crate::head::HeadJson))]
    pub tree_head: serde_json::Value,
}

/// The answer to several events that were appended at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AppendedMany {
    /// The number of the first entry.
    pub first_id: u64,
    /// The number of the last one.
    pub last_id: u64,
    /// The entries in order.
    pub entries: Vec<HeadEntry>,
    /// The size that the head covers.
    pub tree_size: TreeSize,
    /// The head that covers them.
    #[cfg_attr(feature = "shell", schema(value_type = crate::head::HeadJson))]
    pub tree_head: serde_json::Value,
}

/// `POST /api/v1/log/entries`: one event and several are answered differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AppendAnswer {
    /// To one event.
    One(Box<Appended>),
    /// To an array or to lines.
    Many(AppendedMany),
}

/// `POST /api/v1/log/anchor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AnchorAnswer {
    /// The newest entry that the proof covers.
    pub anchored_entry_id: u64,
    /// Its hash.
    pub entry_hash: Hash,
    /// The proof of `OpenTimestamps` in base64.
    #[cfg_attr(feature = "shell", schema(value_type = crate::wire::Base64))]
    pub ots_proof: String,
}

/// `GET /api/v1/log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct LogPage {
    /// The entries of this page, in the order asked for.
    pub entries: Vec<EntryView>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many entries a page has at most.
    pub per_page: u64,
    /// How many entries match.
    pub total: u64,
    /// True if more match than are counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_capped: bool,
}

/// The newest entry, without its payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct HeadEntry {
    /// Its number.
    pub id: u64,
    /// Its hash.
    pub entry_hash: Hash,
    /// What kind of event it records.
    pub event_type: String,
    /// When the leader appended it.
    pub timestamp: Timestamp,
}

/// `GET /api/v1/log/head`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct LogHead {
    /// The newest entry under the newest signed head.
    pub head: HeadEntry,
    /// How many entries there are.
    pub entry_count: u64,
}

/// `GET /api/v1/log/inclusion-proof`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct InclusionProof {
    /// The entry.
    pub entry_id: u64,
    /// Its place in the tree: one less.
    pub leaf_index: u64,
    /// The size of the tree that the proof is about.
    pub tree_size: TreeSize,
    /// The RFC 6962 leaf hash, in base64.
    #[serde(with = "base64_hash")]
    #[cfg_attr(feature = "shell", schema(value_type = crate::wire::Base64))]
    pub leaf_hash: Hash,
    /// The root of that tree.
    pub root_hash: Hash,
    /// The RFC 9162 inclusion path, in base64.
    #[serde(with = "base64_list")]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<crate::wire::Base64>))]
    pub hashes: Vec<Hash>,
}

/// `GET /api/v1/log/consistency-proof`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ConsistencyProof {
    /// The smaller size.
    pub first: TreeSize,
    /// The larger size.
    pub second: TreeSize,
    /// The root at the smaller size.
    pub first_root: Hash,
    /// The root at the larger size.
    pub second_root: Hash,
    /// The proof in RFC 9162 order, in base64; empty from size 0 and between equal sizes.
    #[serde(with = "base64_list")]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<crate::wire::Base64>))]
    pub hashes: Vec<Hash>,
}

/// `GET /api/v1/log/replicate`: entries in order and the proof that leads from them to the head.
/// Handlers write it through `batch::encode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct ReplicationBatch {
    /// The entries `after + 1 ..= next_after`.
    pub entries: Vec<EntryView>,
    /// The id after which the batch begins.
    pub after: u64,
    /// The id of the last entry, or `after` if there is none.
    pub next_after: u64,
    /// Whether more entries follow.
    pub has_more: bool,
    /// The head that covers the batch.
    #[cfg_attr(feature = "shell", schema(value_type = crate::head::HeadJson))]
    pub tree_head: serde_json::Value,
    /// The proof from size `next_after` to the head's, in base64.
    #[serde(with = "base64_list")]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<crate::wire::Base64>))]
    pub consistency_proof: Vec<Hash>,
}

/// The body of `POST /api/v1/log/verify`, which may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The entry after which to begin. Without the operator token a run begins at what was
    /// verified in the last 24 hours, if that is later.
    #[serde(default)]
    pub since: Option<u64>,
}

/// One thing that a verification found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct VerifyError {
    /// The entry, or 0 for the tree as a whole.
    pub entry_id: u64,
    /// `entry_corrupt`, `missing`, `wrong_previous`, `time_runs_back`, `wrong_tile` or
    /// `wrong_root`.
    pub code: String,
    /// What is wrong.
    pub detail: String,
}

/// `POST /api/v1/log/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub valid: bool,
    /// The size that was verified.
    pub entry_count: u64,
    /// What is wrong; at most 100 are listed.
    pub errors: Vec<VerifyError>,
    /// The root that the entries give, at `entry_count`.
    pub root_hash: Hash,
    /// The entries after this one were read; those before it were verified earlier.
    pub verified_from: u64,
}

impl VerifyReport {
    /// Which entries this run read, in words.
    pub fn entries_read(&self) -> String {
        let (count, before) = (self.entry_count, self.verified_from);
        match before {
            0 => format!("{count} entries"),
            before if before == count => "no new entry".to_owned(),
            before => format!("entries {} to {count}", before + 1),
        }
    }
}

/// One line of the NDJSON form of `POST /api/v1/log/verify`, before the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct VerifyProgress {
    /// So many entries are done.
    pub verified: u64,
    /// Out of so many.
    pub of: u64,
}

mod base64_hash {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::merkle::Hash;

    pub(super) fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.to_base64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(source)?;
        Hash::from_base64(&text).ok_or_else(|| serde::de::Error::custom("not 32 bytes in base64"))
    }
}

pub(super) mod base64_list {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::merkle::{Hash, MAX_PROOF_LEN};

    pub(in crate::wire) fn serialize<S: Serializer>(
        hashes: &[Hash],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(Hash::to_base64))
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        source: D,
    ) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<String>::deserialize(source)?;
        if texts.len() > MAX_PROOF_LEN {
            return Err(D::Error::custom("a proof has at most 64 hashes"));
        }
        let hash = |text: &String| {
            Hash::from_base64(text).ok_or_else(|| D::Error::custom("not 32 bytes in base64"))
        };
        texts.iter().map(hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_show_their_hashes_in_base64_and_roots_as_text() {
        let proof = InclusionProof {
            entry_id: 3,
            leaf_index: 2,
            tree_size: TreeSize::ZERO.plus(7),
            leaf_hash: Hash::EMPTY_TREE,
            root_hash: Hash::EMPTY_TREE,
            hashes: vec![Hash::EMPTY_TREE],
        };
        let json = serde_json::to_value(&proof).unwrap();
        assert_eq!(json["leaf_hash"], "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(json["hashes"][0], json["leaf_hash"]);
        assert_eq!(json["root_hash"], Hash::EMPTY_TREE.to_string());
        assert_eq!(serde_json::from_value::<InclusionProof>(json).unwrap(), proof);
    }

    #[test]
    fn a_proof_with_too_many_hashes_is_refused() {
        let hashes = vec![Hash::EMPTY_TREE.to_base64(); 65];
        let json = serde_json::json!({
            "first": 1, "second": 2, "first_root": Hash::EMPTY_TREE, "second_root": Hash::EMPTY_TREE,
            "hashes": hashes,
        });
        assert!(serde_json::from_value::<ConsistencyProof>(json).is_err());
    }
}
