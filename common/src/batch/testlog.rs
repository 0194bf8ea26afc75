//! A log in memory that tests write to, honestly or not.

use super::{Batch, BatchHeader, Chain, Log, Trust};
use crate::clock::Timestamp;
use crate::event::{Genesis, OperatorEndorsement, Payload};
use crate::head::{EPOCH, HeadJson, Origin, SignedHead, TreeHead};
use crate::keys::SigningKey;
use crate::leaf::Leaf;
use crate::merkle::{Edge, Hash, NodeId, Nodes, ProofPlan, TreeRoot, TreeSize};
use crate::statement::{Category, OperatorStatement, Verb};

/// The instant of the test log's entry `id`.
pub(crate) fn time(id: u64) -> Timestamp {
    let start: Timestamp = "2026-01-15T10:00:00.000Z".parse().expect("a time");
    start.plus_millis(i64::try_from(id).expect("a small id") * 1000)
}

#[derive(Clone)]
pub(crate) struct TestLog {
    pub(crate) operator: SigningKey,
    pub(crate) leaves: Vec<Vec<u8>>,
}

impl TestLog {
    /// A log with its genesis and `more` generic entries.
    pub(crate) fn new(more: u64) -> Self {
        let operator = SigningKey::from_seed([1; 32]);
        let genesis = Genesis::new(operator.public(), Self::origin());
        let mut log = Self { operator, leaves: Vec::new() };
        log.say(&genesis);
        log.grow(more);
        log
    }

    pub(crate) fn origin() -> Origin {
        "log.example/log-1".parse().expect("an origin")
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(crate) fn grow(&mut self, more: u64) {
        for _ in 0..more {
            let payload = format!("{{\"n\":{}}}", self.size());
            self.push("x-test:event", payload.as_bytes());
        }
    }

    pub(crate) fn say<P: Payload>(&mut self, payload: &P) {
        self.push(P::EVENT_TYPE, &payload.to_payload());
    }

    pub(crate) fn push(&mut self, event_type: &str, payload: &[u8]) {
        let previous = self.leaves.last().map(|leaf| Hash::of(leaf));
        let id = self.size() + 1;
        self.forge(id, previous, time(id), event_type, payload);
    }

    /// Appends an entry that need not follow from the one before.
    pub(crate) fn forge(
        &mut self,
        id: u64,
        previous: Option<Hash>,
        timestamp: Timestamp,
        event_type: &str,
        payload: &[u8],
    ) {
        let event_type = event_type.parse().expect("an event type");
        let leaf = Leaf::build(id, previous, timestamp, &event_type, payload).expect("a leaf");
        self.leaves.push(leaf.bytes().to_vec());
    }

    /// Endorses the key of a seed as a mirror.
    pub(crate) fn endorse(&mut self, seed: u8) -> SigningKey {
        let key = SigningKey::from_seed([seed; 32]);
        let statement = OperatorStatement {
            after: TreeSize::ZERO.plus(self.size()),
            category: Category::FederationOperator,
            display_name: (),
            fingerprint: key.fingerprint(),
            name: None,
            origin: Self::origin(),
            server: (),
            timestamp: time(self.size()),
            verb: Verb::Endorse,
        };
        self.say(&OperatorEndorsement::sign(statement, key.public().into(), &self.operator));
        key
    }

    pub(crate) fn tree(&self, size: u64) -> TreeRoot {
        let mut edge = Edge::empty();
        for leaf in self.leaves.iter().take(usize::try_from(size).expect("a small size")) {
            edge.push(Hash::of_leaf(leaf), &mut Vec::new());
        }
        assert_eq!(edge.size().get(), size);
        edge.root()
    }

    /// What an honest head of this size says.
    pub(crate) fn claim(&self, size: u64) -> TreeHead {
        let last = usize::try_from(size - 1).expect("a small size");
        TreeHead {
            chain_head: Some(Hash::of(&self.leaves[last])),
            epoch: EPOCH,
            origin: Self::origin(),
            root_hash: self.tree(size).hash,
            timestamp: time(size),
            tree_size: TreeSize::ZERO.plus(size),
        }
    }

    pub(crate) fn head(&self, size: u64) -> SignedHead {
        self.claim(size).sign(&self.operator)
    }

    pub(crate) fn json(head: &SignedHead) -> HeadJson {
        head.to_json("checkpoint".to_owned(), head.head().tree_size.get())
    }

    /// The entries `after + 1..=until` under a head of this log.
    pub(crate) fn batch(&self, after: u64, until: u64, head: &SignedHead) -> Batch {
        let at = |id: u64| usize::try_from(id).expect("a small id");
        let header = BatchHeader {
            after,
            consistency_proof: self.consistency(until, head.head().tree_size.get()),
            has_more: until < self.size(),
            next_after: until,
            tree_head: Self::json(head),
        };
        Batch { header, leaves: self.leaves[at(after)..at(until)].to_vec() }
    }

    pub(crate) fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let [old, new] = [old, new].map(|size| TreeSize::ZERO.plus(size));
        ProofPlan::consistency(old, new)
            .map_or_else(|_| Vec::new(), |plan| plan.read(self).expect("a test log has every node"))
    }

    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        let plan = ProofPlan::inclusion(index, TreeSize::ZERO.plus(size)).expect("in the tree");
        plan.read(self).expect("a test log has every node")
    }

    pub(crate) fn new_chain(&self) -> Chain {
        Chain::new(Trust { operator: self.operator.fingerprint() })
    }

    /// The state after the first entries, which must be honest.
    pub(crate) fn chain(&self, size: u64) -> Chain {
        let mut chain = self.new_chain();
        for leaf in self.leaves.iter().take(usize::try_from(size).expect("a small size")) {
            chain.extend(leaf.clone(), &mut Vec::new()).expect("an honest entry");
        }
        chain
    }

    pub(crate) fn log(&self) -> Log {
        self.chain(1).log().cloned().expect("a log with a genesis")
    }
}

impl Nodes for TestLog {
    fn node(&self, id: NodeId) -> Option<Hash> {
        if id.height == 0 {
            return self.leaves.get(usize::try_from(id.index).ok()?).map(|l| Hash::of_leaf(l));
        }
        let child = |index| self.node(NodeId { height: id.height - 1, index });
        Some(Hash::of_node(&child(id.index * 2)?, &child(id.index * 2 + 1)?))
    }
}
