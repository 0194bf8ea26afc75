//! `POST /api/v1/endorsements/...`.

use axum::extract::State;
use axum::response::Response;
use diogenes_common::event::{
    AcceptRequest, AlertRequest, OfferRequest, RevokeAcceptanceRequest, WithdrawRequest,
};
use diogenes_common::server::Caller;
use diogenes_common::server::body::RawBody;
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::Problem;
use diogenes_common::wire::log::EntryView;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::holders::{self, with_auth};

/// The routes of this feature that append.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_offer))
        .routes(routes!(post_accept))
        .routes(routes!(post_withdraw))
        .routes(routes!(post_revoke_acceptance))
        .routes(routes!(post_alert))
}

with_auth! {
    OfferBody: OfferRequest;
    AcceptBody: AcceptRequest;
    WithdrawBody: WithdrawRequest;
    RevokeAcceptanceBody: RevokeAcceptanceRequest;
    AlertBody: AlertRequest;
}

/// Offers an endorsement to another key holder.
#[utoipa::path(
    post,
    path = "/api/v1/endorsements/offer",
    tag = "endorsements",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["category_reserved", "endorsement_capacity_exceeded", "endorsement_conflict", "key_has_other_role"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = OfferBody,
    responses(
        (status = 201, description = "Offered; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key offered it", body = EntryView),
    ),
)]
async fn post_offer(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    let limit =
        || app.limiter.take_unless_exempt(Class::EndorsementOffer, caller.ip(), 1, &headers);
    holders::post::<OfferRequest>(&app, &caller, &headers, &bytes, limit).await?.entry()
}

/// Accepts an offered endorsement. It counts from `active_from` in the entry.
#[utoipa::path(
    post,
    path = "/api/v1/endorsements/accept",
    tag = "endorsements",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["endorsement_conflict", "not_found"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = AcceptBody,
    responses(
        (status = 201, description = "Accepted; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_accept(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<AcceptRequest>(&app, &caller, &headers, &bytes, || Ok(())).await?.entry()
}

/// Withdraws an endorsement, or an offer of one, and the alert that its endorser raised.
#[utoipa::path(
    post,
    path = "/api/v1/endorsements/withdraw",
    tag = "endorsements",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["endorsement_conflict", "not_found"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = WithdrawBody,
    responses(
        (status = 201, description = "Withdrawn; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_withdraw(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<WithdrawRequest>(&app, &caller, &headers, &bytes, || Ok(())).await?.entry()
}

/// Revokes the acceptance of an endorsement.
#[utoipa::path(
    post,
    path = "/api/v1/endorsements/revoke-acceptance",
    tag = "endorsements",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["endorsement_conflict", "not_found"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = RevokeAcceptanceBody,
    responses(
        (status = 201, description = "Revoked; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_revoke_acceptance(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<RevokeAcceptanceRequest>(&app, &caller, &headers, &bytes, || Ok(()))
        .await?
        .entry()
}

/// Warns that a key is compromised, which the signer endorses or did within the last 30 days.
#[utoipa::path(
    post,
    path = "/api/v1/endorsements/revocation-alert",
    tag = "endorsements",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["endorsement_conflict"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = AlertBody,
    responses(
        (status = 201, description = "Published; `Location` names the entry", body = EntryView),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = EntryView),
    ),
)]
async fn post_alert(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    holders::post::<AlertRequest>(&app, &caller, &headers, &bytes, || Ok(())).await?.entry()
}
