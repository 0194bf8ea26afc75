//! The check of a whole batch: every entry, the tree, the head, and the heads seen before.

use std::sync::Arc;

use super::chain::{BrokenRule, Chain, Entry, EntryFault, Log};
use super::encoding::{Batch, BatchHeader, MAX_ENTRIES};
use crate::clock::Timestamp;
use crate::event::CarriedFault;
use crate::evidence::{Accused, Evidence, Kind, Observed, Proof, Statement};
use crate::head::{HeadError, HeadJson, SignedHead, contradiction};
use crate::merkle::{
    Hash, NodeId, Nodes, ProofError, ProofPlan, TileId, TileNodes, TreeRoot, TreeSize,
    verify_consistency,
};

/// How far a head may be ahead of the own clock, in milliseconds.
const MAX_AHEAD_MILLIS: i64 = 120_000;

/// The longest bad entry that fits into an evidence file in base64, beside a good one.
const MAX_BAD_LEAF_BYTES: usize = 512 * 1024;

/// A batch of which everything was checked: what to store, and the state after it.
#[derive(Clone, Debug)]
pub struct VerifiedBatch {
    /// The state after the batch.
    pub chain: Chain,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The tiles that the batch completed.
    pub completed: Vec<(TileId, Arc<TileNodes>)>,
    /// The head that covers the batch, and perhaps more.
    pub head: SignedHead,
    /// The same head verbatim.
    pub head_json: HeadJson,
    /// Whether the source has more.
    pub has_more: bool,
}

/// Why a batch is refused as a whole.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BatchFault {
    /// The batch begins elsewhere than asked.
    #[error("the batch begins after entry {got}, not after {expected}")]
    WrongStart {
        /// The size that was asked for.
        expected: u64,
        /// Where the batch begins.
        got: u64,
    },
    /// `next_after` is not the id of the last entry, or there are too many.
    #[error("the batch does not hold the entries that it says it holds")]
    WrongCount,
    /// The log is empty and so is the batch: nothing says which log it is.
    #[error("the batch has no genesis")]
    NoGenesis,
    /// An entry breaks a rule, which proves nothing by itself.
    #[error(transparent)]
    Entry(EntryFault),
    /// The head does not hold.
    #[error("the tree head does not hold: {0}")]
    Head(#[source] HeadError),
    /// The head is more than 120 s ahead of the own clock, which may be the one that is wrong.
    #[error("the tree head is {ahead_millis} ms ahead of the own clock")]
    HeadInFuture {
        /// How far it is ahead.
        ahead_millis: i64,
    },
    /// The head does not cover the batch; an old one was replayed.
    #[error("the tree head covers {size} entries, fewer than are verified with the batch")]
    HeadBehind {
        /// The head's size.
        size: TreeSize,
    },
    /// The head is older than the batch's last entry.
    #[error("the tree head is older than an entry that it covers")]
    HeadBeforeEntry,
    /// The head is not shown to extend the entries; unproven, it may be the source's doing.
    #[error("the tree head is not shown to extend the entries: {0}")]
    Inconsistent(#[source] ProofError),
    /// The root is right and the hash of the last entry is not, without proof at hand.
    #[error("the tree head names another last entry")]
    WrongChainHead,
    /// The log's own signatures prove that it is bad.
    #[error("proven against the log: {0}")]
    Proven(Box<ProvenFault>),
}

/// What a fault means for whoever met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// The source is at fault, or nobody: others are tried, and the same one again later.
    Transient,
    /// Nothing is wrong yet: the head is used when its time has come.
    Waiting,
    /// The log is proven bad: evidence is kept and nothing newer is stored.
    Provable,
}

impl BatchFault {
    /// What the fault means.
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::Proven(_) => FaultClass::Provable,
            Self::HeadInFuture { .. } => FaultClass::Waiting,
            _ => FaultClass::Transient,
        }
    }

    /// The reason that status and reports show.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::WrongStart { .. }
            | Self::WrongCount
            | Self::NoGenesis
            | Self::HeadBehind { .. }
            | Self::HeadBeforeEntry => "bad_batch",
            Self::Entry(EntryFault { rule, .. }) => match rule {
                BrokenRule::OtherOperator => "unauthorized_key",
                BrokenRule::Carried(CarriedFault::OtherOrigin) => "wrong_origin",
                _ => "bad_batch",
            },
            Self::Head(error) => match error {
                HeadError::WrongOrigin => "wrong_origin",
                HeadError::WrongEpoch { .. } => "wrong_epoch",
                HeadError::UnauthorizedKey { .. } => "unauthorized_key",
                HeadError::BadSignature | HeadError::EmptyTree | HeadError::SizeTooLarge => {
                    "bad_batch"
                }
            },
            Self::HeadInFuture { .. } => "head_in_future",
            Self::Inconsistent(_) | Self::WrongChainHead => "inconsistent_unproven",
            Self::Proven(fault) => fault.kind.as_str(),
        }
    }
}

