//! The second stage: one thread that checks what was fetched against everything known.
//!
//! It owns the chain. What it hands on to the third stage is verified; whatever does not hold goes
//! back to the first one, and the batches that were fetched after it are dropped unseen.

use std::sync::Arc;

use diogenes_common::batch::{
    Batch, BatchFault, Chain, FaultClass, Log, ProvenFault, VerifiedBatch, verify_batch,
};
use diogenes_common::checkpoint;
use diogenes_common::evidence::{self, Accused, Evidence, Kind, Statement};
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::merkle::TreeSize;
use tokio::sync::mpsc;

use super::Shared;
use super::source::Exhibit;
use crate::replica::{Accepted, Action, Event, Fault, Now};

/// How far a head may be ahead of the own clock, in milliseconds.
const MAX_AHEAD_MILLIS: i64 = 120_000;

/// What a source sent, decoded and not yet believed.
#[derive(Debug)]
pub(super) struct Received<T> {
    /// Which source.
    pub(super) source: usize,
    /// Counts the faults before it was asked for: what is older than the newest is dropped.
    pub(super) generation: u64,
    /// What it says.
    pub(super) content: T,
    /// The answer as it came, for an observation.
    pub(super) exhibit: Arc<Exhibit>,
}

/// What the second stage takes.
#[derive(Debug)]
pub(super) enum Item {
    /// The next batch.
    Batch(Received<Batch>),
    /// A head by itself.
    Head(Received<HeadJson>, Purpose),
}

/// What a head was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The head that witnesses sign now.
    Round,
    /// To hear what another source says.
    Compare,
}

/// What the third stage takes.
#[derive(Debug)]
pub(super) enum Checked {
    /// A batch to store.
    Batch(Box<VerifiedBatch>, Arc<Accepted>),
    /// A head whose signature holds; it lies at or below the verified size, or is kept until that
    /// has grown.
    Head {
        /// The head.
        head: Arc<Accepted>,
        /// Which source sent it.
        source: usize,
        /// What for.
        purpose: Purpose,
        /// The answer as it came.
        exhibit: Arc<Exhibit>,
    },
}

/// What the first stage is told.
#[derive(Debug)]
pub(super) enum Feedback {
    /// A source sent something that holds.
    Sound {
        /// Which source.
        source: usize,
    },
    /// A batch was dropped unseen, since nothing is stored at the moment.
    Dropped {
        /// The size to go on from when something is again.
        restart: (u64, TreeSize),
    },
    /// A source sent something that does not hold.
    Faulty {
        /// Which source.
        source: usize,
        /// Set if what was fetched since must be forgotten; the size to go on from.
        restart: Option<(u64, TreeSize)>,
        /// What is wrong.
        fault: Fault,
        /// In words.
        detail: String,
        /// The answer.
        exhibit: Arc<Exhibit>,
        /// A head whose signature holds and that does not extend what is verified.
        suspect: Option<Box<SignedHead>>,
    },
    /// Signatures of the log prove that it is bad.
    Proven {
        /// Which source.
        source: usize,
        /// Set if what was fetched since must be forgotten; the size to go on from.
        restart: Option<(u64, TreeSize)>,
        /// What proves it.
        proof: Proof,
        /// The answer.
        exhibit: Arc<Exhibit>,
    },
}

/// What evidence is made from.
#[derive(Debug)]
pub(crate) enum Proof {
    /// A batch that proves it, perhaps with entries that only the store has.
    Batch(Box<ProvenFault>),
    /// All of it.
    File(Box<Evidence>),
}

impl Proof {
    /// What is proven.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Batch(fault) => fault.kind(),
            Self::File(evidence) => evidence.kind(),
        }
    }
}

/// The thread's state.
pub(super) struct Checker {
    /// What all stages share.
    pub(super) shared: Arc<Shared>,
    /// The chain up to the newest batch that was handed on.
    pub(super) chain: Chain,
    /// Where the third stage listens.
    pub(super) to_writer: mpsc::Sender<Checked>,
    /// Where the first stage listens.
    pub(super) feedback: mpsc::UnboundedSender<Feedback>,
    /// Counts faults.
    pub(super) generation: u64,
}

