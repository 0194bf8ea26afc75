//! How a node asks other nodes: to addresses that its operator chose, for answers of bounded size,
//! in bounded time.

mod batch;
mod coding;
mod courier;
mod guard;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::Failure;
use crate::retry::LONGEST;
use crate::trace::{TRACEPARENT, Trace, Tracer};

pub use batch::NoBatch;
use coding::unpacked;
pub use courier::{Answered, Courier, PATIENCE, Undelivered};
pub use guard::{Ground, MAX_URL_BYTES, Refused, Rules, Target, TargetError, judge};

/// The usual cap of an answer.
pub const USUAL_ANSWER: usize = 1024 * 1024;

/// The cap of a replication batch.
pub const BATCH_ANSWER: usize = 8 * 1024 * 1024;

/// Where a URL may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The operator chose it: https anywhere, plain http on this machine.
    Configured,
    /// The same, and plain http anywhere (`--allow-http`).
    ConfiguredHttp,
    /// A stranger chose it: https to public addresses.
    Public,
}

/// The address of another node: a URL that may be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

/// Why a URL is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("{0:?} is not a URL like https://log.example")]
    NotAUrl(String),
    /// Neither https nor http to where that is allowed.
    #[error("{0} must be https (plain http only to this machine, or with --allow-http)")]
    NotHttps(String),
    /// It holds a user or a password.
    #[error("a URL must not hold a user or a password")]
    UserInfo,
    /// It holds a query or a fragment, to which no path can be added.
    #[error("{0} must end with its path")]
    NotABase(String),
    /// It leads to an address that is not public.
    #[error("{0} does not lead to a public address")]
    NotPublic(String),
}

impl BaseUrl {
    /// Reads a URL that is allowed for `reach`.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, UrlError> {
        let shown = || text.chars().take(200).collect::<String>();
        let mut url: Url = text.trim().parse().map_err(|_| UrlError::NotAUrl(shown()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        let Some(host) = url.host_str() else { return Err(UrlError::NotAUrl(shown())) };
        let literal = literal(host);
        let is_local = is_local(host);
        let is_allowed = match (url.scheme(), reach) {
            ("https", _) | ("http", Reach::ConfiguredHttp) => true,
            ("http", Reach::Configured) => is_local,
            _ => false,
        };
        if !is_allowed {
            return Err(UrlError::NotHttps(shown()));
        }
        let is_private = host == "localhost" || literal.is_some_and(|ip| !is_public(ip));
        if reach == Reach::Public && is_private {
            return Err(UrlError::NotPublic(shown()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::NotABase(shown()));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Whether it names this machine.
    fn is_local(&self) -> bool {
        self.0.host_str().is_some_and(is_local)
    }

    /// The URL of a path below it; `path` begins with `/` and may carry a query.
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let below = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{below}{path}"));
        url.set_query(query);
        url
    }

    /// The URL as text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_local(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<UrlError> for Failure {
    fn from(error: UrlError) -> Self {
        Self::unsafe_state("url_refused", error, "correct the URL")
    }
}

/// An answer with a status of success.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status, 2xx or 304.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// Why there is no answer to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Nothing came back, or it broke off.
    #[error("{host}: {kind}")]
    Network {
        /// Who was asked.
        host: String,
        /// What went wrong.
        kind: NetworkFault,
    },
    /// The peer answered that it would not.
    #[error("{0}")]
    Status(Box<StatusFault>),
    /// The answer is larger than anything expected there.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The cap.
        limit: usize,
    },
    /// The answer is not what was asked for.
    #[error("the answer cannot be read: {0}")]
    BadBody(String),
}

/// What went wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// No connection: name, address or TLS.
    #[error("cannot connect")]
    Connect,
    /// Too slow.
    #[error("took too long")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
}

/// An answer with a status of failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusFault {
    /// The status.
    pub status: u16,
    /// `error.code` of a problem, if it was one.
    pub code: Option<String>,
    /// Its detail, in one line and cut.
    pub detail: Option<String>,
    /// How long to wait before asking again.
    pub retry_after: Option<Duration>,
    /// What the body is said to be, without parameters and in lower case.
    pub media_type: Option<String>,
    /// The body as it came, at most 64 KiB: other protocols put numbers there.
    pub body: Bytes,
}

/// What kind of error it is: the `class` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Nothing came back.
    Network,
    /// 429.
    RateLimited,
    /// Another 4xx, or a redirect.
    Refused,
    /// 5xx.
    Server,
    /// An answer that cannot be used.
    BadAnswer,
}

