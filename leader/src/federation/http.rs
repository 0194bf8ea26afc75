//! `POST /log/replication-report`, `PUT /profiles/{fingerprint}` and the operator's lists of nodes.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use diogenes_common::keys::Fingerprint;
use diogenes_common::server::body::{self, Path, RawBody, from_value, strict, value};
use diogenes_common::server::headers::{NO_STORE, json_bytes};
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::statement::{Profile, ReplicationReport, StatementError};
use diogenes_common::wire::log::EntryView;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::lists::{FollowerList, WitnessList, followers, witnesses};
use super::{ProfileError, ReportError, report, set_profile};
use crate::app::{App, SIGNING_PAUSED};
use crate::auth::Operator;

/// The most that a report or a profile needs.
const MAX_BODY: usize = 64 * 1024;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_report))
        .routes(routes!(put_profile))
        .routes(routes!(get_followers))
        .routes(routes!(get_witnesses))
}

/// Reports how far an authorised follower verified the log.
#[utoipa::path(
    post,
    path = "/api/v1/log/replication-report",
    tag = "log",
    extensions(("x-problems" = json!([
        "conflict", "follower_not_authorized", "invalid_signature", "statement_from_future",
    ]))),
    request_body(
        description = "The signed members, `signature`, and `head` verbatim or null",
        content = ReplicationReport,
    ),
    responses(
        (status = 204, description = "Taken"),
        (status = 403, description = "The operator has not authorised this follower"),
        (status = 409, description = "Not newer than the last report"),
    ),
)]
async fn post_report(
    State(app): State<App>,
    headers: HeaderMap,
    bytes: RawBody<MAX_BODY>,
) -> Result<StatusCode, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let value = value(&bytes)?;
    let head = value.get("head").cloned().unwrap_or_default();
    let received: ReplicationReport = from_value(&value)?;
    if serde_json::to_value(&received.head).ok() != Some(head) {
        let detail = "the head goes back exactly as it was served";
        return Err(Problem::new(Code::UnknownField, detail).error("#/head", detail));
    }
    let snapshot = app.snapshot()?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    report(&app, &snapshot, received, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the profile of an authorised node, signed by its own key or by the operator's.
#[utoipa::path(
    put,
    path = "/api/v1/profiles/{fingerprint}",
    tag = "keys",
    extensions(("x-problems" = json!([
        "conflict", "follower_not_authorized", "forbidden", "invalid_signature",
        "statement_from_future", "witness_not_authorized",
    ]))),
    params(("fingerprint" = String, Path, description = "The node's full fingerprint")),
    request_body(
        description = "The signed members, `signer` and `signature`",
        content = Profile,
    ),
    responses(
        (status = 201, description = "Set; the entry that says so", body = EntryView),
        (status = 409, description = "A profile as new or newer is in the log"),
    ),
)]
async fn put_profile(
    State(app): State<App>,
    headers: HeaderMap,
    Path(fingerprint): Path<Fingerprint>,
    bytes: RawBody<MAX_BODY>,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let profile: Profile = strict(&bytes)?;
    if profile.fingerprint != fingerprint {
        return Err(Problem::invalid("#/fingerprint", "the path names another fingerprint"));
    }
    let leaf = set_profile(&app, profile).await?;
    let mut response = json_bytes(leaf.to_json());
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(LOCATION, crate::posted::location(leaf.id())?);
    Ok(response)
}

/// Lists the authorised followers and how they stand.
#[utoipa::path(
    get,
    path = "/api/v1/operator/followers",
    tag = "operator",
    security(("operator" = [])),
    responses(
        (status = 200, description = "The followers", body = FollowerList),
    ),
)]
async fn get_followers(State(app): State<App>, _: Operator) -> Result<Response, Problem> {
    let followers = followers(&app, &*app.snapshot()?).await?;
    Ok(([(CACHE_CONTROL, NO_STORE)], Json(FollowerList { followers })).into_response())
}

/// Lists the authorised witnesses and how they stand.
#[utoipa::path(
    get,
    path = "/api/v1/operator/witnesses",
    tag = "operator",
    security(("operator" = [])),
    responses(
        (status = 200, description = "The witnesses", body = WitnessList),
    ),
)]
async fn get_witnesses(State(app): State<App>, _: Operator) -> Result<Response, Problem> {
    let witnesses = witnesses(&app, &*app.snapshot()?).await?;
    Ok(([(CACHE_CONTROL, NO_STORE)], Json(WitnessList { witnesses })).into_response())
}

fn statement_problem(error: StatementError) -> Problem {
    let text = error.to_string();
    let (code, pointer) = match error {
        StatementError::BadSignature => (Code::InvalidSignature, "#/signature"),
        StatementError::OtherKey => (Code::ValidationFailed, "#/signer"),
        StatementError::OtherHead => (Code::ValidationFailed, "#/head"),
        StatementError::SizesReversed => (Code::ValidationFailed, "#/tree_size"),
        StatementError::EmptyTreeRoot => (Code::ValidationFailed, "#/root_hash"),
    };
    Problem::new(code, text.clone()).error(pointer, text)
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        let text = error.to_string();
        match error {
            ReportError::OtherLog => Self::invalid("#/origin", text),
            ReportError::NotAuthorized(follower) => Self::new(Code::FollowerNotAuthorized, text)
                .member("fingerprint", follower.to_string()),
            ReportError::Statement(error) => statement_problem(error),
            ReportError::Head(_) => {
                Self::new(Code::InvalidSignature, text.clone()).error("#/head", text)
            }
            ReportError::SelfRolledBack => {
                Self::new(Code::SigningPaused, text).retry_after(SIGNING_PAUSED)
            }
            ReportError::FromFuture => {
                Self::new(Code::StatementFromFuture, text.clone()).error("#/timestamp", text)
            }
            ReportError::TooOld => Self::invalid("#/timestamp", text),
            ReportError::Repeated => Self::new(Code::Conflict, text),
            ReportError::Store(error) => error.into(),
        }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        let text = error.to_string();
        match error {
            ProfileError::OtherLog => Self::invalid("#/origin", text),
            ProfileError::Statement(error) => statement_problem(error),
            ProfileError::FromFuture => {
                Self::new(Code::StatementFromFuture, text.clone()).error("#/timestamp", text)
            }
            ProfileError::Append(error) => error.into(),
            ProfileError::Store(error) => error.into(),
        }
    }
}
