//! `POST /api/v1/attestations`.

use axum::extract::State;
use axum::response::Response;
use diogenes_common::event::{Attestation, Payload as _};
use diogenes_common::keys::Fingerprint;
use diogenes_common::manifest;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::attestations::AttestationView;
use http::HeaderMap;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AttestationRequest, attest, attest_problem};
use crate::app::App;
use crate::posted::{Once, once, stranger};

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
    fingerprint: Fingerprint,
    /// The name under which that key is registered.
    pseudonym: String,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
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
    security((), ("key" = [])),
    extensions(("x-problems" = json!([
        "conflict", "invalid_manifest", "invalid_public_key", "invalid_signature",
        "key_has_other_role", "key_not_active", "password_required", "type_not_signed",
        "unauthorized",
    ]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = AttestationRequest,
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = AttestationAnswer),
        (status = 200, description = "The log holds it already, or an earlier request with this Idempotency-Key recorded it", body = AttestationAnswer),
        (status = 403, description = "The key is not active, or its password is missing or wrong"),
        (status = 409, description = "The signature covers neither of two types"),
        (status = 422, description = "The key, the type, the manifest or the signature can't be used"),
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
    let posted = match once(&app, &headers, stranger(&caller), &bytes).await? {
        Once::Before(posted) => posted,
        Once::First(idempotency) => {
            app.limiter.take_unless_exempt(Class::AttestationEvent, caller.ip(), 1, &headers)?;
            let attested = attest(&app, &headers, request, idempotency).await;
            attested.map_err(|error| attest_problem(error, "", "#"))?
        }
    };
    let event = Attestation::from_payload(posted.leaf.payload()).map_err(|_| {
        let detail = "this Idempotency-Key was used for another kind of request";
        Problem::new(Code::IdempotencyConflict, detail)
    })?;
    let key = app.store.key(&event.signer).await?.ok_or_else(Problem::internal)?;
    let body = AttestationAnswer {
        fingerprint: event.signer,
        pseudonym: key.pseudonym,
        attestation: AttestationView::of(event, posted.leaf.timestamp()),
        log_entry_id: posted.leaf.id(),
        entry_hash: posted.leaf.entry_hash(),
    };
    posted.answer(body)
}