impl ErrorClass {
    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Server => "server",
            Self::BadAnswer => "bad_answer",
        }
    }
}

impl FetchError {
    /// Its class.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Network { .. } => ErrorClass::Network,
            Self::Status(fault) => match fault.status {
                429 => ErrorClass::RateLimited,
                500.. => ErrorClass::Server,
                _ => ErrorClass::Refused,
            },
            Self::TooLarge { .. } | Self::BadBody(_) => ErrorClass::BadAnswer,
        }
    }

    /// How long the peer asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(fault) => fault.retry_after,
            _ => None,
        }
    }

    /// The code of the problem that was answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status(fault) => fault.code.as_deref(),
            _ => None,
        }
    }

    /// The status that was answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(fault) => Some(fault.status),
            _ => None,
        }
    }
}

impl fmt::Display for StatusFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

/// Asks other nodes, each time as a step of the trace that the work belongs to. Clones share
/// connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    tracer: Tracer,
}

/// One request, made with [`Client::get`] and its siblings.
#[derive(Debug)]
#[must_use = "a request is sent by one of its last methods"]
pub struct Asking {
    request: reqwest::RequestBuilder,
    trace: Trace,
    limit: usize,
    is_local: bool,
}

impl Client {
    /// A client for URLs of one reach, without redirects, cookies or proxies of the environment.
    ///
    /// A connection must stand within 5 s, and an answer must begin and go on within 30 s; a request
    /// as a whole takes at most two minutes unless [`Asking::within`] says otherwise.
    pub fn new(role: &str, version: &str, reach: Reach) -> Result<Self, Failure> {
        let client = builder(role, version).dns_resolver(Arc::new(Resolver { reach })).build();
        let http = client.map_err(|error| {
            Failure::unsafe_state("client", error, "check the certificates of this machine")
        })?;
        Ok(Self { http, tracer: Tracer::new()? })
    }

    /// Begins a trace, for work that asks several nodes or one several times.
    pub fn trace(&self) -> Trace {
        self.tracer.root()
    }

    /// GET of a path of a node.
    pub fn get(&self, node: &BaseUrl, path: &str) -> Asking {
        self.ask(Method::GET, node, path)
    }

    /// POST of a path of a node.
    pub fn post(&self, node: &BaseUrl, path: &str) -> Asking {
        self.ask(Method::POST, node, path)
    }

    /// Any method.
    pub fn ask(&self, method: Method, node: &BaseUrl, path: &str) -> Asking {
        let trace = Trace::current().unwrap_or_else(|| self.trace());
        let request = self.http.request(method, node.join(path));
        Asking {
            request: request.header(TRACEPARENT, trace.header()),
            trace,
            limit: USUAL_ANSWER,
            is_local: node.is_local(),
        }
    }

    /// GET of JSON.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        node: &BaseUrl,
        path: &str,
    ) -> Result<T, FetchError> {
        self.get(node, path).json().await
    }

    /// POST of JSON, answered by JSON.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        node: &BaseUrl,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, FetchError> {
        self.post(node, path).with_json(body)?.json().await
    }
}

/// What all clients have in common; the look-up of names is theirs.
fn builder(role: &str, version: &str) -> reqwest::ClientBuilder {
    // The second to ask finds the first one's provider installed.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(format!("diogenes-{role}/{version}"))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(30))
        .timeout(Duration::from_secs(120))
        .http1_max_headers(100)
        .http2_max_header_list_size(16 * 1024)
        .pool_idle_timeout(Duration::from_secs(8))
        .tcp_nodelay(true)
}

impl Asking {
    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Adds `Authorization: Bearer`.
    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    /// Takes an answer of up to that many bytes.
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Gives the whole request that long.
    pub fn within(mut self, time: Duration) -> Self {
        self.request = self.request.timeout(time);
        self
    }

    /// Takes the answer compressed from a node that is not on this machine, where bytes cost more
    /// than the time to unpack them.
    pub fn compressed(self) -> Self {
        if self.is_local {
            return self;
        }
        self.header(ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip"))
    }

    /// Sends these bytes.
    pub fn with_body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.request = self
            .request
            .header(CONTENT_TYPE, HeaderValue::from_static(media_type))
            .body(body.into());
        self
    }

