//! `POST /api/v1/keys/register`, `/succeed`, `/revoke`.

use axum::extract::State;
use axum::response::Response;
use diogenes_common::event::{
    KeyRegistration, KeyRevocation, KeySuccession, Payload, RevocationRequest, SuccessionRequest,
};
use diogenes_common::keys::{Fingerprint, KeyAlgorithm};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::limits::Class;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::view::KeyState;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    EndRequest, RegistrationRequest, append, append_entry, registration_problem, revocation,
    succession,
};
use crate::app::App;
use crate::auth::AuthProof;
use crate::posted::{Once, Posted, once, stranger};

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_register))
        .routes(routes!(post_succeed))
        .routes(routes!(post_revoke))
}

/// The body of `POST /keys/register`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    #[schema(value_type = RegistrationRequest)]
    payload: serde_json::Map<String, serde_json::Value>,
}

/// The entry that registers a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Registered {
    /// The key's fingerprint, `sha256:` and 64 hex digits.
    fingerprint: Fingerprint,
    /// The name that was registered.
    pseudonym: String,
    /// The key's algorithm.
    algorithm: KeyAlgorithm,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    entry_hash: Hash,
}

/// The body of a request that ends a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {
    payload: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    auth: Option<serde_json::Value>,
}

impl EndBody {
    fn auth(&self) -> Result<Option<AuthProof>, Problem> {
        self.auth.as_ref().map(|auth| body::part("#/auth", auth)).transpose()
    }
}

/// The body of `POST /keys/succeed`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `EndBody` reads")]
struct SucceedBody {
    payload: SuccessionRequest,
    auth: Option<AuthProof>,
}

/// The body of `POST /keys/revoke`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `EndBody` reads")]
struct RevokeBody {
    payload: RevocationRequest,
    auth: Option<AuthProof>,
}

/// The entry that replaced a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Succeeded {
    /// The key that gave way.
    old_fingerprint: Fingerprint,
    /// Its successor.
    new_fingerprint: Fingerprint,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    entry_hash: Hash,
}

/// The entry that revoked a key.
#[derive(Serialize, utoipa::ToSchema)]
struct Revoked {
    /// The key.
    fingerprint: Fingerprint,
    /// `revoked`.
    status: KeyState,
    /// The entry.
    log_entry_id: u64,
    /// Its hash.
    entry_hash: Hash,
}

/// Registers a public key on the log.
#[utoipa::path(
    post,
    path = "/api/v1/keys/register",
    tag = "keys",
    extensions(("x-problems" = json!([
        "invalid_public_key", "invalid_signature", "key_already_registered",
    ]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = RegisterBody,
    responses(
        (status = 201, description = "Registered; `Location` names the entry", body = Registered),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = Registered),
        (status = 409, description = "The key is registered already"),
        (status = 422, description = "The key or another member can't be used"),
    ),
)]
async fn post_register(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let RegisterBody { payload } = body::strict(&bytes)?;
    let posted = match once(&app, &headers, stranger(&caller), &bytes).await? {
        Once::Before(posted) => posted,
        Once::First(idempotency) => {
            app.limiter.take_unless_exempt(Class::KeyRegistration, caller.ip(), 1, &headers)?;
            let request: RegistrationRequest = body::part("#/payload", &payload.into())?;
            let checked = request
                .check(&app.origin, app.clock.now(), app.require_key_proof)
                .map_err(|error| registration_problem(&error, None))?;
            let event = checked.event().clone();
            Posted::new(append_entry(&app, checked.into(), &event, idempotency).await?)
        }
    };
    let event: KeyRegistration = event_of(&posted.leaf)?;
    let body = Registered {
        fingerprint: event.fingerprint,
        pseudonym: event.pseudonym.to_string(),
        algorithm: event.key_algorithm,
        log_entry_id: posted.leaf.id(),
        entry_hash: posted.leaf.entry_hash(),
    };
    posted.answer(body)
}

/// What an entry of this type says; an idempotency key that was used for another kind of request
/// finds another one.
fn event_of<P: Payload>(leaf: &Leaf) -> Result<P, Problem> {
    P::from_payload(leaf.payload()).map_err(|_| {
        let detail = "this Idempotency-Key was used for another kind of request";
        Problem::new(Code::IdempotencyConflict, detail)
    })
}

/// Replaces a key with another one, or recovers an expired one.
///
/// `auth` answers a challenge of purpose `general`; without it a session of the old key is needed.
#[utoipa::path(
    post,
    path = "/api/v1/keys/succeed",
    tag = "keys",
    security((), ("key" = [])),
    extensions(("x-problems" = json!([
        "invalid_public_key", "invalid_signature", "key_already_registered", "key_has_other_role",
    ]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = SucceedBody,
    responses(
        (status = 201, description = "Succeeded; `Location` names the entry", body = Succeeded),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = Succeeded),
    ),
)]
async fn post_succeed(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let asked: EndBody = body::strict(&bytes)?;
    let (auth, payload) = (asked.auth()?, asked.payload);
    let posted = match once(&app, &headers, stranger(&caller), &bytes).await? {
        Once::Before(posted) => posted,
        Once::First(idempotency) => {
            app.limiter.take_unless_exempt(Class::KeyRegistration, caller.ip(), 1, &headers)?;
            let (auth, caller, headers) = (auth.as_ref(), &caller, &headers);
            let event = succession(&app, EndRequest { payload, auth, caller, headers }).await?;
            Posted::new(append(&app, event, idempotency).await?)
        }
    };
    let event: KeySuccession = event_of(&posted.leaf)?;
    let body = Succeeded {
        old_fingerprint: event.old_fingerprint,
        new_fingerprint: event.new_fingerprint,
        log_entry_id: posted.leaf.id(),
        entry_hash: posted.leaf.entry_hash(),
    };
    posted.answer(body)
}

/// Revokes a key, for good.
///
/// `auth` answers a challenge of purpose `general`; without it a session of the key is needed. No
/// password is asked for.
#[utoipa::path(
    post,
    path = "/api/v1/keys/revoke",
    tag = "keys",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["key_has_other_role"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = RevokeBody,
    responses(
        (status = 201, description = "Revoked; `Location` names the entry", body = Revoked),
        (status = 200, description = "An earlier request with this Idempotency-Key did it", body = Revoked),
    ),
)]
async fn post_revoke(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let asked: EndBody = body::strict(&bytes)?;
    let (auth, payload) = (asked.auth()?, asked.payload);
    let posted = match once(&app, &headers, stranger(&caller), &bytes).await? {
        Once::Before(posted) => posted,
        Once::First(idempotency) => {
            let (auth, caller, headers) = (auth.as_ref(), &caller, &headers);
            let event = revocation(&app, EndRequest { payload, auth, caller, headers }).await?;
            Posted::new(append(&app, event, idempotency).await?)
        }
    };
    let event: KeyRevocation = event_of(&posted.leaf)?;
    let body = Revoked {
        fingerprint: event.fingerprint,
        status: KeyState::Revoked,
        log_entry_id: posted.leaf.id(),
        entry_hash: posted.leaf.entry_hash(),
    };
    posted.answer(body)
}
