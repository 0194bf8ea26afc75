//! Replication: three stages joined by bounded channels.
//!
//! ```text
//! fetch --(batches)--> check --(verified batches)--> write
//!   ^                    |                             |
//!   +----- feedback -----+-----------------------------+
//! ```
//!
//! `fetch` asks the sources, two requests ahead. `check` is one thread that owns the chain and
//! verifies. `write` commits each batch with its tiles, views and heads in one transaction and
//! shows it to readers. What all of it means is decided by the pure `replica`.

mod check;
mod fetch;
pub(crate) mod prove;
pub(crate) mod source;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diogenes_common::batch::{Chain, Log, Trust};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::evidence::Observed;
use diogenes_common::exit::Failure;
use diogenes_common::head::HeadJson;
use diogenes_common::merkle::{Edge, Hash, ProofPlan, TreeRoot, TreeSize};
use diogenes_common::read::Published;
use diogenes_common::shutdown::Tasks;
use diogenes_common::store::{ChainError, LogState, Store, StoreError};
use diogenes_common::supervisor::Pulse;
use tokio::sync::{Notify, mpsc, watch};

use crate::metrics::Metrics;
use crate::replica::{Accepted, Action, Event, Now, Pace, Replica};
use check::Checker;
use fetch::{Fetcher, Pauses, Wires};
use source::Source;
use write::Writer;

/// The row in which the head of the newest round is kept over a restart.
const ROUND_META: &str = "round_head";

/// How many items wait between two stages.
const CHANNEL: usize = 2;

/// What replication needs to begin.
pub(crate) struct Setup {
    pub(crate) store: Store,
    pub(crate) trust: Trust,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) poll: Duration,
    /// The first wait after a failure of a source.
    pub(crate) first_retry: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    pub(crate) data_dir: PathBuf,
    pub(crate) min_free: Option<u64>,
    /// How this follower names itself in evidence.
    pub(crate) name: String,
    /// Never ask for the binary encoding.
    pub(crate) json_only: bool,
}

/// What the stages, the reporter and the status task share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    pub(crate) published: Arc<Published>,
    pub(crate) data_dir: PathBuf,
    /// The tree that is durable.
    pub(crate) stored: watch::Sender<TreeRoot>,
    /// The newest head of a witness round that the own tree holds.
    pub(crate) round: watch::Sender<Option<Arc<Accepted>>>,
    /// Wakes the reporter.
    pub(crate) changed: Notify,
    /// Shows that the stages turn.
    pub(crate) pulse: Pulse,
    /// The newest evidence of this run; wakes those who tell other nodes.
    pub(crate) proven: watch::Sender<Option<i64>>,
    /// Held while evidence is stored.
    latching: tokio::sync::Mutex<()>,
    log: Mutex<Option<Log>>,
    replica: Mutex<Replica>,
    observed: Mutex<BTreeSet<(String, &'static str)>>,
    /// When an answer of a source was last kept as an observation of that fault.
    exhibited: Mutex<BTreeMap<(String, &'static str), Timestamp>>,
    name: String,
    json_only: bool,
}

impl Shared {
    /// The replica's state; held for moments only.
    pub(crate) fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the replica what happened, and the reporter if that changed its status.
    pub(crate) fn on(&self, event: Event) -> Vec<Action> {
        if let Event::EvidenceStored { evidence, .. } = &event {
            self.proven.send_replace(Some(*evidence));
        }
        let now = Now::of(&*self.clock);
        let actions = self.replica().on(event, now);
        if actions.contains(&Action::Report) {
            self.changed.notify_one();
        }
        actions
    }

    /// What entry 1 pinned; `None` before it is verified.
    pub(crate) fn log(&self) -> Option<Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pin(&self, chain: &Chain) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_none() {
            *log = chain.log().cloned();
        }
    }

    /// How this follower names itself in evidence.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn observed(&self, at: Timestamp) -> Observed {
        Observed { at, by: self.name.clone() }
    }

    /// Whether this source did not show this fault since it last recovered.
    fn first_of(&self, url: &str, reason: &'static str) -> bool {
        let mut seen = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((url.to_owned(), reason))
    }

    /// Whether another answer of this source is worth its place on the disk: one an hour of each
    /// fault is, so that a source that errs and recovers in turn does not fill it.
    fn may_exhibit(&self, url: &str, reason: &'static str, now: Timestamp) -> bool {
        const HOUR_MS: i64 = 3_600_000;
        let mut kept = self.exhibited.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (url.to_owned(), reason);
        let due = kept.get(&name).is_none_or(|last| now.millis_since(*last).abs() >= HOUR_MS);
        if due {
            kept.insert(name, now);
        }
        due
    }

    /// Forgets the source's faults; whether there were any.
    fn forget_firsts(&self, url: &str) -> bool {
        let mut seen = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.len();
        seen.retain(|(known, _)| known != url);
        seen.len() < before
    }
}

