//! Reading a request's body: bounded in size, in time, and in what all of them hold together.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Caller;
use super::problem::{Code, Problem};
use crate::canonical::{self, JsonError};
use crate::shape::{self, Misfit};

/// The usual limit of a body.
pub const USUAL: usize = 256 * 1024;

/// The limit of a body with many events.
pub const BATCH: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many bytes of bodies may wait in memory at once.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// A budget of that many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Result<Held, Problem> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        match taken {
            Ok(_) => Ok(Held { budget: self.clone(), bytes }),
            Err(_) => Err(Problem::overloaded("too many bodies wait to be read; try again soon")),
        }
    }
}

impl Default for Budget {
    /// 64 MiB.
    fn default() -> Self {
        Self::new(64 * 1024 * 1024)
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        if bytes > self.bytes {
            let mut more = self.budget.take(bytes - self.bytes)?;
            self.bytes += std::mem::take(&mut more.bytes);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body of at most `MAX` bytes, without a private key in it.
///
/// It counts against the budget of waiting bodies until it is dropped. An extractor; the content
/// type is checked with [`require_type`].
#[derive(Debug)]
pub struct RawBody<const MAX: usize = USUAL> {
    bytes: Bytes,
    _held: Held,
}

impl<const MAX: usize> RawBody<MAX> {
    /// The bytes without their place in the budget, for what is done at once.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl<const MAX: usize> Deref for RawBody<MAX> {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for RawBody<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let budget = request.extensions().get::<Caller>().map(|caller| caller.budget().clone());
        let (parts, body) = request.into_parts();
        let (bytes, held) =
            read(&parts.headers, body, MAX, &budget.unwrap_or_default(), PATIENCE).await?;
        refuse_private_key(&bytes)?;
        Ok(Self { bytes, _held: held })
    }
}

/// The query of a request as a `T`; what does not fit is 422 with the reason.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::invalid("query", rejection.body_text()))
    }
}

/// The parameters in a request's path as a `T`; what does not fit is 404: nothing has that name.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| Problem::new(Code::NotFound, rejection.body_text()))
    }
}

/// Checks the media type of a body against those that a route takes, and says which it is.
///
/// A body without a type counts as the first one. Parameters such as `charset` are ignored.
pub fn require_type<'a>(headers: &HeaderMap, takes: &[&'a str]) -> Result<&'a str, Problem> {
    let sent = match headers.get(CONTENT_TYPE) {
        None => takes.first().copied(),
        Some(value) => {
            let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            takes.iter().copied().find(|known| known.eq_ignore_ascii_case(essence.trim()))
        }
    };
    sent.ok_or_else(|| {
        Problem::new(
            Code::UnsupportedMediaType,
            format!("send the body as Content-Type: {}", takes.join(" or ")),
        )
    })
}

/// How deep a body may nest that is no event's payload.
pub const MAX_DEPTH: usize = 32;

/// Reads a strict body: an object without duplicate, unknown or over-large members.
pub fn strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    from_value(&value(bytes)?)
}

/// Reads I-JSON.
pub fn value(bytes: &[u8]) -> Result<Value, Problem> {
    value_within(bytes, MAX_DEPTH)
}

/// Reads I-JSON that is nested to this depth at most.
pub fn value_within(bytes: &[u8], max_depth: usize) -> Result<Value, Problem> {
    canonical::parse(bytes, max_depth).map_err(|error| {
        let code = match error {
            JsonError::TooDeep => Code::JsonTooDeep,
            JsonError::NulCharacter => Code::NulCharacter,
            JsonError::Invalid { .. }
            | JsonError::DuplicateMember { .. }
            | JsonError::NumberTooLarge { .. }
            | JsonError::NotCanonical { .. } => Code::InvalidJson,
        };
        Problem::new(code, error.to_string())
    })
}

/// Takes what was read by [`value`] for a `T`.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    part("#", value)
}

