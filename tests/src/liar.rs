//! A leader that has the real key and says what a test makes it say.
//!
//! It serves what followers and witnesses read: whatever lies in its [`Book`], under whatever head.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use diogenes_common::batch::{Batch, Encoding, encode};
use diogenes_common::head::HeadJson;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::shutdown::Tasks;
use diogenes_common::wire::log::ConsistencyProof;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::book::Book;
use crate::http::Node;

/// What it tells.
pub struct Story {
    /// The entries.
    pub book: Book,
    /// The head over them.
    pub head: HeadJson,
    /// The checkpoint that it publishes, if another than the head's.
    pub published: Option<String>,
    /// What is done to a batch before it is sent.
    pub garble: Option<fn(&mut Batch)>,
    /// What is sent instead of a batch.
    pub instead: Option<Instead>,
    /// The last entry that it sends, however large its head is.
    pub most: Option<u64>,
    /// Whether it proves that one tree extends another when it is asked.
    pub proves: bool,
    /// How often it says that it signs a head.
    pub heartbeat_seconds: u64,
    /// The statuses that followers reported.
    pub reports: Vec<Value>,
    /// The proofs that witnesses sent.
    pub proofs: Vec<Value>,
}

/// An answer that is no batch of ours.
#[derive(Clone, Copy, Debug)]
pub struct Instead {
    /// How its body is compressed, as its header says.
    pub content_encoding: Option<&'static str>,
    /// Makes the body.
    pub body: fn() -> Vec<u8>,
}

/// The leader; it ends when this is dropped.
pub struct Liar {
    address: SocketAddr,
    story: Arc<Mutex<Story>>,
    tasks: Tasks,
}

type Shared = State<Arc<Mutex<Story>>>;

