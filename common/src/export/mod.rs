//! Exports of the audit trail: which entries, and how files of them are written.
//!
//! ```text
//! json     {<header>,"entries":[<entry>,...]}
//! ndjson   {<header>} LF <entry> LF <entry> LF ...
//! csv      "id","timestamp",... CRLF, a row for each entry: see [`csv`]
//!
//! header   {"count","filters","generated_at","next","operator_public_key","page","page_size",
//!           "proofs","total","total_capped"?,"tree_head"}
//! entry    {"entry_hash","event_type","id","payload","previous_hash","timestamp",
//!           "inclusion_proof":[base64,...] with proofs}
//! ```
//!
//! Pure. An entry is shown as it was hashed, and nothing is said of what it does: so everything
//! in it follows from the log. With proofs a file verifies by itself, see [`verify`].

pub mod csv;
pub mod verify;

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::leaf::Leaf;
use crate::merkle::Hash;
use crate::wire::export::ExportHeader;

/// The most entries of one file.
pub const MAX_PAGE_SIZE: u64 = 1_000;

/// The most bytes of entries in one file.
pub const MAX_LEAF_BYTES: usize = 16 * 1024 * 1024;

macro_rules! scopes {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal [$($event_type:literal),*];)*) => {
        /// Which events an export is about. An event type may belong to two of them; events of
        /// namespaces are in `all` alone.
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum Scope {
            /// Every event.
            #[default]
            #[serde(rename = "all")]
            All,
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Scope {
            /// Every scope with its name.
            pub const ALL: &[(&str, Self)] = &[("all", Self::All), $(($name, Self::$variant)),*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { Self::All => "all", $(Self::$variant => $name),* }
            }

            /// The event types that it has; `None` for every type.
            pub const fn event_types(self) -> Option<&'static [&'static str]> {
                match self { Self::All => None, $(Self::$variant => Some(&[$($event_type),*])),* }
            }
        }
    };
}

scopes! {
    /// Keys and what became of them.
    Keys "keys" ["key_registration", "key_succession", "key_revocation"];
    /// What was attested about documents.
    Attestations "attestations" ["attestation", "composite_document"];
    /// Who endorsed whom, the operator included.
    Endorsements "endorsements" [
        "endorsement_offer", "endorsement_acceptance", "endorsement_withdrawal",
        "endorsement_acceptance_revocation", "endorsement_revocation_alert",
        "operator_endorsement", "operator_endorsement_revocation"
    ];
    /// Whom people trust.
    Trust "trust" ["trust_config", "trust_config_revocation"];
    /// Claims that are sealed, and those that were opened.
    Claims "claims" ["encrypted_claim", "claim_reveal"];
    /// The log itself: who writes, mirrors and anchors it.
    Federation "federation" [
        "log_genesis", "leader_epoch", "operator_endorsement", "operator_endorsement_revocation",
        "operator_profile", "anchor"
    ];
    /// What witnesses signed.
    Witnesses "witnesses" ["witness_proof"];
}

impl Scope {
    /// Whether it has events of this type.
    pub fn has(self, event_type: &str) -> bool {
        self.event_types().is_none_or(|types| types.contains(&event_type))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// A table.
    Csv,
    /// One JSON object on each line.
    Ndjson,
}

impl Format {
    /// Every format with its name.
    pub const ALL: [(&str, Self); 3] =
        [("json", Self::Json), ("csv", Self::Csv), ("ndjson", Self::Ndjson)];

    /// Its name, which files of it end with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// An entry of a file, with the proof that it is in the log if there is one.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The entry.
    pub leaf: Leaf,
    /// The inclusion path to the head of the file.
    pub proof: Option<Vec<Hash>>,
}

/// The file as one JSON object.
pub fn json(header: &ExportHeader, entries: &[Exported]) -> String {
    let mut out = header_json(header);
    // The header is an object with members.
    out.pop();
    out.push_str(",\"entries\":[");
    for (place, entry) in entries.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        entry.write(&mut out);
    }
    out.push_str("]}");
    out
}

/// The file as lines of JSON: the header first.
pub fn ndjson(header: &ExportHeader, entries: &[Exported]) -> String {
    let mut out = header_json(header);
    out.push('\n');
    for entry in entries {
        entry.write(&mut out);
        out.push('\n');
    }
    out
}

fn header_json(header: &ExportHeader) -> String {
    serde_json::to_string(header).expect("a header is texts and numbers")
}

impl Exported {
    fn write(&self, out: &mut String) {
        let view = self.leaf.to_json();
        let Some(proof) = &self.proof else { return out.push_str(&view) };
        out.push_str(&view[..view.len() - 1]);
        out.push_str(",\"inclusion_proof\":[");
        for (place, hash) in proof.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            // Writing to a string never fails.
            let _ = write!(out, "{comma}\"{}\"", hash.to_base64());
        }
        out.push_str("]}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::leaf::EventType;

    #[test]
    fn every_event_type_has_a_scope_and_no_scope_has_another() {
        let types = |scope: &(&str, Scope)| scope.1.event_types().unwrap_or_default().to_vec();
        let scoped: BTreeSet<&str> = Scope::ALL.iter().flat_map(types).collect();
        assert_eq!(scoped, BTreeSet::from(EventType::OWN));
        assert!(Scope::All.has("x-git:commit"));
        assert!(Scope::Keys.has("key_registration") && !Scope::Keys.has("attestation"));
    }

    #[test]
    fn a_scope_has_one_name_everywhere() {
        assert_eq!(Scope::ALL.len(), 8);
        for (name, scope) in Scope::ALL {
            assert_eq!(
                (serde_json::to_value(scope).unwrap(), scope.as_str()),
                ((*name).into(), *name)
            );
        }
    }
}