/// Takes a part of a body for a `T`; `pointer` says where it stands.
pub fn part<T: DeserializeOwned>(pointer: &str, value: &Value) -> Result<T, Problem> {
    shape::read(value).map_err(|misfit| misfit_problem(&misfit, "", pointer))
}

/// What a client is told about a part of a body that is not of its shape; `place` names it where it
/// is one of several.
pub fn misfit_problem(misfit: &Misfit, place: &str, pointer: &str) -> Problem {
    let code = if misfit.is_unknown_member() { Code::UnknownField } else { Code::ValidationFailed };
    let text = format!("{place}{misfit}");
    Problem::new(code, text.clone()).error(misfit.pointer(pointer), text)
}

async fn read(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    budget: &Arc<Budget>,
    patience: Duration,
) -> Result<(Bytes, Held), Problem> {
    let declared = headers.get(CONTENT_LENGTH).map(length).transpose()?;
    if declared.is_some_and(|length| length > max as u64) {
        return Err(too_large(max));
    }
    // The comparison above bounds it by `max`.
    let expected = usize::try_from(declared.unwrap_or(0)).unwrap_or(max);
    let held = budget.take(expected)?;
    match tokio::time::timeout(patience, collect(body, max, expected, held)).await {
        Ok(done) => done,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} seconds", patience.as_secs()),
        )),
    }
}

async fn collect(
    mut body: Body,
    max: usize,
    expected: usize,
    mut held: Held,
) -> Result<(Bytes, Held), Problem> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body was cut off"))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = first.len() + joined.len() + data.len();
        if size > max {
            return Err(too_large(max));
        }
        held.grow(size)?;
        if joined.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(expected.max(size));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok((if joined.is_empty() { first } else { joined.freeze() }, held))
}

fn length(value: &HeaderValue) -> Result<u64, Problem> {
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.ok_or_else(|| Problem::new(Code::BadRequest, "Content-Length is not a number"))
}

fn too_large(max: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("a body here has at most {max} bytes"))
}

