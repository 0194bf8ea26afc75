//! The HTTP server that every role runs: bounded connections, problems, drain.
//!
//! A role gives its routes to [`Server::run`]. What holds for all of them happens in one place
//! around the router, without a layer for each: the request's id, HTTPS, CORS, errors as problems,
//! panics, metrics. Limits are put on groups of routes with [`limits::Limiter::layer`].

pub mod body;
mod connection;
pub mod headers;
pub mod https;
mod io;
pub mod limits;
mod open_files;
mod outgoing;
pub mod problem;
mod room;
mod roster;
pub mod tls;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    CONNECTION, HeaderMap, HeaderName, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use self::connection::{accept, serve};
use self::https::{HttpsPolicy, Ruling};
use self::problem::{Code, Problem, problem_for};
use self::room::Room;
use self::roster::{Roster, Seat, Terms};
use self::tls::Tls;
use crate::exit::Failure;
use crate::files::{self, FileError};
use crate::shutdown::Tasks;
use crate::telemetry::Metrics;
use crate::trace::Tracer;

/// What a server grants its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one address; loopback and trusted proxies are exempt.
    pub connections_per_address: usize,
    /// Time for the handshake of TLS.
    pub handshake: Duration,
    /// Time for the head of each request.
    pub head: Duration,
    /// Time in which a client must take some of an answer.
    pub progress: Duration,
    /// Time in which a node that stops still takes requests, each the last of its connection, so
    /// that none is lost that was on its way.
    pub farewell: Duration,
    /// Time after that for what is being answered.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 256,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            farewell: Duration::from_millis(300),
            drain: Duration::from_secs(10),
        }
    }
}

/// How many connections that were told to leave for others may not have left yet: fewer than the
/// files that are left for everything else.
fn leaving(connections: usize) -> usize {
    (connections / 8).clamp(1, 128)
}

/// How many connections may wait in the kernel's queue until they are taken.
const BACKLOG: u32 = 4096;

/// The most bytes that the head of a request may have.
const HEAD_BYTES: usize = 16 * 1024;

/// A listening socket and what holds for everything that arrives there.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    https: HttpsPolicy,
    tls: Option<Tls>,
    metrics: Metrics,
}

impl Server {
    /// Listens; refuses an address where HTTPS is enforced but cannot be spoken.
    #[expect(clippy::unused_async, reason = "sockets need the runtime: only its tasks may listen")]
    pub async fn bind(
        listen: SocketAddr,
        https: HttpsPolicy,
        metrics: Metrics,
    ) -> Result<Self, Failure> {
        https.check_listener(listen)?;
        let failed = |error| {
            Failure::unsafe_state(
                "cannot_listen",
                format!("cannot listen on {listen}: {error}"),
                "stop what listens there, or choose another address with --listen",
            )
        };
        let listener = listening(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, bounds: Bounds::default(), https, tls: None, metrics })
    }

    /// Grants other bounds than the usual ones.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Speaks TLS with this certificate, or plain HTTP without one.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        let https = self.https.with_own_tls(tls.is_some());
        Self { https, tls, ..self }
    }

    /// The certificate that it shows, if it speaks TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Where it listens: with port 0, the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Answers requests until the node stops, then finishes those that it has begun.
    pub async fn run(self, router: Router, tasks: &Tasks) -> Result<(), Failure> {
        let front = Arc::new(Front::new(router, self.https, self.metrics, tasks.token())?);
        let mut bounds = self.bounds;
        bounds.connections =
            open_files::connections_within(bounds.connections, open_files::raise());
        let slots = Arc::new(Semaphore::new(bounds.connections + leaving(bounds.connections)));
        let roster = Roster::new(bounds.connections);
        let (open, cut) = (TaskTracker::new(), CancellationToken::new());
        let mut last_call = pin!(front.last_call(bounds.farewell));
        while let Some((slot, stream, peer)) =
            accept(&self.listener, &slots, last_call.as_mut()).await
        {
            let address = peer.ip().to_canonical();
            let is_proxy = front.https.trusts(address);
            let is_exempt = address.is_loopback() || is_proxy;
            let limit = if is_exempt { usize::MAX } else { bounds.connections_per_address };
            let Some(seat) = roster.enter(address, Terms { limit, is_proxy }) else { continue };
            let (front, tls, cut) = (front.clone(), self.tls.clone(), cut.clone());
            open.spawn(async move {
                tokio::select! {
                    () = serve(stream, peer, tls, &seat, front, bounds) => {}
                    () = seat.leave().cancelled() => {}
                    () = cut.cancelled() => {}
                }
                drop((slot, seat));
            });
        }
        drop(self.listener);
        open.close();
        if tokio::time::timeout(bounds.drain, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "connections are cut to stop in time");
            cut.cancel();
            open.wait().await;
        }
        Ok(())
    }
}

