//! What stands around the replica in a follower: it fetches, verifies, stores and proves, in the
//! order of `follower/src/sync/`, with rows in memory.

use std::sync::Arc;

use diogenes_common::batch::{
    BatchFault, Chain, Encoding, FaultClass, Log, ProvenFault, Stored, Trust, VerifiedBatch,
    decode, verify_batch,
};
use diogenes_common::event::RoleKeys;
use diogenes_common::evidence::{self, Evidence, Kind, Observed, Proof};
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, NodeId, Nodes, TreeRoot, TreeSize, verify_consistency};

use super::history::{OPERATOR, STORIES, consistency, leaf_hashes, path, place, root, story, tree};
use crate::follower::replica::{Accepted, Action, Event, Fault, Now, Pace, Replica};

/// How many sources it has.
pub(super) const SOURCES: usize = 3;

const MAX_AHEAD_MILLIS: i64 = 120_000;
const PACE: Pace = Pace { poll: 1_000, heartbeat: 60_000 };

/// What outlives the process.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) leaves: Vec<Vec<u8>>,
    pub(super) tree: TreeRoot,
    pub(super) latch: Option<Kind>,
    served: Option<String>,
    kept: Vec<String>,
    believed: Vec<SignedHead>,
}

/// A follower.
pub(super) struct Follower {
    pub(super) rows: Rows,
    pub(super) replica: Replica,
    pub(super) now: Now,
    /// The heads that it took for the log's, since they were last given up.
    pub(super) believed: Vec<SignedHead>,
    chain: Chain,
}

impl Follower {
    /// One that knows nothing but a fingerprint.
    pub(super) fn new(now: Now) -> Self {
        let rows = Rows {
            leaves: Vec::new(),
            tree: TreeRoot::EMPTY,
            latch: None,
            served: None,
            kept: Vec::new(),
            believed: Vec::new(),
        };
        Self::start(rows, now)
    }

    fn start(rows: Rows, now: Now) -> Self {
        let chain = resume(&rows.leaves);
        let log = chain.log();
        let read = |json: &String| accepted(json, log.expect("heads are stored with a genesis"));
        let served = rows.served.as_ref().map(read);
        let mut replica = Replica::new(PACE, SOURCES, rows.tree, served, now);
        rows.kept.iter().map(read).for_each(|head| replica.restore(head));
        if let Some(kind) = rows.latch {
            replica.restore_latch(kind, Some(1), now.wall);
        }
        Self { believed: rows.believed.clone(), rows, replica, now, chain }
    }

    /// The process ends and starts again.
    pub(super) fn restart(&mut self) {
        *self = Self::start(self.rows.clone(), self.now);
    }

    /// How many entries it has.
    pub(super) fn size(&self) -> usize {
        self.rows.leaves.len()
    }

