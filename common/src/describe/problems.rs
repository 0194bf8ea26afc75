//! Every refusal that an operation can answer with, and the codes that it may carry.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Object, Operation, PROBLEMS, RATE_LIMIT, headers};
use crate::server::problem::{Code, MEDIA_TYPE, Problem};

/// Refusals that many operations share, word by word.
const SHARED: [(&str, &str, &[Code]); 6] = [
    (
        "Unreadable",
        "The body cannot be read.",
        &[Code::BadRequest, Code::InvalidJson, Code::JsonTooDeep],
    ),
    ("TooSlow", "The body did not arrive within 30 seconds.", &[Code::RequestTimeout]),
    ("TooLarge", "The body is too large.", &[Code::PayloadTooLarge]),
    ("OtherMediaType", "The body has another media type.", &[Code::UnsupportedMediaType]),
    ("TooMany", "This address has used up its limit.", &[Code::RateLimited]),
    (
        "Unexpected",
        "What any request can meet.",
        &[Code::ProxyNotTrusted, Code::HttpsRequired, Code::InternalError],
    ),
];

/// The status under which a document puts what it names no status for.
const ANY: &str = "default";

/// Describes every refusal of an operation.
///
/// What a handler says of a status stands first; what it says of a whole class is left out.
pub(super) fn add(operation: &mut Operation<'_>) {
    let mut codes: BTreeMap<String, BTreeSet<Code>> = BTreeMap::new();
    for code in operation.codes() {
        codes.entry(code.status().as_str().to_owned()).or_default().insert(code);
    }
    codes.insert(ANY.to_owned(), shared_codes("Unexpected"));
    let limited = operation.members.contains_key(RATE_LIMIT);
    let responses = operation.responses();
    for class in ["4XX", "5XX", ANY] {
        responses.remove(class);
    }
    for (status, codes) in codes {
        let said = responses.get(&status).and_then(|said| said["description"].as_str());
        let name = SHARED.iter().find(|(_, _, shared)| said.is_none() && codes.iter().eq(*shared));
        let answer = match name {
            Some((name, ..)) => json!({ "$ref": format!("#/components/responses/{name}") }),
            None => refusal(said, &codes, limited),
        };
        responses.insert(status, answer);
    }
}

/// The refusals that operations refer to.
pub(super) fn shared() -> Value {
    let named = SHARED.iter().map(|(name, text, codes)| {
        let codes = codes.iter().copied().collect();
        ((*name).to_owned(), refusal(Some(text), &codes, *name == "TooMany"))
    });
    Value::Object(named.collect())
}

/// One example of each code.
pub(super) fn examples() -> Value {
    let named = Code::ALL.iter().map(|code| {
        let example = json!({
            "summary": code.title(),
            "value": Problem::from(*code).to_json("/requests/5c1f0a3e-0000002a"),
        });
        (code.as_str().to_owned(), example)
    });
    Value::Object(named.collect())
}

fn shared_codes(wanted: &str) -> BTreeSet<Code> {
    let found = SHARED.iter().find(|(name, ..)| *name == wanted);
    found.into_iter().flat_map(|(_, _, codes)| codes.iter().copied()).collect()
}

fn refusal(said: Option<&str>, codes: &BTreeSet<Code>, limited: bool) -> Value {
    let titles = codes.iter().map(|code| format!("`{code}`: {}.", code.title()));
    let said = said.map(|text| format!("{}.", text.trim_end_matches('.')));
    let text: Vec<String> = said.into_iter().chain(titles).collect();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let examples: Object = names
        .iter()
        .map(|name| {
            ((*name).to_owned(), json!({ "$ref": format!("#/components/examples/{name}") }))
        })
        .collect();
    json!({
        "description": text.join(" "),
        "headers": headers::of_refusal(codes, limited),
        "content": { MEDIA_TYPE: {
            "schema": {
                "$ref": "#/components/schemas/Problem",
                "properties": { "error": { "properties": { "code": { "enum": names } } } },
            },
            "examples": examples,
        } },
    })
}

impl Operation<'_> {
    /// Every code that it may answer: those that its handler names and those that follow from what
    /// it takes and does.
    fn codes(&self) -> BTreeSet<Code> {
        let named = self.members.get(PROBLEMS).and_then(Value::as_array);
        let named = named.into_iter().flatten().filter_map(Value::as_str);
        let mut codes: BTreeSet<Code> = named.filter_map(Code::from_name).collect();
        let follows: [(bool, &[Code]); 12] = [
            (self.members.contains_key(RATE_LIMIT), &[Code::RateLimited]),
            (self.has_parameter("path", None), &[Code::NotFound]),
            (
                self.has_parameter("query", None),
                &[Code::BadRequest, Code::NulCharacter, Code::ValidationFailed],
            ),
            (self.has_parameter("query", Some("page")), &[Code::PageTooDeep]),
            (
                self.request().is_some(),
                &[
                    Code::BadRequest,
                    Code::Overloaded,
                    Code::PayloadTooLarge,
                    Code::PrivateKeyInRequest,
                    Code::RequestTimeout,
                    Code::UnsupportedMediaType,
                ],
            ),
            (
                self.takes("application/json"),
                &[
                    Code::InvalidJson,
                    Code::JsonTooDeep,
                    Code::NulCharacter,
                    Code::UnknownField,
                    Code::ValidationFailed,
                ],
            ),
            (
                self.has_parameter("header", Some("Idempotency-Key")),
                &[
                    Code::IdempotencyConflict,
                    Code::IdempotencyInProgress,
                    Code::IdempotencyKeyInvalid,
                ],
            ),
            (self.is_secured(), &[Code::Unauthorized]),
            (self.takes_member("auth"), &[Code::Forbidden, Code::RateLimited, Code::Unauthorized]),
            (
                self.takes_member("auth") || self.takes_member("challenge_id"),
                &[
                    Code::ChallengeExpired,
                    Code::ChallengeFailed,
                    Code::ChallengeNotFound,
                    Code::ChallengeUsed,
                    Code::KeyNotActive,
                    Code::PasswordRequired,
                ],
            ),
            (
                self.answers("201"),
                &[Code::ClockStep, Code::EntryTooLarge, Code::Overloaded, Code::SigningPaused],
            ),
            (
                !self.has_tag("node"),
                &[Code::CatchingUp, Code::EntryCorrupt, Code::LogUnreachable, Code::SigningPaused],
            ),
        ];
        codes.extend(follows.iter().filter(|(so, _)| *so).flat_map(|(_, codes)| *codes));
        codes
    }

    fn is_secured(&self) -> bool {
        let schemes = self.members.get("security").and_then(Value::as_array);
        schemes.into_iter().flatten().any(|scheme| !scheme.as_object().is_none_or(Object::is_empty))
    }
}
