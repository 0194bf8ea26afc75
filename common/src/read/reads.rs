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
use super::evidence::{Latching, Shelf};
use super::graph::{GraphSetup, Graphs};
use super::page::GrowthMemory;
use super::snapshot::{Published, Snapshot};
use super::status::StatusBoard;
use super::turns::{Kind, Turns};
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

    /// A stranger brought a proof against the key of this log, which was verified and is new: keeps
    /// it durably, with an incident, and stops what must stop.
    fn latch(&self, proof: Latching) -> impl Future<Output = Result<(), Problem>> + Send;
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
    turns: Turns,
    streams: Arc<Semaphore>,
    verifier: Verifier,
    graphs: Graphs,
    growth: GrowthMemory,
    shelf: Shelf,
}

/// How many event streams are open at once.
const STREAMS: usize = 256;

impl Reads {
    /// Makes the shared state of all read handlers.
    pub fn new(setup: Setup) -> Self {
        let graphs = Graphs::new(setup.graph.clone());
        Self(Arc::new(Inner {
            setup,
            graphs,
            turns: Turns::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            verifier: Verifier::default(),
            growth: GrowthMemory::default(),
            shelf: Shelf::default(),
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

    /// Who may have something large made at the moment.
    pub(super) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// Waits until one more of a kind may be made; not for long, while others are.
    pub(super) async fn turn(&self, kind: Kind) -> Result<SemaphorePermit<'_>, Problem> {
        self.0.turns.turn(kind).await
    }

    /// Computes what is made of so many bytes: much of it away from the tasks that answer others,
    /// and few at once.
    pub async fn beside<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.0.turns.beside(self.tasks(), bytes, work).await
    }

    pub(super) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }

    pub(super) fn graphs(&self) -> &Graphs {
        &self.0.graphs
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(super) fn growth(&self) -> &GrowthMemory {
        &self.0.growth
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.0.shelf
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

    pub(super) async fn latch(&self, proof: Latching) -> Result<(), Problem> {
        self.0.latch(proof).await
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
    fn latch(&self, proof: Latching) -> BoxFuture<'_, Result<(), Problem>>;
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

    fn latch(&self, proof: Latching) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(Node::latch(self, proof))
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
