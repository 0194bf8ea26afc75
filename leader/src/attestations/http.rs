//! `POST /api/v1/attestations`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use diogenes_common::keys::Fingerprint;
use diogenes_common::manifest;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::Problem;
use diogenes_common::wire::attestations::AttestationView;
use diogenes_common::wire::problem::ProblemBody;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AttestationRequest, Attested, attest, attest_problem};
use crate::app::App;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_attestation))
}

/// An attestation that is in the log.
#[derive(Serialize, utoipa::ToSchema)]
struct AttestationAnswer {
    /// The attestation, to be kept in the manifest's `attestations`.
    attestation: AttestationView,
    /// Its signer's key.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// The name under which that key is registered.
    pseudonym: String,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    #[schema(value_type = String)]
    entry_hash: Hash,
}

/// Records an attestation that its signer made at home.
///
/// A session of the signer's key (Bearer) makes type and intent the signer's own where the
/// signature does not cover them.
#[utoipa::path(
    post,
    path = "/api/v1/attestations",
    tag = "attestations",
    request_body = AttestationRequest,
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = AttestationAnswer),
        (status = 200, description = "The log holds it already", body = AttestationAnswer),
        (status = 403, description = "The key is not active, or its password is missing or wrong", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The signature covers neither of two types", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The key, the type, the manifest or the signature can't be used", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_attestation(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    // The manifest has its own depth, below that of the body.
    let value = body::value_within(&bytes, manifest::MAX_DEPTH + 1)?;
    let request: AttestationRequest = body::from_value(&value)?;
    app.limiter.take_unless_exempt(Class::AttestationEvent, caller.ip(), 1, &headers)?;
    let attested = attest(&app, &headers, request).await;
    let attested = attested.map_err(|error| attest_problem(error, "", "#"))?;
    let Attested { event, leaf, pseudonym, is_new } = attested;
    let fingerprint = event.signer;
    let attestation = AttestationView::of(event, leaf.timestamp());
    let (log_entry_id, entry_hash) = (leaf.id(), leaf.entry_hash());
    let body = AttestationAnswer { attestation, fingerprint, pseudonym, log_entry_id, entry_hash };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(body)).into_response();
    if is_new {
        let location = format!("/api/v1/log/{log_entry_id}");
        let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}