/// A fault that the log's own signatures prove, with all that an evidence file needs but for what
/// only the store can read.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvenFault {
    kind: Kind,
    accused: Accused,
    statements: Vec<Statement>,
    proofs: Vec<Proof>,
    explanation: String,
    missing: Option<Missing>,
}

/// An entry from before the batch that the evidence needs beside the bad one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The entry's place in the tree.
    pub index: u64,
    /// The nodes of its inclusion proof; those that the batch knows have their hash.
    pub nodes: Vec<(NodeId, Option<Hash>)>,
    tree: TreeRoot,
}

impl ProvenFault {
    /// What is proven.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What has to be read from the store before [`ProvenFault::evidence`] can be made.
    pub fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref()
    }

    /// Supplies the missing entry and the nodes whose hashes are unknown; false, and nothing
    /// changed, if a node is still missing.
    pub fn supply(&mut self, leaf: Vec<u8>, nodes: &impl Nodes) -> bool {
        let Some(missing) = &self.missing else { return false };
        let hashes: Option<Vec<Hash>> =
            missing.nodes.iter().map(|(id, hash)| hash.or_else(|| nodes.node(*id))).collect();
        let plan = ProofPlan::inclusion(missing.index, missing.tree.size).ok();
        let Some((plan, hashes)) = plan.zip(hashes) else { return false };
        let proof = plan.assemble(&hashes);
        self.proofs.push(Proof::inclusion(leaf, missing.index, missing.tree, proof));
        self.missing = None;
        true
    }

    /// The evidence file; `None` while something is missing.
    pub fn evidence(&self, observed: &Observed) -> Option<Evidence> {
        if self.missing.is_some() {
            return None;
        }
        Some(Evidence::new(
            self.kind,
            self.accused.clone(),
            self.statements.clone(),
            self.proofs.clone(),
            self.explanation.clone(),
            observed,
        ))
    }
}

impl std::fmt::Display for ProvenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.kind.as_str(), self.explanation)
    }
}

/// Checks a batch against the state `chain` and the heads `kept`, those accepted before it whose
/// size the own tree had not reached, and the newest one.
///
/// Nothing of the batch may be used unless all of it holds.
pub fn verify_batch(
    chain: &Chain,
    batch: Batch,
    kept: &[SignedHead],
    now: Timestamp,
) -> Result<VerifiedBatch, BatchFault> {
    let Batch { header, leaves } = batch;
    check_range(chain.size(), &header, leaves.len())?;
    let walk = Walk::over(chain, leaves, kept);
    let log = match (walk.chain.log(), &walk.fault) {
        (Some(log), _) => log.clone(),
        (None, Some((fault, _))) => return Err(BatchFault::Entry(*fault)),
        (None, None) => return Err(BatchFault::NoGenesis),
    };
    let head = check_head(&header.tree_head, &log, now)?;
    for earlier in kept {
        if let Some(found) = contradiction(earlier, &head) {
            return Err(contradicted(&log, found.into(), earlier, &head));
        }
    }
    let reached = walk.chain.tree();
    if head.head().tree_size < reached.size {
        return Err(BatchFault::HeadBehind { size: head.head().tree_size });
    }
    let covered =
        Covered { log: &log, head: &head, tree: reached, steps: &header.consistency_proof };
    let consistent = check_consistency(&reached, &head.head().tree(), &header.consistency_proof);
    if let Some((fault, leaf)) = &walk.fault {
        // Only what the head covers can be held against the log.
        let provable = fault.rule.proves_bad_entry() && leaf.len() <= MAX_BAD_LEAF_BYTES;
        if consistent.is_ok() && provable {
            return Err(walk.bad_entry(&covered, *fault, leaf));
        }
        return Err(BatchFault::Entry(*fault));
    }
    consistent.map_err(BatchFault::Inconsistent)?;
    walk.check_passed(&covered)?;
    if reached.size == head.head().tree_size && walk.chain.chain_head() != head.head().chain_head {
        return Err(walk
            .wrong_chain_head(&log, &head, &reached)
            .unwrap_or(BatchFault::WrongChainHead));
    }
    if walk.chain.last_timestamp().is_some_and(|last| head.head().timestamp < last) {
        return Err(BatchFault::HeadBeforeEntry);
    }
    let Walk { chain, entries, completed, .. } = walk;
    let BatchHeader { has_more, tree_head: head_json, .. } = header;
    Ok(VerifiedBatch { chain, entries, completed, head, head_json, has_more })
}

