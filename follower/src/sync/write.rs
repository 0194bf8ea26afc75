//! The third stage: one transaction for each verified batch, then the readers see it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::batch::{Entry, VerifiedBatch};
use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::{self, Proof as Step};
use diogenes_common::exit::Failure;
use diogenes_common::files;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, ProofPlan, TileId, TileNodes, TreeRoot, TreeSize};
use diogenes_common::read::Snapshot;
use diogenes_common::retry::Retry;
use diogenes_common::store::{
    Commit, CommitError, Guard, HeadRow, KeptHead, LocalWrite, NewIncident, NewState, Store,
    StoreError,
};
use diogenes_common::view::{self, Effect, Needs, NoEffect, Overlay};
use tokio::sync::mpsc;

use super::check::{Checked, Feedback, Proof, Purpose};
use super::source::Exhibit;
use super::{ROUND_META, Shared};
use crate::replica::{Accepted, Event, Fault, Hold};

/// How many heads of rounds wait for the own tree to reach them.
const MAX_ROUNDS: usize = 8;

/// How long storing pauses before it looks at a full disk, or at a silent database, again.
const HELD: Duration = Duration::from_secs(2);

/// The stage's state: where the database is.
pub(super) struct Writer {
    /// What all stages share.
    pub(super) shared: Arc<Shared>,
    /// The fence against another process on this database.
    pub(super) fence: i64,
    /// The stored tree.
    pub(super) tree: TreeRoot,
    /// Its right edge.
    pub(super) edge: Edge,
    /// The time that the next commit must not go below.
    pub(super) timestamp: Timestamp,
    /// The newest stored entry that is neither a witness proof nor an anchor.
    pub(super) last_event_id: u64,
    /// The kept heads that the database has.
    pub(super) kept: BTreeSet<(TreeSize, Timestamp)>,
    /// The acknowledgements up to which that holds: each of them emptied the database's, too.
    pub(super) acknowledgements: u64,
    /// Heads of rounds above the stored size.
    pub(super) rounds: Vec<Arc<Accepted>>,
    /// Where the first stage listens.
    pub(super) feedback: mpsc::UnboundedSender<Feedback>,
    /// The disk to watch, and what must stay free on it.
    pub(super) min_free: Option<(PathBuf, u64)>,
}

/// What a batch becomes before it is written.
struct Ready {
    leaves: Vec<Leaf>,
    tiles: Vec<(TileId, Arc<TileNodes>)>,
    edge: Edge,
    state: NewState,
    heads: Vec<HeadRow>,
    overlay: Overlay,
    local: Vec<LocalWrite>,
    kept: BTreeSet<(TreeSize, Timestamp)>,
}

impl Writer {
    /// Runs until the stage before it ends, or until the disk or the database forbids to go on.
    pub(super) async fn run(mut self, mut checked: mpsc::Receiver<Checked>) -> Result<(), Failure> {
        let tasks = self.shared.tasks.clone();
        loop {
            let next = tokio::select! {
                next = checked.recv() => next,
                () = tasks.stopping() => None,
            };
            let done = match next {
                None if tasks.is_stopping() => return Ok(()),
                None => {
                    return Err(Failure::refused(
                        "task_ended",
                        "the verifier ended",
                        "start the follower again, and report what the log says before this line",
                    ));
                }
                Some(Checked::Batch(batch, head)) => self.batch(*batch, &head).await,
                Some(Checked::Head { head, source, purpose, exhibit }) => {
                    self.head(head, source, purpose, exhibit).await
                }
            };
            match done {
                Ok(()) => {}
                Err(Stopped::Asked) => return Ok(()),
                Err(Stopped::Failed(failure)) => return Err(failure),
            }
        }
    }

