//! A small real log behind the read routes, for the tests of handlers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Request};
use serde::de::DeserializeOwned;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::{
    CheckpointBoard, Facts, GraphSetup, Latching, LogFacts, Node, Published, Reads, ReadyAsk,
    Setup, Snapshot, StatusBoard,
};
use crate::batch::{Chain, Trust};
use crate::checkpoint::{Checkpoint, sign_checkpoint};
use crate::clock::{Clock, Timestamp};
use crate::config::{Environment, Flags, Settings};
use crate::event::{
    Authorization, Genesis, KeyRegistration, KeyRevocation, KeySuccession, Payload as _,
};
use crate::files::Role;
use crate::head::TreeHead;
use crate::keys::{HolderKey, KeyAlgorithm, SigningKey};
use crate::leaf::{EventType, Leaf};
use crate::merkle::{Edge, TreeRoot, TreeSize};
use crate::server::limits::Limiter;
use crate::server::problem::{Code, Problem};
use crate::shutdown::Tasks;
use crate::store::{Commit, DatabaseUrl, Guard, HeadRow, NewState, OpenOptions, Store};
use crate::telemetry::Metrics;
use crate::view::{LoadedRows, Needs, Overlay, apply, needs};
use crate::wire::node::{Check, NodeRole, QuorumRule};

const TOKEN: &str = "Bearer operator";

/// When everything in these tests happens.
pub(super) fn noon() -> Timestamp {
    "2026-01-15T12:00:00.000Z".parse().unwrap()
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        noon()
    }

    fn steady_millis(&self) -> i64 {
        0
    }
}

/// A node of a log whose first entry is the genesis and whose others are namespaced events.
pub(super) struct TestNode {
    router: Router,
    reads: Reads,
    board: StatusBoard,
    checkpoints: CheckpointBoard,
    leaves: Vec<Leaf>,
    directory: TempDir,
}

/// An event of a test's log.
pub(super) struct TestEvent {
    event_type: EventType,
    payload: Vec<u8>,
    at: Timestamp,
}

impl TestEvent {
    /// An event that is appended at noon.
    pub(super) fn new(event_type: &str, payload: Vec<u8>) -> Self {
        Self { event_type: event_type.parse().unwrap(), payload, at: noon() }
    }

    /// A registration without proof of the key that is made of a seed.
    pub(super) fn registration(seed: u8, pseudonym: &str, expires: Option<Timestamp>) -> Self {
        let key = SigningKey::from_seed([seed; 32]);
        let payload = KeyRegistration {
            expiration_date: expires,
            fingerprint: key.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: pseudonym.to_owned().try_into().unwrap(),
            public_key: HolderKey::from(key.public()),
        };
        Self::new(KeyRegistration::EVENT_TYPE, payload.to_payload())
    }

    /// The end of the key that is made of a seed, on the leader's word.
    pub(super) fn revocation(seed: u8) -> Self {
        let key = SigningKey::from_seed([seed; 32]);
        let payload = KeyRevocation {
            authorization: Authorization::Session {},
            fingerprint: key.fingerprint(),
            public_key: HolderKey::from(key.public()),
        };
        Self::new(KeyRevocation::EVENT_TYPE, payload.to_payload())
    }

    /// The key of one seed gives way to that of another, on the leader's word.
    pub(super) fn succession(old: u8, new: u8) -> Self {
        let [old, new] = [old, new].map(|seed| SigningKey::from_seed([seed; 32]));
        let payload = KeySuccession {
            authorization: Authorization::Session {},
            expiration_date: None,
            key_algorithm: KeyAlgorithm::Ed25519,
            new_fingerprint: new.fingerprint(),
            new_key_proof: None,
            new_public_key: HolderKey::from(new.public()),
            old_fingerprint: old.fingerprint(),
            old_public_key: HolderKey::from(old.public()),
            recovery: false,
        };
        Self::new(KeySuccession::EVENT_TYPE, payload.to_payload())
    }

    /// The same, appended so many milliseconds after noon.
    pub(super) fn after_noon(self, millis: i64) -> Self {
        Self { at: noon().plus_millis(millis), ..self }
    }
}

#[derive(Clone)]
struct App {
    reads: Reads,
    metrics: Metrics,
}

impl Node for App {
    fn reads(&self) -> &Reads {
        &self.reads
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn refresh_metrics(&self) {}

    async fn checks(&self, ask: ReadyAsk) -> Vec<Check> {
        vec![Check::of("lag", ask.max_lag != Some(0), "1 entry is lacking")]
    }

    fn is_operator(&self, headers: &HeaderMap) -> bool {
        headers.get(AUTHORIZATION).is_some_and(|value| value == TOKEN)
    }

    async fn latch(&self, proof: Latching) -> Result<(), Problem> {
        self.reads.store().open_incident(&proof.incident("log.example/test")).await?;
        Ok(())
    }
}

impl TestNode {
    /// A leader's log of this size.
    pub(super) async fn with_entries(count: u64) -> Self {
        Self::new(NodeRole::Leader, count, |id| format!("{{\"n\":{id}}}")).await
    }

