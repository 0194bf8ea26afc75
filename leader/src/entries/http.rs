//! `POST /api/v1/log/entries`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use diogenes_common::config::AppendPolicy;
use diogenes_common::event::{
    Attestation, EndorsementOffer, KeyRegistration, KeySuccession, Payload as _,
};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, ProofPlan};
use diogenes_common::read::{self, Snapshot};
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::log::AppendAnswer;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parse::{self, ParseError, Shape, Submission};
use super::shapes::SubmittedEvents;
use super::{EventError, Origin, Request, Sender, SubmitError, Submittal, submit};
use crate::app::{App, no_effect, place_of};
use crate::attestations::attest_problem;
use crate::auth;
use crate::holders::ask_problem;
use crate::idempotency::{Recalled, key_of, recall};
use crate::keys::{self, KeyError};
use crate::posted::{location, stranger};
use crate::sequencer::Appended;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_entries)).routes(routes!(super::add::add))
}

/// Appends one event, an array of up to 1,000, or as many lines of NDJSON: all or none.
#[utoipa::path(
    post,
    path = "/api/v1/log/entries",
    tag = "log",
    security((), ("key" = []), ("operator" = [])),
    extensions(("x-problems" = json!([
        "category_reserved", "challenge_expired", "challenge_failed", "challenge_not_found",
        "challenge_used", "conflict", "endorsement_capacity_exceeded", "endorsement_conflict",
        "event_type_reserved", "forbidden", "invalid_manifest", "invalid_public_key",
        "invalid_signature", "key_already_registered", "key_has_other_role", "key_not_active",
        "not_found", "password_required", "type_not_signed",
    ]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body(
        description = "An event `{event_type, payload}`, an array of events, or NDJSON",
        content(
            (SubmittedEvents = "application/json"),
            (String = "application/x-ndjson"),
        ),
    ),
    responses(
        (status = 201, description = "Appended, durable and under a signed head; `Location` names the first entry", body = AppendAnswer),
        (status = 200, description = "An earlier request with this Idempotency-Key appended them", body = AppendAnswer),
    ),
)]
async fn post_entries(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody<{ body::BATCH }>,
) -> Result<Response, Problem> {
    let sender = sender(&app, &headers).await?;
    let submission = if body::require_type(&headers, &[JSON, NDJSON])? == NDJSON {
        parsed(&app, &bytes, parse::ndjson).await?
    } else {
        let many = bytes.trim_ascii_start().first() == Some(&b'[');
        if !many && bytes.len() > body::USUAL {
            return Err(Problem::new(Code::PayloadTooLarge, "one event has at most 256 KiB"));
        }
        parsed(&app, &bytes, parse::json).await?
    };
    let many = matches!(submission, Submission::Many(_));
    let idempotency = match key_of(&headers)? {
        None => None,
        Some(key) => {
            let principal = principal(sender, &caller);
            match recall(&app, principal, key, &bytes).await.map_err(SubmitError::from)? {
                Recalled::First(idempotency) => Some(idempotency),
                Recalled::Before { leaves, snapshot } => {
                    return answer(&app, StatusCode::OK, &leaves, &snapshot, many).await;
                }
            }
        }
    };
    if sender != Sender::Operator {
        let keys = submission.count(&[KeyRegistration::EVENT_TYPE, KeySuccession::EVENT_TYPE]);
        app.limiter.take(Class::KeyRegistration, caller.ip(), keys)?;
        let attestations = submission.count(&[Attestation::EVENT_TYPE]);
        app.limiter.take(Class::AttestationEvent, caller.ip(), attestations)?;
        let offers = submission.count(&[EndorsementOffer::EVENT_TYPE]);
        app.limiter.take(Class::EndorsementOffer, caller.ip(), offers)?;
    }
    let from = Origin { sender, caller: &caller, headers: &headers };
    match submit(&app, Request { submission, from, idempotency }).await? {
        Submittal::Appended(Appended { leaves, snapshot }) => {
            answer(&app, StatusCode::CREATED, &leaves, &snapshot, many).await
        }
        Submittal::Found { leaves, snapshot } => {
            answer(&app, StatusCode::OK, &leaves, &snapshot, many).await
        }
    }
}

/// Takes a body apart; a large one beside the tasks that answer others, and few at once.
async fn parsed(
    app: &App,
    body: &Bytes,
    parse: fn(&[u8]) -> Result<Submission, ParseError>,
) -> Result<Submission, Problem> {
    let (length, body) = (body.len(), body.clone());
    let parsed = app.reads.beside(length, move || parse(&body)).await?;
    Ok(parsed.map_err(SubmitError::from)?)
}

/// Who sends this; a token that opens nothing is refused where one is needed.
pub(super) async fn sender(app: &App, headers: &HeaderMap) -> Result<Sender, Problem> {
    if app.token.is_in(headers) {
        return Ok(Sender::Operator);
    }
    if app.append_policy == AppendPolicy::Open {
        return Ok(Sender::Anyone);
    }
    Ok(auth::session(app, headers).await?.map_or(Sender::Anyone, Sender::Key))
}

/// Whose idempotency keys these are.
fn principal(sender: Sender, caller: &Caller) -> String {
    match sender {
        Sender::Operator => "operator".to_owned(),
        Sender::Key(fingerprint) => format!("key {fingerprint}"),
        Sender::Anyone => stranger(caller),
    }
}

async fn answer(
    app: &App,
    status: StatusCode,
    leaves: &[Leaf],
    snapshot: &Snapshot,
    many: bool,
) -> Result<Response, Problem> {
    // One event may become two entries: what it asks for comes last.
    let first = if many { leaves.first() } else { leaves.last() };
    let first = first.ok_or_else(Problem::internal)?;
    let body = if many {
        many_json(leaves, snapshot)
    } else {
        one_json(first, snapshot, &inclusion(app, first, snapshot).await?)
    };
    let mut response = (status, body.ok_or_else(Problem::internal)?).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::CREATED {
        headers.insert(LOCATION, location(first.id())?);
    }
    Ok(response)
}

/// The proof of an entry under the snapshot's head: of a new entry from memory, of an old one from
/// the tiles.
async fn inclusion(app: &App, leaf: &Leaf, snapshot: &Snapshot) -> Result<Vec<Hash>, Problem> {
    let plan = ProofPlan::inclusion(leaf.id() - 1, snapshot.size());
    if let Some(hashes) = plan.ok().and_then(|plan| plan.read(snapshot)) {
        return Ok(hashes);
    }
    let proof = read::inclusion_proof(&app.store, snapshot, leaf.id(), snapshot.size()).await?;
    Ok(proof.hashes)
}

/// The answer to one event. Written by hand: the head's text is shared by the whole batch.
fn one_json(leaf: &Leaf, snapshot: &Snapshot, proof: &[Hash]) -> Option<String> {
    let index = leaf.id() - 1;
    let size = snapshot.size();
    let mut out = String::with_capacity(2_048);
    let (id, hash) = (leaf.id(), leaf.entry_hash());
    let (event_type, timestamp) = (leaf.event_type(), leaf.timestamp());
    write!(
        out,
        "{{\"id\":{id},\"entry_hash\":\"{hash}\",\"event_type\":\"{event_type}\",\
         \"timestamp\":\"{timestamp}\",\"tree_size\":{size},\"previous_hash\":"
    )
    .ok()?;
    match leaf.previous_hash() {
        Some(previous) => write!(out, "\"{previous}\"").ok()?,
        None => out.push_str("null"),
    }
    write!(out, ",\"receipt\":{{\"leaf_index\":{index},\"tree_size\":{size},\"inclusion_proof\":")
        .ok()?;
    write_hashes(&mut out, proof);
    out.push_str(",\"tree_head\":");
    out.push_str(&snapshot.head_text);
    out.push_str("}}");
    Some(out)
}

fn many_json(leaves: &[Leaf], snapshot: &Snapshot) -> Option<String> {
    let (first, last) = (leaves.first()?.id(), leaves.last()?.id());
    let mut out = String::with_capacity(leaves.len() * 200 + 1_024);
    write!(out, "{{\"first_id\":{first},\"last_id\":{last},\"entries\":[").ok()?;
    for (nth, leaf) in leaves.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        let (id, hash) = (leaf.id(), leaf.entry_hash());
        let (event_type, timestamp) = (leaf.event_type(), leaf.timestamp());
        write!(
            out,
            "{comma}{{\"id\":{id},\"entry_hash\":\"{hash}\",\"event_type\":\"{event_type}\",\
             \"timestamp\":\"{timestamp}\"}}"
        )
        .ok()?;
    }
    write!(out, "],\"tree_size\":{},\"tree_head\":{}}}", snapshot.size(), snapshot.head_text)
        .ok()?;
    Some(out)
}