    async fn batch(&mut self, batch: VerifiedBatch, head: &Arc<Accepted>) -> Result<(), Stopped> {
        let news = self.shared.replica().served().is_none_or(|served| {
            // Cosignatures arrive on the checkpoint of a head that is served already.
            head.is_newer_than(served) || head.signed == served.signed && head.json != served.json
        });
        if batch.entries.is_empty() && !news {
            self.shared.on(Event::Stored { tree: self.tree, head: None });
            return Ok(());
        }
        self.wait_for_space().await?;
        let acknowledgements = self.shared.replica().acknowledgements();
        if acknowledgements != self.acknowledgements {
            self.acknowledgements = acknowledgements;
            self.kept.clear();
        }
        let ready = self.prepare(batch, head).await?;
        self.commit(&ready).await?;
        let Ready { tiles, edge, state, overlay, kept, .. } = ready;
        let thinned: Vec<_> = self
            .kept
            .iter()
            .filter(|key| key.0 > state.tree.size && !kept.contains(key))
            .copied()
            .collect();
        self.tree = state.tree;
        self.edge = edge;
        self.timestamp = state.timestamp;
        self.last_event_id = overlay.last_event_id;
        self.kept = kept;
        for (size, timestamp) in thinned {
            // It comes back after a restart if this fails, and is thinned again.
            if let Err(error) = self.shared.store.forget_head(size, timestamp).await {
                tracing::debug!(%error, "a kept head was not forgotten");
            }
        }
        self.shared.on(Event::Stored { tree: self.tree, head: Some(head.clone()) });
        self.publish(tiles);
        self.shared.stored.send_replace(self.tree);
        self.promote_rounds().await
    }

    /// Applies the entries to the views and gathers what the transaction writes.
    async fn prepare(&self, batch: VerifiedBatch, head: &Arc<Accepted>) -> Result<Ready, Stopped> {
        let VerifiedBatch { chain, entries, completed, .. } = batch;
        let mut needs = Needs::default();
        for entry in &entries {
            view::needs(&entry.event, &mut needs);
        }
        let mut overlay = Overlay::new(self.last_event_id);
        if !needs.is_empty() {
            let mut retry = Retry::new(Duration::from_millis(200));
            while let Err(error) = self.shared.store.load_overlay(&needs, &mut overlay).await {
                self.held_by(error, &mut retry).await?;
            }
        }
        let mut local = self.apply(&entries, &mut overlay);
        let tree = chain.tree();
        let (reached, above) = {
            let replica = self.shared.replica();
            (replica.heads_up_to(tree.size), replica.heads_above(tree.size))
        };
        let at_or_below = reached.iter().chain((head.size() <= tree.size).then_some(head));
        let heads: Vec<HeadRow> = at_or_below.map(|head| head_row(head)).collect();
        let newest = heads.iter().map(|head| head.timestamp).max();
        let timestamp = [Some(self.timestamp), newest, chain.last_timestamp()]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(self.timestamp);
        let key = |head: &Arc<Accepted>| (head.size(), head.timestamp());
        let kept: BTreeSet<_> = above.iter().map(key).collect();
        local.push(LocalWrite::ForgetHeads(tree.size));
        let fresh = above.iter().filter(|head| !self.kept.contains(&key(head)));
        local.extend(fresh.map(|head| LocalWrite::KeepHead(kept_head(head))));
        Ok(Ready {
            leaves: entries.into_iter().map(|entry| entry.leaf).collect(),
            tiles: completed,
            edge: chain.edge().clone(),
            state: NewState {
                tree,
                chain_head: chain.chain_head(),
                timestamp,
                epoch: head.signed.head().epoch,
            },
            heads,
            overlay,
            local,
            kept,
        })
    }

    fn apply(&self, entries: &[Entry], overlay: &mut Overlay) -> Vec<LocalWrite> {
        let mut local = Vec::new();
        for entry in entries {
            let Effect::None(reason) = view::apply(overlay, entry) else { continue };
            // A type of a newer version is no fault of the leader's; one incident a batch is news
            // enough.
            if reason == NoEffect::UnknownType || !local.is_empty() {
                continue;
            }
            local.push(LocalWrite::OpenIncident(NewIncident {
                kind: "entry_without_effect".to_owned(),
                subject: format!("entry {}", entry.leaf.id()),
                class: "transient".to_owned(),
                reason: reason.as_str().to_owned(),
                detail: format!(
                    "entry {} breaks a rule of state ({reason}) that a leader does not write",
                    entry.leaf.id()
                ),
                opened_at: self.shared.clock.now(),
                evidence: None,
            }));
        }
        local
    }

