//! A leader for tests: a real log in memory, served over loopback, that can be told to lie.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use diogenes_common::batch::{Batch, BatchHeader, Encoding, encode};
use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::event::{Genesis, Payload as _};
use diogenes_common::head::{HeadJson, Origin, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, ProofPlan, TileId, TileNodes, TreeRoot, TreeSize};
use diogenes_common::shutdown::Tasks;
use diogenes_common::statement::ReplicationReport;
use diogenes_common::wire::log::ConsistencyProof;
use diogenes_common::wire::node::{NodeRole, QuorumRule, WellKnown};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

/// When these tests happen.
pub(crate) const NOON: i64 = 1_800_000_000_000;

/// So many seconds after noon.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(NOON + second * 1000).expect("a time of this century")
}

/// A wall clock that stands still until a test moves it; the steady one runs.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub(crate) fn set(&self, now: Timestamp) {
        *self.0.lock().expect("no test panics while it holds this") = now;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panics while it holds this")
    }

    fn steady_millis(&self) -> i64 {
        SystemClock.steady_millis()
    }
}

/// A log in memory. A clone that goes on differently is a fork.
#[derive(Clone)]
pub(crate) struct TestLog {
    pub(crate) key: SigningKey,
    origin: Origin,
    leaves: Vec<Leaf>,
    edges: Vec<Edge>,
    tiles: HashMap<TileId, Arc<TileNodes>>,
}

impl TestLog {
    /// A log of its genesis alone, written at noon.
    pub(crate) fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed([seed; 32]);
        let origin: Origin = "log.example/test".parse().expect("an origin");
        let genesis = Genesis {
            epoch: 1,
            operator_fingerprint: key.fingerprint(),
            operator_public_key: key.public().clone(),
            origin: origin.clone(),
        };
        let (leaves, edges, tiles) = (Vec::new(), vec![Edge::empty()], HashMap::new());
        let mut log = Self { key, origin, leaves, edges, tiles };
        log.append("log_genesis", &genesis.to_payload(), at(0));
        log
    }

    pub(crate) fn append(&mut self, event_type: &str, payload: &[u8], at: Timestamp) {
        let previous = self.leaves.last().map(Leaf::entry_hash);
        let id = self.leaves.len() as u64 + 1;
        let event_type = event_type.parse().expect("a type");
        let leaf = Leaf::build(id, previous, at, &event_type, payload).expect("a leaf");
        self.push(leaf);
    }

    pub(crate) fn push(&mut self, leaf: Leaf) {
        let mut edge = self.edges[self.leaves.len()].clone();
        let mut completed = Vec::new();
        edge.push(leaf.leaf_hash(), &mut completed);
        self.tiles.extend(completed);
        self.edges.push(edge);
        self.leaves.push(leaf);
    }

    /// Appends events up to this size; `mark` tells forks apart.
    pub(crate) fn grow(&mut self, size: u64, mark: &str) {
        while self.size() < size {
            let payload = format!("{{\"mark\":\"{mark}\",\"n\":{}}}", self.size());
            self.append("x-test:event", payload.as_bytes(), at(0));
        }
    }

    /// The same log up to a size.
    pub(crate) fn cut(&self, size: u64) -> Self {
        let mut cut = Self {
            leaves: Vec::new(),
            edges: vec![Edge::empty()],
            tiles: HashMap::new(),
            ..self.clone()
        };
        let size = usize::try_from(size).expect("a small size");
        self.leaves[..size].iter().for_each(|leaf| cut.push(leaf.clone()));
        cut
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(crate) fn tree(&self) -> TreeRoot {
        self.tree_at(self.size())
    }

    fn tree_at(&self, size: u64) -> TreeRoot {
        self.edges[usize::try_from(size).expect("a small size")].root()
    }

    /// The head of a size, signed at that second.
    pub(crate) fn head(&self, size: u64, second: i64) -> HeadJson {
        self.head_of(self.tree_at(size), second)
    }

    /// A signed head over any tree.
    pub(crate) fn head_of(&self, tree: TreeRoot, second: i64) -> HeadJson {
        let last = usize::try_from(tree.size.get() - 1).expect("a small size");
        let signed = TreeHead {
            chain_head: self.leaves.get(last).map(Leaf::entry_hash),
            epoch: 1,
            origin: self.origin.clone(),
            root_hash: tree.hash,
            timestamp: at(second),
            tree_size: tree.size,
        }
        .sign(&self.key);
        let checkpoint = Checkpoint::new(self.origin.as_str(), tree).expect("a checkpoint");
        let name = self.origin.as_str().parse().expect("a name");
        let note = sign_checkpoint(&checkpoint, &name, &self.key);
        signed.to_json(note, tree.size.get())
    }

    pub(crate) fn consistency(&self, first: u64, second: u64) -> Vec<Hash> {
        if first == 0 || first == second {
            return Vec::new();
        }
        let size = |size| TreeSize::ZERO.plus(size);
        let plan = ProofPlan::consistency(size(first), size(second)).expect("a plan");
        let edge = &self.edges[usize::try_from(second).expect("a small size")];
        // Tiles that grew since hold the same nodes.
        plan.read(&(edge, &self.tiles)).expect("all nodes are in memory")
    }

    /// The honest batch of these entries under the head of `shown`.
    pub(crate) fn batch(&self, after: u64, limit: u64, shown: &HeadJson) -> Batch {
        let size = shown.tree_size.get().min(self.size());
        let next = (after + limit).min(size).max(after);
        let index = |id: u64| usize::try_from(id).expect("a small id");
        let leaves = if after < next { &self.leaves[index(after)..index(next)] } else { &[] };
        let proof = if next < size { self.consistency(next, size) } else { Vec::new() };
        Batch {
            header: BatchHeader {
                after,
                consistency_proof: proof,
                has_more: next < size,
                next_after: next,
                tree_head: shown.clone(),
            },
            leaves: leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect(),
        }
    }
}

