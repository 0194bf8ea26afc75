//! The one handler of all requests that carry `auth`.

use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::problem::Problem;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{AskError, Asking, Request, ask_problem, authorised, read};
use crate::app::App;
use crate::auth::AuthProof;
use crate::keys::append;
use crate::posted::{Once, Posted, once};

/// Appends what the holder of a key asks for. `limit` is asked only of what is not a repeat.
pub(crate) async fn post<R: Request>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    bytes: &RawBody,
    limit: impl FnOnce() -> Result<(), Problem>,
) -> Result<Posted, Problem> {
    post_within::<R>(app, caller, headers, bytes, body::MAX_DEPTH, limit).await
}

/// The same with a body that nests so deep at most.
pub(crate) async fn post_within<R: Request>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    bytes: &RawBody,
    max_depth: usize,
    limit: impl FnOnce() -> Result<(), Problem>,
) -> Result<Posted, Problem> {
    body::require_type(headers, &["application/json"])?;
    let body = body::value_within(bytes, max_depth)?;
    let mut body: Map<String, Value> = body::from_value(&body)?;
    let auth = body.remove("auth").filter(|auth| !auth.is_null());
    let auth: Option<AuthProof> =
        auth.as_ref().map(|auth| body::part("#/auth", auth)).transpose()?;
    let request = Value::Object(body);
    let told = |error: AskError| ask_problem(error, "", "#", "#/auth");
    let asked: R = read(&request).map_err(told)?;
    let principal = format!("key {}", asked.signer());
    let idempotency = match once(app, headers, principal, bytes).await? {
        Once::Before(posted) => return Ok(posted),
        Once::First(idempotency) => idempotency,
    };
    limit()?;
    let asking = Asking { request: &request, auth: auth.as_ref(), caller, headers };
    let event = authorised(app, asked, asking).await.map_err(told)?;
    Ok(Posted::new(append(app, event, idempotency).await?))
}
