//! `/api/v1/webhooks`: for the holder of a key, by a session; everybody sees their own alone.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use diogenes_common::keys::Fingerprint;
use diogenes_common::read::{Paging, Params};
use diogenes_common::server::body::{self, Path, RawBody};
use diogenes_common::server::headers::NO_STORE;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::store::{DeliveryRow, WebhookRow, WebhookState};
use diogenes_common::wire::webhooks::{
    DeliveryList, DeliveryRecord, DeliveryStatus, DisabledReason, MessageId, ReplayRequest,
    TestOutcome, Webhook, WebhookCreated, WebhookId, WebhookList, WebhookRequest, WebhookStatus,
};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::signing::{self, Signer};
use super::{WebhookError, create, delete, owned, replay, test};
use crate::app::App;
use crate::auth;

/// What bodies are.
const JSON: &[&str] = &["application/json"];

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_webhook, list_webhooks))
        .routes(routes!(show_webhook, delete_webhook))
        .routes(routes!(list_deliveries))
        .routes(routes!(post_test))
        .routes(routes!(post_replay))
}

/// Asks to be told of new entries. The secret is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    security(("key" = [])),
    extensions(("x-problems" = json!(["webhook_limit_reached"]))),
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "Made; `Location` names it", body = WebhookCreated),
        (status = 401, description = "No session of a key"),
        (status = 409, description = "The key has as many webhooks as one may have"),
        (status = 422, description = "The URL, the events or the secret can't be used"),
    ),
)]
async fn post_webhook(
    State(app): State<App>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    body::require_type(&headers, JSON)?;
    let request: WebhookRequest = body::strict(&bytes)?;
    let created = create(&app, owner, &request, app.snapshot()?.size().get()).await?;
    let secret = signing::show_secret(&created.keys.secret);
    let location = format!("/api/v1/webhooks/{}", created.id);
    let mut response = private(&WebhookCreated { webhook: shown(created), secret });
    *response.status_mut() = StatusCode::CREATED;
    let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Your webhooks, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    security(("key" = [])),
    params(
        ("page" = Option<u64>, Query, description = "Which page, from 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The webhooks, without their secrets", body = WebhookList),
        (status = 401, description = "No session of a key"),
    ),
)]
async fn list_webhooks(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    let paging = params.long_paging()?;
    let (offset, Paging { page, per_page }) = (paging.offset(), paging);
    let all = app.store.webhooks_of(&owner).await?;
    let total = all.len() as u64;
    let (offset, per) = (place(offset), place(per_page));
    let webhooks = all.into_iter().skip(offset).take(per).map(shown).collect();
    Ok(private(&WebhookList { webhooks, page, per_page, total }))
}

/// One of your webhooks.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}",
    tag = "webhooks",
    security(("key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "The webhook, without its secret", body = Webhook),
        (status = 401, description = "No session of a key"),
        (status = 404, description = "You have no such webhook"),
    ),
)]
async fn show_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    Ok(private(&shown(owned(&app, owner, &id).await?)))
}

/// Deletes one of your webhooks and its delivery log.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{id}",
    tag = "webhooks",
    security(("key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "No session of a key"),
        (status = 404, description = "You have no such webhook"),
    ),
)]
async fn delete_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    delete(&app, owner, &id).await?;
    Ok((StatusCode::NO_CONTENT, [(CACHE_CONTROL, NO_STORE)]).into_response())
}

/// What became of the messages of one of your webhooks, those of the newest entries first.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}/deliveries",
    tag = "webhooks",
    security(("key" = [])),
    params(
        ("id" = String, Path, description = "The webhook's id"),
        ("page" = Option<u64>, Query, description = "Which page, from 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The delivery log", body = DeliveryList),
        (status = 401, description = "No session of a key"),
        (status = 404, description = "You have no such webhook"),
    ),
)]
async fn list_deliveries(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    let paging = params.long_paging()?;
    let (offset, Paging { page, per_page }) = (paging.offset(), paging);
    let webhook = owned(&app, owner, &id).await?.id;
    let (rows, total) = app.store.deliveries(webhook, offset, per_page).await?;
    let deliveries = rows.iter().map(|row| record(webhook, row)).collect();
    Ok(private(&DeliveryList { deliveries, page, per_page, total }))
}

