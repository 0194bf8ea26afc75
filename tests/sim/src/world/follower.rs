//! A follower: the production replica and verifier, with a simulated database and network.
//!
//! What stands here in place of `follower/src/sync/` hands what arrives to [`verify_batch`] and to
//! the replica, does what they say in one transaction, and reports back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::book::{self, place, size};
use crate::batch::{Batch, BatchFault, Chain, FaultClass, ProvenFault, Stored, verify_batch};
use crate::clock::Timestamp;
use crate::evidence::{self, Evidence, Kind, Observed, Proof, Statement};
use crate::head::{HeadJson, SignedHead};
use crate::merkle::{Hash, NodeId, Nodes, ProofPlan, TreeRoot, TreeSize, verify_consistency};
use crate::replica::{Accepted, Action, Event, Fault, Next, Now, Pace, Replica};
use crate::store::Database;

/// How far a head may be ahead of the own clock.
const MAX_AHEAD_MILLIS: i64 = 120_000;

/// What survives a crash: written in one transaction.
#[derive(Clone)]
pub(crate) struct Durable {
    pub(crate) book: Database,
    pub(crate) served: Option<Arc<Accepted>>,
    kept: Vec<Arc<Accepted>>,
    pub(crate) latched: Option<Latch>,
    /// The heads that were believed and are above what was stored then.
    promised: Vec<Arc<Accepted>>,
}

/// What latched it, and the file that proves it.
#[derive(Clone)]
pub(crate) struct Latch {
    pub(crate) kind: Kind,
    pub(crate) evidence: Vec<u8>,
    /// The size at which it stopped.
    pub(crate) size: u64,
}

/// One follower.
pub(crate) struct Follower {
    pub(crate) durable: Durable,
    pub(crate) replica: Replica,
    pub(crate) chain: Chain,
    sources: usize,
    failures: Vec<u32>,
    /// The request that is waited for: its number, its source, and until when.
    pub(crate) waiting: Option<(u64, usize, u64)>,
    /// What the invariants have looked at already.
    pub(crate) looked: Looked,
    /// The heads that production said it believes, for the invariants.
    pub(crate) promised: Vec<Arc<Accepted>>,
}

/// How far a follower was looked at: what it stored never changes, so nothing is checked twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    /// The hashes of the entries that hold.
    pub(crate) entries: Vec<Hash>,
    /// The hashes of their leaves.
    pub(crate) leaves: Vec<Hash>,
    /// The roots of sizes that somebody asked for.
    pub(crate) roots: BTreeMap<u64, Hash>,
    /// The believed heads that were reached and agreed.
    pub(crate) heads: BTreeSet<Vec<u8>>,
    /// Whether its evidence was verified.
    pub(crate) evidence: bool,
}

/// What a follower asks a source for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// The entries after an id, so many at most.
    Batch { after: u64, limit: u64 },
    /// The newest head.
    Head,
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Batch(Box<Batch>),
    Head(Box<HeadJson>),
    /// An error status.
    Nothing,
}

/// What is wanted from the world after an answer.
pub(crate) enum Wish {
    /// Nothing more.
    Nothing,
    /// A proof between these two heads, from whoever gives one.
    Proof { source: usize, known: SignedHead, head: SignedHead, fault: Fault },
}

const PACE: Pace = Pace { poll: 1_000, heartbeat: 60_000 };

impl Follower {
    pub(crate) fn new(sources: usize, now: Now) -> Self {
        let durable = Durable {
            book: Database::empty(),
            served: None,
            kept: Vec::new(),
            latched: None,
            promised: Vec::new(),
        };
        Self::start(durable, sources, now)
    }

    /// Goes on from what is durable, as a start does.
    pub(crate) fn start(durable: Durable, sources: usize, now: Now) -> Self {
        let tree = durable.book.state.tree;
        let mut replica = Replica::new(PACE, sources, tree, durable.served.clone(), now);
        durable.kept.iter().cloned().for_each(|head| replica.restore(head));
        if let Some(latch) = &durable.latched {
            replica.restore_latch(latch.kind, Some(1), now.wall);
        }
        let chain = resume(&durable.book);
        let promised = durable.promised.clone();
        let failures = vec![0; sources];
        let looked = Looked::default();
        Self { durable, replica, chain, sources, failures, waiting: None, looked, promised }
    }