    /// Sends this as JSON.
    pub fn with_json(self, body: &(impl Serialize + ?Sized)) -> Result<Self, FetchError> {
        let body = serde_json::to_vec(body).map_err(|e| FetchError::BadBody(e.to_string()))?;
        Ok(self.with_body("application/json", body))
    }

    /// Sends the request and reads its answer as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, FetchError> {
        let json = HeaderValue::from_static("application/json");
        let answer = self.header(ACCEPT, json).send().await?;
        serde_json::from_slice(&answer.body).map_err(|error| FetchError::BadBody(error.to_string()))
    }

    /// Sends the request and reads its answer: success, or 304.
    pub async fn send(self) -> Result<Answer, FetchError> {
        let trace = self.trace.clone();
        trace.scope(self.send_as()).await
    }

    async fn send_as(self) -> Result<Answer, FetchError> {
        let start = Instant::now();
        let (client, request) = self.request.build_split();
        let request = request.map_err(|error| network(&error))?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let answer = receive(client.execute(request), self.limit).await;
        tracing::debug!(
            %method,
            host = url.host_str(),
            path = url.path(),
            status = answer.as_ref().map_or_else(FetchError::status, |answer| Some(answer.status)),
            took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            "asked"
        );
        answer
    }
}

/// Reads an answer: success, or 304.
async fn receive(
    response: impl Future<Output = reqwest::Result<reqwest::Response>>,
    limit: usize,
) -> Result<Answer, FetchError> {
    let mut response = response.await.map_err(|error| network(&error))?;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    if status.is_success() || status == reqwest::StatusCode::NOT_MODIFIED {
        let body = read(response, limit).await?;
        let body = unpacked(body, &headers, limit).await?;
        return Ok(Answer { status: status.as_u16(), headers, body });
    }
    // A long error is as good as none.
    let body = read(response, MAX_ERROR).await.unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |value: &serde_json::Value, limit| {
        let text = value.as_str()?;
        Some(text.chars().filter(|c| !c.is_control()).take(limit).collect::<String>())
    };
    Err(FetchError::Status(Box::new(StatusFault {
        status: status.as_u16(),
        code: text(&problem["error"]["code"], 64),
        detail: text(&problem["detail"], 500),
        retry_after: retry_after(&headers),
        media_type: media_type(&headers),
        body,
    })))
}

/// The most that is read of an error.
const MAX_ERROR: usize = 64 * 1024;