    /// Tells the replica what happened.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        self.replica.on(event, self.now)
    }

    /// The bytes of a batch arrive; `teller` is the history of which a source gives proofs.
    pub(super) fn batch(
        &mut self,
        source: usize,
        bytes: &[u8],
        encoding: Encoding,
        teller: Option<usize>,
    ) {
        let Ok(batch) = decode(bytes, encoding) else {
            return self.fail(source, Fault::Refused("bad_batch"));
        };
        let head = batch.header.tree_head.clone();
        match verify_batch(&self.chain, batch, &self.replica.seen(), self.now.wall) {
            Ok(verified) => self.accept(source, verified),
            Err(BatchFault::Proven(fault)) => self.prove(fault.kind(), |it| it.complete(*fault)),
            Err(fault) => self.refuse(source, &fault, &head, teller),
        }
    }

    fn accept(&mut self, source: usize, verified: VerifiedBatch) {
        let VerifiedBatch { chain, entries, head, head_json, .. } = verified;
        if entries.is_empty() && head.head().tree_size > self.chain.size() {
            return self.fail(source, Fault::Refused("bad_batch"));
        }
        self.believed.push(head.clone());
        let head = Arc::new(Accepted { signed: head, json: head_json });
        if !self.on(Event::Accepted { source, head: head.clone() }).contains(&Action::Store) {
            return;
        }
        let tree = chain.tree();
        let reached = self.replica.heads_up_to(tree.size);
        let covered = (head.size() <= tree.size).then_some(head.clone());
        let own = self.replica.served().cloned().into_iter();
        let newest = own
            .chain(reached)
            .chain(covered)
            .reduce(|one, two| if one.is_newer_than(&two) { one } else { two });
        self.rows.leaves.extend(entries.iter().map(|entry| entry.leaf.bytes().to_vec()));
        self.rows.tree = tree;
        self.rows.served = newest.map(|head| json(&head));
        self.rows.kept =
            self.replica.heads_above(tree.size).iter().map(|head| json(head)).collect();
        self.rows.believed.clone_from(&self.believed);
        self.chain = chain;
        self.on(Event::Held(None));
        self.on(Event::Stored { tree, head: Some(head) });
    }

    /// A head arrives by itself.
    pub(super) fn head(&mut self, source: usize, json: HeadJson) {
        let Some(log) = self.chain.log().cloned() else { return };
        let Ok(signed) = json.verify(log.operator(), log.origin()) else {
            return self.fail(source, Fault::Refused("bad_batch"));
        };
        if signed.head().timestamp.millis_since(self.now.wall) > MAX_AHEAD_MILLIS {
            return self.fail(source, Fault::HeadInFuture);
        }
        if let Some((found, earlier)) = self.replica.contradiction(&signed) {
            let heads = [&earlier, &signed];
            let file = evidence::contradiction(found, (&log).into(), heads, &self.observed());
            return self.prove(file.kind(), |_| file);
        }
        let head = Arc::new(Accepted { signed, json });
        if head.size() <= self.chain.size() {
            return self.compare(source, &log, head);
        }
        self.believed.push(head.signed.clone());
        self.on(Event::Shown { source, head });
    }

    /// A head of a stored size must be one of the own tree.
    fn compare(&mut self, source: usize, log: &Log, head: Arc<Accepted>) {
        let (signed, hashes) = (head.signed.head(), leaf_hashes(&self.rows.leaves));
        let entries = place(signed.tree_size.get());
        let own = TreeRoot { size: signed.tree_size, hash: root(&hashes[..entries]) };
        if own != signed.tree() {
            let served = self.replica.served().map(|served| served.signed.clone());
            let Some(served) = served.filter(|served| served.head().tree_size >= own.size) else {
                return self.fail(source, Fault::Refused("inconsistent_unproven"));
            };
            let large = served.head().tree();
            let steps = self.own_consistency(entries, place(large.size.get()));
            let step = Proof::consistency(own, large, steps);
            let heads = [(&head.signed).into(), (&served).into()];
            let file = evidence::fork_prefix(log.into(), heads, vec![step], &self.observed());
            return self.prove(Kind::ForkPrefix, |_| file);
        }
        let last = entries.checked_sub(1);
        if last.is_some_and(|last| signed.chain_head != Some(Hash::of(&self.rows.leaves[last]))) {
            let index = entries - 1;
            let (leaf, path) = (self.rows.leaves[index].clone(), path(index, &hashes[..entries]));
            let step = Proof::inclusion(leaf, index as u64, own, path);
            let observed = self.observed();
            let file = evidence::chain_merkle_mismatch(log.into(), &head.signed, step, &observed);
            return self.prove(Kind::ChainMerkleMismatch, |_| file);
        }
        self.on(Event::Shown { source, head });
    }

    /// Something does not hold; a proof may show that it is the log's doing.
    fn refuse(
        &mut self,
        source: usize,
        fault: &BatchFault,
        head: &HeadJson,
        teller: Option<usize>,
    ) {
        let unproven = matches!(
            fault,
            BatchFault::Inconsistent(_) | BatchFault::WrongChainHead | BatchFault::Entry(_)
        );
        let kind = match (fault, fault.class()) {
            (BatchFault::HeadBehind { .. }, _) => Fault::Lagging,
            (_, FaultClass::Waiting) => Fault::HeadInFuture,
            _ => Fault::Refused(fault.reason()),
        };
        let log = self.chain.log().filter(|_| unproven).cloned();
        let suspect = log.and_then(|log| {
            let head = head.verify(log.operator(), log.origin()).ok()?;
            self.ask_for_proof(&log, &head, teller?)
        });
        match suspect {
            Some(file) => self.prove(Kind::ForkPrefix, |_| file),
            None => self.fail(source, kind),
        }
    }

    fn ask_for_proof(&self, log: &Log, head: &SignedHead, teller: usize) -> Option<Evidence> {
        let large = head.head().tree();
        let seen = self.replica.seen().into_iter().rev();
        seen.filter(|seen| seen.head().tree_size < large.size).take(2).find_map(|known| {
            let small = known.head().tree();
            let (first, second) = (place(small.size.get()), place(large.size.get()));
            let (other, steps) = (tree(teller, first), consistency(teller, first, second));
            verify_consistency(&other, &large, &steps).ok()?;
            let heads = [(&known).into(), head.into()];
            let steps = vec![Proof::consistency(other, large, steps)];
            (other != small)
                .then(|| evidence::fork_prefix(log.into(), heads, steps, &self.observed()))
        })
    }

    /// Stops and keeps the evidence, which must convince whoever knows the log and its key.
    fn prove(&mut self, kind: Kind, file: impl FnOnce(&Self) -> Evidence) {
        if !self.on(Event::Proven(kind)).contains(&Action::Prove) {
            return;
        }
        let file = file(self).to_bytes();
        let log = self.chain.log().map(Log::id);
        let proven = evidence::verify(&file, log, Some(OPERATOR.fingerprint()));
        let text = String::from_utf8_lossy(&file);
        assert_eq!(proven.map(|proven| proven.kind), Ok(kind), "no proof: {text}");
        self.rows.latch = Some(kind);
        self.on(Event::EvidenceStored { kind, evidence: 1 });
    }

    fn complete(&self, mut fault: ProvenFault) -> Evidence {
        if let Some(missing) = fault.missing() {
            let leaf = self.rows.leaves[place(missing.index)].clone();
            let own = OwnNodes(leaf_hashes(&self.rows.leaves));
            assert!(fault.supply(leaf, &own), "all that is stored is not enough");
        }
        fault.evidence(&self.observed()).expect("nothing is missing")
    }

    /// The operator looked at the evidence and lets it go on.
    pub(super) fn acknowledge(&mut self) {
        self.on(Event::Acknowledged);
        if self.rows.latch.take().is_some() {
            self.believed.clear();
            self.rows.believed.clear();
            self.rows.kept.clear();
            let served = self.replica.served().map(|head| head.signed.clone());
            assert!(self.replica.seen().into_iter().eq(served), "what latched would latch again");
        }
    }

    /// A source is left alone for a while.
    pub(super) fn fail(&mut self, source: usize, fault: Fault) {
        let retry_at = self.later(1_000);
        let actions = self.on(Event::Failed { source, fault, retry_at });
        assert!(actions.contains(&Action::Restart), "what is in flight is forgotten");
    }

    /// So many milliseconds from now.
    pub(super) fn later(&self, millis: i64) -> Now {
        Now { wall: self.now.wall.plus_millis(millis), steady: self.now.steady + millis }
    }

    /// The stored tree at that size, and the hash of its last entry.
    pub(super) fn own(&self, entries: TreeSize) -> (TreeRoot, Option<Hash>) {
        let leaves = &self.rows.leaves[..place(entries.get())];
        let tree = TreeRoot { size: entries, hash: root(&leaf_hashes(leaves)) };
        (tree, leaves.last().map(|leaf| Hash::of(leaf)))
    }

    fn own_consistency(&self, first: usize, second: usize) -> Vec<Hash> {
        let told = (0..STORIES).find(|told| story(*told).leaves.starts_with(&self.rows.leaves));
        consistency(told.expect("a prefix of a history"), first, second)
    }

    fn observed(&self) -> Observed {
        Observed { at: self.now.wall, by: "a follower".to_owned() }
    }
}