fn check_range(size: TreeSize, header: &BatchHeader, count: usize) -> Result<(), BatchFault> {
    if header.after != size.get() {
        return Err(BatchFault::WrongStart { expected: size.get(), got: header.after });
    }
    let fits = count <= MAX_ENTRIES
        && u64::try_from(count).ok().and_then(|count| header.after.checked_add(count))
            == Some(header.next_after);
    if fits { Ok(()) } else { Err(BatchFault::WrongCount) }
}

fn check_head(json: &HeadJson, log: &Log, now: Timestamp) -> Result<SignedHead, BatchFault> {
    let head = json.verify(log.operator(), log.origin()).map_err(BatchFault::Head)?;
    let ahead_millis = head.head().timestamp.millis_since(now);
    if ahead_millis > MAX_AHEAD_MILLIS {
        return Err(BatchFault::HeadInFuture { ahead_millis });
    }
    Ok(head)
}

/// The empty tree is part of every tree, by rule and not by proof.
fn check_consistency(old: &TreeRoot, new: &TreeRoot, proof: &[Hash]) -> Result<(), ProofError> {
    if old.size == TreeSize::ZERO && proof.is_empty() {
        return Ok(());
    }
    verify_consistency(old, new, proof)
}

/// The batch's entries and what became of the chain over them.
struct Walk {
    start: Chain,
    chain: Chain,
    entries: Vec<Entry>,
    completed: Vec<(TileId, Arc<TileNodes>)>,
    /// The first entry that broke a rule; those after it were only put into the tree.
    fault: Option<(EntryFault, Arc<[u8]>)>,
    /// The first kept head of a size within the batch that does not agree, and the own tree there.
    disagrees: Option<(SignedHead, TreeRoot)>,
}

/// The head of a batch and what links the batch to it.
struct Covered<'a> {
    log: &'a Log,
    head: &'a SignedHead,
    /// The tree at the end of the batch.
    tree: TreeRoot,
    /// The proof from there to the head.
    steps: &'a [Hash],
}

impl Covered<'_> {
    /// The step from the batch's end to the head, if there is one.
    fn step(&self) -> Option<Proof> {
        let to = self.head.head().tree();
        (self.tree != to).then(|| Proof::consistency(self.tree, to, self.steps.to_vec()))
    }
}

impl Walk {
    fn over(start: &Chain, leaves: Vec<Vec<u8>>, kept: &[SignedHead]) -> Self {
        let mut walk = Self {
            start: start.clone(),
            chain: start.clone(),
            entries: Vec::with_capacity(leaves.len()),
            completed: Vec::new(),
            fault: None,
            disagrees: None,
        };
        for bytes in leaves {
            walk.step(bytes, kept);
        }
        walk
    }

    fn step(&mut self, bytes: Vec<u8>, kept: &[SignedHead]) {
        if self.fault.is_some() {
            self.chain.push_unchecked(&bytes, &mut self.completed);
            return;
        }
        let shared: Arc<[u8]> = bytes.into();
        match self.chain.extend(Arc::clone(&shared), &mut self.completed) {
            Ok(entry) => {
                self.entries.push(entry);
                self.compare(kept);
            }
            Err(fault) => {
                self.chain.push_unchecked(&shared, &mut self.completed);
                self.fault = Some((fault, shared));
            }
        }
    }

    fn compare(&mut self, kept: &[SignedHead]) {
        for head in kept.iter().filter(|head| head.head().tree_size == self.chain.size()) {
            let tree = self.chain.tree();
            if head.head().tree() != tree || head.head().chain_head != self.chain.chain_head() {
                self.disagrees.get_or_insert_with(|| (head.clone(), tree));
            }
        }
    }