/// What a lying leader does to a batch before it is encoded.
pub(crate) type Twist = fn(&mut Batch);
/// What a lying leader does to the encoded bytes.
pub(crate) type Garble = fn(&mut Vec<u8>);

/// What the fake leader answers from.
pub(crate) struct Script {
    pub(crate) log: TestLog,
    /// The head that it shows.
    pub(crate) head: HeadJson,
    /// The head of the witness round.
    pub(crate) round: Option<HeadJson>,
    pub(crate) twist: Option<Twist>,
    pub(crate) garble: Option<Garble>,
    /// Answers everything with this status.
    pub(crate) refuse: Option<StatusCode>,
    pub(crate) json_only: bool,
    pub(crate) most: u64,
    pub(crate) reports: Vec<ReplicationReport>,
    pub(crate) relayed: Vec<Vec<u8>>,
    pub(crate) binary_batches: usize,
    pub(crate) json_batches: usize,
}

/// A leader on loopback.
pub(crate) struct FakeLeader {
    pub(crate) address: SocketAddr,
    script: Shared,
    tasks: Tasks,
}

type Shared = Arc<Mutex<Script>>;

impl FakeLeader {
    /// Serves the log under the head of its whole size, signed at that second.
    pub(crate) async fn start(log: TestLog, second: i64) -> Self {
        let head = log.head(log.size(), second);
        let script = Arc::new(Mutex::new(Script {
            log,
            head,
            round: None,
            twist: None,
            garble: None,
            refuse: None,
            json_only: false,
            most: 10_000,
            reports: Vec::new(),
            relayed: Vec::new(),
            binary_batches: 0,
            json_batches: 0,
        }));
        let router = Router::new()
            .route("/api/v1/log/replicate", get(replicate))
            .route("/api/v1/log/sth", get(sth))
            .route("/api/v1/log/consistency-proof", get(consistency))
            .route("/api/v1/log/replication-report", post(report))
            .route("/api/v1/log/witness", post(witness))
            .route("/.well-known/diogenes", get(well_known))
            .with_state(script.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tasks = Tasks::new();
        let token = tasks.token();
        tasks.spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.expect("it goes on serving"),
                () = token.cancelled() => {}
            }
        });
        Self { address, script, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The script, to be read or rewritten.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds this")
    }

    /// Shows the whole log under a head of that second.
    pub(crate) fn show(&self, log: TestLog, second: i64) {
        let mut script = self.script();
        script.head = log.head(log.size(), second);
        script.log = log;
    }
}

