//! What the read handlers work with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::checkpoint::{CheckpointBoard, CheckpointChoice};
use super::graph::{GraphSetup, Graphs};
use super::page::GrowthMemory;
use super::snapshot::{Published, Snapshot};
use super::status::StatusBoard;
use super::tiles::BundleRoom;
use super::verify::Verifier;
use crate::clock::{Clock, Timestamp};
use crate::head::Origin;
use crate::keys::PublicKey;
use crate::merkle::{Hash, TreeRoot};
use crate::server::problem::{Code, Problem};
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::wire::node::{Check, NodeRole, QuorumRule};

/// What [`Reads`] is made of.
pub struct Setup {
    /// The database.
    pub store: Store,
    /// The log as it may be shown.
    pub published: Arc<Published>,
    /// The head of the current witness round, as JSON: `GET /log/sth?for=witness`.
    pub round: watch::Receiver<Option<Arc<str>>>,
    /// Which checkpoint is shown.
    pub checkpoints: CheckpointBoard,
    /// What the node says about itself.
    pub facts: watch::Receiver<Arc<Facts>>,
    /// Where the role's status task writes.
    pub board: StatusBoard,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How it answers about the graph of endorsements.
    pub graph: GraphSetup,
    /// Where verification runs, and whose end closes event streams.
    pub tasks: Tasks,
}

/// What a node says about itself. A follower learns most of it from its leader.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the node is.
    pub role: NodeRole,
    /// The program's version.
    pub version: &'static str,
    /// What entry 1 pins; `None` on a follower that has not verified it yet.
    pub log: Option<LogFacts>,
    /// Where the leader is.
    pub leader_url: Option<String>,
    /// A new head comes at least so often.
    pub heartbeat_seconds: u64,
    /// How many witnesses must sign a head.
    pub witness_quorum: QuorumRule,
}

/// What entry 1 pins, and the epoch.
#[derive(Clone, Debug)]
pub struct LogFacts {
    /// The log's name.
    pub origin: Origin,
    /// The hash of entry 1.
    pub log_id: Hash,
    /// The log's epoch.
    pub epoch: u64,
    /// The key that signs heads.
    pub operator: PublicKey,
}

/// What differs between the roles.
pub trait Node: Clone + Send + Sync + 'static {
    /// The part that both roles share.
    fn reads(&self) -> &Reads;

    /// Where `/metrics` comes from.
    fn metrics(&self) -> &Metrics;

    /// Brings the gauges that are only read when somebody asks up to date.
    fn refresh_metrics(&self) -> impl Future<Output = ()> + Send;

    /// What must be right before the role is ready, beside the database and a head.
    fn checks(&self, ask: ReadyAsk) -> impl Future<Output = Vec<Check>> + Send;

    /// Whether the request carries the operator's token.
    fn is_operator(&self, headers: &HeaderMap) -> bool;
}

/// What `/readyz` was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyAsk {
    /// How many entries a follower may lack.
    pub max_lag: Option<u64>,
}

/// The log as handlers read it. Clones share one state.
#[derive(Clone)]
pub struct Reads(Arc<Inner>);

struct Inner {
    setup: Setup,
    replications: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    searches: Semaphore,
    walks: Semaphore,
    judgements: Arc<Semaphore>,
    verifier: Verifier,
    graphs: Graphs,
    bundle_room: BundleRoom,
    growth: GrowthMemory,
}

/// How many replication answers are held in memory at once, 8 MiB each.
const REPLICATIONS: usize = 8;

/// How many event streams are open at once.
const STREAMS: usize = 256;

/// How many searches run at once, whoever asks: each may look at every name of the log.
const SEARCHES: usize = 2;

/// How many questions of trust are followed through the endorsements at once: each may take many
/// looks at the database.
const WALKS: usize = 2;

/// How many documents are judged at once.
const JUDGEMENTS: usize = 2;

/// How long a search or a walk waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(2);

