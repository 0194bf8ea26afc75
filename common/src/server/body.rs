//! Reading a request's body: bounded in size, in time, and in what all of them hold together.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Caller;
use super::problem::{Code, Problem};
use super::room::{Full, Room, Share};
use crate::canonical::{self, JsonError};
use crate::shape::{self, Misfit};

/// The usual limit of a body.
pub const USUAL: usize = 256 * 1024;

/// The limit of a body with many events.
pub const BATCH: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a body that is too large is passed over, so that its sender reads why.
const LEFT: u64 = 32 * 1024 * 1024;

/// How long that may take.
const LEFT_PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of bodies may wait in memory at once.
pub(super) const WAITING: usize = 48 * 1024 * 1024;

/// A whole body of at most `MAX` bytes, without a private key in it.
///
/// It counts against the budget of waiting bodies until it is dropped. An extractor; the content
/// type is checked with [`require_type`].
#[derive(Debug)]
pub struct RawBody<const MAX: usize = USUAL> {
    bytes: Bytes,
    _held: Share,
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
        let room = request.extensions().get::<Caller>().map(|caller| caller.room().clone());
        let room = room.unwrap_or_else(|| Room::new(WAITING));
        let (parts, body) = request.into_parts();
        let (bytes, held) = read(&parts.headers, body, MAX, &room, PATIENCE).await?;
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
    room: &Arc<Room>,
    patience: Duration,
) -> Result<(Bytes, Share), Problem> {
    let declared = headers.get(CONTENT_LENGTH).map(length).transpose()?;
    let mut body = body;
    if let Some(length) = declared.filter(|length| *length > max as u64) {
        // Who asks first sends nothing that would have to be waited for.
        if length <= max as u64 + LEFT && !headers.contains_key(EXPECT) {
            let_finish(&mut body, patience).await;
        }
        return Err(too_large(max));
    }
    match tokio::time::timeout(patience, collect(&mut body, max, room.share())).await {
        Ok(Err(problem)) if problem.code() == Code::PayloadTooLarge => {
            let_finish(&mut body, patience).await;
            Err(problem)
        }
        Ok(done) => done,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} seconds", patience.as_secs()),
        )),
    }
}