async fn read(mut response: reqwest::Response, limit: usize) -> Result<Bytes, FetchError> {
    let declared = response.content_length().unwrap_or(0);
    if declared > limit as u64 {
        return Err(FetchError::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| network(&error))? {
        if first.len() + joined.len() + chunk.len() > limit {
            return Err(FetchError::TooLarge { limit });
        }
        if first.is_empty() && joined.is_empty() {
            first = chunk;
            continue;
        }
        if joined.is_empty() {
            // The comparison above bounds it by the limit.
            joined.reserve(usize::try_from(declared).unwrap_or(0));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&chunk);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// What kind of fault it is.
fn fault(error: &reqwest::Error) -> NetworkFault {
    tracing::debug!(error = error as &dyn std::error::Error, "a request failed");
    if error.is_timeout() {
        NetworkFault::Timeout
    } else if error.is_connect() {
        NetworkFault::Connect
    } else {
        NetworkFault::Broken
    }
}

fn network(error: &reqwest::Error) -> FetchError {
    let kind = fault(error);
    let host = error.url().and_then(Url::host_str).unwrap_or("the peer").to_owned();
    FetchError::Network { host, kind }
}

/// `Retry-After` in seconds; dates are not worth a clock here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().map(Duration::from_secs).ok().or(Some(LONGEST))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

/// Looks names up once, and answers only addresses that may be dialled; the connection goes to
/// one of these.
struct Resolver {
    reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            if name.as_str() == "localhost" && reach != Reach::Public {
                // Whatever the machine's resolver thinks: plain http must stay on this machine.
                let loopback: [IpAddr; 2] =
                    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let addresses = loopback.into_iter().map(|ip| SocketAddr::new(ip, 0));
                return Ok(Box::new(addresses) as Addrs);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| reach != Reach::Public || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(UrlError::NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Says whether the address is one of the open internet.
///
/// IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) are judged by that.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded =
                |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            match segments {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    is_public_v4(embedded(high, low))
                }
                // Protocols of the IETF (Teredo, benchmarks, ORCHID) and documentation; everything
                // else global lies in 2000::/3.
                [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
                [first, ..] => first & 0xe000 == 0x2000,
            }
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::Router;
    use axum::routing::{get, post};
    use http::header::CONTENT_ENCODING;

    use super::*;
    use crate::files::Role;
    use crate::server::Server;
    use crate::server::body::RawBody;
    use crate::server::https::HttpsPolicy;
    use crate::server::problem::{Code, Problem};
    use crate::shutdown::Tasks;
    use crate::telemetry::Metrics;

    async fn node(router: Router) -> (BaseUrl, Tasks) {
        let metrics = Metrics::new(Role::Leader, "0");
        let local = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(local, HttpsPolicy::default(), metrics).await.unwrap();
        let url = format!("http://{}/base/", server.address());
        let (tasks, run) = (Tasks::new(), Tasks::new());
        tasks.spawn(async move { server.run(router, &run).await });
        (BaseUrl::parse(&url, Reach::Configured).unwrap(), tasks)
    }

    fn client() -> Client {
        Client::new("test", "0", Reach::Configured).unwrap()
    }

    #[test]
    fn a_url_is_dialled_only_where_its_reach_allows() {
        use Reach::{Configured, ConfiguredHttp, Public};
        let not_https = |text: &str| Err(UrlError::NotHttps(text.to_owned()));
        let not_public = |text: &str| Err(UrlError::NotPublic(text.to_owned()));
        for (text, reach, expected) in [
            ("https://log.example/", Configured, Ok("https://log.example")),
            ("https://10.0.0.1:8443", Configured, Ok("https://10.0.0.1:8443")),
            ("http://127.0.0.1:8000", Configured, Ok("http://127.0.0.1:8000")),
            ("http://localhost:8000/a/", Configured, Ok("http://localhost:8000/a")),
            ("http://[::1]:8000", Configured, Ok("http://[::1]:8000")),
            ("http://log.example", Configured, not_https("http://log.example")),
            ("http://127.0.0.1.example", Configured, not_https("http://127.0.0.1.example")),
            ("ftp://127.0.0.1", Configured, not_https("ftp://127.0.0.1")),
            ("http://log.example", ConfiguredHttp, Ok("http://log.example")),
            ("https://u@log.example", ConfiguredHttp, Err(UrlError::UserInfo)),
            (
                "https://log.example/?a",
                Configured,
                Err(UrlError::NotABase("https://log.example/?a".into())),
            ),
            ("log.example", Configured, Err(UrlError::NotAUrl("log.example".into()))),
            ("https://hooks.example/x", Public, Ok("https://hooks.example/x")),
            ("http://hooks.example", Public, not_https("http://hooks.example")),
            ("https://192.168.1.1", Public, not_public("https://192.168.1.1")),
            ("https://2130706433", Public, not_public("https://2130706433")),
            ("https://localhost", Public, not_public("https://localhost")),
        ] {
            let parsed = BaseUrl::parse(text, reach);
            assert_eq!(parsed.as_ref().map(BaseUrl::as_str), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_those_of_the_open_internet() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("2606:4700::1111", true),
            ("64:ff9b::101:101", true),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("169.254.169.254", false),
            ("172.31.0.1", false),
            ("172.32.0.1", true),
            ("192.168.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn paths_are_added_below_the_base() {
        let base = BaseUrl::parse("https://l.example/a/", Reach::Configured).unwrap();

        assert_eq!(
            base.join("/api/v1/log?page=2").as_str(),
            "https://l.example/a/api/v1/log?page=2"
        );
        assert_eq!(base.join("/x").as_str(), "https://l.example/a/x");
    }

    #[tokio::test]
    async fn json_goes_and_comes() {
        let echo =
            post(async |body: RawBody| crate::server::headers::json_bytes(body.into_bytes()));
        let (url, _tasks) = node(Router::new().route("/base/echo", echo)).await;

        let answer: Vec<u32> = client().post_json(&url, "/echo", &[1, 2, 3]).await.unwrap();

        assert_eq!(answer, [1, 2, 3]);
        let wrong = client().post_json::<String>(&url, "/echo", &[1]).await.unwrap_err();
        assert_eq!(wrong.class(), ErrorClass::BadAnswer);
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code_and_its_patience() {
        let busy = get(async || Problem::overloaded("busy").retry_after(Duration::from_secs(7)));
        let lost = get(async || Problem::new(Code::NotFound, "gone"));
        let router = Router::new().route("/base/busy", busy).route("/base/lost", lost);
        let (url, _tasks) = node(router).await;

        let busy = client().get(&url, "/busy").send().await.unwrap_err();
        let lost = client().get(&url, "/lost").send().await.unwrap_err();

        assert_eq!((busy.class(), busy.code()), (ErrorClass::Server, Some("overloaded")));
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        let FetchError::Status(fault) = &busy else { panic!("{busy:?}") };
        assert_eq!(fault.media_type.as_deref(), Some("application/problem+json"));
        assert_eq!(lost.class(), ErrorClass::Refused);
        assert_eq!(lost.to_string(), "answered 404 not_found: gone");
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_cap_declared_or_not() {
        let declared = get(async || vec![b'x'; 1000]);
        let streamed = get(async || {
            let chunks = (0..10).map(|_| Ok::<_, std::io::Error>("y".repeat(100)));
            axum::body::Body::from_stream(futures_util::stream::iter(chunks))
        });
        let router = Router::new().route("/base/a", declared).route("/base/b", streamed);
        let (url, _tasks) = node(router).await;
        for path in ["/a", "/b"] {
            let fits = client().get(&url, path).up_to(1000).send().await;
            assert_eq!(fits.map(|answer| answer.body.len()), Ok(1000));
            let large = client().get(&url, path).up_to(999).send().await;
            assert_eq!(large.map(|answer| answer.status), Err(FetchError::TooLarge { limit: 999 }));
        }
    }

    #[tokio::test]
    async fn a_coded_answer_is_unpacked_up_to_its_cap() {
        let plain = vec![b'z'; 100_000];
        let mut gzip = flate2::read::GzEncoder::new(&plain[..], flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        let zstd = zstd::bulk::compress(&plain, 1).unwrap();
        let torn = zstd[..zstd.len() - 1].to_vec();
        let mut router = Router::new();
        for (path, coding, body) in [
            ("/base/gzip", "gzip", gzipped),
            ("/base/zstd", "zstd", zstd),
            ("/base/torn", "zstd", torn),
            ("/base/other", "br", plain.clone()),
        ] {
            let coded = get(async move || ([(CONTENT_ENCODING, coding)], body));
            router = router.route(path, coded);
        }
        let (url, _tasks) = node(router).await;
        let ask = async |path, limit| client().get(&url, path).up_to(limit).send().await;

        for path in ["/gzip", "/zstd"] {
            assert_eq!(ask(path, 100_000).await.map(|answer| answer.body.len()), Ok(100_000));
            let bomb = ask(path, 99_999).await.map(|answer| answer.status);
            assert_eq!(bomb, Err(FetchError::TooLarge { limit: 99_999 }), "{path}");
        }
        for path in ["/torn", "/other"] {
            assert_eq!(ask(path, 200_000).await.unwrap_err().class(), ErrorClass::BadAnswer);
        }
    }

    #[test]
    fn only_far_nodes_are_asked_to_compress() {
        let asks = |url| {
            let url = BaseUrl::parse(url, Reach::ConfiguredHttp).unwrap();
            let request = client().get(&url, "/").compressed().request.build().unwrap();
            request.headers().get(ACCEPT_ENCODING).cloned()
        };

        assert_eq!(asks("http://127.0.0.1:1"), None);
        assert_eq!(asks("https://log.example").unwrap(), "zstd, gzip");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = get(async || axum::response::Redirect::permanent("/base/secret"));
        let secret = get(async || "secret");
        let router = Router::new().route("/base/r", elsewhere).route("/base/secret", secret);
        let (url, _tasks) = node(router).await;

        let refused = client().get(&url, "/r").send().await.unwrap_err();

        assert_eq!((refused.status(), refused.class()), (Some(308), ErrorClass::Refused));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_or_slow_is_a_fault_of_the_network() {
        let slow = get(async || std::future::pending::<()>().await);
        let (url, _tasks) = node(Router::new().route("/base/slow", slow)).await;
        let nobody = BaseUrl::parse("http://127.0.0.1:1", Reach::Configured).unwrap();

        let slow = client().get(&url, "/slow").within(Duration::from_millis(50)).send().await;
        let gone = client().get(&nobody, "/x").send().await;

        let network = |kind| FetchError::Network { host: "127.0.0.1".to_owned(), kind };
        assert_eq!(slow.unwrap_err(), network(NetworkFault::Timeout));
        assert_eq!(gone.unwrap_err(), network(NetworkFault::Connect));
    }
}
