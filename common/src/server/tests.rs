//! What clients see, over real sockets.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::body::RawBody;
use super::limits::Class;
use super::*;
use crate::config::{Environment, Flags, Networks, Settings, Value};
use crate::files::Role;
use crate::trace::Trace;

struct Running {
    address: SocketAddr,
    tasks: Tasks,
    metrics: Metrics,
    server: JoinHandle<Result<(), Failure>>,
}

async fn start_with(router: Router, bounds: Bounds, https: HttpsPolicy) -> Running {
    let metrics = Metrics::new(Role::Leader, "0");
    let local = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(local, https, metrics.clone()).await.unwrap().with_bounds(bounds);
    let (address, tasks) = (server.address(), Tasks::new());
    let run = tasks.clone();
    let server = tasks.spawn(async move { server.run(router, &run).await });
    Running { address, tasks, metrics, server }
}

async fn start(bounds: Bounds) -> Running {
    let environment = Environment::of([("HOME", "/h"), ("RATE_LIMIT_API_QUERY", "2")]);
    let settings = Settings::load(Role::Leader, Flags::new(), &environment).unwrap();
    let limiter =
        limits::Limiter::from_settings(&settings, |headers| headers.contains_key("authorization"));
    let few = Router::new()
        .route("/limited", get(async || "few"))
        .route_layer(limiter.layer(Class::Query));
    let router = Router::new()
        .route("/hello/{name}", get(async || "hello"))
        .route("/echo", post(async |body: RawBody<100>| body.into_bytes()))
        .route("/ip", get(async |caller: Caller| caller.ip().to_string()))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(200)).await))
        .route("/huge", get(async || vec![b'x'; 64 * 1024 * 1024]))
        .merge(few);
    start_with(router, bounds, HttpsPolicy::default()).await
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, and reads until the server closes.
    async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is a close too.
        let _end = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, more: &str) -> String {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        self.send(&format!("{head}{more}\r\n")).await
    }
}

