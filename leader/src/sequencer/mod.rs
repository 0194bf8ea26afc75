//! The one writer: orders commands, commits batches, signs what is durable, answers.
//!
//! While one batch commits, the next collects; there is no timer. Parse, decide, persist, publish, in
//! this order: a signature only ever exists for what is durable.

mod batch;
#[cfg(feature = "ceiling")]
mod ceiling;
mod clock_guard;
mod command;
mod guard_file;
mod handle;
mod lifecycle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use diogenes_common::batch::Chain;
use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::exit::Failure;
use diogenes_common::head::{Origin, SignedHead, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::read::{Published, Snapshot};
use diogenes_common::store::{
    Commit, CommitError, ExclusiveLock, Guard, HeadRow, NewState, Store, StoreError,
};
use diogenes_common::view::Overlay;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use batch::{Batch, Setting, Settled};
pub(crate) use clock_guard::ClockGuard;
pub(crate) use command::{
    AppendError, Appended, Command, Context, Decision, NewEntry, NotSigning, Outcome,
};
use command::{Failed, Job};
pub(crate) use guard_file::{GuardKeeper, SignedGuard};
pub(crate) use handle::Handle;
pub(crate) use lifecycle::{LEAF_AROUND, Lifecycle};

use crate::metrics::Metrics;
use crate::start;

/// How many commands may wait; beyond that callers get 503 `overloaded`.
pub(crate) const QUEUE: usize = 8_192;

/// How long a database that was silent is asked what it holds; callers are answered within 5 s.
const RESTART_PATIENCE: Duration = Duration::from_secs(4);

/// How soon the outcome of a commit is looked up again, so that what it stored is shown soon.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);

/// So many waiting entries are worth deciding while the batch before them is committed.
const AHEAD_ENTRIES: usize = 512;

/// How often that is looked at.
const LOOK_AHEAD_EVERY: Duration = Duration::from_millis(1);

/// A decided batch and the time that it is stamped with.
type Decided = (Timestamp, Batch);

/// How long another process's lock is waited for when the database came back.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// What the sequencer works with.
pub(crate) struct Parts {
    pub(crate) store: Store,
    /// The log as it was opened; taken by the sequencer when it starts.
    pub(crate) opened: Option<start::Opened>,
    pub(crate) database_lock: ExclusiveLock,
    pub(crate) operator: Arc<SigningKey>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clock_guard: ClockGuard,
    /// No head is ever stamped below this: the guard's time.
    pub(crate) floor: Timestamp,
    pub(crate) guard: GuardKeeper,
    pub(crate) heartbeat: Duration,
    pub(crate) published: Arc<Published>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) not_signing: Option<NotSigning>,
}

/// The writer's state between two batches.
pub(crate) struct Sequencer {
    parts: Parts,
    origin: Origin,
    log_id: Hash,
    chain: Chain,
    /// The fields of the newest committed head.
    committed: TreeHead,
    writer: i64,
    last_event_id: u64,
    /// The newest signed head, not yet noted in the database.
    unnoted: Option<SignedNote>,
    /// Whether the last commit's outcome is unknown.
    uncertain: bool,
    queue: VecDeque<Box<dyn Job>>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    signing: watch::Receiver<Option<NotSigning>>,
    /// No head is stamped below this: the guard's time, and those of own heads that others showed.
    floor: Arc<AtomicI64>,
}

struct SignedNote {
    second: i64,
    size: TreeSize,
    json: Arc<str>,
}