    async fn commit(&mut self, ready: &Ready) -> Result<(), Stopped> {
        let changes = ready.overlay.changes();
        let mut retry = Retry::new(Duration::from_millis(200));
        loop {
            let guard = Guard { tree: self.tree, timestamp: self.timestamp, writer: self.fence };
            let commit = Commit {
                guard,
                entries: &ready.leaves,
                tiles: &ready.tiles,
                state: ready.state,
                heads: &ready.heads,
                sign_previous: None,
                views: &changes,
                local: &ready.local,
            };
            let started = std::time::Instant::now();
            let error = match self.shared.store.commit(&commit).await {
                Ok(()) => {
                    self.shared.metrics.stored(started.elapsed());
                    self.shared.on(Event::Held(None));
                    return Ok(());
                }
                Err(error) => error,
            };
            match error {
                CommitError::OutcomeUnknown(_) => {
                    if self.look_up(ready.state.tree, &mut retry).await? {
                        self.shared.on(Event::Held(None));
                        return Ok(());
                    }
                }
                CommitError::NotLeader => return Err(other_process()),
                CommitError::Gap => {
                    return Err(Stopped::Failed(Failure::unsafe_state(
                        "store_refused",
                        error,
                        "report this; nothing was written and a restart is safe",
                    )));
                }
                error => self.held_by(error.into(), &mut retry).await?,
            }
        }
    }

    /// After a commit whose answer was lost: whether it happened. The fence is raised first, so
    /// that it cannot happen later.
    async fn look_up(&mut self, new: TreeRoot, retry: &mut Retry) -> Result<bool, Stopped> {
        loop {
            let looked = async {
                let writer = self.shared.store.raise_writer().await?;
                Ok::<_, StoreError>((writer, self.shared.store.state().await?))
            };
            match looked.await {
                Ok((writer, Some(state))) if state.tree == new && new != self.tree => {
                    self.fence = writer;
                    return Ok(true);
                }
                Ok((writer, Some(state))) if state.tree == self.tree => {
                    self.fence = writer;
                    self.timestamp = self.timestamp.max(state.timestamp);
                    return Ok(false);
                }
                Ok(_) => return Err(other_process()),
                Err(error) => self.held_by(error, retry).await?,
            }
        }
    }

    /// Waits for a database that does not answer, or for the scrub to repair what it holds; a disk
    /// that failed ends the node.
    async fn held_by(&self, error: StoreError, retry: &mut Retry) -> Result<(), Stopped> {
        match error {
            StoreError::Unreachable(_) => {
                tracing::warn!(%error, "storing waits for the database");
                self.shared.on(Event::Held(Some(Hold::StoreUnreachable)));
                self.pause(retry.next_delay().min(HELD)).await
            }
            StoreError::Corrupt { .. } | StoreError::CorruptTile { .. } => {
                tracing::warn!(%error, "storing waits for the scrub");
                self.shared.on(Event::Held(Some(Hold::Damaged)));
                self.pause(HELD).await
            }
            error => Err(Stopped::Failed(super::store_failure(error))),
        }
    }

    async fn wait_for_space(&self) -> Result<(), Stopped> {
        let Some((path, least)) = &self.min_free else { return Ok(()) };
        loop {
            match files::free_space(path) {
                Ok(free) if free < *least => {
                    self.shared.on(Event::Held(Some(Hold::DiskFull)));
                    self.pause(HELD).await?;
                }
                Ok(_) => {
                    self.shared.on(Event::Held(None));
                    return Ok(());
                }
                Err(error) => return Err(Stopped::Failed(error.into())),
            }
        }
    }

