//! What is wrong with a request, as `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($variant:ident $status:literal $code:literal $title:literal;)*) => {
        /// Every code that an error of the API can carry: stable, closed and documented here.
        ///
        /// The title says what it means; each code has one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(
                #[doc = concat!("`", $code, "`, status ", $status, ": ", $title, ".")]
                $variant,
            )*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it stands in `error.code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            const fn status_number(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }
        }
    };
}

codes! {
    // The shape of a request.
    BadRequest 400 "bad_request" "The request cannot be understood";
    InvalidJson 400 "invalid_json" "The body is not strict JSON";
    JsonTooDeep 400 "json_too_deep" "The JSON is nested too deeply";
    ProxyNotTrusted 400 "proxy_not_trusted" "A forwarding header came from a peer that is not a trusted proxy";
    IdempotencyKeyInvalid 400 "idempotency_key_invalid" "The Idempotency-Key is not usable";
    NotFound 404 "not_found" "There is nothing here";
    MethodNotAllowed 405 "method_not_allowed" "This resource does not know that method";
    RequestTimeout 408 "request_timeout" "The request arrived too slowly";
    Conflict 409 "conflict" "The request contradicts the current state";
    PayloadTooLarge 413 "payload_too_large" "The body is too large";
    UnsupportedMediaType 415 "unsupported_media_type" "The body has the wrong media type";
    NulCharacter 422 "nul_character" "A text holds a NUL character";
    UnknownField 422 "unknown_field" "The body has a member that is not known";
    ValidationFailed 422 "validation_failed" "A value is missing or out of range";
    EntryTooLarge 413 "entry_too_large" "The entry is too large";
    PageTooDeep 422 "page_too_deep" "The list does not go that deep";
    PrivateKeyInRequest 422 "private_key_in_request" "The body holds a private key";
    RateLimited 429 "rate_limited" "Too many requests";

    // Who may do what.
    Unauthorized 401 "unauthorized" "A valid token is needed";
    Forbidden 403 "forbidden" "This token may not do that";
    HttpsRequired 403 "https_required" "HTTPS is required";
    EventTypeReserved 403 "event_type_reserved" "Events of this type cannot be posted";
    CategoryReserved 403 "category_reserved" "This category is reserved";
    FollowerNotAuthorized 403 "follower_not_authorized" "The operator has not authorized this follower";
    WitnessNotAuthorized 403 "witness_not_authorized" "The operator has not authorized this witness";
    ReadOnlyFollower 403 "read_only_follower" "A follower is read-only";
    KeyNotActive 403 "key_not_active" "The key is not active";
    KeyHasOtherRole 409 "key_has_other_role" "The key serves another role";
    PasswordRequired 403 "password_required" "The key has a password, which is missing or wrong";
    ChallengeFailed 403 "challenge_failed" "The challenge was not answered by this key";

    // Keys, signatures and what they sign.
    ChallengeNotFound 404 "challenge_not_found" "There is no such challenge";
    ChallengeUsed 409 "challenge_used" "The challenge was used before";
    ChallengeExpired 410 "challenge_expired" "The challenge has expired";
    InvalidPublicKey 422 "invalid_public_key" "The public key is not usable";
    InvalidSignature 422 "invalid_signature" "The signature does not verify";
    InvalidManifest 422 "invalid_manifest" "The manifest is not usable";
    KeyAlreadyRegistered 409 "key_already_registered" "The key is registered already";
    TypeNotSigned 409 "type_not_signed" "The signature does not cover the attestation's type";
    EndorsementConflict 409 "endorsement_conflict" "The endorsement is not in a state that allows this";
    EndorsementCapacityExceeded 409 "endorsement_capacity_exceeded" "The key has no endorsement left to give";
    WebhookLimitReached 409 "webhook_limit_reached" "The key has as many webhooks as one may have";
    IdempotencyInProgress 409 "idempotency_in_progress" "The first request with this Idempotency-Key is still running";
    IdempotencyConflict 422 "idempotency_conflict" "This Idempotency-Key was used for another body";

    // The federation.
    WitnessStale 409 "witness_stale" "A newer proof of this witness is recorded";
    WitnessReservationConflict 409 "witness_reservation_conflict" "Several keys claim the reserved short fingerprint";
    ProofDisagrees 409 "proof_disagrees" "The proof names a root that is not on this log's history";
    StatementFromFuture 422 "statement_from_future" "The statement's time lies in the future";
    EvidenceUnreadable 422 "evidence_unreadable" "The body is no evidence file";
    EvidenceUnproven 422 "evidence_unproven" "The evidence does not prove what it says";
    EvidenceForeign 422 "evidence_foreign" "The evidence is about another log";
    LeaderUnreachable 502 "leader_unreachable" "The leader cannot be reached";

    // The node itself.
    InternalError 500 "internal_error" "Something went wrong here";
    AnchoringNotConfigured 503 "anchoring_not_configured" "No calendar is configured";
    CatchingUp 503 "catching_up" "This follower has no verified head yet";
    ClockStep 503 "clock_step" "The leader's clock cannot be trusted at the moment";
    DiskFull 503 "disk_full" "The node is short of disk space";
    EntryCorrupt 503 "entry_corrupt" "A stored entry is damaged and not served";
    LogUnreachable 503 "log_unreachable" "Transparency log unreachable";
    NotPublished 503 "not_published" "No published checkpoint covers this yet";
    Overloaded 503 "overloaded" "The node has too much to do";
    SigningPaused 503 "signing_paused" "The leader does not sign at the moment";
}

impl Code {
    /// The status that goes with the code.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).expect("the table above holds valid statuses")
    }

    /// The code of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The code for a status that arrived without one.
    pub fn for_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::ValidationFailed,
            429 => Self::RateLimited,
            502 => Self::LeaderUnreachable,
            503 => Self::Overloaded,
            status if status < 500 => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An answer that says what is wrong and what to change.
///
/// Answered by handlers as the error of their `Result`; one pointer wide.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// One value of the request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it stands: a JSON pointer with `#` in front, or the name of a query parameter.
    pub pointer: Cow<'static, str>,
    /// What is wrong with it.
    pub detail: Cow<'static, str>,
}

