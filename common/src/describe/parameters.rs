//! The bounds of parameters that many operations take: one name means one thing.

use serde_json::{Value, json};

use super::{Operation, object};
use crate::export::Scope;
use crate::leaf::EventType;
use crate::read::{LARGEST, SWITCH};
use crate::view::EndorsementState;

const FULL: &str = "^sha256:[0-9a-f]{64}$";
const FULL_OR_SHORT: &str = "^((sha256:)?[0-9a-f]{64}|[0-9a-f]{16})$";
const DAY_OR_TIME: &str =
    r"^\d{4}-\d{2}-\d{2}([Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2}))?$";
const TIME: &str = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$";

/// Where paths name a key by its full fingerprint alone.
const BY_FULL_FINGERPRINT: [&str; 6] = [
    "/api/v1/endorsements/",
    "/api/v1/graph/",
    "/api/v1/keys/",
    "/api/v1/log/by-fingerprint/",
    "/api/v1/profiles/",
    "/api/v1/trust-configs/",
];

/// Adds the bounds that go with the names of an operation's parameters. What its handler says
/// itself stands, except for the smallest number, which is always said to be 0.
pub(super) fn bound(operation: &mut Operation<'_>) {
    let path = operation.path;
    let Some(Value::Array(parameters)) = operation.members.get_mut("parameters") else { return };
    for parameter in parameters {
        let place = parameter["in"].as_str().unwrap_or_default().to_owned();
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let schema = object(&mut parameter["schema"]);
        // A parameter that may be left out is never null.
        if let Some(Value::Array(kinds)) = schema.get("type") {
            let kind = kinds.iter().find(|kind| **kind != "null").cloned();
            schema.insert("type".to_owned(), kind.unwrap_or_default());
        }
        let Value::Object(known) = known(path, &place, &name) else { continue };
        for (member, value) in known {
            if member == "minimum" || member == "type" || !schema.contains_key(&member) {
                schema.insert(member, value);
            }
        }
    }
}

/// What a parameter of this name is; nothing if the name is not known.
fn known(path: &str, place: &str, name: &str) -> Value {
    match (place, name) {
        ("path", "fingerprint") => {
            let by_full = BY_FULL_FINGERPRINT.iter().any(|prefix| path.starts_with(prefix));
            let pattern = if by_full { FULL } else { FULL_OR_SHORT };
            json!({ "pattern": pattern, "examples": [FINGERPRINT] })
        }
        ("path", "entry_id") | ("query", "entry_id" | "tree_size") => {
            json!({ "minimum": 1, "maximum": LARGEST, "examples": [1] })
        }
        ("path", "id") if path.starts_with("/api/v1/webhooks/") => json!({
            "pattern": "^wh_[0-9a-f]{32}$", "examples": ["wh_e3b0c44298fc1c149afbf4c8996fb924"],
        }),
        ("path", "id") => json!({ "minimum": 1, "maximum": LARGEST, "examples": [1] }),
        ("path", "level") => json!({ "minimum": 0, "maximum": 63, "examples": [0] }),
        ("path", "index") => json!({
            "pattern": r"^(x\d{3}/)*\d{3}(\.p/\d{1,3})?$",
            "maxLength": 40,
            "examples": ["000.p/1"],
        }),
        ("header", "Idempotency-Key") => json!({
            "pattern": r#"^("[!#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$"#,
            "maxLength": 257,
            "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        }),
        // The page for people takes any text, and cuts it.
        ("query", "search") if path == "/" => json!({ "examples": ["Alice"] }),
        ("query", _) => in_query(name),
        _ => Value::Null,
    }
}

fn in_query(name: &str) -> Value {
    match name {
        "after" | "first" | "second" | "max_lag" => {
            json!({ "minimum": 0, "maximum": LARGEST, "examples": [0] })
        }
        "as_of" => json!({
            "pattern": TIME, "maxLength": 40, "examples": ["2026-01-15T10:30:00Z"],
        }),
        "document_hash" => json!({
            "pattern": "^(sha256:)?[0-9a-fA-F]{64}$", "examples": [FINGERPRINT],
        }),
        "end_date" | "since" | "start_date" | "until" => json!({
            "pattern": DAY_OR_TIME, "maxLength": 40, "examples": ["2026-01-15"],
        }),
        "event_type" => json!({ "pattern": event_types(), "examples": ["attestation"] }),
        "claimant" | "fingerprint" => json!({ "pattern": FULL, "examples": [FINGERPRINT] }),
        "format" => json!({ "enum": ["json", "ndjson", "csv"], "examples": ["json"] }),
        "page_size" => json!({ "minimum": 1, "maximum": 1000, "examples": [100] }),
        "proofs" | "raw" | "verbose" => {
            json!({ "enum": SWITCH.map(|(word, _)| word), "examples": ["false"] })
        }
        "scope" => {
            let names: Vec<_> = Scope::ALL.iter().map(|(name, _)| *name).collect();
            json!({ "enum": names, "default": "all", "examples": ["keys"] })
        }
        "direction" => json!({ "enum": ["in", "out", "both"], "examples": ["both"] }),
        "institution" => json!({ "minLength": 1, "maxLength": 400, "examples": ["Agora"] }),
        "max_depth" => json!({ "minimum": 1, "maximum": 8, "default": 3, "examples": [3] }),
        "status" => json!({
            "enum": EndorsementState::ALL.map(EndorsementState::as_str), "examples": ["active"],
        }),
        "type" => json!({
            "pattern": "^(x-diogenes:)?(human_attestation|institutional_endorsement)$",
            "examples": ["human_attestation"],
        }),
        "for" => json!({ "enum": ["witness"], "examples": ["witness"] }),
        "limit" => json!({ "minimum": 1, "examples": [100] }),
        "order" => json!({ "enum": ["asc", "desc"], "default": "asc", "examples": ["desc"] }),
        "page" => {
            json!({ "minimum": 1, "maximum": u32::MAX, "default": 1, "examples": [1] })
        }
        "per_page" => json!({ "minimum": 1, "maximum": 200, "examples": [50] }),
        "pseudonym" => json!({ "minLength": 1, "maxLength": 400, "examples": ["Alice"] }),
        "search" => json!({ "minLength": 1, "maxLength": 200, "examples": ["Alice"] }),
        "witness" => json!({ "pattern": FULL_OR_SHORT, "examples": [FINGERPRINT] }),
        _ => Value::Null,
    }
}

/// The log's own types, and those of applications.
fn event_types() -> String {
    format!(
        "^({}|x-[a-z0-9][a-z0-9-]{{0,31}}:[a-z0-9][a-z0-9._-]{{0,63}})$",
        EventType::OWN.join("|")
    )
}

const FINGERPRINT: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