/// Nothing here ever needs a private key, so one that arrives was sent by mistake: it is neither
/// parsed nor logged, and its sender hears of it.
fn refuse_private_key(bytes: &[u8]) -> Result<(), Problem> {
    if std::str::from_utf8(bytes).is_ok_and(|text| text.contains("PRIVATE KEY-----")) {
        return Err(Problem::new(
            Code::PrivateKeyInRequest,
            "the body holds a private key: it was not read further; replace that key, and send \
             the public one",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde::Deserialize;

    use super::*;

    fn frames(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|part| Ok::<_, std::io::Error>(*part))))
    }

    fn sized(length: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))])
    }

    async fn read_with(
        headers: HeaderMap,
        body: Body,
        max: usize,
        budget: &Arc<Budget>,
    ) -> Result<Bytes, Code> {
        let read = read(&headers, body, max, budget, Duration::from_millis(50)).await;
        read.map(|(bytes, _)| bytes).map_err(|problem| problem.code())
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_one_frame_or_many() {
        let budget = Arc::new(Budget::new(10));
        for body in [&["hello"][..], &["he", "", "l", "lo"], &["", "hello"]] {
            let read = read_with(HeaderMap::new(), frames(body), 5, &budget).await;
            assert_eq!(read, Ok(Bytes::from_static(b"hello")));
        }
        assert_eq!(budget.0.load(Ordering::Relaxed), 10, "given back");
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let sent = Bytes::from(vec![b'x'; 100]);
        let budget = Arc::default();

        let read = read_with(sized("100"), Body::from(sent.clone()), 100, &budget).await.unwrap();

        assert_eq!(read.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_before_or_while_it_is_read() {
        let budget = Arc::default();
        let unread = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());

        assert_eq!(
            read_with(sized("6"), unread, 5, &budget).await,
            Err(Code::PayloadTooLarge),
            "declared"
        );
        let grown = frames(&["abc", "def"]);
        let read = read_with(HeaderMap::new(), grown, 5, &budget).await;
        assert_eq!(read, Err(Code::PayloadTooLarge), "not declared");
    }

    #[tokio::test]
    async fn bodies_that_wait_share_a_budget() {
        let budget = Arc::new(Budget::new(8));
        let patience = Duration::from_secs(5);
        let first = read(&sized("5"), frames(&["hello"]), 9, &budget, patience).await.unwrap();

        assert_eq!(
            read_with(sized("5"), frames(&["hello"]), 9, &budget).await,
            Err(Code::Overloaded)
        );
        assert_eq!(
            read_with(HeaderMap::new(), frames(&["hel", "lo"]), 9, &budget).await,
            Err(Code::Overloaded)
        );
        drop(first);
        assert!(read_with(sized("5"), frames(&["hello"]), 9, &budget).await.is_ok());
        assert_eq!(budget.0.load(Ordering::Relaxed), 8);
    }

    #[tokio::test]
    async fn a_slow_body_is_not_waited_for() {
        let slow = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let budget = Arc::new(Budget::new(8));

        assert_eq!(read_with(sized("5"), slow, 9, &budget).await, Err(Code::RequestTimeout));
        assert_eq!(budget.0.load(Ordering::Relaxed), 8);
    }

    #[tokio::test]
    async fn a_private_key_is_refused_unread() {
        let body = "{\"public_key\":\"-----BEGIN PRIVATE KEY-----\\nMC4\"}";
        let request = Request::new(Body::from(body));

        let refused = RawBody::<USUAL>::from_request(request, &()).await.unwrap_err();

        assert_eq!(refused.code(), Code::PrivateKeyInRequest);
        assert!(!refused.detail().contains("MC4"));
        let public = Request::new(Body::from("-----BEGIN PUBLIC KEY-----"));
        assert!(RawBody::<USUAL>::from_request(public, &()).await.is_ok());
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let takes = ["application/json", "application/x-ndjson"];
        let check = |kind: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            require_type(&headers, &takes).map_err(|problem| problem.code())
        };

        assert_eq!(check("Application/JSON; charset=utf-8"), Ok("application/json"));
        assert_eq!(check("application/x-ndjson"), Ok("application/x-ndjson"));
        assert_eq!(check("text/plain"), Err(Code::UnsupportedMediaType));
        assert_eq!(require_type(&HeaderMap::new(), &takes), Ok("application/json"));
    }

    #[tokio::test]
    async fn a_query_that_does_not_fit_says_why() {
        #[derive(Debug, serde::Deserialize)]
        struct Page {
            page: u32,
        }
        let parse = async |uri: &str| {
            let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
            Query::<Page>::from_request_parts(&mut parts, &()).await
        };

        assert_eq!(parse("/?page=2").await.map(|query| query.0.page), Ok(2));
        let refused = parse("/?page=x").await.unwrap_err();
        assert_eq!(refused.status(), 422);
        assert!(refused.detail().contains("page"), "{refused}");
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        n: u64,
    }

    #[test]
    fn each_fault_of_a_body_has_its_code() {
        let read = |text: &str| strict::<Sample>(text.as_bytes()).map_err(|error| error.code());

        assert_eq!(read(r#"{"n":1}"#), Ok(Sample { n: 1 }));
        assert_eq!(read(r#"{"n":1,"n":2}"#), Err(Code::InvalidJson));
        assert_eq!(read(r#"{"n":1e20}"#), Err(Code::InvalidJson));
        assert_eq!(read(r#"{"n":1,"m":2}"#), Err(Code::UnknownField));
        assert_eq!(read("{}"), Err(Code::ValidationFailed));
        assert_eq!(read("[1]"), Err(Code::ValidationFailed));
        assert_eq!(read(r#"{"n":"\u0000"}"#), Err(Code::NulCharacter));
        assert_eq!(read(&format!("{}1{}", "[".repeat(40), "]".repeat(40))), Err(Code::JsonTooDeep));
    }
}
