//! The replica: what a follower knows about its log and its sources, and what follows from it.
//!
//! Pure: events go in with the time, actions come out, and the status is a function of the state.
//! Nothing here fetches, verifies, stores or waits; `sync` does that and says what happened.

mod kept;
mod status;

use std::collections::VecDeque;
use std::sync::Arc;

use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::evidence::Kind;
use diogenes_common::head::{Contradiction, SignedHead, contradiction};
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::statement::FollowerStatus;

pub(crate) use kept::{Accepted, KeptHeads};
pub(crate) use status::{Class, Status, Verdict};

/// One moment on both clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// What the world calls it; may be set.
    pub(crate) wall: Timestamp,
    /// Never set back: for waiting.
    pub(crate) steady: i64,
}

impl Now {
    /// Reads both clocks.
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.steady_millis() }
    }

    fn since(self, earlier: Self) -> i64 {
        self.steady - earlier.steady
    }
}

/// How often things happen, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between two polls.
    pub(crate) poll: i64,
    /// Between two heads of a leader that nobody writes to.
    pub(crate) heartbeat: i64,
}

/// What a source did wrong. None of it proves anything against the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It did not answer, or not with an answer of ours.
    Unreachable,
    /// It asked for patience.
    RateLimited,
    /// Its newest head is below what is verified here.
    Lagging,
    /// Its head is ahead of the own clock.
    HeadInFuture,
    /// What it sent does not hold; docs/operating/follower.md lists the reasons.
    Refused(&'static str),
}

impl Fault {
    /// The reason as status and reports show it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Lagging => "leader_stale",
            Self::HeadInFuture => "head_in_future",
            Self::Refused(reason) => reason,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A head that holds by itself, without entries.
    Shown {
        /// Which source.
        source: usize,
        /// What it showed.
        head: Arc<Accepted>,
    },
    /// A source sent a head that holds, with a batch (perhaps empty) that holds under it.
    Accepted {
        /// Which source.
        source: usize,
        /// The head.
        head: Arc<Accepted>,
    },
    /// Entries and heads up to this tree are durable.
    Stored {
        /// The own tree.
        tree: TreeRoot,
        /// The head that it came with, if the tree reaches it.
        head: Option<Arc<Accepted>>,
    },
    /// A source failed, and is to be left alone until then.
    Failed {
        /// Which source.
        source: usize,
        /// How.
        fault: Fault,
        /// Until when.
        retry_at: Now,
    },
    /// The log's own signatures contradict each other or its bytes.
    Proven(Kind),
    /// What looked like proof does not stand up as evidence.
    Unproven {
        /// The source it came from.
        source: usize,
        /// Until when it is left alone.
        retry_at: Now,
    },
    /// The evidence is durable.
    EvidenceStored {
        /// What it proves.
        kind: Kind,
        /// Its id.
        evidence: i64,
    },
    /// The operator acknowledged what latched.
    Acknowledged,
    /// Storing stopped, or goes on, for a reason of this machine's own.
    Held(Option<Hold>),
    /// Time passed.
    Tick,
}

/// Why nothing is stored at the moment, whatever the sources do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The disk is nearly full.
    DiskFull,
    /// The own database does not answer.
    StoreUnreachable,
    /// What the own database holds is damaged, and not repaired yet.
    Damaged,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Store the batch that was accepted.
    Store,
    /// Forget what is in flight and ask again, from whichever source is next.
    Restart,
    /// Keep what the source sent as an observation.
    Observe,
    /// Stop storing and write the evidence.
    Prove,
    /// Tell the leader the new status.
    Report,
}

/// Which source to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This one, now.
    Ask(usize),
    /// None before that many milliseconds have passed.
    Wait(i64),
    /// None at all: nothing newer is stored.
    Halted,
}

/// One source as the machine sees it.
#[derive(Clone, Debug, Default)]
struct Source {
    fault: Option<Fault>,
    retry_at: Option<Now>,
    contact: Option<Now>,
    /// Size of the head that it showed last.
    shows: TreeSize,
}

impl Source {
    /// For how long it is left alone, in milliseconds.
    fn wait(&self, now: Now) -> i64 {
        self.retry_at.map_or(0, |at| at.steady - now.steady)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// Evidence is being written.
    Proving(Kind),
    /// Evidence is durable; the operator has not acknowledged it.
    Latched { kind: Kind, evidence: Option<i64> },
}

/// The state of the replica.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pace: Pace,
    tree: TreeRoot,
    served: Option<Arc<Accepted>>,
    newest: Option<Arc<Accepted>>,
    kept: KeptHeads,
    sources: Vec<Source>,
    contact: Option<Now>,
    grew: Option<Now>,
    growth: VecDeque<(i64, TreeSize)>,
    halt: Option<Halt>,
    acknowledgements: u64,
    hold: Option<Hold>,
    verdict: Verdict,
    since: Timestamp,
}