/// The longest detail that is sent: it may quote what a stranger sent.
const MAX_DETAIL: usize = 1000;

impl Problem {
    /// A problem with a sentence about this very request.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            detail = detail.chars().take(MAX_DETAIL).collect::<String>().into();
        }
        let mut headers = HeaderMap::new();
        if code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Self(Box::new(Parts { code, detail, errors: Vec::new(), members: Map::new(), headers }))
    }

    /// 422 `validation_failed` about one value.
    pub fn invalid(
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let detail = detail.into();
        Self::new(Code::ValidationFailed, detail.clone()).error(pointer, detail)
    }

    /// 503 `log_unreachable`: the store cannot be reached or took too long.
    pub fn log_unreachable() -> Self {
        Self::new(Code::LogUnreachable, "the log's database cannot be reached; try again soon")
            .retry_after(Duration::from_secs(1))
    }

    /// 503 `overloaded`.
    pub fn overloaded(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Overloaded, detail).retry_after(Duration::from_secs(1))
    }

    /// 500: for what only a bug can cause; the cause belongs in the log, not in the answer.
    pub fn internal() -> Self {
        Self::new(
            Code::InternalError,
            "this is a fault of the server; its log has more under this request's id",
        )
    }

    /// Adds a value that is wrong.
    #[must_use]
    pub fn error(
        mut self,
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Says first which of several things of the request this is about.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        if !place.is_empty() {
            self.0.detail = format!("{place}{}", self.0.detail).into();
        }
        self
    }

    /// Adds a member beside the standard ones, such as the leader's URL.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Says when to try again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The sentence about this request.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The values that are wrong.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The body; `instance` names the occurrence.
    pub fn to_json(&self, instance: &str) -> Value {
        let Parts { code, detail, errors, members, .. } = &*self.0;
        let mut body = members.clone();
        let standard = serde_json::json!({
            "type": format!("urn:diogenes:problem:{code}"),
            "title": code.title(),
            "status": code.status_number(),
            "detail": detail,
            "instance": instance,
            "error": { "code": code.as_str(), "message": detail },
        });
        if let Value::Object(standard) = standard {
            body.extend(standard);
        }
        if !errors.is_empty() {
            let errors = errors.iter().map(|FieldError { pointer, detail }| {
                serde_json::json!({ "pointer": pointer, "detail": detail })
            });
            body.insert("errors".to_owned(), errors.collect());
        }
        Value::Object(body)
    }

    /// The answer; `instance` names the occurrence.
    pub fn respond(&self, instance: &str) -> Response {
        let mut response = Response::new(Body::from(self.to_json(instance).to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.0.headers.clone());
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl From<std::convert::Infallible> for Problem {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code, code.title())
    }
}