/// Sends a message of type `webhook.test` now, and says what came of it.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/test",
    tag = "webhooks",
    security(("key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses(
        (status = 200, description = "What the receiver answered, without its body", body = TestOutcome),
        (status = 401, description = "No session of a key"),
        (status = 404, description = "You have no such webhook"),
    ),
)]
async fn post_test(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    let outcome: TestOutcome = test(&app, owner, &id).await?;
    Ok(private(&outcome))
}

/// Tells again of everything from an entry on, or of one message; turns the webhook on if it was
/// off.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/replay",
    tag = "webhooks",
    security(("key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "The webhook as it stands now", body = Webhook),
        (status = 401, description = "No session of a key"),
        (status = 404, description = "You have no such webhook"),
        (status = 422, description = "There is no such entry or message"),
    ),
)]
async fn post_replay(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    let owner = holder(&app, &headers).await?;
    body::require_type(&headers, JSON)?;
    let request: ReplayRequest = body::strict(&bytes)?;
    let last = app.snapshot()?.size().get();
    Ok(private(&shown(replay(&app, owner, &id, &request, last).await?)))
}

/// The key whose holder asks.
async fn holder(app: &App, headers: &HeaderMap) -> Result<Fingerprint, Problem> {
    auth::session(app, headers).await?.ok_or_else(|| {
        Problem::new(
            Code::Unauthorized,
            "webhooks belong to keys: send Authorization: Bearer <token>, from POST \
             /api/v1/auth/login",
        )
    })
}

fn place(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// A webhook as its owner sees it, without its secret.
fn shown(row: WebhookRow) -> Webhook {
    let (status, disabled_reason) = match row.state {
        WebhookState::Active => (WebhookStatus::Active, None),
        WebhookState::Gone => (WebhookStatus::Disabled, Some(DisabledReason::Gone)),
        WebhookState::Failing => (WebhookStatus::Disabled, Some(DisabledReason::Failing)),
    };
    Webhook {
        id: row.id,
        public_key: Signer::new(&row.keys).public_key(),
        url: row.url,
        events: row.events,
        created_at: row.created_at,
        status,
        disabled_reason,
        failing_since: row.failing_since,
        next_id: row.next_id,
    }
}

fn record(webhook: WebhookId, row: &DeliveryRow) -> DeliveryRecord {
    let status = match (row.due_at, row.fault) {
        (Some(_), _) => DeliveryStatus::Pending,
        (None, None) => DeliveryStatus::Delivered,
        (None, Some(_)) => DeliveryStatus::Failed,
    };
    DeliveryRecord {
        message_id: MessageId { webhook, entry_id: row.entry_id }.to_string(),
        entry_id: row.entry_id,
        status,
        attempts: row.attempts,
        last_attempt_at: row.last_at,
        response_status: row.response_status,
        error: row.fault,
        next_attempt_at: row.due_at,
    }
}

/// An answer that nobody but its reader may keep.
fn private(body: &impl Serialize) -> Response {
    ([(CACHE_CONTROL, NO_STORE)], Json(body)).into_response()
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let text = error.to_string();
        match error {
            WebhookError::Url(_) => Self::invalid("#/url", text),
            WebhookError::Events => Self::invalid("#/events", text),
            WebhookError::Event(place, _) => Self::invalid(format!("#/events/{place}"), text),
            WebhookError::Secret(_) => Self::invalid("#/secret", text),
            WebhookError::Replay => Self::invalid("#", text),
            WebhookError::From(_) => Self::invalid("#/from", text),
            WebhookError::Message => Self::invalid("#/message_id", text),
            WebhookError::Unknown => Self::new(Code::NotFound, text),
            WebhookError::OwnerFull => Self::new(Code::WebhookLimitReached, text),
            WebhookError::Full | WebhookError::Busy => Self::overloaded(text),
            WebhookError::Store(error) => error.into(),
            WebhookError::Random(error) => {
                tracing::error!(%error, "a webhook could not be made");
                Self::internal()
            }
        }
    }
}