impl Sequencer {
    /// Takes over the opened log. Publishes its newest head, signed, unless it may not sign.
    pub(crate) async fn new(mut parts: Parts) -> Result<(Self, Handle), Failure> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (signing, may_sign) = watch::channel(parts.not_signing);
        let floor = Arc::new(AtomicI64::new(parts.floor.millis()));
        let opened = parts.opened.take().ok_or_else(|| {
            Failure::refused("sequencer", "the log is not open", "report this as a bug")
        })?;
        let mut sequencer = Self {
            origin: opened.head.origin.clone(),
            log_id: opened.log_id,
            chain: opened.chain,
            committed: opened.head,
            writer: opened.writer,
            last_event_id: opened.last_event_id,
            unnoted: None,
            uncertain: false,
            queue: VecDeque::new(),
            jobs: waiting,
            signing: may_sign,
            floor: floor.clone(),
            parts,
        };
        if sequencer.parts.not_signing.is_none() {
            sequencer.publish(Vec::new()).await?;
        } else if let Some(signed) = opened.newest_signed {
            sequencer.parts.published.set(signed);
        }
        Ok((sequencer, Handle { jobs, signing, floor }))
    }

    /// Runs until `stop` is cancelled and what waits is done, or until the leader must not go on.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Failure> {
        let mut fresh = Vec::with_capacity(batch::MAX_COMMANDS);
        let mut heartbeat = tokio::time::interval_at(
            tokio::time::Instant::now() + self.parts.heartbeat,
            self.parts.heartbeat,
        );
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.queue.is_empty() {
                // The order is fixed, so that a simulated run repeats.
                tokio::select! {
                    biased;
                    () = stop.cancelled(), if !self.jobs.is_closed() => {
                        self.jobs.close();
                        continue;
                    }
                    received = self.jobs.recv_many(&mut fresh, batch::MAX_COMMANDS) => {
                        if received == 0 {
                            return Ok(());
                        }
                    }
                    _ = heartbeat.tick() => {
                        self.round(Vec::new()).await?;
                        continue;
                    }
                    () = tokio::time::sleep(LOOK_UP_EVERY), if self.uncertain => {
                        self.round(Vec::new()).await?;
                        continue;
                    }
                    // Who may sign at last shows a head at once.
                    Ok(()) = self.signing.changed() => {
                        self.round(Vec::new()).await?;
                        continue;
                    }
                }
            }
            self.queue.extend(fresh.drain(..));
            self.collect();
            let jobs = batch::take(&mut self.queue);
            if self.round(jobs).await? {
                heartbeat.reset();
            }
        }
    }

    /// Queues what waits to be received, as far as one batch may take it.
    fn collect(&mut self) {
        while self.queue.len() < batch::MAX_COMMANDS
            && let Ok(job) = self.jobs.try_recv()
        {
            self.queue.push_back(job);
        }
    }

    /// One batch: decide, persist, publish. True if a head was made.
    async fn round(&mut self, jobs: Vec<Box<dyn Job>>) -> Result<bool, Failure> {
        let refusal = *self.signing.borrow();
        if let Some(reason) = refusal {
            fail(jobs, &Failed::NotSigning(reason));
            return Ok(false);
        }
        if self.uncertain {
            let restarted = tokio::time::timeout(RESTART_PATIENCE, self.restart_in_place()).await;
            let silent = |_| Err(CommitError::Unreachable("no answer in time".to_owned()));
            if let Err(error) = restarted.unwrap_or_else(silent) {
                return self.lost(jobs, error);
            }
        }
        let clock = &*self.parts.clock;
        let now = match self.parts.clock_guard.stamp(clock, self.newest()) {
            Ok(now) => now,
            Err(step) => {
                tracing::warn!(%step, "nothing is stamped until the clock is right");
                self.parts.metrics.clock_refusals.inc();
                fail(jobs, &Failed::ClockStep);
                return Ok(false);
            }
        };
        let mut overlay = Overlay::new(self.last_event_id);
        let needs = batch::needs(&jobs);
        if !needs.is_empty()
            && let Err(error) = self.parts.store.load_overlay(&needs, &mut overlay).await
        {
            tracing::warn!(%error, "the views could not be read");
            fail(jobs, &Failed::Unreachable);
            return Ok(false);
        }
        let heartbeat = jobs.is_empty();
        let batch = self.setting(now).decide(self.chain.clone(), overlay, jobs);
        if batch.leaves.is_empty() && !heartbeat {
            finish(batch.settled, &[], None);
            return Ok(false);
        }
        let mut next = Some((now, batch));
        let mut made = false;
        while let Some((now, batch)) = next {
            (made, next) = self.persist(now, batch).await?;
        }
        Ok(made)
    }

    /// The newest time that was signed, as far as this leader knows.
    fn newest(&self) -> Timestamp {
        let committed = self.committed.timestamp;
        let floor = Timestamp::from_millis(self.floor.load(Ordering::Acquire));
        floor.map_or(committed, |floor| committed.max(floor))
    }

    fn setting(&self, now: Timestamp) -> Setting {
        Setting { now, origin: self.origin.clone(), operator: self.parts.operator.clone() }
    }

    /// Commits and publishes one batch; meanwhile decides the next one if much waits. True if a
    /// head was made, with the batch that was decided ahead.
    async fn persist(
        &mut self,
        now: Timestamp,
        batch: Batch,
    ) -> Result<(bool, Option<Decided>), Failure> {
        let started = Instant::now();
        let Batch { chain, leaves, tiles, overlay, local, settled } = batch;
        let tree = chain.tree();
        let head = TreeHead {
            chain_head: chain.chain_head(),
            epoch: self.committed.epoch,
            origin: self.origin.clone(),
            root_hash: tree.hash,
            timestamp: now,
            tree_size: tree.size,
        };
        let changes = overlay.changes();
        let store = self.parts.store.clone();
        let unnoted = self.unnoted.take();
        let note = unnoted.as_ref().filter(|note| note.second != now.seconds());
        let heads = [HeadRow::unsigned(&head)];
        let commit = Commit {
            guard: Guard {
                tree: self.committed.tree(),
                timestamp: self.committed.timestamp,
                writer: self.writer,
            },
            entries: &leaves,
            tiles: &tiles,
            state: NewState {
                tree,
                chain_head: head.chain_head,
                timestamp: now,
                epoch: head.epoch,
            },
            heads: &heads,
            sign_previous: note.map(|note| (note.second, note.size, &*note.json)),
            views: &changes,
            local: &local,
        };
        let last_event_id = changes.last_event_id;
        let (result, ahead) =
            self.commit_and_look_ahead(&store, &commit, &chain, now, last_event_id).await;
        if let Err(error) = result {
            let jobs = settled.into_iter().map(|(job, _)| job);
            let ahead = ahead.into_iter().flat_map(|(_, next)| next.settled);
            let jobs = jobs.chain(ahead.map(|(job, _)| job)).collect();
            return self.lost(jobs, error).map(|made| (made, None));
        }
        let metrics = &self.parts.metrics;
        metrics.commit_duration.observe(started.elapsed().as_secs_f64());
        metrics.batch_entries.observe(as_number(leaves.len()));
        metrics.count_appended(&changes.counts);
        self.chain = chain;
        self.committed = head;
        self.last_event_id = last_event_id;
        let snapshot = self.publish(tiles).await?;
        finish(settled, &leaves, Some(&snapshot));
        let refusal = *self.signing.borrow();
        match (refusal, ahead) {
            (Some(reason), Some((_, next))) => {
                fail(
                    next.settled.into_iter().map(|(job, _)| job).collect(),
                    &Failed::NotSigning(reason),
                );
                Ok((true, None))
            }
            (_, ahead) => Ok((true, ahead)),
        }
    }

    /// Runs the commit. If at least [`AHEAD_ENTRIES`] generic entries arrive meanwhile, they are
    /// decided on the state that this batch leaves: no rule of state can refuse them, and they are
    /// dropped if this commit fails.
    async fn commit_and_look_ahead(
        &mut self,
        store: &Store,
        commit: &Commit<'_>,
        chain: &Chain,
        stamped: Timestamp,
        last_event_id: u64,
    ) -> (Result<(), CommitError>, Option<Decided>) {
        let mut commit = std::pin::pin!(store.commit(commit));
        let mut deciding = None;
        // Looked at now and then, not at each arrival: that would be a wake-up for each event.
        let mut looks = tokio::time::interval(LOOK_AHEAD_EVERY);
        let result = loop {
            tokio::select! {
                biased;
                result = &mut commit => break result,
                _ = looks.tick(), if deciding.is_none() => {
                    self.collect();
                    if let Some((now, jobs)) = self.ready_ahead(stamped) {
                        let (setting, chain) = (self.setting(now), chain.clone());
                        let overlay = Overlay::new(last_event_id);
                        let decide = move || (now, setting.decide(chain, overlay, jobs));
                        deciding = Some(tokio::task::spawn_blocking(decide));
                    }
                }
            }
        };
        let ahead = match deciding {
            None => None,
            // A panic there drops the jobs, whose callers are told that the leader closes.
            Some(deciding) => deciding.await.ok(),
        };
        (result, ahead)
    }

    /// The waiting jobs, if they are many and may be decided before the batch under way, which was
    /// stamped like that, is committed.
    fn ready_ahead(&mut self, stamped: Timestamp) -> Option<(Timestamp, Vec<Box<dyn Job>>)> {
        let waiting: usize = self.queue.iter().map(|job| job.entries()).sum();
        let generic = self.queue.iter().all(|job| job.is_generic());
        if waiting < AHEAD_ENTRIES || !generic {
            return None;
        }
        let now = self.parts.clock_guard.stamp(&*self.parts.clock, stamped).ok()?;
        Some((now, batch::take(&mut self.queue)))
    }

    /// Signs what is committed and shows it to readers.
    async fn publish(&mut self, fresh: batch::Tiles) -> Result<Arc<Snapshot>, Failure> {
        let head = self.committed.clone();
        let timestamp = self.newest();
        self.parts
            .guard
            .publish(SignedGuard {
                origin: self.origin.clone(),
                log_id: self.log_id,
                tree_size: head.tree_size,
                root: head.root_hash,
                timestamp,
            })
            .await
            .map_err(|error| {
                Failure::disk(
                    "disk",
                    format!("the signed-guard can't be written: {error}"),
                    "check the disk that holds the data directory, then start again",
                )
            })?;
        let second = head.timestamp.seconds();
        let signed = head.sign(&self.parts.operator);
        let snapshot = Arc::new(snapshot(
            signed,
            &self.parts.operator,
            self.last_event_id,
            &self.chain,
            fresh,
        ));
        self.unnoted = Some(SignedNote {
            second,
            size: self.committed.tree_size,
            json: snapshot.head_text.clone(),
        });
        self.parts.metrics.heads_signed.inc();
        self.parts.metrics.show_head(&self.committed);
        self.parts.published.set(snapshot.clone());
        Ok(snapshot)
    }

    /// A commit that failed: tells the callers, and decides whether the leader may go on.
    fn lost(&mut self, jobs: Vec<Box<dyn Job>>, error: CommitError) -> Result<bool, Failure> {
        fail(jobs, &Failed::Unreachable);
        match error {
            CommitError::NotLeader => Err(Failure::unsafe_state(
                "not_leader",
                "another leader wrote to this log since this one started",
                "run one leader per log; stop the other one, then start this one again",
            )),
            CommitError::Disk(reason) => Err(Failure::disk(
                "disk",
                format!("the database can't be written: {reason}"),
                "check the disk that holds the database, then start again",
            )),
            // Nothing was written, and the log is where it was.
            CommitError::Conflict(reason) => {
                tracing::error!(%reason, "a batch contradicts what this node noted; it was refused");
                Ok(false)
            }
            other => {
                tracing::warn!(error = %other, "a commit's outcome is unknown; it is looked up before the next");
                self.uncertain = true;
                self.fail_waiting();
                Ok(false)
            }
        }
    }

    /// Answers those who came while the database was silent: they waited as long as it was, and
    /// would now wait for its restart too.
    fn fail_waiting(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.queue.push_back(job);
        }
        fail(self.queue.drain(..).collect(), &Failed::Unreachable);
    }

    /// The start repeated in place: fences a transaction that may still be under way, and reads
    /// what the database holds now. It must hold at least what was published.
    async fn restart_in_place(&mut self) -> Result<(), CommitError> {
        if !self.parts.database_lock.is_held().await {
            let lock = self.parts.store.lock_exclusive(LOCK_PATIENCE).await;
            self.parts.database_lock = lock.map_err(|error| match error {
                StoreError::Locked => CommitError::NotLeader,
                other => other.into(),
            })?;
        }
        let opened = start::reopen(&self.parts.store, &self.parts.operator)
            .await
            .map_err(CommitError::from)?;
        let held = opened.chain.size() >= self.committed.tree_size
            && start::root_at(&self.parts.store, opened.chain.edge(), self.committed.tree_size)
                .await?
                == self.committed.root_hash;
        if !held {
            return Err(CommitError::NotLeader);
        }
        // What was published may be newer than what the database kept: a heartbeat without entries.
        self.floor.fetch_max(self.committed.timestamp.millis(), Ordering::AcqRel);
        self.chain = opened.chain;
        self.committed = opened.head;
        self.writer = opened.writer;
        self.last_event_id = opened.last_event_id;
        self.uncertain = false;
        self.unnoted = None;
        tracing::info!(tree.size = %self.committed.tree_size, "the database answers again");
        Ok(())
    }
}

