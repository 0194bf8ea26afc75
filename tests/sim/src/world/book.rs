//! Histories: what a server has to answer from, honest or not.

use crate::batch::{Batch, BatchHeader, Chain, Trust};
use crate::checkpoint::{Checkpoint, sign_checkpoint};
use crate::clock::Timestamp;
use crate::event::{Genesis, Payload as _};
use crate::head::{EPOCH, HeadJson, Origin, TreeHead};
use crate::keys::SigningKey;
use crate::leaf::Leaf;
use crate::merkle::{Hash, ProofPlan, TreeSize};
use crate::store::Database;

/// When every run begins.
pub(crate) const START: i64 = 1_800_000_000_000;

/// The name of the log.
pub(crate) fn origin() -> Origin {
    "log.example/sim".parse().expect("an origin")
}

/// The key that the log belongs to.
pub(crate) fn operator() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

pub(crate) fn size(entries: u64) -> TreeSize {
    TreeSize::ZERO.plus(entries)
}

pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// A log of its genesis alone.
pub(crate) fn genesis(now: Timestamp) -> Database {
    let key = operator();
    let genesis = Genesis::new(key.public(), origin());
    let mut book = Database::empty();
    append(&mut book, "log_genesis", &genesis.to_payload(), now);
    book
}

/// Appends an entry that keeps every rule.
pub(crate) fn append(book: &mut Database, event_type: &str, payload: &[u8], now: Timestamp) {
    let previous = book.leaves.last().map(Leaf::entry_hash);
    let event_type = event_type.parse().expect("a type");
    let leaf = Leaf::build(book.size() + 1, previous, now, &event_type, payload).expect("a leaf");
    book.push(leaf);
    settle(book, now);
}

/// Lets the state row say what the entries are.
pub(crate) fn settle(book: &mut Database, now: Timestamp) {
    book.state.tree = book.tree(size(book.size())).expect("the tree of all entries");
    book.state.chain_head = book.leaves.last().map(Leaf::entry_hash);
    book.state.timestamp = now;
    book.state.last_event_id = book.size();
}

/// The head of a size as its history has it, not signed yet.
pub(crate) fn head_at(book: &Database, entries: u64, now: Timestamp) -> TreeHead {
    let tree = book.tree(size(entries)).expect("a size of this history");
    TreeHead {
        chain_head: entries.checked_sub(1).map(|last| book.leaves[place(last)].entry_hash()),
        epoch: EPOCH,
        origin: origin(),
        root_hash: tree.hash,
        timestamp: now,
        tree_size: tree.size,
    }
}

/// Signs a head, whatever it says, with the checkpoint that belongs beside it.
pub(crate) fn sign(head: TreeHead, key: &SigningKey) -> HeadJson {
    let tree = head.tree();
    let checkpoint = Checkpoint::new(head.origin.as_str(), tree).expect("a checkpoint");
    let name = head.origin.as_str().parse().expect("a key name");
    let note = sign_checkpoint(&checkpoint, &name, key);
    let last = head.tree_size.get();
    head.sign(key).to_json(note, last)
}

/// The proof that the tree of one size extends that of a smaller one, and the smaller one's root.
pub(crate) fn consistency(book: &Database, first: u64, second: u64) -> Option<(Hash, Vec<Hash>)> {
    let root = book.tree(size(first))?.hash;
    if first == 0 || first == second {
        return Some((root, Vec::new()));
    }
    let plan = ProofPlan::consistency(size(first), size(second)).ok()?;
    Some((root, plan.assemble(&book.nodes(plan.nodes())?)))
}

/// The honest batch of a history under one of its heads.
pub(crate) fn batch(book: &Database, head: &HeadJson, after: u64, limit: u64) -> Option<Batch> {
    let covered = head.tree_size.get().min(book.size());
    let next = (after + limit).min(covered).max(after);
    let leaves = book.leaves.get(place(after)..place(next)).unwrap_or_default();
    let proof =
        if next > 0 && next < covered { consistency(book, next, covered)?.1 } else { vec![] };
    Some(Batch {
        header: BatchHeader {
            after,
            consistency_proof: proof,
            has_more: next < covered,
            next_after: next,
            tree_head: head.clone(),
        },
        leaves: leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect(),
    })
}

/// The root over leaves as RFC 6962 section 2.1 defines it: slow, short, and no code of ours.
pub(crate) fn plain_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::EMPTY_TREE,
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            Hash::of_node(&plain_root(left), &plain_root(right))
        }
    }
}

/// What a follower of this log is configured with.
pub(crate) fn trust() -> Trust {
    Trust { operator: operator().fingerprint() }
}

/// The state of a verifier that knows nothing but that.
pub(crate) fn no_chain() -> Chain {
    Chain::new(trust())
}
