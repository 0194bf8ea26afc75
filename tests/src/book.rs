//! A log in memory that tests write to, honestly or not.

use diogenes_common::batch::{Batch, BatchHeader, Chain, Trust};
use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{Genesis, OperatorEndorsement, Payload};
use diogenes_common::head::{EPOCH, HeadJson, Origin, SignedHead, TreeHead};
use diogenes_common::keys::{PublicKey, SigningKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, NodeId, Nodes, ProofPlan, TreeRoot, TreeSize};
use diogenes_common::statement::{Category, OperatorStatement, Verb};

/// The payload of a generic entry, so that its leaf has a usual size.
const PADDING: usize = 200;

/// A log with the real key of its operator, who may lie.
#[derive(Clone, Debug)]
pub struct Book {
    operator: SigningKey,
    start: Timestamp,
    leaves: Vec<Vec<u8>>,
}

impl Book {
    /// A log with its genesis, made at `start`; entry n is a millisecond later than the one before.
    pub fn new(start: Timestamp) -> Self {
        let operator = SigningKey::from_seed([1; 32]);
        let genesis = Genesis::new(operator.public(), Self::origin());
        let mut book = Self { operator, start, leaves: Vec::new() };
        book.say(&genesis);
        book
    }

    /// A log that somebody else wrote, with the key of its operator; what is added is stamped after its
    /// newest entry.
    ///
    /// # Panics
    /// When its newest entry is none.
    pub fn copy(operator: SigningKey, leaves: Vec<Vec<u8>>) -> Self {
        let newest = leaves.last().and_then(|leaf| Leaf::parse(leaf.as_slice()).ok());
        let start = newest.expect("a log with entries").timestamp();
        Self { operator, start, leaves }
    }

    /// The log's name.
    pub fn origin() -> Origin {
        "log.example/liar".parse().expect("an origin")
    }

    /// Who signs it.
    pub fn operator(&self) -> &SigningKey {
        &self.operator
    }

    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// When entry `id` was appended.
    pub fn time(&self, id: u64) -> Timestamp {
        self.start.plus_millis(i64::try_from(id).expect("a small id"))
    }

    /// The bytes of an entry.
    pub fn leaf(&self, id: u64) -> &[u8] {
        &self.leaves[index(id - 1)]
    }