    pub(crate) fn size(&self) -> u64 {
        self.durable.book.size()
    }

    /// What to ask now: the source to pull from, and those to compare with.
    pub(crate) fn poll(&mut self, limit: u64, now: Now) -> Vec<(usize, Ask)> {
        self.replica.on(Event::Tick, now);
        let Next::Ask(source) = self.replica.next(now) else { return Vec::new() };
        let mut asks = vec![(source, Ask::Batch { after: self.size(), limit })];
        asks.extend(self.replica.probes(now).into_iter().map(|probe| (probe, Ask::Head)));
        asks
    }

    /// A request failed on its way.
    pub(crate) fn unreachable(&mut self, source: usize, now: Now) {
        self.fail(source, Fault::Unreachable, now);
    }

    /// Takes an answer; `dies` says whether the process ends within the transaction, and how.
    pub(crate) fn take(
        &mut self,
        source: usize,
        answer: Answer,
        dies: Option<Dies>,
        now: Now,
    ) -> Result<Wish, Died> {
        match answer {
            Answer::Batch(batch) => self.batch(source, *batch, dies, now),
            Answer::Head(head) => Ok(self.head(source, *head, now)),
            Answer::Nothing => {
                self.fail(source, Fault::Unreachable, now);
                Ok(Wish::Nothing)
            }
        }
    }

    fn batch(
        &mut self,
        source: usize,
        batch: Batch,
        dies: Option<Dies>,
        now: Now,
    ) -> Result<Wish, Died> {
        let json = batch.header.tree_head.clone();
        let verified = match verify_batch(&self.chain, batch, &self.replica.seen(), now.wall) {
            Ok(verified) => verified,
            Err(fault) => return Ok(self.refused(source, &fault, &json, now)),
        };
        if verified.entries.is_empty() && verified.head.head().tree_size > self.chain.size() {
            self.fail(source, Fault::Refused("bad_batch"), now);
            return Ok(Wish::Nothing);
        }
        let head =
            Arc::new(Accepted { signed: verified.head.clone(), json: verified.head_json.clone() });
        let event = Event::Accepted { source, head: head.clone() };
        let stores = self.replica.on(event, now).contains(&Action::Store);
        self.promised.push(head.clone());
        if !stores {
            return Ok(Wish::Nothing);
        }
        self.failures[source] = 0;
        let tree = verified.chain.tree();
        let mut next = self.durable.clone();
        verified.entries.iter().for_each(|entry| next.book.push(entry.leaf.clone()));
        book::settle(&mut next.book, now.wall);
        let reached = self.replica.heads_up_to(tree.size);
        let covered = (head.size() <= tree.size).then(|| head.clone());
        let newest = next.served.take().into_iter().chain(reached).chain(covered.clone());
        next.served = newest.reduce(|one, two| if one.is_newer_than(&two) { one } else { two });
        next.kept = self.replica.heads_above(tree.size);
        next.promised.clone_from(&self.promised);
        match dies {
            Some(Dies::BeforeCommit) => return Err(Died),
            Some(Dies::AfterCommit) => {
                self.durable = next;
                return Err(Died);
            }
            None => self.durable = next,
        }
        self.chain = verified.chain;
        self.replica.on(Event::Stored { tree, head: covered }, now);
        Ok(Wish::Nothing)
    }

