//! What a follower answers: every read, the witnesses' proofs handed on, and a clear no to the
//! rest.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use diogenes_common::client::{Answer, FetchError};
use diogenes_common::describe::limited;
use diogenes_common::read::{Latching, Node, Reads, ReadyAsk};
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::{Class, Limiter};
use diogenes_common::server::problem::{Code, MEDIA_TYPE, Problem};
use diogenes_common::statement::WitnessProof;
use diogenes_common::telemetry;
use diogenes_common::wire::node::Check;
use diogenes_common::wire::witnesses::WitnessAnswer;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::replica::Now;
use crate::sync::source::Source;
use crate::sync::{Shared, prove};

/// The follower as its handlers see it. Clones share one state.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) reads: Reads,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Arc<[Arc<Source>]>,
}

impl Node for App {
    fn reads(&self) -> &Reads {
        &self.reads
    }

    fn metrics(&self) -> &telemetry::Metrics {
        self.shared.metrics.node()
    }

    async fn refresh_metrics(&self) {
        let status = self.shared.replica().status(Now::of(&*self.shared.clock));
        self.shared.metrics.show(&status);
        if let Some(verification) = self.reads.last_verification() {
            self.shared.metrics.chain(&verification);
        }
    }

    async fn checks(&self, ask: ReadyAsk) -> Vec<Check> {
        let status = self.shared.replica().status(Now::of(&*self.shared.clock));
        let latched = self.shared.replica().is_latched();
        let reason = status.verdict.reason.unwrap_or("nothing is proven against the log");
        let mut checks = vec![Check::of("log", !latched, reason)];
        if let Some(most) = ask.max_lag {
            let detail = match status.lag_entries {
                Some(lag) => format!("{lag} entries are missing, {most} are allowed"),
                None => "it is not known how many entries are missing".to_owned(),
            };
            let near = status.lag_entries.is_some_and(|lag| lag <= most);
            checks.push(Check::of("lag", near, detail));
        }
        checks
    }

    /// A follower has no operator token: what its operator does happens on its machine.
    fn is_operator(&self, _: &HeaderMap) -> bool {
        false
    }

    async fn latch(&self, proof: Latching) -> Result<(), Problem> {
        prove::received(&self.shared, proof).await
    }
}

/// The routes that only a follower has.
pub(crate) fn router(limiter: &Limiter) -> OpenApiRouter<App> {
    limited(limiter, Class::Federation, OpenApiRouter::new().routes(routes!(relay)))
}

/// Submits a witness proof: a signed statement that one head of this log extends another.
///
/// A follower hands it on to the leader, and the leader's answer back, both as they are.
#[utoipa::path(
    post,
    path = "/api/v1/log/witness",
    tag = "log",
    extensions(("x-problems" = json!([
        "conflict", "invalid_signature", "key_has_other_role", "leader_unreachable",
        "proof_disagrees", "statement_from_future", "witness_not_authorized",
        "witness_reservation_conflict", "witness_stale",
    ]))),
    request_body = WitnessProof,
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = WitnessAnswer),
        (status = 200, description = "Recorded before, or valid and not recorded", body = WitnessAnswer),
    ),
)]
async fn relay(
    State(app): State<App>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let proof = bytes.into_bytes();
    for source in app.sources.iter() {
        match source.send(Method::POST, "/api/v1/log/witness", proof.clone()).await {
            Ok(answer) => return Ok(hand_back(answer)),
            Err(FetchError::Status(fault))
                if fault.code.as_deref() != Some("leader_unreachable") =>
            {
                if fault.code.as_deref() == Some("proof_disagrees") {
                    app.judge_witness(&proof).await;
                }
                let status = StatusCode::from_u16(fault.status);
                let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
                let mut response = (status, Body::from(fault.body)).into_response();
                let media_type = HeaderValue::from_static(MEDIA_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                if let Some(wait) = fault.retry_after {
                    response
                        .headers_mut()
                        .insert(http::header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
                }
                return Ok(response);
            }
            Err(error) => tracing::debug!(%error, source.url = source.url(), "not relayed"),
        }
    }
    Err(Problem::new(
        Code::LeaderUnreachable,
        "the leader cannot be reached from this follower; send the proof again later, or to the \
         leader itself",
    )
    .member("leader_url", leader_url(&app)))
}

impl App {
    /// Looks whether a proof that the leader does not agree with excludes an earlier one of the same
    /// witness. The leader's answer goes back whatever is found.
    async fn judge_witness(&self, body: &[u8]) {
        let Ok(proof) = serde_json::from_slice(body) else { return };
        if let Err(error) = self.reads.judge_witness(&proof, self.shared.name()).await {
            tracing::warn!(%error, "a witness could not be judged");
        }
    }
}

fn hand_back(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Body::from(answer.body)).into_response();
    for name in [CONTENT_TYPE, LOCATION] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Everything that no route answers: what would append, and what only the leader knows, is said
/// so; the rest is not here.
pub(crate) async fn elsewhere(State(app): State<App>, method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let writes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let private = ["/api/v1/claims", "/api/v1/webhooks", "/api/v1/operator"].iter().any(|prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if private || writes && (path.starts_with("/api/v1/") || path == "/add") {
        let url = leader_url(&app);
        return Problem::new(
            Code::ReadOnlyFollower,
            format!("this is a read-only follower; ask the leader at {url}"),
        )
        .member("leader_url", url)
        .into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}

/// A route that exists, but not for this method.
pub(crate) async fn other_method(state: State<App>, method: Method, uri: Uri) -> Response {
    match elsewhere(state, method, uri).await {
        response if response.status() == StatusCode::NOT_FOUND => {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        refused => refused,
    }
}

fn leader_url(app: &App) -> String {
    app.reads
        .facts()
        .leader_url
        .clone()
        .unwrap_or_else(|| app.sources.first().map(|source| source.url()).unwrap_or_default())
}
