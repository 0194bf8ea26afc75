//! `POST /api/v1/keys/register`, `/succeed`, `/revoke`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use diogenes_common::event::{Event, RevocationRequest, SuccessionRequest};
use diogenes_common::keys::{Fingerprint, KeyAlgorithm};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::Problem;
use diogenes_common::view::KeyState;
use diogenes_common::wire::problem::ProblemBody;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    EndRequest, RegistrationRequest, append, append_entry, registration_problem, revocation,
    succession,
};
use crate::app::App;
use crate::auth::AuthProof;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_register))
        .routes(routes!(post_succeed))
        .routes(routes!(post_revoke))
}

/// The body of `POST /keys/register`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    #[schema(value_type = RegistrationRequest)]
    payload: serde_json::Map<String, serde_json::Value>,
}

/// The entry that registers a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Registered {
    /// The key's fingerprint, `sha256:` and 64 hex digits.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// The name that was registered.
    pseudonym: String,
    /// The key's algorithm.
    algorithm: KeyAlgorithm,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    #[schema(value_type = String)]
    entry_hash: Hash,
}

/// The body of a request that ends a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {
    payload: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    auth: Option<serde_json::Value>,
}

impl EndBody {
    fn auth(&self) -> Result<Option<AuthProof>, Problem> {
        self.auth.as_ref().map(|auth| body::part("#/auth", auth)).transpose()
    }
}

/// The body of `POST /keys/succeed`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `EndBody` reads")]
struct SucceedBody {
    payload: SuccessionRequest,
    auth: Option<AuthProof>,
}

/// The body of `POST /keys/revoke`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `EndBody` reads")]
struct RevokeBody {
    payload: RevocationRequest,
    auth: Option<AuthProof>,
}

/// The entry that replaced a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Succeeded {
    /// The key that gave way.
    #[schema(value_type = String)]
    old_fingerprint: Fingerprint,
    /// Its successor.
    #[schema(value_type = String)]
    new_fingerprint: Fingerprint,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    #[schema(value_type = String)]
    entry_hash: Hash,
}

/// The entry that revoked a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Revoked {
    /// The key.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// `revoked`.
    status: KeyState,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    #[schema(value_type = String)]
    entry_hash: Hash,
}

/// Registers a public key on the log.
#[utoipa::path(
    post,
    path = "/api/v1/keys/register",
    tag = "keys",
    request_body = RegisterBody,
    responses(
        (status = 201, description = "Registered; `Location` names the entry", body = Registered),
        (status = 409, description = "The key is registered already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The key or another member can't be used", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_register(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let RegisterBody { payload } = body::strict(&bytes)?;
    app.limiter.take_unless_exempt(Class::KeyRegistration, caller.ip(), 1, &headers)?;
    let request: RegistrationRequest = body::part("#/payload", &payload.into())?;
    let checked = request
        .check(&app.origin, app.clock.now(), app.require_key_proof)
        .map_err(|error| registration_problem(&error, None))?;
    let event = checked.event().clone();
    let Event::KeyRegistration(registration) = &event else { return Err(Problem::internal()) };
    let (fingerprint, algorithm) = (registration.fingerprint, registration.key_algorithm);
    let pseudonym = registration.pseudonym.to_string();
    let leaf = append_entry(&app, checked.into(), &event).await?;
    let (log_entry_id, entry_hash) = (leaf.id(), leaf.entry_hash());
    created(&leaf, Registered { fingerprint, pseudonym, algorithm, log_entry_id, entry_hash })
}

/// Replaces a key with another one, or recovers an expired one.
///
/// `auth` answers a challenge of purpose `general`; without it a session of the old key is needed.
#[utoipa::path(
    post,
    path = "/api/v1/keys/succeed",
    tag = "keys",
    request_body = SucceedBody,
    responses(
        (status = 201, description = "Succeeded; `Location` names the entry", body = Succeeded),
        (status = "4XX", description = "Nothing was appended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_succeed(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let asked: EndBody = body::strict(&bytes)?;
    let (auth, payload) = (asked.auth()?, asked.payload);
    app.limiter.take_unless_exempt(Class::KeyRegistration, caller.ip(), 1, &headers)?;
    let request = EndRequest { payload, auth: auth.as_ref(), caller: &caller, headers: &headers };
    let event = succession(&app, request).await?;
    let (old_fingerprint, new_fingerprint) = (event.old_fingerprint, event.new_fingerprint);
    let leaf = append(&app, event).await?;
    let (log_entry_id, entry_hash) = (leaf.id(), leaf.entry_hash());
    created(&leaf, Succeeded { old_fingerprint, new_fingerprint, log_entry_id, entry_hash })
}

/// Revokes a key, for good.
///
/// `auth` answers a challenge of purpose `general`; without it a session of the key is needed. No
/// password is asked for.
#[utoipa::path(
    post,
    path = "/api/v1/keys/revoke",
    tag = "keys",
    request_body = RevokeBody,
    responses(
        (status = 201, description = "Revoked; `Location` names the entry", body = Revoked),
        (status = "4XX", description = "Nothing was appended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_revoke(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let asked: EndBody = body::strict(&bytes)?;
    let (auth, payload) = (asked.auth()?, asked.payload);
    let request = EndRequest { payload, auth: auth.as_ref(), caller: &caller, headers: &headers };
    let event = revocation(&app, request).await?;
    let fingerprint = event.fingerprint;
    let leaf = append(&app, event).await?;
    let (log_entry_id, entry_hash) = (leaf.id(), leaf.entry_hash());
    let status = KeyState::Revoked;
    created(&leaf, Revoked { fingerprint, status, log_entry_id, entry_hash })
}

/// 201 with the entry's place.
fn created(leaf: &Leaf, body: impl Serialize) -> Result<Response, Problem> {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let location = format!("/api/v1/log/{}", leaf.id());
    let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