async fn turn<'a>(of: &'a Semaphore, busy: &'static str) -> Result<SemaphorePermit<'a>, Problem> {
    let turn = tokio::time::timeout(TURN_PATIENCE, of.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| Problem::overloaded(busy))
}

impl Reads {
    /// Makes the shared state of all read handlers.
    pub fn new(setup: Setup) -> Self {
        let graphs = Graphs::new(setup.graph.clone());
        Self(Arc::new(Inner {
            setup,
            graphs,
            replications: Arc::new(Semaphore::new(REPLICATIONS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            searches: Semaphore::new(SEARCHES),
            walks: Semaphore::new(WALKS),
            judgements: Arc::new(Semaphore::new(JUDGEMENTS)),
            verifier: Verifier::default(),
            bundle_room: BundleRoom::default(),
            growth: GrowthMemory::default(),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.setup.store
    }

    /// What the node says about itself now.
    pub fn facts(&self) -> Arc<Facts> {
        self.0.setup.facts.borrow().clone()
    }

    /// The state of replication and witnessing.
    pub fn board(&self) -> &StatusBoard {
        &self.0.setup.board
    }

    /// The clock's time.
    pub fn now(&self) -> Timestamp {
        self.0.setup.clock.now()
    }

    /// The clock that is never set back, in milliseconds.
    pub(super) fn steady_millis(&self) -> i64 {
        self.0.setup.clock.steady_millis()
    }

    /// The log as it may be shown now; 503 before the first signed and verified head.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        self.0.setup.published.snapshot().ok_or_else(|| self.nothing_yet())
    }

    /// The head of the current witness round as JSON; a leader that named none yet gives its
    /// newest.
    pub fn round_head(&self) -> Result<Arc<str>, Problem> {
        let round = self.0.setup.round.borrow().clone();
        match (round, self.facts().role) {
            (Some(head), _) => Ok(head),
            (None, NodeRole::Leader) => Ok(self.snapshot()?.head_text.clone()),
            (None, NodeRole::Follower) => Err(self.nothing_yet()),
        }
    }

    /// The checkpoint that is shown now, with its tree; 503 before there is one.
    pub fn checkpoint(&self) -> Result<(TreeRoot, Arc<str>), Problem> {
        match self.0.setup.checkpoints.choice() {
            CheckpointChoice::Newest => {
                let snapshot = self.snapshot()?;
                Ok((snapshot.head.head().tree(), snapshot.checkpoint.clone()))
            }
            CheckpointChoice::Cosigned(shown) => Ok((shown.tree, shown.text.clone())),
            CheckpointChoice::Withheld if self.facts().role == NodeRole::Follower => {
                Err(self.nothing_yet())
            }
            CheckpointChoice::Withheld => Err(Problem::new(
                Code::SigningPaused,
                "too few witnesses have cosigned a checkpoint, and none is shown without them",
            )
            .retry_after(Duration::from_secs(5))),
        }
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.0.setup.published.snapshot().is_some()
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.0.setup.tasks
    }

    pub(super) fn replications(&self) -> &Arc<Semaphore> {
        &self.0.replications
    }

    pub(super) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }

    pub(super) fn searches(&self) -> &Semaphore {
        &self.0.searches
    }

    pub(super) fn judgements(&self) -> &Arc<Semaphore> {
        &self.0.judgements
    }

    /// Waits until the caller may search; not for long, while others do.
    pub(super) async fn search_turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let busy = "too many searches are running; try again in a moment";
        turn(&self.0.searches, busy).await
    }

    /// Waits until the caller may follow endorsements; not for long, while others do.
    pub(super) async fn walk_turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let busy = "too many questions of trust are being followed; try again in a moment";
        turn(&self.0.walks, busy).await
    }

    pub(super) fn graphs(&self) -> &Graphs {
        &self.0.graphs
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(super) fn bundle_room(&self) -> &BundleRoom {
        &self.0.bundle_room
    }

    pub(super) fn growth(&self) -> &GrowthMemory {
        &self.0.growth
    }

    pub(super) fn nothing_yet(&self) -> Problem {
        let problem = match self.facts().role {
            NodeRole::Follower => Problem::new(
                Code::CatchingUp,
                "this follower has verified nothing of it yet; ask again soon, or ask the leader",
            ),
            NodeRole::Leader => Problem::new(
                Code::SigningPaused,
                "the leader has signed no head yet, and may not sign",
            ),
        };
        problem.retry_after(Duration::from_secs(5))
    }
}

impl<N: Node> FromRef<N> for Reads {
    fn from_ref(node: &N) -> Self {
        node.reads().clone()
    }
}

/// A role, whichever it is: handlers need not know, and so need no type parameter.
#[derive(Clone)]
pub struct Role(Arc<dyn AnyNode>);

impl Role {
    pub(super) fn metrics(&self) -> &Metrics {
        self.0.metrics()
    }

    pub(super) async fn refresh_metrics(&self) {
        self.0.refresh_metrics().await;
    }

    pub(super) async fn checks(&self, ask: ReadyAsk) -> Vec<Check> {
        self.0.checks(ask).await
    }

    pub(super) fn is_operator(&self, headers: &HeaderMap) -> bool {
        self.0.is_operator(headers)
    }
}

impl<N: Node> FromRef<N> for Role {
    fn from_ref(node: &N) -> Self {
        Self(Arc::new(node.clone()))
    }
}

trait AnyNode: Send + Sync {
    fn metrics(&self) -> &Metrics;
    fn refresh_metrics(&self) -> BoxFuture<'_, ()>;
    fn checks(&self, ask: ReadyAsk) -> BoxFuture<'_, Vec<Check>>;
    fn is_operator(&self, headers: &HeaderMap) -> bool;
}

impl<N: Node> AnyNode for N {
    fn metrics(&self) -> &Metrics {
        Node::metrics(self)
    }

    fn refresh_metrics(&self) -> BoxFuture<'_, ()> {
        Box::pin(Node::refresh_metrics(self))
    }

    fn checks(&self, ask: ReadyAsk) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(Node::checks(self, ask))
    }