struct OwnNodes(Vec<Hash>);

impl Nodes for OwnNodes {
    fn node(&self, id: NodeId) -> Option<Hash> {
        let (first, next) = (id.index << id.height, (id.index + 1) << id.height);
        Some(root(self.0.get(place(first)..place(next))?))
    }
}

fn json(head: &Accepted) -> String {
    serde_json::to_string(&head.json).expect("a head is a JSON object")
}

/// A stored head, verified again.
fn accepted(json: &str, log: &Log) -> Arc<Accepted> {
    let json: HeadJson = serde_json::from_str(json).expect("a head was stored");
    let signed = json.verify(log.operator(), log.origin()).expect("a stored head verifies");
    Arc::new(Accepted { signed, json })
}

fn resume(leaves: &[Vec<u8>]) -> Chain {
    let trust = Trust { operator: OPERATOR.fingerprint() };
    let leaf = |bytes: &Vec<u8>| Leaf::parse(bytes.as_slice()).expect("a stored leaf is one");
    let (Some(genesis), Some(last)) = (leaves.first().map(leaf), leaves.last().map(leaf)) else {
        return Chain::new(trust);
    };
    let mut edge = Edge::empty();
    for hash in leaf_hashes(leaves) {
        edge.push(hash, &mut Vec::new());
    }
    let stored = Stored { genesis, last, edge, roles: RoleKeys::new() };
    Chain::resume(trust, stored).expect("what was stored goes on")
}