    /// A log of this size with these payloads after the genesis; of size 0, nothing is published.
    pub(super) async fn new(role: NodeRole, count: u64, payload: impl Fn(u64) -> String) -> Self {
        let event = |id| TestEvent::new("x-test:event", payload(id).into_bytes());
        Self::of(role, (count > 0).then(|| (2..=count).map(event).collect())).await
    }

    /// A leader's log of these events after the genesis.
    pub(super) async fn with_events(events: Vec<TestEvent>) -> Self {
        Self::of(NodeRole::Leader, Some(events)).await
    }

    /// A log of these events, of one time, after the genesis.
    pub(super) async fn of_events(role: NodeRole, events: &[(&'static str, Vec<u8>)]) -> Self {
        let events = events.iter().cloned();
        let events = events.map(|(event_type, payload)| TestEvent::new(event_type, payload));
        Self::of(role, Some(events.collect())).await
    }

    async fn of(role: NodeRole, events: Option<Vec<TestEvent>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::sqlite(directory.path().join("log.db"));
        let store = Store::open(&url, OpenOptions::default()).await.unwrap();
        store.initialise().await.unwrap();
        let key = SigningKey::from_seed([7; 32]);
        let published = Arc::new(Published::default());
        let leaves = match events {
            None => Vec::new(),
            Some(events) => fill(&store, &key, &published, events).await,
        };

        let log = LogFacts {
            origin: "log.example/test".parse().unwrap(),
            log_id: leaves.first().map_or(crate::merkle::Hash::EMPTY_TREE, Leaf::entry_hash),
            epoch: 1,
            operator: key.public().clone(),
        };
        let facts = Facts {
            role,
            version: "0.1.0",
            log: (!leaves.is_empty()).then_some(log),
            leader_url: None,
            heartbeat_seconds: 60,
            witness_quorum: QuorumRule::default(),
        };
        let board = StatusBoard::default();
        let checkpoints = CheckpointBoard::default();
        let reads = Reads::new(Setup {
            store,
            published,
            round: watch::channel(None).1,
            facts: watch::channel(Arc::new(facts)).1,
            checkpoints: checkpoints.clone(),
            board: board.clone(),
            clock: Arc::new(Noon),
            graph: GraphSetup::uncounted(Duration::from_secs(10), Duration::from_secs(60)),
            tasks: Tasks::new(),
        });
        let limiter = limiter();
        let (router, document) = super::router::<App>(&limiter).split_for_parts();
        let app = App { reads: reads.clone(), metrics: Metrics::new(Role::Leader, "0") };
        let router = router
            .merge(super::openapi(&document))
            .layer(axum::middleware::from_fn_with_state(reads.clone(), super::verified_headers))
            .with_state(app);
        Self { router, reads, board, checkpoints, leaves, directory }
    }

    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }

    pub(super) fn checkpoints(&self) -> &CheckpointBoard {
        &self.checkpoints
    }

    pub(super) fn board(&self) -> &StatusBoard {
        &self.board
    }

    pub(super) fn leaf(&self, id: u64) -> &Leaf {
        &self.leaves[usize::try_from(id).unwrap() - 1]
    }

    /// The tree over the first entries, computed anew.
    pub(super) fn tree_at(&self, size: u64) -> TreeRoot {
        let mut edge = Edge::empty();
        for leaf in &self.leaves[..usize::try_from(size).unwrap()] {
            edge.push(leaf.leaf_hash(), &mut Vec::new());
        }
        edge.root()
    }

    #[expect(clippy::unused_self, reason = "reads as what the node's operator sends")]
    pub(super) fn operator(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, TOKEN)
    }