    /// Appends generic entries.
    pub fn grow(&mut self, more: u64) {
        for _ in 0..more {
            let payload = format!(r#"{{"data":"{}","n":{}}}"#, "d".repeat(PADDING), self.size());
            self.push("x-test:event", payload.as_bytes());
        }
    }

    /// Appends an entry of a type that the product knows.
    pub fn say<P: Payload>(&mut self, payload: &P) {
        self.push(P::EVENT_TYPE, &payload.to_payload());
    }

    /// Appends an entry; its payload must be canonical.
    pub fn push(&mut self, event_type: &str, payload: &[u8]) {
        let previous = self.leaves.last().map(|leaf| Hash::of(leaf));
        self.push_linked(previous, self.time(self.size() + 1), event_type, payload);
    }

    /// Appends an entry that names any entry before it, and any time.
    pub fn push_linked(
        &mut self,
        previous: Option<Hash>,
        time: Timestamp,
        event_type: &str,
        payload: &[u8],
    ) {
        let event_type = event_type.parse().expect("an event type");
        let leaf = Leaf::build(self.size() + 1, previous, time, &event_type, payload);
        self.leaves.push(leaf.expect("a leaf").bytes().to_vec());
    }

    /// Appends bytes that need not be an entry.
    pub fn push_raw(&mut self, leaf: Vec<u8>) {
        self.leaves.push(leaf);
    }

    /// Forgets everything above a size, so that another history can follow.
    #[must_use]
    pub fn cut(&self, size: u64) -> Self {
        let leaves = self.leaves[..index(size)].to_vec();
        Self { leaves, ..self.clone() }
    }

    /// Authorises a mirror or a witness.
    pub fn endorse(&mut self, key: &PublicKey, category: Category) {
        let endorsement = self.endorsement(key, category);
        self.say(&endorsement);
    }

    /// What the operator would say to authorise a mirror or a witness now.
    pub fn endorsement(&self, key: &PublicKey, category: Category) -> OperatorEndorsement {
        let statement = OperatorStatement {
            after: TreeSize::ZERO.plus(self.size()),
            category,
            display_name: (),
            fingerprint: key.fingerprint(),
            name: None,
            origin: Self::origin(),
            server: (),
            timestamp: self.time(self.size()),
            verb: Verb::Endorse,
        };
        OperatorEndorsement::sign(statement, key.into(), &self.operator)
    }

    /// The tree over the first entries.
    pub fn tree(&self, size: u64) -> TreeRoot {
        let mut edge = Edge::empty();
        for leaf in &self.leaves[..index(size)] {
            edge.push(Hash::of_leaf(leaf), &mut Vec::new());
        }
        edge.root()
    }

    /// What an honest head of this size says.
    pub fn claim(&self, size: u64) -> TreeHead {
        TreeHead {
            chain_head: Some(Hash::of(self.leaf(size))),
            epoch: EPOCH,
            origin: Self::origin(),
            root_hash: self.tree(size).hash,
            timestamp: self.time(size),
            tree_size: TreeSize::ZERO.plus(size),
        }
    }

    /// The honest head of this size.
    pub fn head(&self, size: u64) -> HeadJson {
        self.sign(self.claim(size))
    }

    /// Signs whatever a head claims.
    pub fn sign(&self, claim: TreeHead) -> HeadJson {
        self.sign_with(claim, &self.operator)
    }

    /// Lets somebody sign whatever a head claims.
    pub fn sign_with(&self, claim: TreeHead, key: &SigningKey) -> HeadJson {
        let checkpoint = Checkpoint::new(claim.origin.as_str(), claim.tree()).expect("an origin");
        let name = claim.origin.as_str().parse().expect("a key name");
        let checkpoint = sign_checkpoint(&checkpoint, &name, key);
        let last_event_id = claim.tree_size.get();
        let signed: SignedHead = claim.sign(key);
        signed.to_json(checkpoint, last_event_id)
    }

    /// Entries under the newest honest head.
    pub fn batch(&self, after: u64, until: u64) -> Batch {
        self.batch_under(after, until, self.head(self.size()))
    }

    /// The entries `after + 1..=until` under any head.
    pub fn batch_under(&self, after: u64, until: u64, head: HeadJson) -> Batch {
        let header = BatchHeader {
            after,
            consistency_proof: self.consistency(until, head.tree_size.get()),
            has_more: until < head.tree_size.get().min(self.size()),
            next_after: until,
            tree_head: head,
        };
        Batch { header, leaves: self.leaves[index(after)..index(until)].to_vec() }
    }

    /// The proof between two sizes; empty where there is none.
    pub fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let new = new.min(self.size());
        let [old, new] = [old, new].map(|size| TreeSize::ZERO.plus(size));
        ProofPlan::consistency(old, new).ok().and_then(|plan| plan.read(self)).unwrap_or_default()
    }

    /// The proof that an entry is in the tree of a size; empty where there is none.
    pub fn inclusion(&self, id: u64, size: u64) -> Vec<Hash> {
        ProofPlan::inclusion(id - 1, TreeSize::ZERO.plus(size))
            .ok()
            .and_then(|plan| plan.read(self))
            .unwrap_or_default()
    }

    /// A verifier of this log that has seen nothing yet.
    pub fn empty_chain(&self) -> Chain {
        Chain::new(Trust { operator: self.operator.fingerprint() })
    }

    /// The log's id.
    pub fn log_id(&self) -> Hash {
        Hash::of(self.leaf(1))
    }
}

impl Nodes for Book {
    fn node(&self, id: NodeId) -> Option<Hash> {
        if id.height == 0 {
            return self.leaves.get(index(id.index)).map(|leaf| Hash::of_leaf(leaf));
        }
        let child = |index| self.node(NodeId { height: id.height - 1, index });
        Some(Hash::of_node(&child(id.index * 2)?, &child(id.index * 2 + 1)?))
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}