/// The readers' view of the log under a signed head.
pub(crate) fn snapshot(
    signed: SignedHead,
    operator: &SigningKey,
    last_event_id: u64,
    chain: &Chain,
    fresh: batch::Tiles,
) -> Snapshot {
    let json = signed.to_json(own_checkpoint(&signed, operator), last_event_id);
    Snapshot::new(signed, &json, chain.edge().clone(), fresh)
}

/// The head as a C2SP checkpoint, signed by the log's own key alone.
pub(crate) fn own_checkpoint(signed: &SignedHead, operator: &SigningKey) -> String {
    let origin = signed.head().origin.as_str();
    let checkpoint = Checkpoint::new(origin, signed.head().tree())
        .expect("an origin is one line without control characters");
    let name = origin.parse().expect("an origin is a key name");
    sign_checkpoint(&checkpoint, &name, operator)
}

#[expect(clippy::cast_precision_loss, reason = "a batch has at most a few thousand entries")]
fn as_number(count: usize) -> f64 {
    count as f64
}

fn fail(jobs: Vec<Box<dyn Job>>, why: &Failed) {
    for job in jobs {
        job.finish(Err(why.clone()));
    }
}

fn finish(
    settled: Vec<(Box<dyn Job>, Settled)>,
    leaves: &[diogenes_common::leaf::Leaf],
    snapshot: Option<&Arc<Snapshot>>,
) {
    for (job, settled) in settled {
        job.finish(match (settled, snapshot) {
            (Settled::Appended(from, to), Some(snapshot)) => Ok(Outcome::Appended(Appended {
                leaves: leaves[from..to].to_vec(),
                snapshot: snapshot.clone(),
            })),
            (Settled::Appended(..), None) => Err(Failed::Internal),
            (Settled::Found(id), _) => Ok(Outcome::Found { id }),
            (Settled::Failed(why), _) => Err(why),
        });
    }
}