impl Drop for FakeLeader {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

#[derive(serde::Deserialize)]
struct Range {
    after: u64,
    limit: u64,
}

async fn replicate(
    State(script): State<Shared>,
    Query(range): Query<Range>,
    headers: HeaderMap,
) -> Response {
    let mut script = script.lock().expect("no test panics while it holds this");
    if let Some(status) = script.refuse {
        return status.into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let binary = accept.contains("vnd.diogenes.batch") && !script.json_only;
    let encoding = if binary { Encoding::Binary } else { Encoding::Json };
    let mut batch = script.log.batch(range.after, range.limit.min(script.most), &script.head);
    if let Some(twist) = script.twist {
        twist(&mut batch);
    }
    let mut bytes = encode(&batch.header, &batch.leaves, encoding);
    if let Some(garble) = script.garble {
        garble(&mut bytes);
    }
    match encoding {
        Encoding::Binary => script.binary_batches += 1,
        Encoding::Json => script.json_batches += 1,
    }
    ([(CONTENT_TYPE, encoding.media_type())], bytes).into_response()
}

#[derive(serde::Deserialize)]
struct For {
    r#for: Option<String>,
}

async fn sth(State(script): State<Shared>, Query(asked): Query<For>) -> Response {
    let script = script.lock().expect("no test panics while it holds this");
    if let Some(status) = script.refuse {
        return status.into_response();
    }
    let head = match asked.r#for {
        Some(_) => script.round.clone().unwrap_or_else(|| script.head.clone()),
        None => script.head.clone(),
    };
    axum::Json(head).into_response()
}

#[derive(serde::Deserialize)]
struct Sizes {
    first: u64,
    second: u64,
}

async fn consistency(State(script): State<Shared>, Query(sizes): Query<Sizes>) -> Response {
    let script = script.lock().expect("no test panics while it holds this");
    let Sizes { first, second } = sizes;
    if second > script.log.size() {
        return StatusCode::NOT_FOUND.into_response();
    }
    axum::Json(ConsistencyProof {
        first: TreeSize::ZERO.plus(first),
        second: TreeSize::ZERO.plus(second),
        first_root: script.log.tree_at(first).hash,
        second_root: script.log.tree_at(second).hash,
        hashes: script.log.consistency(first, second),
    })
    .into_response()
}

async fn report(
    State(script): State<Shared>,
    axum::Json(report): axum::Json<ReplicationReport>,
) -> StatusCode {
    script.lock().expect("no test panics while it holds this").reports.push(report);
    StatusCode::NO_CONTENT
}

async fn witness(State(script): State<Shared>, body: bytes::Bytes) -> Response {
    let mut script = script.lock().expect("no test panics while it holds this");
    if let Some(status) = script.refuse {
        return (status, r#"{"error":{"code":"witness_not_authorized"}}"#).into_response();
    }
    script.relayed.push(body.to_vec());
    (StatusCode::CREATED, r#"{"proof_id":7,"recorded":true}"#).into_response()
}

async fn well_known(State(script): State<Shared>) -> Response {
    let script = script.lock().expect("no test panics while it holds this");
    axum::Json(WellKnown {
        api: "/api/v1".to_owned(),
        version: "0.0.0".to_owned(),
        role: NodeRole::Leader,
        origin: script.log.origin.clone(),
        log_id: script.log.leaves[0].entry_hash(),
        epoch: 1,
        operator_public_key: script.log.key.public().clone(),
        operator_fingerprint: script.log.key.fingerprint(),
        leader_url: None,
        heartbeat_seconds: 60,
        witness_quorum: QuorumRule::default(),
    })
    .into_response()
}

/// Waits until it is so; a test that waits for ninety seconds has failed.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !check() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
