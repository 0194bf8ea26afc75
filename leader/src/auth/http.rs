//! `POST /api/v1/auth/{challenge,login,renew,password}`.

use ::http::HeaderMap;
use ::http::header::CACHE_CONTROL;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::clock::Timestamp;
use diogenes_common::event::authorization::{ChallengeText, Purpose};
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::headers::NO_STORE;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::statement::Claim as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::{Given, or_default};
use super::challenge::{self, Unanswerable};
use super::password::HashError;
use super::sensitive::Sensitive;
use super::{AuthError, Login, counted, give_challenge, login, renew, set_password};
use crate::app::App;

const JSON: &[&str] = &["application/json"];

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_challenge))
        .routes(routes!(post_login))
        .routes(routes!(post_renew))
        .routes(routes!(post_password))
}

/// The body of `POST /auth/challenge`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ChallengeRequest {
    /// The key that will answer, `sha256:` and 64 hex digits.
    fingerprint: Fingerprint,
    /// Whether an expired key is to be succeeded.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<bool>)]
    recovery: bool,
    /// `general`, or `login` for a challenge that is good for nothing else.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<String>, example = "general")]
    purpose: Purpose,
}

/// A challenge: good for five minutes and one answer.
#[derive(Serialize, utoipa::ToSchema)]
struct ChallengeGiven {
    /// Its name.
    #[schema(value_type = String)]
    challenge_id: ChallengeText,
    /// 32 random bytes, base64url.
    #[schema(value_type = String)]
    nonce: ChallengeText,
    /// From when on no answer counts.
    expires_at: Timestamp,
    /// The log.
    origin: Origin,
    /// What it was asked for.
    #[schema(value_type = String)]
    purpose: Purpose,
    /// Whether it was asked for to succeed an expired key.
    recovery: bool,
    /// The key that is to answer.
    fingerprint: Fingerprint,
    /// What to sign, base64, with `null` where `action` and `payload_hash` go.
    signing_input: String,
}

/// Asks for a challenge. Whether the log knows the key is not looked at.
#[utoipa::path(
    post,
    path = "/api/v1/auth/challenge",
    tag = "auth",
    request_body = ChallengeRequest,
    responses(
        (status = 200, description = "What to sign", body = ChallengeGiven),
        (status = 422, description = "No fingerprint, or no purpose"),
    ),
)]
async fn post_challenge(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, JSON)?;
    let ChallengeRequest { fingerprint, recovery, purpose } = body::strict(&bytes)?;
    let given = give_challenge(&app, &caller, fingerprint, purpose, recovery).await;
    let challenge = counted(&app, given)?;
    let signing_input = challenge::claim(&challenge, &app.origin, None).signed_bytes();
    Ok(private(ChallengeGiven {
        challenge_id: challenge.challenge_id,
        nonce: challenge.nonce,
        expires_at: challenge.expires_at,
        origin: app.origin.clone(),
        purpose: challenge.purpose,
        recovery: challenge.recovery,
        fingerprint: challenge.fingerprint,
        signing_input: BASE64.encode(signing_input),
    }))
}

/// The body of `POST /auth/login`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    /// The challenge.
    #[schema(value_type = String)]
    challenge_id: ChallengeText,
    /// The signature that answers it, for the action `login` and no payload, base64.
    challenge_signature: Sensitive,
    /// The key's password, if it has one.
    #[serde(default)]
    password: Option<Sensitive>,
}

/// A session.
#[derive(Serialize, utoipa::ToSchema)]
struct LoggedIn {
    /// For `Authorization: Bearer <token>`.
    token: Sensitive,
    /// The key whose session it is.
    fingerprint: Fingerprint,
    /// The name that its holder chose.
    pseudonym: String,
    /// From when on the token opens nothing.
    expires_at: Timestamp,
}