/// Checks what an earlier run stored, and prepares the three stages.
pub(crate) async fn open(setup: Setup) -> Result<(Arc<Shared>, Stages), Failure> {
    let Setup { store, trust, sources, poll, clock, tasks, metrics, .. } = setup;
    store.initialise().await.map_err(store_failure)?;
    let rebuilt = store.refresh_views(trust, false).await.map_err(chain_failure)?;
    if rebuilt {
        tracing::info!("the views were made anew for this version");
    }
    let writer = store.raise_writer().await.map_err(store_failure)?;
    let resumed = resume(&store, trust).await?;
    let now = Now::of(&*clock);
    let pace =
        Pace { poll: i64::try_from(poll.as_millis()).unwrap_or(i64::MAX), heartbeat: 60_000 };
    let Resumed { chain, state, served, kept, round } = resumed;
    let tree = chain.tree();
    let mut replica = Replica::new(pace, sources.len(), tree, served.clone(), now);
    for head in &kept {
        replica.restore(head.clone());
    }
    if let Some(incident) = prove::open_latch(&store).await.map_err(store_failure)? {
        let kind = prove::kind_of(&incident.reason);
        replica.restore_latch(kind, incident.evidence_id, incident.opened_at);
        tracing::error!(incident.id, reason = incident.reason, "still latched: nothing is stored");
    }
    let published = Arc::new(Published::default());
    if let Some(head) = &served {
        let snapshot = write::snapshot(head, chain.edge(), state.last_event_id, Vec::new());
        published.set(Arc::new(snapshot));
    }
    metrics.tree_size(tree.size);
    let shared = Arc::new(Shared {
        store,
        clock,
        tasks,
        metrics,
        published,
        data_dir: setup.data_dir.clone(),
        stored: watch::Sender::new(tree),
        round: watch::Sender::new(round),
        changed: Notify::new(),
        pulse: Pulse::default(),
        proven: watch::Sender::new(None),
        latching: tokio::sync::Mutex::default(),
        log: Mutex::new(chain.log().cloned()),
        replica: Mutex::new(replica),
        observed: Mutex::default(),
        exhibited: Mutex::default(),
        name: setup.name,
        json_only: setup.json_only,
    });
    let stages = Stages {
        shared: shared.clone(),
        sources,
        pauses: Pauses { poll, first_retry: setup.first_retry },
        writer,
        chain,
        state,
        kept: kept.iter().map(|head| (head.size(), head.timestamp())).collect(),
        min_free: setup.min_free.map(|least| (setup.data_dir, least)),
    };
    Ok((shared, stages))
}

/// The three stages, ready to run.
pub(crate) struct Stages {
    shared: Arc<Shared>,
    sources: Vec<Arc<Source>>,
    pauses: Pauses,
    writer: i64,
    chain: Chain,
    state: LogState,
    kept: BTreeSet<(TreeSize, Timestamp)>,
    min_free: Option<(PathBuf, u64)>,
}

impl Stages {
    /// Starts the stages among the node's tasks.
    pub(crate) fn start(self) {
        let Self { shared, sources, pauses, writer, chain, state, kept, min_free } = self;
        let tasks = shared.tasks.clone();
        let (to_checker, items) = mpsc::channel(CHANNEL);
        let (to_writer, checked) = mpsc::channel(CHANNEL);
        let (to_fetcher, feedback) = mpsc::unbounded_channel();
        let size = chain.size();
        let stage = Writer {
            shared: shared.clone(),
            fence: writer,
            tree: chain.tree(),
            edge: chain.edge().clone(),
            timestamp: state.timestamp,
            last_event_id: state.last_event_id,
            kept,
            acknowledgements: 0,
            rounds: Vec::new(),
            feedback: to_fetcher.clone(),
            min_free,
        };
        tasks.spawn_essential("write", stage.run(checked));
        let thread = Checker {
            shared: shared.clone(),
            chain,
            to_writer,
            feedback: to_fetcher,
            generation: 0,
        };
        tasks.spawn_blocking(move || thread.run(items));
        let fetcher = Fetcher::new(shared, sources, pauses, size, Wires { to_checker, feedback });
        tasks.spawn_essential("fetch", fetcher.run());
    }
}

