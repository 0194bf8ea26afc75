//! `/api/v1/claims`, `/claims/{entry_id}`, `/claims/{entry_id}/reveal`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{ClaimRequest, ClaimReveal, Encryption, Event, Payload as _};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::read::{Paging, Params};
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, Path, RawBody};
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::store::Window;
use diogenes_common::view::ClaimRow;
use http::HeaderMap;
use http::header::{HeaderValue, LINK};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{RevealError, reveal};
use crate::app::App;
use crate::auth::session;
use crate::holders::{self, with_auth};
use crate::keys::append;
use crate::posted::{Once, Posted, once, private, stranger};

/// The routes of this feature. The reads need a session, and so are not a follower's.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_claim))
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(post_reveal))
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
    commitment: Hash,
}

/// Posts an encrypted claim to the log.
#[utoipa::path(
    post,
    path = "/api/v1/claims",
    tag = "claims",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["conflict"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = ClaimBody,
    responses(
        (status = 201, description = "Posted; `Location` names the entry", body = Claimed),
        (status = 200, description = "An earlier request with this Idempotency-Key posted it", body = Claimed),
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

/// The encrypted claims, without their ciphertexts.
#[utoipa::path(
    get,
    path = "/api/v1/claims",
    tag = "claims",
    security(("key" = []), ("operator" = [])),
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
        ("claimant" = Option<String>, Query, description = "Only claims of this key, `sha256:` and 64 hex digits"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = ClaimList),
        (status = 401, description = "No session"),
    ),
)]
async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    must_have_a_session(&app, &headers).await?;
    let claimant = params.text("claimant")?.map(str::parse::<Fingerprint>).transpose();
    let claimant = claimant.map_err(|error| Problem::invalid("claimant", error.to_string()))?;
    let paging = params.long_paging()?;
    paging.list_not_too_deep()?;
    let Paging { page, per_page } = paging;
    let window = Window { offset: paging.offset(), limit: per_page };
    let (rows, total) = app.store.claims(claimant.as_ref(), window).await?;
    let claims = rows.into_iter().map(ClaimSummary::from).collect();
    let mut response = private(Json(ClaimList { claims, page, per_page, total }));
    if let Some(page) = paging.next(total, true) {
        let next = format!("</api/v1/claims?{}>; rel=\"next\"", params.with_page(page));
        let next = HeaderValue::try_from(next).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(LINK, next);
    }
    Ok(response)
}

/// An encrypted claim.
#[utoipa::path(
    get,
    path = "/api/v1/claims/{entry_id}",
    tag = "claims",
    security(("key" = []), ("operator" = [])),
    params(("entry_id" = u64, Path, description = "The entry of the claim")),
    responses(
        (status = 200, description = "The claim", body = ClaimView),
        (status = 401, description = "No session"),
        (status = 404, description = "No such claim"),
    ),
)]
async fn one(
    State(app): State<App>,
    Path(entry_id): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    must_have_a_session(&app, &headers).await?;
    let row = app.store.claim(entry_id).await?.ok_or(RevealError::UnknownClaim)?;
    let leaf = app.store.entry(entry_id).await?.ok_or_else(Problem::internal)?;
    let event = Event::parse(leaf.event_type(), leaf.payload());
    let Ok(Event::EncryptedClaim(claim)) = event else { return Err(Problem::internal()) };
    Ok(private(Json(ClaimView {
        summary: row.into(),
        ciphertext: claim.ciphertext.as_str().to_owned(),
        encryption: claim.encryption,
    })))
}

/// A claim without its ciphertext.
#[derive(Serialize, utoipa::ToSchema)]
struct ClaimSummary {
    /// The entry.
    entry_id: u64,
    /// Who claims.
    claimant_fingerprint: Fingerprint,
    /// What its claimant committed to.
    commitment: Hash,
    /// When it was logged.
    timestamp: Timestamp,
    /// The entry that revealed it.
    revealed_by: Option<u64>,
}

impl From<ClaimRow> for ClaimSummary {
    fn from(row: ClaimRow) -> Self {
        Self {
            entry_id: row.entry_id,
            claimant_fingerprint: row.claimant,
            commitment: row.commitment,
            timestamp: row.at,
            revealed_by: row.revealed_by,
        }
    }
}

/// A claim.
#[derive(Serialize, utoipa::ToSchema)]
struct ClaimView {
    #[serde(flatten)]
    summary: ClaimSummary,
    /// What is claimed, encrypted, base64.
    ciphertext: String,
    /// How it is encrypted, in the claimant's words.
    encryption: Encryption,
}

/// `GET /api/v1/claims`.
#[derive(Serialize, utoipa::ToSchema)]
struct ClaimList {
    /// The claims of this page, in the order of the log.
    claims: Vec<ClaimSummary>,
    /// Which page this is, from 1.
    page: u64,
    /// How many a page has at most.
    per_page: u64,
    /// How many there are.
    total: u64,
}

/// Lets the operator and the holders of keys in.
async fn must_have_a_session(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    if app.token.is_in(headers) || session(app, headers).await?.is_some() {
        return Ok(());
    }
    Err(Problem::new(Code::Unauthorized, "claims are shown in a session: see POST /auth/login"))
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
    extensions(("x-problems" = json!(["conflict"]))),
    params(
        ("entry_id" = u64, Path, description = "The entry of the claim"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h"),
    ),
    request_body = RevealBody,
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = Revealed),
        (status = 200, description = "`valid` is false: it is another plaintext, and nothing was recorded", body = Revealed),
    ),
)]
async fn post_reveal(
    State(app): State<App>,
    caller: Caller,
    Path(entry_id): Path<u64>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let RevealBody { plaintext } = body::strict(&bytes)?;
    // Which claim it is, the body doesn't say.
    let principal = format!("{} of claim {entry_id}", stranger(&caller));
    let posted = match once(&app, &headers, principal, &bytes).await? {
        Once::Before(posted) => posted,
        Once::First(idempotency) => {
            let Some(event) = reveal(&app, entry_id, plaintext).await? else {
                let (bound, entry_id, warnings) = (None, None, Vec::new());
                let body = Revealed { valid: false, bound, entry_id, warnings };
                return Ok(Json(body).into_response());
            };
            Posted::new(append(&app, event, idempotency).await?)
        }
    };
    let event =
        ClaimReveal::from_payload(posted.leaf.payload()).map_err(|_| Problem::internal())?;
    let warnings = if event.is_unsalted() { vec!["unsalted"] } else { Vec::new() };
    let (bound, entry_id) = (Some(event.bound), Some(posted.leaf.id()));
    posted.answer(Revealed { valid: true, bound, entry_id, warnings })
}

impl From<RevealError> for Problem {
    fn from(error: RevealError) -> Self {
        match error {
            RevealError::UnknownClaim => Self::new(Code::NotFound, error.to_string()),
            RevealError::Store(error) => error.into(),
        }
    }
}
