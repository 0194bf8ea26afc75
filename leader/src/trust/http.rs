//! `POST /api/v1/trust-configs`, `/trust-configs/revoke`.

use axum::extract::State;
use axum::response::Response;
use diogenes_common::event::{TrustConfigRequest, TrustConfigRevocationRequest};
use diogenes_common::server::Caller;
use diogenes_common::server::body::RawBody;
use diogenes_common::server::problem::Problem;
use diogenes_common::wire::log::EntryView;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::holders::{self, with_auth};

/// The routes of this feature that append.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_config)).routes(routes!(post_revocation))
}

with_auth! {
    TrustConfigBody: TrustConfigRequest;
    TrustConfigRevocationBody: TrustConfigRevocationRequest;
}

/// Sets the trust policy of a key, in place of its last one.
#[utoipa::path(
    post,
    path = "/api/v1/trust-configs",
    tag = "trust",
    security((), ("key" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = TrustConfigBody,
    responses(
        (status = 201, description = "Set; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_config(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<TrustConfigRequest>(&app, &caller, &headers, &bytes, || Ok(())).await?.entry()
}

/// Ends the trust policy of a key.
#[utoipa::path(
    post,
    path = "/api/v1/trust-configs/revoke",
    tag = "trust",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["not_found"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = TrustConfigRevocationBody,
    responses(
        (status = 201, description = "Ended; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_revocation(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<TrustConfigRevocationRequest>(&app, &caller, &headers, &bytes, || Ok(()))
        .await?
        .entry()
}