    fn refused(&mut self, source: usize, fault: &BatchFault, json: &HeadJson, now: Now) -> Wish {
        if let BatchFault::Proven(proven) = fault {
            self.prove(source, proven.kind(), |this| this.complete(proven, now.wall), now);
            return Wish::Nothing;
        }
        let unproven = matches!(
            fault,
            BatchFault::Inconsistent(_) | BatchFault::WrongChainHead | BatchFault::Entry(_)
        );
        let kind = match (fault, fault.class()) {
            (BatchFault::HeadBehind { .. }, _) => Fault::Lagging,
            (_, FaultClass::Waiting) => Fault::HeadInFuture,
            _ => Fault::Refused(fault.reason()),
        };
        let suspect = self.chain.log().filter(|_| unproven);
        let suspect = suspect.and_then(|log| json.verify(log.operator(), log.origin()).ok());
        let known = suspect.as_ref().and_then(|head| {
            let below = |seen: &SignedHead| seen.head().tree_size < head.head().tree_size;
            self.replica.seen().into_iter().rfind(below)
        });
        match (known, suspect) {
            (Some(known), Some(head)) => Wish::Proof { source, known, head, fault: kind },
            _ => {
                self.fail(source, kind, now);
                Wish::Nothing
            }
        }
    }

    /// A head by itself, as another source shows it.
    fn head(&mut self, source: usize, json: HeadJson, now: Now) -> Wish {
        let Some(log) = self.chain.log().cloned() else { return Wish::Nothing };
        let Ok(signed) = json.verify(log.operator(), log.origin()) else {
            self.fail(source, Fault::Refused("bad_batch"), now);
            return Wish::Nothing;
        };
        if signed.head().timestamp.millis_since(now.wall) > MAX_AHEAD_MILLIS {
            self.fail(source, Fault::HeadInFuture, now);
            return Wish::Nothing;
        }
        if let Some((found, earlier)) = self.replica.contradiction(&signed) {
            let file = evidence::contradiction(
                found,
                (&log).into(),
                [&earlier, &signed],
                &observed(now.wall),
            );
            self.prove(source, file.kind(), |_| Some(file), now);
            return Wish::Nothing;
        }
        let head = Arc::new(Accepted { signed, json });
        if head.size() > self.chain.size() {
            self.replica.on(Event::Shown { source, head: head.clone() }, now);
            self.promised.push(head);
            return Wish::Nothing;
        }
        self.compare(source, &head, now);
        Wish::Nothing
    }

    /// A head at or below the stored size must be part of the own tree.
    fn compare(&mut self, source: usize, head: &Arc<Accepted>, now: Now) {
        let entries = head.size().get();
        let own = self.durable.book.tree(head.size()).expect("a size that is stored");
        let Some(log) = self.chain.log().cloned() else { return };
        if own.hash != head.signed.head().root_hash {
            let Some(served) = self.replica.served().cloned() else { return };
            let large = served.signed.head().tree();
            let Some((_, hashes)) =
                book::consistency(&self.durable.book, entries, large.size.get())
            else {
                return;
            };
            let step = Proof::consistency(own, large, hashes);
            let statements = [(&head.signed).into(), (&served.signed).into()];
            let file =
                evidence::fork_prefix((&log).into(), statements, vec![step], &observed(now.wall));
            self.prove(source, Kind::ForkPrefix, |_| Some(file), now);
            return;
        }
        let last = &self.durable.book.leaves[place(entries - 1)];
        if head.signed.head().chain_head != Some(last.entry_hash()) {
            let plan = ProofPlan::inclusion(entries - 1, own.size).expect("a stored entry");
            let hashes = self.durable.book.nodes(plan.nodes()).expect("stored nodes");
            let step =
                Proof::inclusion(last.bytes().to_vec(), entries - 1, own, plan.assemble(&hashes));
            let file = evidence::chain_merkle_mismatch(
                (&log).into(),
                &head.signed,
                step,
                &observed(now.wall),
            );
            self.prove(source, Kind::ChainMerkleMismatch, |_| Some(file), now);
            return;
        }
        self.replica.on(Event::Shown { source, head: head.clone() }, now);
    }