impl Checker {
    /// Runs until one of the other stages ends.
    pub(super) fn run(mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.blocking_recv() {
            let checked = match item {
                Item::Batch(received) if received.generation < self.generation => continue,
                Item::Batch(received) => self.batch(received),
                Item::Head(received, purpose) => self.head(received, purpose),
            };
            let heard = match checked {
                Ok(Some(checked)) => self.to_writer.blocking_send(checked).is_ok(),
                Ok(None) => true,
                Err(feedback) => self.feedback.send(feedback).is_ok(),
            };
            // Nobody listens only when the node ends.
            if !heard {
                return;
            }
        }
    }

    fn batch(&mut self, received: Received<Batch>) -> Result<Option<Checked>, Feedback> {
        let Received { source, content: batch, exhibit, .. } = received;
        let now = Now::of(&*self.shared.clock);
        let seen = self.shared.replica().seen();
        let json = batch.header.tree_head.clone();
        let verified = verify_batch(&self.chain, batch, &seen, now.wall)
            .map_err(|fault| self.refused(fault, source, &json, exhibit.clone()))?;
        let VerifiedBatch { chain, head, .. } = &verified;
        if let Some(log) = chain.log() {
            self.checkpoint(log, head, &verified.head_json)
                .map_err(|wrong| self.wrong_checkpoint(wrong, source, true, exhibit.clone()))?;
        }
        if verified.entries.is_empty() && head.head().tree_size > chain.size() {
            let detail = "the batch is empty though its head covers more entries";
            return Err(self.fault(source, Fault::Refused("bad_batch"), detail, exhibit));
        }
        let head =
            Arc::new(Accepted { signed: verified.head.clone(), json: verified.head_json.clone() });
        let event = Event::Accepted { source, head: head.clone() };
        if !self.shared.on(event).contains(&Action::Store) {
            // Something latched meanwhile: the chain stays where the store will be.
            return Err(Feedback::Dropped { restart: self.restart() });
        }
        self.chain = verified.chain.clone();
        self.shared.pin(&self.chain);
        self.shared.metrics.verified(verified.entries.len());
        // The first stage forgets old failures of a source that sends what holds.
        self.feedback.send(Feedback::Sound { source }).ok();
        Ok(Some(Checked::Batch(Box::new(verified), head)))
    }

    fn head(
        &mut self,
        received: Received<HeadJson>,
        purpose: Purpose,
    ) -> Result<Option<Checked>, Feedback> {
        let Received { source, content: json, exhibit, .. } = received;
        let Some(log) = self.chain.log().cloned() else { return Ok(None) };
        let now = Now::of(&*self.shared.clock);
        let reject = |fault, detail: String| Feedback::Faulty {
            source,
            restart: None,
            fault,
            detail,
            exhibit: exhibit.clone(),
            suspect: None,
        };
        let signed = json.verify(log.operator(), log.origin()).map_err(|error| {
            let fault = BatchFault::Head(error);
            reject(Fault::Refused(fault.reason()), fault.to_string())
        })?;
        let ahead_millis = signed.head().timestamp.millis_since(now.wall);
        if ahead_millis > MAX_AHEAD_MILLIS {
            let fault = BatchFault::HeadInFuture { ahead_millis };
            return Err(reject(Fault::HeadInFuture, fault.to_string()));
        }
        self.checkpoint(&log, &signed, &json)
            .map_err(|wrong| self.wrong_checkpoint(wrong, source, false, exhibit.clone()))?;
        let contradiction = self.shared.replica().contradiction(&signed);
        if let Some((found, earlier)) = contradiction {
            let observed = self.shared.observed(now.wall);
            let evidence =
                evidence::contradiction(found, (&log).into(), [&earlier, &signed], &observed);
            let proof = Proof::File(Box::new(evidence));
            return Err(Feedback::Proven { source, restart: None, proof, exhibit });
        }
        let head = Arc::new(Accepted { signed, json });
        if head.size() > self.chain.size() {
            // The walk over later batches holds the own tree against it.
            self.shared.on(Event::Shown { source, head: head.clone() });
            if !self.shared.replica().is_refused(source) {
                self.feedback.send(Feedback::Sound { source }).ok();
            }
        }
        Ok(Some(Checked::Head { head, source, purpose, exhibit }))
    }