/// Answers a challenge and gets a token for half an hour.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    extensions(("x-problems" = json!(["forbidden", "rate_limited"]))),
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The token", body = LoggedIn),
        (status = 403, description = "Not the key's answer, not its password, or the key is not active"),
        (status = 404, description = "No such challenge"),
        (status = 409, description = "The challenge was used"),
        (status = 410, description = "The challenge has expired"),
        (status = 429, description = "Too many tries failed"),
    ),
)]
async fn post_login(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, JSON)?;
    let request: LoginRequest = body::strict(&bytes)?;
    let LoginRequest { challenge_id, challenge_signature: signature, password } = &request;
    let given = Given { challenge_id, signature, signer: None };
    let login = counted(&app, login(&app, &caller, given, password.as_ref()).await)?;
    app.metrics.logins.inc();
    Ok(private(LoggedIn::from(login)))
}

/// Exchanges a token that is still good for a new one, up to 12 hours after the login.
#[utoipa::path(
    post,
    path = "/api/v1/auth/renew",
    tag = "auth",
    security(("key" = [])),
    extensions(("x-problems" = json!(["forbidden", "key_not_active"]))),
    responses(
        (status = 200, description = "The new token", body = LoggedIn),
        (status = 401, description = "No good token"),
    ),
)]
async fn post_renew(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let login = counted(&app, renew(&app, &headers).await)?;
    Ok(private(LoggedIn::from(login)))
}

/// The body of `POST /auth/password`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordRequest {
    /// The challenge.
    #[schema(value_type = String)]
    challenge_id: ChallengeText,
    /// The signature that answers it, base64; its payload is the body without these two members.
    challenge_signature: Sensitive,
    /// The new password, 8 to 1,024 bytes.
    password: Sensitive,
    /// The password that it replaces.
    #[serde(default)]
    current_password: Option<Sensitive>,
}

/// The password is set.
#[derive(Serialize, utoipa::ToSchema)]
struct PasswordSet {
    /// The key's fingerprint.
    fingerprint: Fingerprint,
    /// Always true.
    password_set: bool,
}

/// Sets or changes the password of a key. Takes an answered challenge; a session is not enough.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password",
    tag = "auth",
    extensions(("x-problems" = json!(["conflict", "forbidden", "rate_limited"]))),
    request_body = PasswordRequest,
    responses(
        (status = 200, description = "Set", body = PasswordSet),
        (status = 403, description = "Not the key's answer, or not its current password"),
        (status = 422, description = "A password of another length, or a challenge for something else"),
    ),
)]
async fn post_password(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, JSON)?;
    let mut request = body::value(&bytes)?;
    let read: PasswordRequest = body::from_value(&request)?;
    remove_answer(&mut request);
    let PasswordRequest { challenge_id, challenge_signature: signature, .. } = &read;
    let given = Given { challenge_id, signature, signer: None };
    let current = read.current_password.as_ref();
    let set = set_password(&app, &caller, given, &request, &read.password, current).await;
    let fingerprint = counted(&app, set)?;
    Ok(private(PasswordSet { fingerprint, password_set: true }))
}

/// Leaves what the answer is about.
fn remove_answer(request: &mut Value) {
    if let Value::Object(members) = request {
        members.remove("challenge_id");
        members.remove("challenge_signature");
    }
}

impl From<Login> for LoggedIn {
    fn from(login: Login) -> Self {
        let Login { issued, fingerprint, pseudonym } = login;
        Self { token: issued.token, fingerprint, pseudonym, expires_at: issued.expires_at }
    }
}

