//! `POST /api/v1/keys/register`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::Problem;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{RegistrationRequest, register, registration_problem};
use crate::app::App;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_register))
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
    algorithm: &'static str,
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
        (status = 409, description = "The key is registered already", body = serde_json::Value, content_type = "application/problem+json"),
        (status = 422, description = "The key or another member can't be used", body = serde_json::Value, content_type = "application/problem+json"),
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
    if !app.limiter.is_exempt(&headers) {
        app.limiter.take(Class::KeyRegistration, caller.ip(), 1)?;
    }
    let request: RegistrationRequest = body::from_value(payload.into())?;
    let registration = request
        .check(&app.origin, app.clock.now())
        .map_err(|error| registration_problem(&error, None))?;
    let event = registration.event();
    let (fingerprint, pseudonym) = (event.fingerprint, event.pseudonym.to_string());
    let algorithm = event.key_algorithm.as_str();
    let appended = register(&app, registration).await?;
    let leaf = appended.leaves.first().ok_or_else(Problem::internal)?;
    let (log_entry_id, entry_hash) = (leaf.id(), leaf.entry_hash());
    let body = Registered { fingerprint, pseudonym, algorithm, log_entry_id, entry_hash };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let location = format!("/api/v1/log/{log_entry_id}");
    let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