fn write_hashes(out: &mut String, hashes: &[Hash]) {
    out.push('[');
    for (nth, hash) in hashes.iter().enumerate() {
        out.push_str(if nth == 0 { "\"" } else { ",\"" });
        out.push_str(&hash.to_base64());
        out.push('"');
    }
    out.push(']');
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Parse(error) => parse_problem(&error),
            SubmitError::Event { index, error } => event_problem(index, error),
            SubmitError::Recall(error) => error.into(),
            SubmitError::Store(error) => error.into(),
            SubmitError::Append(error) => error.into(),
            SubmitError::NoEffect { index, reason } => no_effect(reason, &place_of(index).0),
        }
    }
}

/// The types that can be posted.
const TYPES: &str = "use a type of keys, attestations, endorsements, trust policies or claims, or \
                     x-<namespace>:<name>";

fn event_problem(index: Option<usize>, error: EventError) -> Problem {
    let (place, pointer) = place_of(index);
    let text = format!("{place}{error}");
    let at_type = format!("{pointer}/event_type");
    match error {
        EventError::Reserved(_) => {
            Problem::new(Code::EventTypeReserved, text).error(at_type, TYPES)
        }
        EventError::NotYet(_) => Problem::new(Code::ValidationFailed, text).error(at_type, TYPES),
        EventError::Registration(error) => keys::registration_problem(&error, index),
        EventError::Key(KeyError::Request(error)) => keys::request_problem(&error, index),
        EventError::Key(KeyError::Auth(error)) => {
            auth::auth_problem(error, &format!("{pointer}/auth")).within(&place)
        }
        EventError::Key(error) => error.into(),
        EventError::Attestation(error) => {
            attest_problem(error, &place, &format!("{pointer}/payload"))
        }
        EventError::Asked(error) => {
            ask_problem(error, &place, &format!("{pointer}/payload"), &format!("{pointer}/auth"))
        }
        EventError::Reveal(error) => Problem::from(error).within(&place),
        EventError::OtherPlaintext => Problem::new(Code::ValidationFailed, text.clone())
            .error(format!("{pointer}/payload/plaintext"), text),
        EventError::Auth(misfit) => {
            body::misfit_problem(&misfit, &place, &format!("{pointer}/auth"))
        }
        EventError::SessionNeeded | EventError::TokenNeeded => {
            Problem::new(Code::Unauthorized, text)
        }
        EventError::OperatorOnly => Problem::new(Code::Forbidden, text),
        EventError::TooLarge => {
            Problem::new(Code::EntryTooLarge, text).error(format!("{pointer}/payload"), "too large")
        }
    }
}

fn parse_problem(error: &ParseError) -> Problem {
    use diogenes_common::canonical::JsonError;
    let code = match error {
        ParseError::Json { error: JsonError::TooDeep, .. } => Code::JsonTooDeep,
        ParseError::Json { error: JsonError::NulCharacter, .. } => Code::NulCharacter,
        ParseError::Json { .. } => Code::InvalidJson,
        ParseError::Shape { shape: Shape::UnknownMember(_), .. } => Code::UnknownField,
        ParseError::Shape { .. } | ParseError::Empty | ParseError::TooMany => {
            Code::ValidationFailed
        }
    };
    let pointer = match error {
        ParseError::Json { place, .. } => place.pointer(),
        ParseError::Shape { place, shape } => format!("{}{}", place.pointer(), shape.pointer()),
        ParseError::Empty | ParseError::TooMany => "#".to_owned(),
    };
    let text = error.to_string();
    Problem::new(code, text.clone()).error(pointer, text)
}