fn code(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

fn quick() -> Bounds {
    Bounds { head: Duration::from_millis(100), ..Bounds::default() }
}

#[tokio::test]
async fn every_error_is_a_problem_with_the_requests_id() {
    let server = start(Bounds::default()).await;
    for (method, path, more, status, code_) in [
        ("GET", "/nowhere", "", 404, "not_found"),
        ("POST", "/hello/x", "", 405, "method_not_allowed"),
        ("TRACE", "/hello/x", "", 405, "method_not_allowed"),
        ("GET", "/panic", "", 500, "internal_error"),
        ("POST", "/echo", "content-length: 101\r\n", 413, "payload_too_large"),
    ] {
        let answer =
            server.ask(method, path, &format!("x-request-id: test_request-1\r\n{more}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
        assert!(answer.contains("x-request-id: test_request-1\r\n"), "{answer}");
        assert!(answer.contains(r#""instance":"/requests/test_request-1""#), "{answer}");
        assert_eq!(code(&answer), code_);
    }
    let answer = server.ask("PUT", "/hello/x", "").await;
    assert!(answer.contains("allow: GET,HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_by_route_never_by_path() {
    let server = start(Bounds::default()).await;
    for path in ["/hello/a", "/hello/b", "/no/such/path"] {
        server.ask("GET", path, "").await;
    }

    let shown = server.metrics.render();

    let count = |route: &str, status: &str, n: u32| {
        let labels = format!("{{method=\"GET\",route=\"{route}\",status=\"{status}\"}}");
        assert!(shown.contains(&format!("diogenes_http_requests_total{labels} {n}")), "{shown}");
    };
    count("/hello/{name}", "200", 2);
    count("other", "404", 1);
    assert!(!shown.contains("such"));
}

#[tokio::test]
async fn any_page_may_read_and_none_may_write() {
    let server = start(Bounds::default()).await;

    let read = server.ask("GET", "/hello/a", "origin: https://page.example\r\n").await;
    let preflight = server
        .ask(
            "OPTIONS",
            "/echo",
            "origin: https://p.example\r\naccess-control-request-method: POST\r\n",
        )
        .await;
    let write = server.ask("POST", "/echo", "origin: https://page.example\r\n").await;

    assert!(read.contains("access-control-allow-origin: *\r\n"), "{read}");
    assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
    assert!(preflight.contains("access-control-allow-methods: GET, HEAD\r\n"), "{preflight}");
    assert!(!write.contains("access-control"), "{write}");
    assert!(![read, preflight, write].concat().contains("allow-credentials"));
}

#[tokio::test]
async fn a_strange_request_id_is_replaced() {
    let server = start(Bounds::default()).await;

    let answer = server.ask("GET", "/hello/a", "x-request-id: a b\r\n").await;

    assert!(!answer.contains("a b"), "{answer}");
    let id = answer.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert_eq!(id.len(), 17);
}

#[tokio::test]
async fn limits_are_told_and_enforced_and_do_not_hold_the_operator() {
    let server = start(Bounds::default()).await;
    for _ in 0..2 {
        let answer = server.ask("GET", "/limited", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("ratelimit-policy: \"query\";q=2;w=60\r\n"), "{answer}");
    }

    let refused = server.ask("GET", "/limited", "").await;
    let operator = server.ask("GET", "/limited", "authorization: Bearer x\r\n").await;
    let unlimited = server.ask("GET", "/hello/a", "").await;

    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    assert!(refused.contains("x-ratelimit-remaining: 0\r\n"), "{refused}");
    assert_eq!(code(&refused), "rate_limited");
    for answer in [operator, unlimited] {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("ratelimit-"), "{answer}");
    }
}

#[tokio::test]
async fn https_is_asked_for_before_anything_is_read() {
    let router = Router::new()
        .route("/echo", post(async |body: RawBody<100>| body.into_bytes()))
        .route("/ip", get(async |caller: Caller| caller.ip().to_string()));
    let policy = HttpsPolicy::new(true, Networks::parse("127.0.0.1").unwrap());
    let server = start_with(router, Bounds::default(), policy).await;
    let ask = async |request: &str| {
        server.send(&format!("{request}\r\nhost: log.example\r\nconnection: close\r\n\r\n")).await
    };

    let redirected = ask("GET /ip?a=b HTTP/1.1").await;
    let refused = ask("POST /echo HTTP/1.1\r\ncontent-length: 9").await;
    let answered =
        ask("GET /ip HTTP/1.1\r\nx-forwarded-proto: https\r\nx-forwarded-for: 192.0.2.7").await;

    assert!(redirected.starts_with("HTTP/1.1 308 "), "{redirected}");
    assert!(redirected.contains("location: https://log.example/ip?a=b\r\n"), "{redirected}");
    assert_eq!(code(&refused), "https_required");
    assert!(answered.ends_with("\r\n\r\n192.0.2.7"), "{answered}");
    assert!(answered.contains("strict-transport-security: max-age=31536000\r\n"), "{answered}");
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut() {
    let server = start(quick()).await;
    for beginning in ["", "P", "GET /hello/a HTTP/1.1\r\nx: ", "PRI * HTTP/2.0\r\n"] {
        let start = Instant::now();
        let answer = server.send(beginning).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(25), "{beginning:?}");
    }
}

#[tokio::test]
async fn a_head_is_bounded() {
    let server = start(Bounds::default()).await;

    let fits = server.ask("GET", "/hello/a", &format!("x: {}\r\n", "y".repeat(15_000))).await;
    let too_large = server.ask("GET", "/hello/a", &format!("x: {}\r\n", "y".repeat(17_000))).await;

    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    assert!(!too_large.starts_with("HTTP/1.1 200 "), "{too_large}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let bounds = Bounds { progress: Duration::from_millis(100), ..Bounds::default() };
    let cut = CancellationToken::new();
    let end = cut.clone();
    let endless = async move || {
        let held = end.clone().drop_guard();
        let piece = move || {
            let _until_it_is_cut = &held;
            Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024])
        };
        Body::from_stream(futures_util::stream::repeat_with(piece))
    };
    let router = Router::new().route("/endless", get(endless));
    let server = start_with(router, bounds, HttpsPolicy::default()).await;
    let mut stream = server.connect().await;

    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();

    tokio::time::timeout(Duration::from_secs(60), cut.cancelled()).await.expect("it is cut");
}

#[tokio::test]
async fn a_connection_beyond_the_bound_takes_the_place_of_an_idle_one() {
    let head = Duration::from_secs(120);
    let server = start(Bounds { connections: 1, head, ..Bounds::default() }).await;
    let mut idle = server.connect().await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    let begun = Instant::now();
    let answer = server.ask("GET", "/hello/a", "").await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(60), "it does not wait until that one is cut");
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "the idle one is closed");
}

#[tokio::test]
async fn answers_that_nobody_takes_give_way_to_others() {
    let server = start(Bounds::default()).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /huge HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let second = server.ask("GET", "/huge", "").await;

    assert!(second.len() > 64 * 1024 * 1024, "{}", second.len());
    let mut taken = Vec::new();
    let _end = first.read_to_end(&mut taken).await;
    assert!(taken.len() < 64 * 1024 * 1024, "the first one was cut: {}", taken.len());
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_takes_nothing_new() {
    let server = start(Bounds::default()).await;
    let mut begun = server.connect().await;
    begun.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(b"GET /hello/a HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_ne!(idle.read(&mut [0; 512]).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(50)).await;

    server.tasks.stop();

    let mut answer = String::new();
    begun.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.server.await.unwrap(), Ok(()));
    assert_eq!(idle.read(&mut [0; 512]).await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_node_stops_is_answered_as_the_last_one() {
    let farewell = Duration::from_secs(60);
    let server = start(Bounds { farewell, ..Bounds::default() }).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /hello/a HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_ne!(idle.read(&mut [0; 512]).await.unwrap(), 0);

    server.tasks.stop();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let fresh = server.ask("GET", "/hello/b", "").await;
    idle.write_all(b"GET /hello/a HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();

    let mut answer = String::new();
    idle.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(fresh.starts_with("HTTP/1.1 200 "), "{fresh}");
}

#[tokio::test]
async fn a_requests_trace_goes_on_where_others_are_asked_on_its_behalf() {
    let router = Router::new().route(
        "/trace",
        get(async || Trace::current().unwrap().header().to_str().unwrap().to_owned()),
    );
    let server = start_with(router, Bounds::default(), HttpsPolicy::default()).await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{id}-00f067aa0ba902b7-01\r\n");

    let continued = server.ask("GET", "/trace", &header).await;
    let begun = server.ask("GET", "/trace", "traceparent: 00-junk\r\n").await;

    assert!(continued.contains(&format!("00-{id}-")), "{continued}");
    assert!(!continued.contains("00f067aa0ba902b7"), "the step is the node's own: {continued}");
    assert!(begun.contains("\r\n\r\n00-") && !begun.contains("junk"), "{begun}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let router = Router::new().route("/never", get(async || std::future::pending::<()>().await));
    let bounds = Bounds { drain: Duration::from_millis(50), ..Bounds::default() };
    let server = start_with(router, bounds, HttpsPolicy::default()).await;
    let mut begun = server.connect().await;
    begun.write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    server.tasks.stop();

    assert_eq!(server.server.await.unwrap(), Ok(()));
}
