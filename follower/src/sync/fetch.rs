//! The first stage: asks the sources, two requests ahead, and decides what a fault leads to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::batch::Batch;
use diogenes_common::exit::Failure;
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::merkle::TreeSize;
use diogenes_common::retry::Retry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shared;
use super::check::{Feedback, Item, Proof, Purpose, Received};
use super::prove;
use super::source::{Exhibit, Source, SourceError};
use crate::replica::{Action, Event, Fault, Next, Now};

/// How many requests for batches are under way at once.
const IN_FLIGHT: usize = 2;
/// How many entries are asked for at first, at least and at most.
const FIRST_LIMIT: u64 = 1_000;
const LEAST_LIMIT: u64 = 10;
/// What one statement of the database takes; more only needs more memory.
const MOST_LIMIT: u64 = 4_096;
/// So many good answers in a row double the limit.
const GOOD_ANSWERS: u32 = 10;
/// An answer that takes longer halves it.
const SLOW: Duration = Duration::from_secs(10);
/// How often the sources that are not pulled from are asked for their head.
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// The stage's state.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    sources: Vec<Arc<Source>>,
    retries: Vec<Retry>,
    poll: Duration,
    /// The id after which the next answer must begin.
    after: u64,
    /// The size that a source named last; a hint, nothing is believed.
    hinted: u64,
    limit: u64,
    good: u32,
    generation: u64,
    flights: VecDeque<Flight>,
    heads: usize,
    due: Instant,
    compare_due: Instant,
    to_checker: mpsc::Sender<Item>,
    feedback: mpsc::UnboundedReceiver<Feedback>,
    from_heads: mpsc::UnboundedReceiver<HeadAnswer>,
    to_self: mpsc::UnboundedSender<HeadAnswer>,
}

/// A request that is under way.
struct Flight {
    source: usize,
    after: u64,
    limit: u64,
    began: Instant,
    answer: JoinHandle<Result<(Batch, Arc<Exhibit>), SourceError>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

/// A head that a source was asked for.
struct HeadAnswer {
    source: usize,
    purpose: Purpose,
    answer: Result<(HeadJson, Arc<Exhibit>), SourceError>,
}

/// How long the stage waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// Between two polls.
    pub(super) poll: Duration,
    /// After the first failure of a source.
    pub(super) first_retry: Duration,
}

/// The connections to the other stages.
pub(super) struct Wires {
    /// To the second stage.
    pub(super) to_checker: mpsc::Sender<Item>,
    /// From the second and third.
    pub(super) feedback: mpsc::UnboundedReceiver<Feedback>,
}