/// Over how many seconds the rate is measured.
const RATE_MILLIS: i64 = 30_000;
/// How many measurements of the size are remembered.
const MAX_GROWTH: usize = 64;
/// The shortest time after which silence is news.
const LEAST_PATIENCE: i64 = 10_000;

impl Replica {
    /// A replica of `sources` sources that stored `tree` and serves `served`.
    pub(crate) fn new(
        pace: Pace,
        sources: usize,
        tree: TreeRoot,
        served: Option<Arc<Accepted>>,
        now: Now,
    ) -> Self {
        let mut replica = Self {
            pace,
            tree,
            newest: served.clone(),
            served,
            kept: KeptHeads::default(),
            sources: vec![Source::default(); sources],
            contact: None,
            grew: None,
            growth: VecDeque::new(),
            halt: None,
            acknowledgements: 0,
            hold: None,
            verdict: Verdict {
                status: FollowerStatus::Behind,
                reason: Some("unreachable"),
                class: None,
            },
            since: now.wall,
        };
        replica.verdict = replica.judge(now);
        replica
    }

    /// Takes a head back that was kept before a restart; it was learned when it was signed.
    pub(crate) fn restore(&mut self, head: Arc<Accepted>) {
        let learned = head.timestamp();
        self.learn(head, learned);
    }

    /// Goes on in the latched state that an earlier run left.
    pub(crate) fn restore_latch(&mut self, kind: Kind, evidence: Option<i64>, since: Timestamp) {
        self.halt = Some(Halt::Latched { kind, evidence });
        self.verdict = Verdict::latched(kind);
        self.since = since;
    }

    /// Takes over the leader's interval, as far as it is plausible: a source that names a year
    /// must not hide a leader that fell silent.
    pub(crate) fn set_heartbeat(&mut self, seconds: u64) {
        let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.pace.heartbeat = millis.clamp(1_000, 600_000);
    }

    /// Forgets what the sources did wrong, because they are others now.
    pub(crate) fn forgive(&mut self) {
        self.sources.fill(Source::default());
    }