    async fn pause(&self, delay: Duration) -> Result<(), Stopped> {
        // What waits for a database or for space lives.
        self.shared.pulse.beat();
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = self.shared.tasks.stopping() => Err(Stopped::Asked),
        }
    }

    fn publish(&self, fresh: Vec<(TileId, Arc<TileNodes>)>) {
        let served = self.shared.replica().served().cloned();
        if let Some(head) = served {
            let snapshot = snapshot(&head, &self.edge, self.last_event_id, fresh);
            self.shared.published.set(Arc::new(snapshot));
        }
        self.shared.metrics.tree_size(self.tree.size);
    }

    /// A head by itself: one at or below the stored size must be part of the own tree.
    async fn head(
        &mut self,
        head: Arc<Accepted>,
        source: usize,
        purpose: Purpose,
        exhibit: Arc<Exhibit>,
    ) -> Result<(), Stopped> {
        if head.size() > self.tree.size {
            if purpose == Purpose::Round {
                self.rounds.retain(|known| known.size() != head.size());
                self.rounds.push(head);
                self.rounds.sort_by_key(|head| head.size());
                let excess = self.rounds.len().saturating_sub(MAX_ROUNDS);
                self.rounds.drain(..excess);
            }
            return Ok(());
        }
        let feedback = match self.root_at(head.size()).await? {
            root if root == head.signed.head().root_hash => {
                if let Some(proven) = self.other_last_entry(&head, source, &exhibit).await? {
                    self.feedback.send(proven).ok();
                    return Ok(());
                }
                self.shared.on(Event::Shown { source, head: head.clone() });
                if purpose == Purpose::Round {
                    self.show_round(head).await?;
                }
                (!self.shared.replica().is_refused(source)).then_some(Feedback::Sound { source })
            }
            own => Some(self.other_tree(&head, own, source, exhibit).await?),
        };
        if let Some(feedback) = feedback {
            self.feedback.send(feedback).ok();
        }
        Ok(())
    }

    /// The log signed the own tree, but with another last entry than the tree holds.
    async fn other_last_entry(
        &self,
        head: &Accepted,
        source: usize,
        exhibit: &Arc<Exhibit>,
    ) -> Result<Option<Feedback>, Stopped> {
        let signed = head.signed.head();
        let Some(index) = signed.tree_size.get().checked_sub(1) else { return Ok(None) };
        let last = self.read(|store, _| store.entry(index + 1)).await?;
        let (Some(last), Some(log)) = (last, self.shared.log()) else { return Ok(None) };
        if signed.chain_head == Some(last.entry_hash()) {
            return Ok(None);
        }
        let Ok(plan) = ProofPlan::inclusion(index, signed.tree_size) else { return Ok(None) };
        let hashes = self.read(|store, edge| store.nodes(plan.nodes(), edge)).await?;
        let evidence = evidence::chain_merkle_mismatch(
            (&log).into(),
            &head.signed,
            Step::inclusion(last.bytes().to_vec(), index, signed.tree(), plan.assemble(&hashes)),
            &self.shared.observed(self.shared.clock.now()),
        );
        let proof = Proof::File(Box::new(evidence));
        Ok(Some(Feedback::Proven { source, restart: None, proof, exhibit: exhibit.clone() }))
    }

    /// The log signed another tree of a size that is verified here.
    async fn other_tree(
        &self,
        head: &Accepted,
        own: Hash,
        source: usize,
        exhibit: Arc<Exhibit>,
    ) -> Result<Feedback, Stopped> {
        let served = self.shared.replica().served().cloned();
        let log = self.shared.log();
        if let (Some(served), Some(log)) = (served, log) {
            let (small, large) = (head.size(), served.signed.head().tree());
            if let Ok(plan) = ProofPlan::consistency(small, large.size) {
                let hashes = self.read(|store, edge| store.nodes(plan.nodes(), edge)).await?;
                let own = TreeRoot { size: small, hash: own };
                let step = Step::consistency(own, large, plan.assemble(&hashes));
                let evidence = evidence::fork_prefix(
                    (&log).into(),
                    [(&head.signed).into(), (&served.signed).into()],
                    vec![step],
                    &self.shared.observed(self.shared.clock.now()),
                );
                let proof = Proof::File(Box::new(evidence));
                return Ok(Feedback::Proven { source, restart: None, proof, exhibit });
            }
        }
        Ok(Feedback::Faulty {
            source,
            restart: None,
            fault: Fault::Refused("inconsistent_unproven"),
            detail: format!("a signed head of size {} has another root", head.size()),
            exhibit,
            suspect: None,
        })
    }

    async fn promote_rounds(&mut self) -> Result<(), Stopped> {
        let size = self.tree.size;
        let (reached, waiting) =
            std::mem::take(&mut self.rounds).into_iter().partition(|head| head.size() <= size);
        self.rounds = waiting;
        let reached: Vec<Arc<Accepted>> = reached;
        let Some(newest) = reached.into_iter().max_by_key(|head| head.size()) else {
            return Ok(());
        };
        if self.root_at(newest.size()).await? == newest.signed.head().root_hash {
            self.show_round(newest).await?;
        }
        Ok(())
    }

    /// Shows witnesses the head of their round; it only ever moves forward.
    async fn show_round(&self, head: Arc<Accepted>) -> Result<(), Stopped> {
        let newer =
            self.shared.round.borrow().as_ref().is_none_or(|shown| head.is_newer_than(shown));
        if newer {
            let json = serde_json::to_string(&head.json).unwrap_or_default();
            if let Err(error) = self.shared.store.put_meta(ROUND_META, &json).await {
                tracing::debug!(%error, "the round's head is not kept for the next start");
            }
            self.shared.round.send_replace(Some(head));
        }
        Ok(())
    }

    async fn root_at(&self, size: TreeSize) -> Result<Hash, Stopped> {
        if size == self.tree.size {
            return Ok(self.tree.hash);
        }
        let plan = ProofPlan::root(size);
        let hashes = self.read(|store, edge| store.nodes(plan.nodes(), edge)).await?;
        Ok(plan.assemble(&hashes).first().copied().unwrap_or(Hash::EMPTY_TREE))
    }

    /// Reads from the store, which may take its time to come back.
    async fn read<'a, T, F>(&'a self, ask: impl Fn(&'a Store, &'a Edge) -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut retry = Retry::new(Duration::from_millis(200));
        loop {
            match ask(&self.shared.store, &self.edge).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.held_by(error, &mut retry).await?,
            }
        }
    }
}