    /// The checkpoint beside a head must be one of the same tree: it is served on as it is.
    fn checkpoint(
        &self,
        log: &Log,
        head: &SignedHead,
        json: &HeadJson,
    ) -> Result<(), WrongCheckpoint> {
        let origin = log.origin().as_str();
        let opened = checkpoint::open(&json.checkpoint, origin, log.operator())
            .map_err(|error| WrongCheckpoint::Invalid(error.to_string()))?;
        let tree = opened.tree();
        if tree == head.head().tree() {
            return Ok(());
        }
        if tree.size != head.head().tree_size {
            return Err(WrongCheckpoint::Invalid("it is one of another size".to_owned()));
        }
        // One size, two signed roots: a checkpoint counts as a head.
        let note = json.checkpoint.clone();
        Err(WrongCheckpoint::Fork(Box::new(Evidence::new(
            Kind::ForkSameSize,
            Accused::from(log),
            vec![head.into(), Statement::Checkpoint { note }],
            Vec::new(),
            format!("the log signed a head and a checkpoint of size {} that differ", tree.size),
            &self.shared.observed(self.shared.clock.now()),
        ))))
    }

    fn wrong_checkpoint(
        &mut self,
        wrong: WrongCheckpoint,
        source: usize,
        in_batch: bool,
        exhibit: Arc<Exhibit>,
    ) -> Feedback {
        let restart = in_batch.then(|| self.restart());
        match wrong {
            WrongCheckpoint::Fork(evidence) => {
                Feedback::Proven { source, restart, proof: Proof::File(evidence), exhibit }
            }
            WrongCheckpoint::Invalid(why) => Feedback::Faulty {
                source,
                restart,
                fault: Fault::Refused("bad_batch"),
                detail: format!("the checkpoint beside the tree head does not hold: {why}"),
                exhibit,
                suspect: None,
            },
        }
    }

    fn refused(
        &mut self,
        fault: BatchFault,
        source: usize,
        json: &HeadJson,
        exhibit: Arc<Exhibit>,
    ) -> Feedback {
        // A source that lags behind sent nothing wrong.
        if !matches!(fault, BatchFault::HeadBehind { .. }) {
            self.shared.metrics.refused(fault.reason());
        }
        let detail = fault.to_string();
        let restart = Some(self.restart());
        if let BatchFault::Proven(proof) = fault {
            let proof = Proof::Batch(proof);
            return Feedback::Proven { source, restart, proof, exhibit };
        }
        // An entry that does not fit and a head that does not extend look the same from here: only
        // a proof tells a broken source from a forked log.
        let unproven = matches!(
            fault,
            BatchFault::Inconsistent(_) | BatchFault::WrongChainHead | BatchFault::Entry(_)
        );
        let suspect = self
            .chain
            .log()
            .filter(|_| unproven)
            .and_then(|log| json.verify(log.operator(), log.origin()).ok())
            .map(Box::new);
        let kind = match (&fault, fault.class()) {
            (BatchFault::HeadBehind { .. }, _) => Fault::Lagging,
            (_, FaultClass::Waiting) => Fault::HeadInFuture,
            _ => Fault::Refused(fault.reason()),
        };
        Feedback::Faulty { source, restart, fault: kind, detail, exhibit, suspect }
    }

    fn fault(
        &mut self,
        source: usize,
        fault: Fault,
        detail: &str,
        exhibit: Arc<Exhibit>,
    ) -> Feedback {
        self.shared.metrics.refused(fault.reason());
        let (restart, detail) = (Some(self.restart()), detail.to_owned());
        Feedback::Faulty { source, restart, fault, detail, exhibit, suspect: None }
    }

    /// Lets everything go that was fetched on the assumption that this batch holds.
    fn restart(&mut self) -> (u64, TreeSize) {
        self.generation += 1;
        (self.generation, self.chain.size())
    }
}

enum WrongCheckpoint {
    Invalid(String),
    Fork(Box<Evidence>),
}