    /// Takes an event and says what to do.
    pub(crate) fn on(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Shown { source, head } => {
                self.heard(source, &head, now);
                self.learn(head, now.wall);
                return actions;
            }
            Event::Accepted { source, head } => {
                self.contacted(source, &head, now);
                self.learn(head, now.wall);
                // The status is judged when the batch is stored, a moment later: a follower that
                // is in step must not flicker with every entry.
                return if self.halt.is_none() { vec![Action::Store] } else { actions };
            }
            Event::Stored { tree, head } => self.stored(tree, head, now),
            Event::Failed { source, fault, retry_at } => {
                self.failed(source, fault, retry_at);
                actions.push(Action::Restart);
                if matches!(fault, Fault::Refused(_) | Fault::HeadInFuture) {
                    actions.push(Action::Observe);
                }
            }
            Event::Proven(kind) => {
                if self.halt.is_none() {
                    self.halt = Some(Halt::Proving(kind));
                    actions.push(Action::Prove);
                }
            }
            Event::Unproven { source, retry_at } => {
                if matches!(self.halt, Some(Halt::Proving(_))) {
                    self.halt = None;
                }
                self.failed(source, Fault::Refused("inconsistent_unproven"), retry_at);
                actions.extend([Action::Restart, Action::Observe]);
            }
            Event::EvidenceStored { kind, evidence } => {
                self.halt = Some(Halt::Latched { kind, evidence: Some(evidence) });
            }
            Event::Acknowledged => {
                if matches!(self.halt, Some(Halt::Latched { .. })) {
                    self.halt = None;
                    self.acknowledgements += 1;
                    // Those heads are part of the evidence now; kept, they would latch again
                    // whatever the log says next.
                    self.kept.clear();
                    self.newest = self.served.clone();
                    self.sources.iter_mut().for_each(|source| source.retry_at = None);
                    actions.push(Action::Restart);
                }
            }
            Event::Held(hold) => self.hold = hold,
            Event::Tick => self.measure(now),
        }
        let verdict = self.judge(now);
        if verdict != self.verdict {
            self.verdict = verdict;
            self.since = now.wall;
            actions.push(Action::Report);
        }
        actions
    }

    /// The source to pull from: the first in the configured order without a fault, else the first
    /// whose time to be tried again has come.
    pub(crate) fn next(&self, now: Now) -> Next {
        if self.halt.is_some() {
            return Next::Halted;
        }
        if let Some(sound) = self.sources.iter().position(|source| source.fault.is_none()) {
            return Next::Ask(sound);
        }
        let waits: Vec<i64> = self.sources.iter().map(|source| source.wait(now)).collect();
        match waits.iter().position(|wait| *wait <= 0) {
            Some(source) => Next::Ask(source),
            None => Next::Wait(waits.into_iter().min().unwrap_or(self.pace.poll)),
        }
    }

    /// The sources beside the one that is pulled from that may be asked for their head, to compare
    /// it and to see whether they recovered.
    pub(crate) fn probes(&self, now: Now) -> Vec<usize> {
        let Next::Ask(pulled) = self.next(now) else { return Vec::new() };
        let due = |(index, source): (usize, &Source)| {
            (index != pulled && source.wait(now) <= 0).then_some(index)
        };
        self.sources.iter().enumerate().filter_map(due).collect()
    }

    /// Every head that a new one is compared with: the kept ones and the newest below them.
    pub(crate) fn seen(&self) -> Vec<SignedHead> {
        self.served.iter().chain(self.kept.heads()).map(|head| head.signed.clone()).collect()
    }

    /// Whether the head contradicts one that was seen, and which.
    pub(crate) fn contradiction(&self, head: &SignedHead) -> Option<(Contradiction, SignedHead)> {
        self.seen().into_iter().find_map(|seen| Some((contradiction(&seen, head)?, seen)))
    }

    /// What the own tree will serve when it has grown to `size`: the kept heads up to it, smallest
    /// first.
    pub(crate) fn heads_up_to(&self, size: TreeSize) -> Vec<Arc<Accepted>> {
        self.kept.heads().take_while(|head| head.size() <= size).cloned().collect()
    }

    /// The kept heads above a size.
    pub(crate) fn heads_above(&self, size: TreeSize) -> Vec<Arc<Accepted>> {
        self.kept.heads().filter(|head| head.size() > size).cloned().collect()
    }

    /// How often the operator ended a latch: each time every kept head was forgotten.
    pub(crate) fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    /// The newest head that was accepted.
    pub(crate) fn newest(&self) -> Option<&Arc<Accepted>> {
        self.newest.as_ref()
    }

    /// The largest checked head that is not above the stored size.
    pub(crate) fn served(&self) -> Option<&Arc<Accepted>> {
        self.served.as_ref()
    }

    /// Whether nothing newer is stored until the operator acknowledges.
    pub(crate) fn is_latched(&self) -> bool {
        matches!(self.halt, Some(Halt::Latched { .. }))
    }

    /// Whether what the source last sent did not hold: only a batch that does makes it sound again.
    pub(crate) fn is_refused(&self, source: usize) -> bool {
        let fault = self.sources.get(source).and_then(|source| source.fault);
        matches!(fault, Some(Fault::Refused(_)))
    }

    /// The source showed a good head. One whose batches do not hold stays quarantined all the same.
    fn heard(&mut self, source: usize, head: &Accepted, now: Now) {
        let is_quarantined = self.is_refused(source)
            && self.sources.get(source).is_some_and(|source| source.wait(now) > 0);
        if is_quarantined {
            self.contact = Some(now);
        } else {
            self.contacted(source, head, now);
        }
    }

    fn contacted(&mut self, source: usize, head: &Accepted, now: Now) {
        self.contact = Some(now);
        if let Some(source) = self.sources.get_mut(source) {
            let shows = head.size();
            *source = Source { fault: None, retry_at: None, contact: Some(now), shows };
        }
    }

    fn failed(&mut self, source: usize, fault: Fault, retry_at: Now) {
        if let Some(source) = self.sources.get_mut(source) {
            source.fault = Some(fault);
            source.retry_at = Some(retry_at);
        }
    }

    fn learn(&mut self, head: Arc<Accepted>, learned: Timestamp) {
        if self.newest.as_ref().is_none_or(|newest| head.is_newer_than(newest)) {
            self.newest = Some(head.clone());
        }
        if head.size() > self.tree.size {
            self.kept.keep(head, learned);
        }
    }

    fn stored(&mut self, tree: TreeRoot, head: Option<Arc<Accepted>>, now: Now) {
        if tree.size > self.tree.size {
            self.grew = Some(now);
        }
        self.tree = tree;
        let reached = self.kept.reached(tree.size);
        for head in reached.into_iter().chain(head.filter(|head| head.size() <= tree.size)) {
            if self.served.as_ref().is_none_or(|served| !served.is_newer_than(&head)) {
                self.served = Some(head);
            }
        }
        self.measure(now);
    }

    /// Remembers the size for the rate, at most a few times a second.
    fn measure(&mut self, now: Now) {
        let spacing = RATE_MILLIS / i64::try_from(MAX_GROWTH).unwrap_or(1);
        if self.growth.back().is_none_or(|(last, _)| now.steady - last >= spacing) {
            self.growth.push_back((now.steady, self.tree.size));
        }
        while self.growth.len() > MAX_GROWTH
            || self.growth.front().is_some_and(|(at, _)| now.steady - at > RATE_MILLIS)
        {
            self.growth.pop_front();
        }
    }

    fn judge(&self, now: Now) -> Verdict {
        if let Some(halt) = self.halt {
            return match halt {
                Halt::Latched { kind, .. } => Verdict::latched(kind),
                Halt::Proving(kind) => Verdict::error(kind.as_str()),
            };
        }
        match self.hold {
            Some(Hold::StoreUnreachable) => return Verdict::error("log_unreachable"),
            Some(Hold::Damaged) => return Verdict::error("damaged"),
            Some(Hold::DiskFull) => return Verdict::behind("paused"),
            None => {}
        }
        if self.sources.iter().all(|source| source.fault.is_some()) {
            let faults = || self.sources.iter().filter_map(|source| source.fault);
            if let Some(refused) = faults().find(|fault| matches!(fault, Fault::Refused(_))) {
                return Verdict::error(refused.reason());
            }
            if faults().any(|fault| fault == Fault::HeadInFuture) {
                return Verdict::behind(Fault::HeadInFuture.reason());
            }
        }
        if !self.heard_lately(now) {
            return Verdict::behind(self.why_silent());
        }
        let Some(newest) = &self.newest else { return Verdict::behind("unreachable") };
        if newest.size() > self.tree.size {
            return if self.advances(now) { Verdict::syncing() } else { self.stuck(now) };
        }
        if !self.is_fresh(newest, now) {
            return Verdict::behind("leader_stale");
        }
        let same =
            newest.size() == self.tree.size && newest.signed.head().root_hash == self.tree.hash;
        if same { Verdict::synced() } else { Verdict::behind("leader_stale") }
    }

    fn stuck(&self, now: Now) -> Verdict {
        let fresh = self.newest.as_ref().is_some_and(|newest| self.is_fresh(newest, now));
        // Old heads, again and again, below one that was seen.
        let lags = self.sources.iter().all(|source| source.shows <= self.tree.size);
        let fault = self.sources.iter().find_map(|source| source.fault);
        let reason = match fault {
            Some(fault) => Some(fault.reason()),
            None if fresh && !lags => None,
            None => Some("leader_stale"),
        };
        Verdict { status: FollowerStatus::Behind, reason, class: None }
    }

    /// What kept the sources from answering, if they said so.
    fn why_silent(&self) -> &'static str {
        let patient = |source: &Source| source.fault == Some(Fault::RateLimited);
        let lagging = |source: &Source| source.fault == Some(Fault::Lagging);
        if self.sources.iter().any(patient) {
            Fault::RateLimited.reason()
        } else if self.sources.iter().any(lagging) {
            Fault::Lagging.reason()
        } else {
            Fault::Unreachable.reason()
        }
    }

    fn patience(&self) -> i64 {
        (3 * self.pace.poll).max(LEAST_PATIENCE)
    }

    fn heard_lately(&self, now: Now) -> bool {
        self.contact.is_some_and(|contact| now.since(contact) < self.patience())
    }

    fn is_fresh(&self, head: &Accepted, now: Now) -> bool {
        now.wall.millis_since(head.timestamp()) < 3 * self.pace.heartbeat
    }

    /// The size grew lately, or there was no time yet for it to grow.
    fn advances(&self, now: Now) -> bool {
        let grew = self.grew.is_some_and(|grew| now.since(grew) < self.patience());
        let just_learned = self
            .kept
            .behind_since()
            .is_some_and(|since| now.wall.millis_since(since).abs() < self.patience());
        grew || just_learned
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