/// Why the stage does not go on.
enum Stopped {
    /// The node ends.
    Asked,
    /// The node must end.
    Failed(Failure),
}

/// The readers' view of the own tree under a head. `last_event_id` is not signed: where the own
/// tree ends with the head, the own count is what is shown.
pub(super) fn snapshot(
    head: &Accepted,
    edge: &Edge,
    last_event_id: u64,
    fresh: Vec<(TileId, Arc<TileNodes>)>,
) -> Snapshot {
    let mut json = head.json.clone();
    json.last_event_id = if head.size() == edge.size() {
        last_event_id
    } else {
        json.last_event_id.min(head.size().get())
    };
    Snapshot::new(head.signed.clone(), &json, edge.clone(), fresh)
}

fn other_process() -> Stopped {
    Stopped::Failed(Failure::unsafe_state(
        "not_leader",
        "another process wrote to this follower's database",
        "give each follower a database of its own; stop the other process, then start again",
    ))
}

fn head_row(head: &Accepted) -> HeadRow {
    let signed = head.signed.head();
    HeadRow {
        tree: signed.tree(),
        chain_head: signed.chain_head,
        epoch: signed.epoch,
        timestamp: signed.timestamp,
        head_json: serde_json::to_string(&head.json).ok(),
    }
}

fn kept_head(head: &Accepted) -> KeptHead {
    KeptHead {
        tree_size: head.size(),
        timestamp: head.timestamp(),
        head_json: serde_json::to_string(&head.json).unwrap_or_default(),
    }
}
