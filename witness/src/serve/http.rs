//! What a witness answers: cosignatures (C2SP tlog-witness), the newest of them, and how it is.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use diogenes_common::server::body::{Path, RawBody};
use diogenes_common::server::limits::{Class, Limiter};
use diogenes_common::server::problem::{Code, OwnErrorBody, Problem};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::App;
use super::answer::NotCosigned;
use crate::add_checkpoint::{MAX_BODY_BYTES, Refusal};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How the recorded size of a log is told to one that is behind or ahead.
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");

/// Every route. Health and metrics are never limited.
pub(super) fn router(app: App, limiter: &Limiter) -> Router {
    let of =
        |class, path, route| Router::new().route(path, route).route_layer(limiter.layer(class));
    of(Class::Federation, "/add-checkpoint", post(add_checkpoint))
        .merge(of(Class::Log, "/{log}/checkpoint", get(checkpoint)))
        .merge(of(Class::Query, "/", get(about)))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(app)
}

/// `POST /add-checkpoint`: answers the cosignature line, once what it says is durable.
async fn add_checkpoint(State(app): State<App>, body: RawBody<MAX_BODY_BYTES>) -> Response {
    match super::cosign(&app, &body).await {
        Ok(cosignature) => text(StatusCode::OK, format!("{}\n", cosignature.line)),
        Err(error) => refuse(&error),
    }
}

/// `GET /<hex of the SHA-256 of the origin>/checkpoint`: the newest one that was cosigned.
async fn checkpoint(State(app): State<App>, Path(log): Path<String>) -> Result<Response, Problem> {
    let hash = format!("sha256:{log}").parse().ok();
    let found = hash.and_then(|hash| app.board.checkpoint(hash));
    let found = found.ok_or_else(|| {
        let problem = Problem::new(Code::NotFound, "nothing was cosigned there");
        // A leader that lost its state asks who may know more: this is an answer, silence is none.
        let is_known = hash.is_some_and(|hash| app.board.has_signed_nothing(hash));
        if is_known { problem.member("tree_size", 0) } else { problem }
    })?;
    let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    Ok((headers, found).into_response())
}

/// `GET /`: who this is.
async fn about(State(app): State<App>) -> Response {
    text(
        StatusCode::OK,
        format!(
            "This is {}, a witness of transparency logs (C2SP tlog-witness).\n\
             It cosigns the checkpoints of the logs on its list that it was shown to only grow.\n\n\
             vkey: {}\n\n\
             POST /add-checkpoint\n\
             GET /<lower-case hex of the SHA-256 of a log's origin>/checkpoint\n",
            app.home.cosigner(),
            app.home.vkey()
        ),
    )
}

async fn healthz() -> Response {
    ([(CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

/// Ready is who could read its state.
async fn readyz(State(app): State<App>) -> Result<Response, Problem> {
    if !app.is_ready.load(Ordering::Relaxed) {
        return Err(Problem::overloaded("the state cannot be read"));
    }
    Ok(([(CACHE_CONTROL, "no-store")], "ready\n").into_response())
}

async fn metrics(State(app): State<App>) -> Response {
    app.metrics.node().respond()
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, HeaderValue::from_static("no-store"))], body)
        .into_response()
}

/// The protocol fixes what is answered, so it is no problem in JSON.
fn refuse(error: &NotCosigned) -> Response {
    let mut response = match error {
        NotCosigned::Refused(Refusal::Stale { known }) => {
            let mut response = text(StatusCode::CONFLICT, format!("{known}\n"));
            response.headers_mut().insert(CONTENT_TYPE, SIZE);
            response
        }
        NotCosigned::State(_) => text(status(error), "this witness is broken\n".to_owned()),
        error => text(status(error), format!("{error}\n")),
    };
    let retry_after = match error {
        NotCosigned::Busy | NotCosigned::Unconfirmed => Some(1),
        NotCosigned::TooOften { retry_after } => Some(*retry_after),
        _ => None,
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(OwnErrorBody);
    response
}

fn status(error: &NotCosigned) -> StatusCode {
    match error {
        NotCosigned::Refused(refusal) => match refusal {
            Refusal::Malformed(_) | Refusal::OldBeyondNew => StatusCode::BAD_REQUEST,
            Refusal::UnknownLog => StatusCode::NOT_FOUND,
            Refusal::NotSigned(_) => StatusCode::FORBIDDEN,
            Refusal::Stale { .. } => StatusCode::CONFLICT,
            Refusal::WrongEmptyRoot
            | Refusal::ProofFromNothing
            | Refusal::Inconsistent(_)
            | Refusal::OtherRoot => StatusCode::UNPROCESSABLE_ENTITY,
        },
        NotCosigned::RolledBack { .. }
        | NotCosigned::Equivocated { .. }
        | NotCosigned::Halted(_)
        | NotCosigned::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        NotCosigned::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        NotCosigned::Busy | NotCosigned::Unconfirmed => StatusCode::SERVICE_UNAVAILABLE,
    }
}