impl IntoResponse for Problem {
    /// Answers without an occurrence; the server writes the request's id into it on the way out.
    fn into_response(self) -> Response {
        let mut response = self.respond("/requests/-");
        response.extensions_mut().insert(Self::clone(&self));
        response
    }
}

/// Replaces an error that is not a problem yet, as the framework's own refusals are.
///
/// Keeps `Allow` and every other header except those that describe the old body.
pub(super) fn problem_for(response: &Response) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let framework = match response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        None => true,
        Some(kind) => {
            kind.starts_with(b"text/plain")
                && matches!(status.as_u16(), 400 | 413 | 415 | 422)
                && response.extensions().get::<OwnErrorBody>().is_none()
        }
    };
    if !framework {
        return None;
    }
    let mut problem = Problem::from(Code::for_status(status));
    if let Some(allow) = response.headers().get(ALLOW) {
        problem = problem.header(ALLOW, allow.clone());
    }
    Some(problem)
}

/// Marks an error whose body another protocol fixes, so that it is sent as it is.
///
/// Put it into the response's extensions.
#[derive(Clone, Copy, Debug)]
pub struct OwnErrorBody;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_words_with_error_statuses() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();

        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(code.as_str().bytes().all(word), "{code}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code}");
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn a_problem_has_the_members_of_the_standard_and_of_the_original_api() {
        let problem = Problem::invalid("#/payload/pseudonym", "is empty").member("hint", "name it");

        assert_eq!(
            problem.to_json("/requests/r1"),
            serde_json::json!({
                "type": "urn:diogenes:problem:validation_failed",
                "title": "A value is missing or out of range",
                "status": 422,
                "detail": "is empty",
                "instance": "/requests/r1",
                "error": { "code": "validation_failed", "message": "is empty" },
                "errors": [{ "pointer": "#/payload/pseudonym", "detail": "is empty" }],
                "hint": "name it",
            })
        );
    }

    #[test]
    fn a_member_cannot_displace_a_standard_one() {
        let body = Problem::new(Code::NotFound, "x").member("status", 200).to_json("i");

        assert_eq!(body["status"], 404);
    }

    #[test]
    fn answers_are_typed_not_stored_and_say_when_to_come_back() {
        let answer =
            Problem::overloaded("busy").retry_after(Duration::from_millis(1500)).respond("i");

        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
        let answer = Problem::from(Code::Unauthorized).respond("i");
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn what_a_stranger_sent_is_quoted_in_part_at_most() {
        let problem = Problem::new(Code::BadRequest, "é".repeat(5000));

        assert_eq!(problem.detail().chars().count(), MAX_DETAIL);
    }

    #[test]
    fn the_frameworks_own_refusals_become_problems_and_other_protocols_keep_theirs() {
        let plain = |status: u16| (StatusCode::from_u16(status).unwrap(), "text").into_response();
        let mut marked = plain(422);
        marked.extensions_mut().insert(OwnErrorBody);

        assert_eq!(problem_for(&plain(415)).map(|p| p.code()), Some(Code::UnsupportedMediaType));
        assert_eq!(problem_for(&marked), None);
        assert_eq!(problem_for(&plain(409)), None);
        assert_eq!(problem_for(&plain(200)), None);
        assert_eq!(
            problem_for(&StatusCode::NOT_FOUND.into_response()).map(|p| p.code()),
            Some(Code::NotFound)
        );
    }
}