    fn is_operator(&self, headers: &HeaderMap) -> bool {
        Node::is_operator(self, headers)
    }
}

const VERIFIED_SIZE: HeaderName = HeaderName::from_static("diogenes-verified-size");
const HEAD_TIMESTAMP: HeaderName = HeaderName::from_static("diogenes-head-timestamp");

/// A middleware for followers: every answer says how far it can be relied on.
///
/// `router.layer(axum::middleware::from_fn_with_state(reads, read::verified_headers))`
pub async fn verified_headers(
    State(reads): State<Reads>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Ok(snapshot) = reads.snapshot() {
        let headers = response.headers_mut();
        headers.insert(VERIFIED_SIZE, HeaderValue::from(snapshot.edge.size().get()));
        let time = snapshot.head.head().timestamp.to_string();
        if let Ok(time) = HeaderValue::try_from(time) {
            headers.insert(HEAD_TIMESTAMP, time);
        }
    }
    response
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { id } => {
                tracing::error!(%error, "stored bytes are damaged");
                Self::new(
                    Code::EntryCorrupt,
                    format!("entry {id} is damaged in this node's database and is not served"),
                )
                .member("entry_id", id)
            }
            StoreError::CorruptTile { .. } | StoreError::Malformed { .. } => {
                tracing::error!(%error, "stored bytes are damaged");
                Self::new(Code::EntryCorrupt, "a part of the tree is damaged in this database")
            }
            StoreError::Unreachable(_) => {
                tracing::warn!(%error, "the database does not answer");
                Self::log_unreachable()
            }
            other => {
                tracing::error!(error = %other, "the database failed");
                Self::log_unreachable()
            }
        }
    }
}