/// An answer that nobody but its reader may keep.
fn private(body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// The codes of what is refused, as the metric names them.
pub(crate) const REFUSALS: [Code; 12] = [
    Code::Unauthorized,
    Code::Forbidden,
    Code::ChallengeNotFound,
    Code::ChallengeUsed,
    Code::ChallengeExpired,
    Code::ChallengeFailed,
    Code::KeyNotActive,
    Code::PasswordRequired,
    Code::Conflict,
    Code::ValidationFailed,
    Code::RateLimited,
    Code::Overloaded,
];

/// The code of a refusal; none if it is no refusal, but trouble of the node.
pub(super) fn refusal(error: &AuthError) -> Option<Code> {
    Some(match error {
        AuthError::Missing | AuthError::TokenMissing | AuthError::Token(_) | AuthError::Ended => {
            Code::Unauthorized
        }
        AuthError::OtherKey => Code::Forbidden,
        AuthError::Challenge(Unanswerable::Unknown) => Code::ChallengeNotFound,
        AuthError::Challenge(Unanswerable::Used) => Code::ChallengeUsed,
        AuthError::Challenge(Unanswerable::Expired) => Code::ChallengeExpired,
        AuthError::Challenge(Unanswerable::Purpose | Unanswerable::Recovery)
        | AuthError::PasswordLength(_) => Code::ValidationFailed,
        AuthError::NotAnswered => Code::ChallengeFailed,
        AuthError::State(_) => Code::KeyNotActive,
        AuthError::PasswordMissing
        | AuthError::CurrentPasswordMissing
        | AuthError::PasswordWrong => Code::PasswordRequired,
        AuthError::PasswordRaced => Code::Conflict,
        AuthError::TooMany(_) => Code::RateLimited,
        AuthError::Crowded | AuthError::Hash(HashError::Overloaded) => Code::Overloaded,
        AuthError::Hash(HashError::Failed) | AuthError::Store(_) | AuthError::Random(_) => {
            return None;
        }
    })
}

/// What somebody is told who is not believed; `base` is the pointer of the members that should have
/// shown who they are.
pub(crate) fn auth_problem(error: AuthError, base: &str) -> Problem {
    let text = error.to_string();
    let Some(code) = refusal(&error) else {
        return match error {
            AuthError::Store(error) => error.into(),
            other => {
                tracing::error!(error = %other, "authentication failed");
                Problem::internal()
            }
        };
    };
    match error {
        AuthError::TooMany(wait) => Problem::new(code, text).retry_after(wait.0),
        _ if code == Code::Overloaded => Problem::overloaded(text),
        AuthError::PasswordLength(_) => Problem::invalid(format!("{base}/password"), text),
        AuthError::Challenge(Unanswerable::Purpose | Unanswerable::Recovery) => {
            Problem::invalid(format!("{base}/challenge_id"), text)
        }
        _ => Problem::new(code, text),
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        auth_problem(error, "#")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::auth::password::BadLength;
    use crate::auth::token::BadToken;
    use crate::auth::tries::Wait;
    use diogenes_common::view::KeyState;

    #[test]
    fn every_refusal_has_its_status_and_is_counted() {
        let refusals: [(AuthError, u16); 19] = [
            (AuthError::Missing, 401),
            (AuthError::TokenMissing, 401),
            (BadToken::Foreign.into(), 401),
            (BadToken::Expired.into(), 401),
            (AuthError::Ended, 401),
            (AuthError::OtherKey, 403),
            (Unanswerable::Unknown.into(), 404),
            (Unanswerable::Used.into(), 409),
            (Unanswerable::Expired.into(), 410),
            (Unanswerable::Purpose.into(), 422),
            (Unanswerable::Recovery.into(), 422),
            (AuthError::NotAnswered, 403),
            (AuthError::State(KeyState::Revoked), 403),
            (AuthError::PasswordMissing, 403),
            (AuthError::CurrentPasswordMissing, 403),
            (AuthError::PasswordRaced, 409),
            (BadLength.into(), 422),
            (Wait(Duration::from_secs(3)).into(), 429),
            (AuthError::Crowded, 503),
        ];
        for (error, status) in refusals {
            let counted = refusal(&error).expect("a refusal");
            assert!(REFUSALS.contains(&counted), "{counted}");
            assert_eq!(Problem::from(error).status().as_u16(), status, "{counted}");
        }
        assert_eq!(refusal(&HashError::Failed.into()), None);
        assert_eq!(Problem::from(AuthError::from(HashError::Failed)).status(), 500);
    }

    #[test]
    fn the_payload_of_a_password_is_the_body_without_its_answer() {
        let mut body = json!({
            "challenge_id": "c", "challenge_signature": "s", "password": "p",
            "current_password": null,
        });

        remove_answer(&mut body);

        assert_eq!(body, json!({ "password": "p", "current_password": null }));
    }
}