impl Liar {
    /// Serves a book, honestly at first.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(book: Book) -> Self {
        let head = book.head(book.size());
        let (reports, proofs) = (Vec::new(), Vec::new());
        let story = Story {
            book,
            head,
            published: None,
            garble: None,
            instead: None,
            most: None,
            proves: true,
            heartbeat_seconds: 60,
            reports,
            proofs,
        };
        let story = Arc::new(Mutex::new(story));
        let router = Router::new()
            .route("/.well-known/diogenes", get(well_known))
            .route("/checkpoint", get(checkpoint))
            .route("/api/v1/log/sth", get(head_of))
            .route("/api/v1/log/tree-head", get(head_of))
            .route("/api/v1/log/replicate", get(replicate))
            .route("/api/v1/log/consistency-proof", get(consistency))
            .route("/api/v1/log/inclusion-proof", get(inclusion))
            .route("/api/v1/log/replication-report", post(report))
            .route("/api/v1/log/witness", post(witness))
            .route("/api/v1/log/witnesses/{fingerprint}", get(witness_of))
            .route("/api/v1/log/{id}", get(entry))
            .with_state(story.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let tasks = Tasks::new();
        let stop = tasks.token();
        tasks.spawn(async move {
            let stopped = async move { stop.cancelled().await };
            // A server on the loopback does not fail; if it did, the test would see no answers.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Self { address, story, tasks }
    }

    /// The leader as others see it.
    pub fn node(&self) -> Node {
        Node::local(self.address)
    }

    /// What it tells; whatever is changed is told from then on.
    pub fn story(&self) -> MutexGuard<'_, Story> {
        lock(&self.story)
    }

    /// Tells the truth from now on: this book under its own honest head, and nothing else.
    pub fn repent(&self, book: Book) {
        {
            let mut story = self.story();
            (story.published, story.garble, story.instead) = (None, None, None);
            (story.most, story.proves) = (None, true);
        }
        self.tell(book);
    }

    /// Tells this book under its own honest head.
    pub fn tell(&self, book: Book) {
        let head = book.head(book.size());
        let mut story = self.story();
        story.book = book;
        story.head = head;
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn lock(story: &Arc<Mutex<Story>>) -> MutexGuard<'_, Story> {
    story.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn well_known(State(story): Shared) -> Json<Value> {
    let story = lock(&story);
    Json(json!({
        "api": "/api/v1",
        "version": "0.0.0",
        "role": "leader",
        "origin": Book::origin(),
        "log_id": story.book.log_id(),
        "epoch": 1,
        "operator_public_key": story.book.operator().public(),
        "operator_fingerprint": story.book.operator().fingerprint(),
        "leader_url": null,
        "heartbeat_seconds": story.heartbeat_seconds,
        "witness_quorum": { "required": 0, "of": 0 },
    }))
}

async fn head_of(State(story): Shared) -> Json<HeadJson> {
    Json(lock(&story).head.clone())
}

async fn checkpoint(State(story): Shared) -> String {
    let story = lock(&story);
    story.published.clone().unwrap_or_else(|| story.head.checkpoint.clone())
}

async fn replicate(
    State(story): Shared,
    Query(query): Query<BTreeMap<String, u64>>,
    headers: HeaderMap,
) -> Response {
    let story = lock(&story);
    if let Some(instead) = story.instead {
        return instead.answer();
    }
    let ask = |name: &str, default| query.get(name).copied().unwrap_or(default);
    let size = story.head.tree_size.get().min(story.book.size());
    let size = size.min(story.most.unwrap_or(size));
    // Who has more than the head covers is sent an empty batch, as a real leader does.
    let after = ask("after", 0).min(story.book.size());
    let until = after.saturating_add(ask("limit", 100)).min(size).max(after);
    let mut batch = story.book.batch_under(after, until, story.head.clone());
    if let Some(garble) = story.garble {
        garble(&mut batch);
    }
    let wanted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = wanted.and_then(Encoding::from_media_type).unwrap_or(Encoding::Json);
    let body = encode(&batch.header, &batch.leaves, encoding);
    ([(header::CONTENT_TYPE, encoding.media_type())], body).into_response()
}

impl Instead {
    fn answer(self) -> Response {
        let media_type = [(header::CONTENT_TYPE, Encoding::Json.media_type())];
        let mut answer = (media_type, (self.body)()).into_response();
        if let Some(encoding) = self.content_encoding {
            answer
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        answer
    }
}

async fn consistency(State(story): Shared, Query(query): Query<BTreeMap<String, u64>>) -> Response {
    let story = lock(&story);
    let sizes = [query.get("first"), query.get("second")].map(|size| size.copied().unwrap_or(0));
    let [first, second] = sizes;
    if !story.proves || first > second || second > story.book.size() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let [old, new] = sizes.map(|size| TreeSize::ZERO.plus(size));
    Json(ConsistencyProof {
        first: old,
        second: new,
        first_root: story.book.tree(first).hash,
        second_root: story.book.tree(second).hash,
        hashes: story.book.consistency(first, second),
    })
    .into_response()
}

async fn inclusion(State(story): Shared, Query(query): Query<BTreeMap<String, u64>>) -> Response {
    let story = lock(&story);
    let ask = |name: &str, default| query.get(name).copied().unwrap_or(default);
    let (id, size) = (ask("entry_id", 0), ask("tree_size", story.head.tree_size.get()));
    if id == 0 || id > size || size > story.book.size() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let hashes: Vec<_> = story.book.inclusion(id, size).iter().map(Hash::to_base64).collect();
    Json(json!({
        "entry_id": id,
        "leaf_index": id - 1,
        "tree_size": size,
        "leaf_hash": Hash::of_leaf(story.book.leaf(id)).to_base64(),
        "root_hash": story.book.tree(size).hash,
        "hashes": hashes,
    }))
    .into_response()
}

async fn entry(State(story): Shared, Path(id): Path<u64>) -> Response {
    let story = lock(&story);
    if id == 0 || id > story.book.size() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let leaf = story.book.leaf(id);
    let mut view: Value = serde_json::from_slice(leaf).unwrap_or_default();
    view["entry_hash"] = json!(Hash::of(leaf));
    Json(view).into_response()
}

async fn report(State(story): Shared, Json(report): Json<Value>) -> StatusCode {
    lock(&story).reports.push(report);
    StatusCode::NO_CONTENT
}

async fn witness(State(story): Shared, Json(proof): Json<Value>) -> Response {
    lock(&story).proofs.push(proof);
    (StatusCode::OK, Json(json!({ "proof_id": null, "recorded": false }))).into_response()
}

async fn witness_of(Path(fingerprint): Path<String>) -> Json<Value> {
    Json(json!({
        "fingerprint": fingerprint,
        "state": "unknown",
        "since": null,
        "display_name": null,
        "server": null,
        "vkey": null,
        "last_proof": null,
        "last_cosignature": null,
    }))
}
