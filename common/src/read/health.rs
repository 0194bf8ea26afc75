//! Whether the node lives, whether it is ready, what it measures, what it is.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::answer::{Freshness, json};
use super::query::{LARGEST, Params};
use super::reads::{Reads, ReadyAsk, Role};
use crate::server::problem::{Code, Problem};
use crate::wire::node::{Check, Health, NodeRole, Readiness, WellKnown};

/// Whether the server lives. Needs no database.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    tag = "node",
    responses((status = 200, description = "It lives", body = Health))
)]
pub(super) async fn health(State(reads): State<Reads>, headers: HeaderMap) -> Response {
    let version = reads.facts().version.to_owned();
    json(&Health { status: "ok".to_owned(), version }, Freshness::Never, &headers)
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "node",
    responses((status = 200, description = "It lives", body = String))
)]
pub(super) async fn healthz() -> Response {
    ([(http::header::CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

/// Whether the node can do its work.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "node",
    extensions(("x-problems" = json!(["catching_up", "log_unreachable", "signing_paused"]))),
    params(
        ("verbose" = Option<String>, Query, description = "List the checks"),
        ("max_lag" = Option<u64>, Query, description = "On a follower: how many entries it may lack"),
    ),
    responses(
        (status = 200, description = "It is ready", body = Readiness),
        (status = 503, description = "It is not; `checks` says why"),
    )
)]
pub(super) async fn readyz(
    State(reads): State<Reads>,
    State(role): State<Role>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let verbose = params.switch("verbose")?;
    let max_lag = params.number("max_lag", 0..=LARGEST)?;
    let store = match reads.store().ping().await {
        Ok(()) => Check::passed("store"),
        Err(error) => Check::failed("store", error.to_string()),
    };
    let is_reachable = store.ok;
    let has_head = reads.has_snapshot();
    let found = if has_head { "a signed head is served" } else { "no signed head yet" };
    let mut checks = vec![store, Check::of("head", has_head, found)];
    checks.extend(role.checks(ReadyAsk { max_lag }).await);
    if checks.iter().all(|check| check.ok) {
        let answer = Readiness { status: "ready".to_owned(), checks: verbose.then_some(checks) };
        return Ok(json(&answer, Freshness::Never, &headers));
    }
    let code = match reads.facts().role {
        _ if !is_reachable => Code::LogUnreachable,
        NodeRole::Follower => Code::CatchingUp,
        NodeRole::Leader => Code::SigningPaused,
    };
    let failed: Vec<&str> =
        checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    let detail = format!("not ready: {}", failed.join(", "));
    let checks = serde_json::to_value(checks).unwrap_or_default();
    Err(Problem::new(code, detail).member("checks", checks).retry_after(NOT_READY))
}

/// When it is worth asking again.
const NOT_READY: Duration = Duration::from_secs(1);

/// What the node measures, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "node",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(role): State<Role>) -> Response {
    role.refresh_metrics().await;
    role.metrics().respond()
}

/// What the log and this node are: advice for clients, which check it against the log.
#[utoipa::path(
    get,
    path = "/.well-known/diogenes",
    tag = "node",
    extensions(("x-problems" = json!(["catching_up", "signing_paused", "log_unreachable"]))),
    responses(
        (status = 200, description = "What it is", body = WellKnown),
    )
)]
pub(super) async fn well_known(
    State(reads): State<Reads>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let facts = reads.facts();
    let log = facts.log.clone().ok_or_else(|| reads.nothing_yet())?;
    let known = WellKnown {
        api: "/api/v1".to_owned(),
        version: facts.version.to_owned(),
        role: facts.role,
        origin: log.origin,
        log_id: log.log_id,
        epoch: log.epoch,
        operator_fingerprint: log.operator.fingerprint(),
        operator_public_key: log.operator,
        leader_url: facts.leader_url.clone(),
        heartbeat_seconds: facts.heartbeat_seconds,
        witness_quorum: facts.witness_quorum,
    };
    Ok(json(&known, Freshness::Brief, &headers))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::read::testing::TestNode;

    #[tokio::test]
    async fn a_node_says_what_it_is() {
        let node = TestNode::with_entries(3).await;
        let health: Health = node.get("/api/v1/health").await;
        assert_eq!((health.status.as_str(), health.version.as_str()), ("ok", "0.1.0"));
        let known: WellKnown = node.get("/.well-known/diogenes").await;
        assert_eq!(known.log_id, node.leaf(1).entry_hash());
        assert_eq!(known.operator_fingerprint, known.operator_public_key.fingerprint());
        assert_eq!(node.request("/healthz", &[]).await.status(), StatusCode::OK);
        let metrics = node.request("/metrics", &[]).await;
        let text = String::from_utf8(node.body(metrics).await).unwrap();
        assert!(text.contains("diogenes_build_info"));
    }

    #[tokio::test]
    async fn readiness_names_its_checks() {
        let node = TestNode::with_entries(3).await;
        let ready: Readiness = node.get("/readyz").await;
        assert_eq!((ready.status.as_str(), ready.checks), ("ready", None));
        let verbose: Readiness = node.get("/readyz?verbose&max_lag=5").await;
        let names: Vec<_> = verbose.checks.unwrap().into_iter().map(|check| check.name).collect();
        assert_eq!(names, ["store", "head", "lag"]);

        let lagging = node.request("/readyz?max_lag=0", &[]).await;
        assert_eq!(lagging.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = String::from_utf8(node.body(lagging).await).unwrap();
        assert!(body.contains("not ready: lag"), "{body}");
        assert_eq!(node.refusal("/readyz?max_lag=x").await, Code::ValidationFailed);
    }

    #[tokio::test]
    async fn a_follower_without_a_head_lives_and_is_catching_up() {
        let node = TestNode::new(NodeRole::Follower, 0, |_| String::new()).await;
        assert_eq!(node.get::<Health>("/api/v1/health").await.status, "ok");
        for url in [
            "/readyz",
            "/.well-known/diogenes",
            "/api/v1/log",
            "/api/v1/log/1",
            "/api/v1/log/head",
            "/api/v1/log/sth",
            "/api/v1/log/sth?for=witness",
            "/api/v1/log/replicate",
            "/api/v1/log/inclusion-proof?entry_id=1",
            "/api/v1/log/witnesses",
            "/api/v1/log/replication-status",
            "/api/v1/keys/x/status",
        ] {
            assert_eq!(node.refusal(url).await, Code::CatchingUp, "{url}");
        }
    }

    #[tokio::test]
    async fn a_follower_says_how_far_it_can_be_relied_on() {
        let node = TestNode::new(NodeRole::Follower, 3, |_| "{}".to_owned()).await;
        let response = node.request("/api/v1/health", &[]).await;
        assert_eq!(response.headers()["diogenes-verified-size"], "3");
        assert_eq!(response.headers()["diogenes-head-timestamp"], "2026-01-15T12:00:00.000Z");
    }

    #[tokio::test]
    async fn the_document_describes_every_route() {
        let node = TestNode::with_entries(1).await;
        let document: serde_json::Value = node.get("/openapi.json").await;
        let paths = document["paths"].as_object().unwrap();
        for path in ["/api/v1/log", "/api/v1/log/{entry_id}", "/api/v1/log/verify", "/events", "/"]
        {
            assert!(paths.contains_key(path), "{path}");
        }
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is referred to and missing");
        }
    }
}