    /// The hashes of all nodes in tiles that the batch touched.
    fn nodes(&self) -> impl Nodes + '_ {
        (self.chain.edge(), self.completed.as_slice())
    }

    /// Holds the own tree against the heads that it passed.
    fn check_passed(&self, covered: &Covered<'_>) -> Result<(), BatchFault> {
        let Some((head, tree)) = &self.disagrees else { return Ok(()) };
        let fault = if head.head().tree() == *tree {
            self.wrong_chain_head(covered.log, head, tree)
        } else {
            self.fork_prefix(covered, head, tree)
        };
        Err(fault.unwrap_or(BatchFault::WrongChainHead))
    }

    /// The batch's head extends another tree of the earlier head's size than that one signed.
    fn fork_prefix(
        &self,
        covered: &Covered<'_>,
        earlier: &SignedHead,
        own: &TreeRoot,
    ) -> Option<BatchFault> {
        let plan = ProofPlan::consistency(own.size, covered.tree.size).ok()?;
        let step = Proof::consistency(*own, covered.tree, plan.read(&self.nodes())?);
        Some(BatchFault::Proven(Box::new(ProvenFault {
            kind: Kind::ForkPrefix,
            accused: covered.log.into(),
            statements: vec![earlier.into(), covered.head.into()],
            proofs: covered.step().into_iter().chain([step]).collect(),
            explanation: format!(
                "the log signed a tree of {} entries that its tree of {} entries does not extend",
                own.size,
                covered.head.head().tree_size
            ),
            missing: None,
        })))
    }

    /// The head's last entry, as its own root has it, is not the one that its chain head names.
    fn wrong_chain_head(
        &self,
        log: &Log,
        head: &SignedHead,
        tree: &TreeRoot,
    ) -> Option<BatchFault> {
        let (proof, missing) = self.own_entry(*tree, tree.size.get().checked_sub(1)?);
        Some(BatchFault::Proven(Box::new(ProvenFault {
            kind: Kind::ChainMerkleMismatch,
            accused: log.into(),
            statements: vec![head.into()],
            proofs: proof.into_iter().collect(),
            explanation: format!(
                "the tree head of size {} names another last entry than its own tree holds",
                tree.size
            ),
            missing,
        })))
    }

    /// An entry that the head covers breaks a rule.
    fn bad_entry(&self, covered: &Covered<'_>, fault: EntryFault, leaf: &[u8]) -> BatchFault {
        let Some(inclusion) = self.include(covered.tree, fault.id - 1, leaf.to_vec()) else {
            return BatchFault::Entry(fault);
        };
        let mut proofs: Vec<Proof> = covered.step().into_iter().chain([inclusion]).collect();
        let mut missing = None;
        if let Some(beside) = self.needed_beside(fault, leaf) {
            let (proof, stored) = self.own_entry(covered.tree, beside);
            proofs.extend(proof);
            missing = stored;
        }
        BatchFault::Proven(Box::new(ProvenFault {
            kind: Kind::BadEntry,
            accused: covered.log.into(),
            statements: vec![covered.head.into()],
            proofs,
            explanation: fault.to_string(),
            missing,
        }))
    }

    /// The inclusion proof of an entry that kept every rule; one from before the batch has to be
    /// read from the store.
    fn own_entry(&self, tree: TreeRoot, index: u64) -> (Option<Proof>, Option<Missing>) {
        let place = index.checked_sub(self.start.size().get());
        let entry = place.and_then(|place| self.entries.get(usize::try_from(place).ok()?));
        match entry.and_then(|entry| self.include(tree, index, entry.leaf.bytes().to_vec())) {
            Some(proof) => (Some(proof), None),
            None => (None, self.missing(tree, index)),
        }
    }

    fn include(&self, tree: TreeRoot, index: u64, leaf: Vec<u8>) -> Option<Proof> {
        let proof = ProofPlan::inclusion(index, tree.size).ok()?.read(&self.nodes())?;
        Some(Proof::inclusion(leaf, index, tree, proof))
    }

    fn missing(&self, tree: TreeRoot, index: u64) -> Option<Missing> {
        let plan = ProofPlan::inclusion(index, tree.size).ok()?;
        let known = self.nodes();
        let nodes = plan.nodes().iter().map(|id| (*id, known.node(*id))).collect();
        Some(Missing { index, nodes, tree })
    }

    /// The place of the entry without which a stranger cannot see the fault.
    fn needed_beside(&self, fault: EntryFault, leaf: &[u8]) -> Option<u64> {
        match fault.rule {
            BrokenRule::WrongPrevious | BrokenRule::TimeRunsBack => (fault.id - 1).checked_sub(1),
            BrokenRule::Carried(_) => crate::evidence::role_signer(leaf)
                .and_then(|signer| self.chain.roles().get(&signer))
                .map(|role| role.entry_id - 1),
            _ => None,
        }
    }
}

fn contradicted(log: &Log, kind: Kind, earlier: &SignedHead, head: &SignedHead) -> BatchFault {
    BatchFault::Proven(Box::new(ProvenFault {
        kind,
        accused: log.into(),
        statements: vec![earlier.into(), head.into()],
        proofs: Vec::new(),
        explanation: crate::evidence::explain_contradiction(kind, earlier, head),
        missing: None,
    }))
}