/// Passes over the rest of a body that is refused: a sender that is cut off may never see why
/// (RFC 9112 section 9.6).
async fn let_finish(body: &mut Body, patience: Duration) {
    let pass_over = async {
        let mut left = LEFT;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // Who is slower, or sends more, is cut off.
    let _ = tokio::time::timeout(patience.min(LEFT_PATIENCE), pass_over).await;
}

/// Takes room only for what has arrived: what is announced holds nothing.
async fn collect(body: &mut Body, max: usize, mut share: Share) -> Result<(Bytes, Share), Problem> {
    let give_up = CancellationToken::new();
    let mut arrived = Arrived::default();
    loop {
        let frame = tokio::select! {
            biased;
            () = give_up.cancelled() => return Err(crowded_out()),
            frame = body.frame() => frame,
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body was cut off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if arrived.len() + data.len() > max {
            return Err(too_large(max));
        }
        arrived.push(data);
        if body.is_end_stream() {
            break;
        }
        share.lend(arrived.len(), &give_up).map_err(|Full| crowded_out())?;
    }
    share.keep(arrived.len()).map_err(|Full| crowded_out())?;
    Ok((arrived.into_bytes(), share))
}

/// A body as far as it has come: one frame as it is, several copied together.
#[derive(Default)]
struct Arrived {
    first: Bytes,
    joined: BytesMut,
}

impl Arrived {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

fn crowded_out() -> Problem {
    Problem::overloaded("too many bodies arrive at once, and this one slowly; try again soon")
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
    use futures_util::{StreamExt as _, stream};
    use serde::Deserialize;

    use super::*;
    use crate::shutdown::Tasks;

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
        room: &Arc<Room>,
    ) -> Result<Bytes, Code> {
        let read = read(&headers, body, max, room, Duration::from_millis(50)).await;
        read.map(|(bytes, _)| bytes).map_err(|problem| problem.code())
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_one_frame_or_many() {
        let room = Room::new(10);
        for body in [&["hello"][..], &["he", "", "l", "lo"], &["", "hello"]] {
            let read = read_with(HeaderMap::new(), frames(body), 5, &room).await;
            assert_eq!(read, Ok(Bytes::from_static(b"hello")));
        }
        assert_eq!(room.free(), 10, "given back");
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let sent = Bytes::from(vec![b'x'; 100]);
        let room = Room::new(100);

        let read = read_with(sized("100"), Body::from(sent.clone()), 100, &room).await.unwrap();

        assert_eq!(read.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_before_or_while_it_is_read() {
        let room = Room::new(100);
        let unread = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());

        assert_eq!(
            read_with(sized("6"), unread, 5, &room).await,
            Err(Code::PayloadTooLarge),
            "declared"
        );
        let grown = frames(&["abc", "def"]);
        let read = read_with(HeaderMap::new(), grown, 5, &room).await;
        assert_eq!(read, Err(Code::PayloadTooLarge), "not declared");
    }

    #[tokio::test]
    async fn who_sends_too_much_may_finish_and_then_hears_why() {
        let passed = |headers: HeaderMap| async move {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let parts = stream::iter(["abc", "def", "ghi"]).map(move |part| {
                sender.send(part).unwrap();
                Ok::<_, std::io::Error>(part)
            });
            let room = Room::new(100);
            let read = read_with(headers, Body::from_stream(parts), 5, &room).await;
            assert_eq!(read, Err(Code::PayloadTooLarge));
            receiver.len()
        };

        assert_eq!(passed(HeaderMap::new()).await, 3, "not declared");
        assert_eq!(passed(sized("9")).await, 3, "declared");
        let mut asks_first = sized("9");
        asks_first.insert(EXPECT, HeaderValue::from_static("100-continue"));
        assert_eq!(passed(asks_first).await, 0);
        assert_eq!(passed(sized("99999999999")).await, 0, "that would take too long");
    }

    #[tokio::test]
    async fn bodies_that_are_whole_share_the_room() {
        let room = Room::new(8);
        let patience = Duration::from_secs(5);
        let first = read(&sized("5"), frames(&["hello"]), 9, &room, patience).await.unwrap();

        for body in [&["hello"][..], &["hel", "lo"]] {
            let read = read_with(HeaderMap::new(), frames(body), 9, &room).await;
            assert_eq!(read, Err(Code::Overloaded));
        }
        drop(first);
        assert!(read_with(sized("5"), frames(&["hello"]), 9, &room).await.is_ok());
        assert_eq!(room.free(), 8);
    }

    #[tokio::test]
    async fn a_body_that_dawdles_gives_way_and_what_it_announces_holds_nothing() {
        let room = Room::new(8);
        let dawdling = |begun: &'static [&'static str]| {
            let begun = stream::iter(begun.iter().map(|part| Ok::<_, std::io::Error>(*part)));
            let body = Body::from_stream(begun.chain(stream::pending()));
            let room = room.clone();
            async move {
                let patience = Duration::from_secs(60);
                let read = read(&sized("8"), body, 8, &room, patience).await;
                read.map(|_| ()).map_err(|problem| problem.code())
            }
        };
        let tasks = Tasks::new();
        let silent = tasks.spawn(dawdling(&[]));
        let begun = tasks.spawn(dawdling(&["hello"]));
        tokio::task::yield_now().await;

        let quick = read_with(sized("5"), frames(&["hello"]), 9, &room).await;

        assert!(quick.is_ok());
        assert_eq!(begun.await.unwrap(), Err(Code::Overloaded));
        assert!(!silent.is_finished());
        silent.abort();
    }

    #[tokio::test]
    async fn a_slow_body_is_not_waited_for() {
        let slow = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let room = Room::new(8);

        assert_eq!(read_with(sized("5"), slow, 9, &room).await, Err(Code::RequestTimeout));
        assert_eq!(room.free(), 8);
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
