//! The headers of answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Object, Operation, RATE_LIMIT};
use crate::server::problem::Code;

/// The headers that the answers of this API carry.
const HEADERS: [(&str, &str, &str); 14] = [
    ("Cache-Control", "How long the answer may be kept.", "public, max-age=1"),
    (
        "Diogenes-Head-Timestamp",
        "Of a follower: the time of the head that the answer rests on.",
        "2026-01-15T10:30:00.000Z",
    ),
    ("Diogenes-Verified-Size", "Of a follower: how much of the log it has verified.", "42"),
    ("ETag", "Names this very answer; send it back as `If-None-Match`.", "\"size-42\""),
    (
        "Link",
        "The next page, with `rel=\"next\"`; missing on the last one.",
        "</api/v1/log?page=2>; rel=\"next\"",
    ),
    ("Location", "The entry that was appended.", "/api/v1/log/42"),
    (
        "RateLimit",
        "What is left of the limit (`r`), and in how many seconds it is whole again (`t`).",
        "\"query\";r=59;t=1",
    ),
    (
        "RateLimit-Policy",
        "The limit: so many requests (`q`) in so many seconds (`w`).",
        "\"query\";q=60;w=60",
    ),
    ("Retry-After", "After how many seconds it is worth trying again.", "1"),
    ("WWW-Authenticate", "How to say who asks.", "Bearer"),
    ("X-RateLimit-Limit", "The limit.", "60"),
    ("X-RateLimit-Remaining", "What is left of it.", "59"),
    ("X-RateLimit-Reset", "In how many seconds it is whole again.", "1"),
    (
        "X-Request-Id",
        "The id under which this node's log speaks of the request.",
        "5c1f0a3e-0000002a",
    ),
];

/// Both families: that of the IETF draft and that of older clients.
const RATE: [&str; 5] = [
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
];

/// The headers that answers refer to.
pub(super) fn components() -> Value {
    let named = HEADERS.iter().map(|(name, about, example)| {
        let is_number = !example.is_empty() && example.bytes().all(|byte| byte.is_ascii_digit());
        let (kind, example) = match example.parse::<u64>() {
            Ok(number) if is_number => ("integer", json!(number)),
            _ => ("string", json!(example)),
        };
        let header =
            json!({ "description": about, "schema": { "type": kind }, "example": example });
        ((*name).to_owned(), header)
    });
    Value::Object(named.collect())
}

/// The headers of a refusal with one of these codes.
pub(super) fn of_refusal(codes: &BTreeSet<Code>, limited: bool) -> Value {
    let mut names = vec!["X-Request-Id"];
    let status = codes.first().map_or(0, |code| code.status().as_u16());
    match status {
        401 => names.push("WWW-Authenticate"),
        429 | 503 => names.push("Retry-After"),
        _ => {}
    }
    if limited && status == 429 {
        names.extend(RATE);
    }
    references(&names)
}

/// Describes the headers of what is no refusal, and 304 beside every tag.
pub(super) fn add(operation: &mut Operation<'_>) {
    let reads = operation.method == "get";
    let in_api = operation.path.starts_with("/api/v1/");
    let pages = operation.has_parameter("query", Some("page"));
    let limited = operation.members.contains_key(RATE_LIMIT);
    let mut tagged = false;
    for (status, response) in operation.responses() {
        if !status.starts_with('2') {
            continue;
        }
        let has_tag = !response["headers"]["ETag"].is_null();
        tagged |= has_tag;
        let names = [
            (true, &["X-Request-Id"][..]),
            (limited, &RATE),
            (status == "201", &["Location"]),
            (reads, &["Cache-Control"]),
            (reads && pages, &["Link"]),
            (reads && in_api, &["Diogenes-Verified-Size", "Diogenes-Head-Timestamp"]),
            (has_tag, &["ETag"]),
        ];
        let names: Vec<&str> = names
            .iter()
            .filter(|(so, _)| *so)
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let Value::Object(headers) = references(&names) else { continue };
        super::object(&mut response["headers"]).extend(headers);
    }
    if tagged {
        let answer = json!({
            "description": "The answer is still the one that `If-None-Match` names.",
            "headers": references(&["ETag", "Cache-Control", "X-Request-Id"]),
        });
        operation.responses().insert("304".to_owned(), answer);
    }
}

fn references(names: &[&str]) -> Value {
    let headers: Object = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect();
    Value::Object(headers)
}