    /// What a source said about two heads that seem not to fit.
    pub(crate) fn proof(
        &mut self,
        source: usize,
        [known, head]: [&SignedHead; 2],
        answers: &[(Hash, Vec<Hash>)],
        fault: Fault,
        now: Now,
    ) {
        let Some(log) = self.chain.log().cloned() else { return };
        let (small, large) = (known.head().tree(), head.head().tree());
        let found = answers.iter().find_map(|(root, hashes)| {
            let other = TreeRoot { hash: *root, ..small };
            verify_consistency(&other, &large, hashes).ok()?;
            (other != small).then(|| Proof::consistency(other, large, hashes.clone()))
        });
        match found {
            None => self.fail(source, fault, now),
            Some(step) => {
                let statements = [Statement::from(known), Statement::from(head)];
                let accused = (&log).into();
                let file =
                    evidence::fork_prefix(accused, statements, vec![step], &observed(now.wall));
                self.prove(source, Kind::ForkPrefix, |_| Some(file), now);
            }
        }
    }

    /// Stops, writes the evidence, and stays stopped; or not, if it convinces nobody.
    fn prove(
        &mut self,
        source: usize,
        kind: Kind,
        file: impl FnOnce(&Self) -> Option<Evidence>,
        now: Now,
    ) {
        if !self.replica.on(Event::Proven(kind), now).contains(&Action::Prove) {
            return;
        }
        let file = file(self).map(|file| (file.kind(), file.to_bytes()));
        let file = file.filter(|(_, bytes)| evidence::verify(bytes, None, None).is_ok());
        match file {
            Some((kind, evidence)) => {
                self.durable.latched = Some(Latch { kind, evidence, size: self.size() });
                self.replica.on(Event::EvidenceStored { kind, evidence: 1 }, now);
            }
            None => {
                let retry_at = self.retry_at(source, now);
                self.replica.on(Event::Unproven { source, retry_at }, now);
            }
        }
    }

    fn complete(&self, fault: &ProvenFault, now: Timestamp) -> Option<Evidence> {
        let mut fault = fault.clone();
        if let Some(missing) = fault.missing() {
            let leaf = self.durable.book.leaves.get(place(missing.index))?.bytes().to_vec();
            if !fault.supply(leaf, &OwnNodes(&self.durable.book)) {
                return None;
            }
        }
        fault.evidence(&observed(now))
    }

    /// The operator looked at the evidence and lets it go on.
    pub(crate) fn acknowledge(&mut self, now: Now) {
        self.durable.latched = None;
        self.looked.evidence = false;
        self.replica.on(Event::Acknowledged, now);
        self.durable.kept.clear();
        self.promised.clear();
        self.durable.promised.clear();
    }

    fn fail(&mut self, source: usize, fault: Fault, now: Now) {
        let retry_at = self.retry_at(source, now);
        self.replica.on(Event::Failed { source, fault, retry_at }, now);
    }

    fn retry_at(&mut self, source: usize, now: Now) -> Now {
        let failures = &mut self.failures[source];
        *failures = (*failures + 1).min(6);
        let millis = 200 << *failures;
        Now { wall: now.wall.plus_millis(millis), steady: now.steady + millis }
    }

    pub(crate) fn restart(&mut self, now: Now) {
        let looked = std::mem::take(&mut self.looked);
        *self = Self::start(self.durable.clone(), self.sources, now);
        self.looked = looked;
    }
}

/// Where within a transaction the process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dies {
    BeforeCommit,
    AfterCommit,
}

/// It did.
#[derive(Debug)]
pub(crate) struct Died;

struct OwnNodes<'a>(&'a Database);

impl Nodes for OwnNodes<'_> {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.0.nodes(&[id])?.pop()
    }
}

fn observed(at: Timestamp) -> Observed {
    Observed { at, by: "a follower".to_owned() }
}

fn resume(book: &Database) -> Chain {
    let (Some(genesis), Some(last)) = (book.leaves.first(), book.leaves.last()) else {
        return book::no_chain();
    };
    let stored = Stored {
        genesis: genesis.clone(),
        last: last.clone(),
        edge: book.edge(size(book.size())).expect("the edge of all entries"),
        roles: crate::event::RoleKeys::new(),
    };
    Chain::resume(book::trust(), stored).expect("what was stored goes on")
}
