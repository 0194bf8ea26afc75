//! `POST /api/v1/claims`, `/claims/{entry_id}/reveal`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use diogenes_common::event::{ClaimRequest, ClaimReveal, Event};
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::problem::ProblemBody;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{RevealError, reveal};
use crate::app::App;
use crate::holders::{self, with_auth};
use crate::keys::append_entry;
use crate::sequencer::NewEntry;

/// The routes of this feature that append.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_claim)).routes(routes!(post_reveal))
}

with_auth! {
    ClaimBody: ClaimRequest;
}

/// A claim that was posted.
#[derive(Serialize, utoipa::ToSchema)]
struct Claimed {
    /// The entry.
    entry_id: u64,
    /// What its claimant committed to.
    #[schema(value_type = String)]
    commitment: Hash,
}

/// Posts an encrypted claim to the log.
#[utoipa::path(
    post,
    path = "/api/v1/claims",
    tag = "claims",
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = ClaimBody,
    responses(
        (status = 201, description = "Posted; `Location` names the entry", body = Claimed),
        (status = 200, description = "An earlier request with this Idempotency-Key posted it", body = Claimed),
        (status = "4XX", description = "Nothing was appended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_claim(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    let posted = holders::post::<ClaimRequest>(&app, &caller, &headers, &bytes, || Ok(())).await?;
    let event = Event::parse(posted.leaf.event_type(), posted.leaf.payload());
    let Ok(Event::EncryptedClaim(claim)) = event else { return Err(Problem::internal()) };
    let (entry_id, commitment) = (posted.leaf.id(), claim.commitment);
    posted.answer(Claimed { entry_id, commitment })
}

/// The body of `POST /claims/{entry_id}/reveal`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RevealBody {
    /// What was claimed.
    #[schema(value_type = Object)]
    plaintext: serde_json::Map<String, serde_json::Value>,
}

/// Whether a plaintext is what was committed to.
#[derive(Serialize, utoipa::ToSchema)]
struct Revealed {
    /// Whether it is; if not, nothing was recorded.
    valid: bool,
    /// Whether the commitment names its claimant and this log, so that nobody could have copied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<bool>,
    /// The entry that records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_id: Option<u64>,
    /// `unsalted`: whoever guessed the plaintext could tell before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
}

/// Reveals an encrypted claim by its plaintext, for good. Whoever knows it may.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{entry_id}/reveal",
    tag = "claims",
    params(("entry_id" = u64, Path, description = "The entry of the claim")),
    request_body = RevealBody,
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = Revealed),
        (status = 200, description = "`valid` is false: it is another plaintext, and nothing was recorded", body = Revealed),
        (status = "4XX", description = "Nothing was appended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_reveal(
    State(app): State<App>,
    Path(entry_id): Path<u64>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let RevealBody { plaintext } = body::strict(&bytes)?;
    let Some(event) = reveal(&app, entry_id, plaintext).await? else {
        let no = Revealed { valid: false, bound: None, entry_id: None, warnings: Vec::new() };
        return Ok(Json(no).into_response());
    };
    let warnings = if event.is_unsalted() { vec!["unsalted"] } else { Vec::new() };
    let bound = Some(event.bound);
    let leaf = append(&app, event).await?;
    let yes = Revealed { valid: true, bound, entry_id: Some(leaf), warnings };
    let mut response = (StatusCode::CREATED, Json(yes)).into_response();
    let location = HeaderValue::try_from(format!("/api/v1/log/{leaf}"));
    response.headers_mut().insert(LOCATION, location.map_err(|_| Problem::internal())?);
    Ok(response)
}

async fn append(app: &App, event: ClaimReveal) -> Result<u64, Problem> {
    let entry = NewEntry::checked(&event, &app.origin);
    Ok(append_entry(app, entry, &event.into()).await?.id())
}

impl From<RevealError> for Problem {
    fn from(error: RevealError) -> Self {
        match error {
            RevealError::UnknownClaim => Self::new(Code::NotFound, error.to_string()),
            RevealError::Store(error) => error.into(),
        }
    }
}
