//! A leader that answers its follower with bombs.
//!
//! It tells a true story at first, through a door of its own; once it is armed, each batch is little
//! that unpacks to a gibibyte.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::shutdown::Tasks;
use diogenes_tests::book::Book;
use diogenes_tests::http::Node;
use diogenes_tests::liar::Liar;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;

use crate::wire::Field;

/// How many entries the follower has verified before the first bomb.
const BOOK: u64 = 2_000;

/// What a bomb unpacks to.
const BOMB: u64 = 1024 * 1024 * 1024;

/// The leader and its door.
pub(crate) struct Lure {
    liar: Liar,
    door: Arc<Door>,
    tasks: Tasks,
    address: SocketAddr,
}

struct Door {
    leader: Node,
    /// One of each coding.
    bombs: [(&'static str, Vec<u8>); 2],
    is_armed: AtomicBool,
    thrown: AtomicU64,
}

impl Lure {
    /// Serves a true story.
    pub(crate) async fn lay() -> anyhow::Result<Self> {
        let mut book = Book::new(SystemClock.now().plus_millis(-1_000));
        book.grow(BOOK);
        let liar = Liar::start(book).await;
        let door = Arc::new(Door {
            leader: liar.node(),
            bombs: bombs_of_each_coding()?,
            is_armed: AtomicBool::new(false),
            thrown: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state(door.clone());
        let tasks = Tasks::new();
        let stop = tasks.token();
        tasks.spawn(async move {
            let stopped = async move { stop.cancelled().await };
            // Should it fail, the follower finds no leader, and no bomb is thrown.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { liar, door, tasks, address })
    }

    /// The follower's setting that names it.
    pub(crate) fn sources(&self) -> String {
        let fingerprint = self.liar.story().book.operator().fingerprint();
        json!([{ "url": format!("http://{}", self.address), "fingerprint": fingerprint }])
            .to_string()
    }
}

impl Drop for Lure {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Spaces, packed a piece at a time: nothing here holds them unpacked.
fn bombs_of_each_coding() -> anyhow::Result<[(&'static str, Vec<u8>); 2]> {
    use std::io::{Read as _, copy, repeat};
    let mut zstd = zstd::Encoder::new(Vec::new(), 1)?;
    copy(&mut repeat(b' ').take(BOMB), &mut zstd)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    copy(&mut repeat(b' ').take(BOMB), &mut gzip)?;
    Ok([("zstd", zstd.finish()?), ("gzip", gzip.finish()?)])
}

async fn pass(State(door): State<Arc<Door>>, method: Method, uri: Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut response = Response::default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if door.is_armed.load(Ordering::Relaxed) && path.starts_with("/api/v1/log/replicate") {
        let is_odd = door.thrown.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let (coding, bomb) = &door.bombs[usize::from(is_odd)];
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        *response.body_mut() = Body::from(bomb.clone());
        return response;
    }
    match door.leader.ask(method, path, None).await {
        Ok(reply) => {
            *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
            *response.body_mut() = Body::from(reply.body);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_GATEWAY,
    }
    response
}

/// Has news all the time, and answers every question for them with a bomb.
pub(crate) async fn bombs(field: Rc<Field>) {
    let Some(lure) = field.lure.clone() else { return };
    lure.door.is_armed.store(true, Ordering::Relaxed);
    while !field.is_over() {
        let mut book = lure.liar.story().book.clone();
        book.grow(1);
        lure.liar.tell(book);
        field.pause(Duration::from_millis(500)).await;
    }
    lure.door.is_armed.store(false, Ordering::Relaxed);
    for _ in 0..lure.door.thrown.load(Ordering::Relaxed) {
        field.note("bombs thrown");
    }
}