/// What an earlier run left.
struct Resumed {
    chain: Chain,
    state: LogState,
    served: Option<Arc<Accepted>>,
    kept: Vec<Arc<Accepted>>,
    round: Option<Arc<Accepted>>,
}

/// Reads the stored chain and holds it against the stored state and the stored head.
async fn resume(store: &Store, trust: Trust) -> Result<Resumed, Failure> {
    let state = store.state().await.map_err(store_failure)?;
    let state = state.ok_or_else(|| damaged("the row of the log's state is missing"))?;
    let Some(chain) = store.resume_chain(trust).await.map_err(chain_failure)? else {
        let chain = Chain::new(trust);
        return Ok(Resumed { chain, state, served: None, kept: Vec::new(), round: None });
    };
    if chain.tree() != state.tree || chain.chain_head() != state.chain_head {
        return Err(damaged("the stored entries do not give the stored root"));
    }
    let log = chain.log().cloned().ok_or_else(|| damaged("the log has no genesis"))?;
    let row = store.head_at_most(chain.size()).await.map_err(store_failure)?;
    let served = match row {
        None => None,
        Some(row) => {
            let head = accepted(row.head_json.as_deref(), &log)
                .ok_or_else(|| damaged("the stored tree head does not verify"))?;
            let own = own_root(store, chain.edge(), row.tree.size).await?;
            if own != head.signed.head().root_hash {
                return Err(damaged("the stored entries do not give the root of the stored head"));
            }
            Some(head)
        }
    };
    let rows = store.kept_heads().await.map_err(store_failure)?;
    let kept = rows
        .iter()
        .filter(|row| row.tree_size > chain.size())
        .filter_map(|row| accepted(Some(&row.head_json), &log))
        .collect();
    let round = store.meta(ROUND_META).await.map_err(store_failure)?;
    let round = accepted(round.as_deref(), &log).filter(|head| head.size() <= chain.size());
    Ok(Resumed { chain, state, served, kept, round })
}

pub(crate) async fn own_root(store: &Store, edge: &Edge, size: TreeSize) -> Result<Hash, Failure> {
    if size == edge.size() {
        return Ok(edge.root().hash);
    }
    let plan = ProofPlan::root(size);
    let hashes = store.nodes(plan.nodes(), edge).await.map_err(store_failure)?;
    Ok(plan.assemble(&hashes).first().copied().unwrap_or(Hash::EMPTY_TREE))
}

/// A stored head, verified again.
fn accepted(json: Option<&str>, log: &Log) -> Option<Arc<Accepted>> {
    let json: HeadJson = serde_json::from_str(json?).ok()?;
    let signed = json.verify(log.operator(), log.origin()).ok()?;
    Some(Arc::new(Accepted { signed, json }))
}

fn damaged(what: &str) -> Failure {
    Failure::unsafe_state(
        "database_damaged",
        what,
        "restore a backup, or move the data directory away and mirror the log anew",
    )
}

/// How a node ends when its database does not work.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn store_failure(error: StoreError) -> Failure {
    match &error {
        StoreError::Disk(_) => Failure::disk("disk_failed", &error, "check the disk and its space"),
        StoreError::Unreachable(_) => {
            Failure::refused("log_unreachable", &error, "check DATABASE_URL, then try again")
        }
        StoreError::Corrupt { .. }
        | StoreError::CorruptTile { .. }
        | StoreError::Malformed { .. } => damaged(&error.to_string()),
        StoreError::Newer { .. } => {
            Failure::unsafe_state("schema_newer", &error, "upgrade diogenes-follower")
        }
        StoreError::Outdated { .. } => {
            Failure::unsafe_state("schema_outdated", &error, "run diogenes-follower db migrate")
        }
        StoreError::Locked => {
            Failure::unsafe_state("locked", &error, "give each follower a database of its own")
        }
        _ => Failure::unsafe_state("store_refused", &error, "check the database and its settings"),
    }
}

pub(crate) fn chain_failure(error: ChainError) -> Failure {
    match error {
        ChainError::Store(error) => store_failure(error),
        ChainError::Resume(error) => Failure::unsafe_state(
            "other_log",
            error,
            "one data directory mirrors one log: give this fingerprint a --data-dir of its own",
        ),
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