    pub(super) async fn send(
        &self,
        method: &str,
        url: &str,
        body: &str,
        headers: &[(HeaderName, &str)],
    ) -> Response {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn request(&self, url: &str, headers: &[(HeaderName, &str)]) -> Response {
        self.send("GET", url, "", headers).await
    }

    pub(super) async fn body(&self, response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str) -> T {
        let response = self.request(url, &[]).await;
        self.read(url, response).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        body: &str,
        headers: &[(HeaderName, &str)],
    ) -> T {
        let response = self.send("POST", url, body, headers).await;
        self.read(url, response).await
    }

    async fn read<T: DeserializeOwned>(&self, url: &str, response: Response) -> T {
        let status = response.status();
        let body = self.body(response).await;
        let text = String::from_utf8_lossy(&body);
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{url}: {error} in {text}"))
    }

    pub(super) async fn refusal(&self, url: &str) -> Code {
        let response = self.request(url, &[]).await;
        self.code(response).await
    }

    pub(super) async fn post_refusal(&self, url: &str, body: &str) -> Code {
        let response = self.send("POST", url, body, &[]).await;
        self.code(response).await
    }

    async fn code(&self, response: Response) -> Code {
        let body = self.body(response).await;
        let problem: crate::wire::problem::ProblemBody = serde_json::from_slice(&body)
            .unwrap_or_else(|_| panic!("no problem: {}", String::from_utf8_lossy(&body)));
        Code::from_name(&problem.error.code).unwrap()
    }

    /// Changes a stored entry behind the store's back.
    pub(super) async fn damage_entry(&self, id: u64) {
        self.run("UPDATE log_entries SET leaf = leaf || X'20' WHERE id = $1", id).await;
    }

    /// Deletes a stored entry behind the store's back.
    pub(super) async fn delete_entry(&self, id: u64) {
        self.run("DELETE FROM log_entries WHERE id = $1", id).await;
    }

    /// Makes an entry refer to something behind the log's back.
    pub(super) async fn refer(&self, kind: &'static str, value: &str, id: u64) {
        let mut connection = self.connect().await;
        sqlx::query("INSERT INTO view_refs (kind, value, id) VALUES ($1, $2, $3)")
            .bind(kind)
            .bind(value)
            .bind(i64::try_from(id).unwrap())
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// Makes a key endorse so many times, each of some keys in turn, behind the log's back: offers
    /// 1, 2 and so on, whatever the log holds.
    pub(super) async fn endorse(&self, endorser: &str, edges: u64, receivers: u64) {
        let mut connection = self.connect().await;
        sqlx::query(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1)
             INSERT INTO view_endorsements
                (offer_id, endorser, endorsed, category, offered_at, asserted)
             SELECT i + 1, $2, printf('sha256:%064x', i % $3), 'x-diogenes:human_attestation', 0, 0
             FROM n",
        )
        .bind(i64::try_from(edges).unwrap())
        .bind(endorser)
        .bind(i64::try_from(receivers).unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
    }

    async fn connect(&self) -> SqliteConnection {
        let path = self.directory.path().join("log.db");
        SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
    }

    async fn run(&self, sql: &'static str, id: u64) {
        let mut connection = self.connect().await;
        let id = i64::try_from(id).unwrap();
        sqlx::query(sql).bind(id).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

fn limiter() -> Limiter {
    static LIMITER: OnceLock<Limiter> = OnceLock::new();
    let make = || {
        let environment = Environment::of([("HOME", "/nonexistent")]);
        let settings = Settings::load(Role::Leader, Flags::new(), &environment).unwrap();
        Limiter::from_settings(&settings, |_| false)
    };
    LIMITER.get_or_init(make).clone()
}

/// Appends the log in one commit and publishes its head.
async fn fill(
    store: &Store,
    key: &SigningKey,
    published: &Published,
    events: Vec<TestEvent>,
) -> Vec<Leaf> {
    let mut chain = Chain::new(Trust { operator: key.fingerprint() });
    let genesis = Genesis::new(key.public(), "log.example/test".parse().unwrap());
    let (mut leaves, mut tiles) = (Vec::new(), Vec::new());
    let mut overlay = Overlay::new(0);
    let first = TestEvent::new(Genesis::EVENT_TYPE, genesis.to_payload());
    let mut time = first.at;
    for (id, event) in (1..).zip([first].into_iter().chain(events)) {
        time = event.at;
        let TestEvent { event_type, payload, at } = event;
        let leaf = Leaf::build(id, chain.chain_head(), at, &event_type, &payload).unwrap();
        let entry = chain.extend(leaf.bytes().to_vec(), &mut tiles).unwrap();
        let mut wanted = Needs::default();
        needs(&entry.event, &mut wanted);
        let wanted = overlay.missing(&wanted);
        overlay.load(&wanted, LoadedRows::default());
        let _ = apply(&mut overlay, &entry);
        leaves.push(leaf);
    }

    let tree = chain.tree();
    let head = TreeHead {
        chain_head: chain.chain_head(),
        epoch: 1,
        origin: genesis.origin.clone(),
        root_hash: tree.hash,
        timestamp: time,
        tree_size: tree.size,
    };
    let signed = head.clone().sign(key);
    let checkpoint = Checkpoint::new(genesis.origin.as_str(), tree).unwrap();
    let note = sign_checkpoint(&checkpoint, &genesis.origin.as_str().parse().unwrap(), key);
    let json = signed.to_json(note, overlay.last_event_id);
    let head_json = serde_json::to_string(&json).unwrap();
    let state = store.state().await.unwrap().unwrap();
    store
        .commit(&Commit {
            guard: Guard {
                tree: TreeRoot { size: TreeSize::ZERO, ..state.tree },
                timestamp: state.timestamp,
                writer: state.writer,
            },
            entries: &leaves,
            tiles: &tiles,
            state: NewState {
                tree,
                chain_head: head.chain_head,
                timestamp: head.timestamp,
                epoch: 1,
            },
            heads: &[HeadRow { head_json: Some(head_json), ..HeadRow::unsigned(&head) }],
            sign_previous: None,
            views: &overlay.changes(),
            local: &[],
        })
        .await
        .unwrap();
    published.set(Arc::new(Snapshot::new(signed, &json, chain.edge().clone(), Vec::new())));
    leaves
}