impl Fetcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        sources: Vec<Arc<Source>>,
        pause: Pauses,
        after: TreeSize,
        wires: Wires,
    ) -> Self {
        let (to_self, from_heads) = mpsc::unbounded_channel();
        Self {
            retries: sources.iter().map(|_| Retry::new(pause.first_retry)).collect(),
            sources,
            poll: pause.poll,
            after: after.get(),
            hinted: 0,
            limit: FIRST_LIMIT,
            good: 0,
            generation: 0,
            flights: VecDeque::new(),
            heads: 0,
            due: Instant::now(),
            compare_due: Instant::now(),
            to_checker: wires.to_checker,
            feedback: wires.feedback,
            from_heads,
            to_self,
            shared,
        }
    }

    /// Runs until the node stops.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let tasks = self.shared.tasks.clone();
        while !tasks.is_stopping() {
            self.shared.pulse.beat();
            let wake = self.plan();
            tokio::select! {
                () = tasks.stopping() => {}
                Some(feedback) = self.feedback.recv() => self.learn(feedback).await?,
                Some(answer) = self.from_heads.recv() => self.head_arrived(answer).await,
                (flight, answer) = first(&mut self.flights) => {
                    self.batch_arrived(&flight, answer).await;
                }
                () = tokio::time::sleep_until(wake) => self.look_for_an_ack().await,
            }
        }
        Ok(())
    }

    /// Starts what is due, and says when to look again.
    fn plan(&mut self) -> Instant {
        let now = Now::of(&*self.shared.clock);
        let soon = Instant::now() + Duration::from_secs(1);
        let next = self.shared.replica().next(now);
        match next {
            Next::Halted => {
                self.flights.clear();
                soon
            }
            Next::Wait(millis) => {
                self.flights.clear();
                let wait = Duration::from_millis(millis.unsigned_abs());
                soon.min(Instant::now() + wait)
            }
            Next::Ask(source) => {
                self.compare(now);
                self.fill(source);
                if self.flights.is_empty() { soon.min(self.due) } else { soon }
            }
        }
    }

    /// Keeps two requests under way while there is more, and one when it is time to look.
    fn fill(&mut self, source: usize) {
        if self.flights.front().is_some_and(|flight| flight.source != source) {
            self.flights.clear();
        }
        while self.flights.len() < IN_FLIGHT {
            let after =
                self.flights.back().map_or(self.after, |flight| flight.after + flight.limit);
            let is_first = self.flights.is_empty();
            if is_first && Instant::now() < self.due || !is_first && after >= self.hinted {
                return;
            }
            let limit = self.limit;
            let asked = self.sources[source].clone();
            let json_only = self.shared.json_only;
            let answer =
                self.shared.tasks.spawn(async move { asked.batch(after, limit, json_only).await });
            let began = Instant::now();
            self.flights.push_back(Flight { source, after, limit, began, answer });
        }
    }

    async fn batch_arrived(
        &mut self,
        flight: &Flight,
        answer: Result<(Batch, Arc<Exhibit>), SourceError>,
    ) {
        let (batch, exhibit) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, SourceError::Cut(..)) || flight.began.elapsed() > SLOW {
                    self.shrink();
                }
                self.flights.clear();
                self.source_failed(flight.source, &error).await;
                return;
            }
        };
        if flight.began.elapsed() > SLOW {
            self.shrink();
        } else {
            self.grow();
        }
        self.shared.metrics.fetched(exhibit.body.len());
        let header = &batch.header;
        self.hinted = header.tree_head.tree_size.get();
        let more = header.has_more && header.next_after > header.after;
        // A lie about where the batch ends is found by the next stage, which counts.
        self.after = header.next_after.clamp(flight.after, flight.after + MOST_LIMIT);
        if self.flights.front().is_some_and(|next| next.after != self.after) {
            self.flights.clear();
        }
        if !more {
            self.flights.clear();
            self.due = Instant::now() + self.poll;
            self.ask_head(flight.source, Purpose::Round);
        }
        let (source, generation) = (flight.source, self.generation);
        let item = Item::Batch(Received { source, generation, content: batch, exhibit });
        self.hand_on(item).await;
    }

    /// Gives the next stage its work; while that is busy the answers to older work are heard.
    async fn hand_on(&mut self, item: Item) {
        if self.to_checker.send(item).await.is_err() {
            tracing::debug!("the verifier ended");
        }
    }

    fn shrink(&mut self) {
        self.limit = (self.limit / 2).max(LEAST_LIMIT);
        self.good = 0;
    }

    fn grow(&mut self) {
        self.good += 1;
        if self.good >= GOOD_ANSWERS {
            self.limit = (self.limit * 2).min(MOST_LIMIT);
            self.good = 0;
        }
    }

    fn ask_head(&mut self, source: usize, purpose: Purpose) {
        // One per source and purpose is enough; a slow source must not gather requests.
        if self.heads > 2 * self.sources.len() {
            return;
        }
        self.heads += 1;
        let (asked, to_self) = (self.sources[source].clone(), self.to_self.clone());
        self.shared.tasks.spawn(async move {
            let answer = asked.head(purpose == Purpose::Round).await;
            to_self.send(HeadAnswer { source, purpose, answer }).ok();
        });
    }

    fn compare(&mut self, now: Now) {
        if Instant::now() < self.compare_due {
            return;
        }
        self.compare_due = Instant::now() + COMPARE_EVERY;
        let probes = self.shared.replica().probes(now);
        for source in probes {
            self.ask_head(source, Purpose::Compare);
        }
    }

    async fn head_arrived(&mut self, answer: HeadAnswer) {
        self.heads = self.heads.saturating_sub(1);
        let HeadAnswer { source, purpose, answer } = answer;
        match answer {
            Ok((content, exhibit)) => {
                let generation = self.generation;
                let received = Received { source, generation, content, exhibit };
                self.hand_on(Item::Head(received, purpose)).await;
            }
            // Before its first round a log has no such head, and a follower may still catch up.
            Err(SourceError::Status { status: 404 | 503, .. }) if purpose == Purpose::Round => {}
            Err(error) if purpose == Purpose::Round => {
                tracing::debug!(%error, "no head of a round");
            }
            Err(error) => self.source_failed(source, &error).await,
        }
    }

    async fn source_failed(&mut self, source: usize, error: &SourceError) {
        self.shared.metrics.fetch_failed(error.class());
        let (fault, asked) = (error.fault(), error.retry_after());
        let url = self.sources[source].url();
        tracing::warn!(source.url = %url, %error, "a source failed");
        let actions = self.failed(source, fault, asked);
        if actions.contains(&Action::Observe) {
            let exhibit = error.exhibit().cloned().unwrap_or_default();
            prove::observe(&self.shared, &url, fault, &error.to_string(), &exhibit).await;
        }
    }

    fn failed(&mut self, source: usize, fault: Fault, asked: Option<Duration>) -> Vec<Action> {
        let retry_at = self.retry_at(source, asked);
        self.shared.on(Event::Failed { source, fault, retry_at })
    }

    fn retry_at(&mut self, source: usize, asked: Option<Duration>) -> Now {
        let delay = self.retries[source].next_delay_at_least(asked);
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let now = Now::of(&*self.shared.clock);
        Now { wall: now.wall.plus_millis(millis), steady: now.steady.saturating_add(millis) }
    }

    async fn learn(&mut self, feedback: Feedback) -> Result<(), Failure> {
        match feedback {
            Feedback::Sound { source } => {
                if self.retries[source].failures() > 0 {
                    self.retries[source].reset();
                    prove::recovered(&self.shared, &self.sources[source].url()).await;
                }
            }
            Feedback::Dropped { restart } => self.go_back(Some(restart)),
            Feedback::Faulty { source, restart, fault, detail, exhibit, suspect } => {
                self.go_back(restart);
                let url = self.sources[source].url();
                tracing::warn!(source.url = %url, reason = fault.reason(), "refused: {detail}");
                let proof = match suspect {
                    Some(head) => self.ask_for_proof(&head).await,
                    None => None,
                };
                if let Some(proof) = proof {
                    return self.prove(source, restart, proof, &exhibit).await;
                }
                if self.failed(source, fault, None).contains(&Action::Observe) {
                    prove::observe(&self.shared, &url, fault, &detail, &exhibit).await;
                }
            }
            Feedback::Proven { source, restart, proof, exhibit } => {
                self.go_back(restart);
                self.prove(source, restart, proof, &exhibit).await?;
            }
        }
        Ok(())
    }

    /// Forgets what was fetched on the assumption that a refused batch holds.
    fn go_back(&mut self, restart: Option<(u64, TreeSize)>) {
        if let Some((generation, size)) = restart {
            self.generation = generation;
            self.after = size.get();
            self.flights.clear();
            self.due = Instant::now();
        }
    }

    async fn ask_for_proof(&self, head: &SignedHead) -> Option<Proof> {
        let smaller = {
            let replica = self.shared.replica();
            let mut seen = replica.seen();
            seen.retain(|seen| seen.head().tree_size < head.head().tree_size);
            seen
        };
        // The newest below it is the likeliest to differ; the oldest was seen first.
        let asked = smaller.iter().rev().take(2);
        for known in asked {
            for source in &self.sources {
                let answer = source.consistency(known.head().tree_size, head.head().tree_size);
                let Ok(answer) = answer.await else { continue };
                if let Some(evidence) = prove::fork_prefix(&self.shared, known, head, &answer) {
                    return Some(Proof::File(Box::new(evidence)));
                }
            }
        }
        None
    }

    async fn prove(
        &mut self,
        source: usize,
        restart: Option<(u64, TreeSize)>,
        proof: Proof,
        exhibit: &Exhibit,
    ) -> Result<(), Failure> {
        let kind = proof.kind();
        if !self.shared.on(Event::Proven(kind)).contains(&Action::Prove) {
            return Ok(());
        }
        self.flights.clear();
        let url = self.sources[source].url();
        let upto = restart.map(|(_, size)| size);
        if prove::latch(&self.shared, &url, upto, proof).await?.is_none() {
            let retry_at = self.retry_at(source, None);
            self.shared.on(Event::Unproven { source, retry_at });
            let fault = Fault::Refused("inconsistent_unproven");
            let detail = format!("what looked like {} could not be proven", kind.as_str());
            prove::observe(&self.shared, &url, fault, &detail, exhibit).await;
        }
        Ok(())
    }

    /// While latched: whether the operator acknowledged it meanwhile.
    async fn look_for_an_ack(&mut self) {
        if !self.shared.replica().is_latched() {
            return;
        }
        match prove::open_latch(&self.shared.store).await {
            Ok(None) => {
                tracing::info!("the incident was acknowledged; replication goes on");
                self.shared.on(Event::Acknowledged);
                self.due = Instant::now();
            }
            Ok(Some(_)) => {}
            Err(error) => tracing::warn!(%error, "the incidents can't be read"),
        }
    }
}

/// The oldest request and its answer, when it has one.
async fn first(
    flights: &mut VecDeque<Flight>,
) -> (Flight, Result<(Batch, Arc<Exhibit>), SourceError>) {
    let answer = match flights.front_mut() {
        Some(flight) => (&mut flight.answer).await,
        None => std::future::pending().await,
    };
    let answer = answer.unwrap_or_else(|_| Err(SourceError::Unreachable("given up".to_owned())));
    match flights.pop_front() {
        Some(flight) => (flight, answer),
        None => std::future::pending().await,
    }
}