fn listening(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// What is known about a request apart from its contents; an extractor.
#[derive(Clone, Debug)]
pub struct Caller {
    peer: SocketAddr,
    ip: IpAddr,
    is_https: bool,
    request_id: RequestId,
    room: Arc<Room>,
}

impl Caller {
    /// The other end of the socket.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The client's address, behind trusted proxies.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Says whether the client used HTTPS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The request's id.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// The id under which logs and answers speak of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own id, if it is one that logs can hold.
    fn from_client(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(X_REQUEST_ID)?;
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_usable = (8..=64).contains(&value.len()) && value.as_bytes().iter().all(fits);
        is_usable.then(|| Self(value.clone()))
    }

    #[cfg(test)]
    pub(crate) fn for_test(id: &'static str) -> Self {
        Self(HeaderValue::from_static(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What stands around the router.
struct Front {
    router: Router,
    https: HttpsPolicy,
    metrics: Metrics,
    /// For bodies of requests.
    incoming: Arc<Room>,
    /// For answers that wait until they are taken.
    outgoing: Arc<Room>,
    /// Tells the ids of this start from those of others.
    nonce: u32,
    requests: AtomicU64,
    tracer: Tracer,
    stop: CancellationToken,
}

impl Front {
    fn new(
        router: Router,
        https: HttpsPolicy,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, FileError> {
        let router = if router.has_routes() { router.route_layer(NameRoute) } else { router };
        let nonce = u32::from_ne_bytes(files::random()?);
        let (incoming, outgoing) = (Room::new(body::WAITING), Room::new(outgoing::WAITING));
        let (requests, tracer) = (AtomicU64::new(0), Tracer::new()?);
        Ok(Self { router, https, metrics, incoming, outgoing, nonce, requests, tracer, stop })
    }

    /// Waits until nothing new is taken any more.
    async fn last_call(&self, farewell: Duration) {
        self.stop.cancelled().await;
        tokio::time::sleep(farewell).await;
    }

    /// Answers a request as a step of its caller's trace, or of one that begins with it.
    async fn answer(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
        seat: &Arc<Seat>,
    ) -> Response {
        let id = self.request_id(request.headers());
        let trace = self.tracer.continued(request.headers()).answering(id.clone());
        trace.scope(self.answer_as(id, request, peer, seat)).await
    }

    async fn answer_as(
        &self,
        id: RequestId,
        mut request: http::Request<Incoming>,
        peer: SocketAddr,
        seat: &Arc<Seat>,
    ) -> Response {
        let (start, working) = (Instant::now(), seat.work());
        let ruling =
            self.https.judge(peer.ip(), request.method(), request.uri(), request.headers());
        let method = request.method().clone();
        let mut response = match refusal(&ruling) {
            Some(refusal) => refusal,
            None if is_preflight(&request) => preflight(),
            None => {
                let caller = Caller {
                    peer,
                    ip: self.https.client_ip(peer.ip(), request.headers()),
                    is_https: ruling == Ruling::Secure,
                    request_id: id.clone(),
                    room: self.incoming.clone(),
                };
                request.extensions_mut().insert(caller);
                self.route(request).await
            }
        };
        response = outgoing::held(response, &self.outgoing, seat, working);
        tell_problem(&mut response, &id);
        let took = start.elapsed();
        let route = response.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let status = response.status();
        self.metrics.request(route, &method, status.as_str(), took);
        tracing::debug!(
            %method,
            route,
            status = status.as_u16(),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        add_headers(response.headers_mut(), &method, &ruling, id);
        if self.stop.is_cancelled() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn route(&self, request: http::Request<Incoming>) -> Response {
        // A handler that panics has shared nothing but what other requests may see: locks are
        // poisoned, transactions are rolled back.
        let answer = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await;
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => {
                tracing::error!("a handler panicked");
                axum::response::IntoResponse::into_response(Problem::internal())
            }
        }
    }

    fn request_id(&self, headers: &HeaderMap) -> RequestId {
        RequestId::from_client(headers).unwrap_or_else(|| {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            let id = format!("{:08x}-{number:08x}", self.nonce);
            RequestId(HeaderValue::try_from(id).expect("hex digits and a dash are a header value"))
        })
    }
}

fn refusal(ruling: &Ruling) -> Option<Response> {
    let problem = match ruling {
        Ruling::Secure | Ruling::Plain => return None,
        Ruling::Redirect(location) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            if let Ok(location) = HeaderValue::try_from(location) {
                response.headers_mut().insert(LOCATION, location);
            }
            return Some(response);
        }
        Ruling::HttpsRequired => Problem::new(
            Code::HttpsRequired,
            "send this over https, or set ENFORCE_HTTPS=false on the server",
        ),
        Ruling::ProxyNotTrusted => Problem::new(
            Code::ProxyNotTrusted,
            "X-Forwarded-Proto came from a peer that is not in TRUSTED_PROXIES: add the proxy's \
             address to that setting of the server",
        ),
    };
    Some(axum::response::IntoResponse::into_response(problem))
}

/// Makes every error a problem that names its occurrence.
fn tell_problem(response: &mut Response, id: &RequestId) {
    let told = response.extensions_mut().remove::<Problem>();
    let Some(problem) = told.or_else(|| problem_for(response)) else { return };
    let (parts, body) = problem.respond(&format!("/requests/{}", id.as_str())).into_parts();
    *response.body_mut() = body;
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    response.headers_mut().extend(parts.headers);
}

fn add_headers(headers: &mut HeaderMap, method: &Method, ruling: &Ruling, id: RequestId) {
    headers.insert(X_REQUEST_ID, id.0);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(*method, Method::GET | Method::HEAD) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    if *ruling == Ruling::Secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// What a page of another origin may read of an answer beside its body.
const EXPOSED: &str = "ETag, Link, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, \
    X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id, Diogenes-Verified-Size, \
    Diogenes-Head-Timestamp";

fn is_preflight<B>(request: &http::Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Pages of any origin may read; none may write.
fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().extend([
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD")),
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Accept, If-None-Match")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ]);
    response
}

/// Notes in the answer which route made it, for the metrics.
#[derive(Clone, Copy)]
struct NameRoute;

#[derive(Clone)]
struct Named<S>(S);

impl<S> Layer<S> for NameRoute {
    type Service = Named<S>;

    fn layer(&self, inner: S) -> Named<S> {
        Named(inner)
    }
}

impl<S> Service<Request> for Named<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let path = request.extensions_mut().get::<MatchedPath>().cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if let Some(path) = path {
                response.extensions_mut().insert(path);
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests;
