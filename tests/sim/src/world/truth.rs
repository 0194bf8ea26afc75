//! What really happened, as nobody within the world can see it, and the invariants over it.
//!
//! Each invariant is one small function; its name is what a violation reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::{self, place};
use super::follower::{Follower, Looked};
use crate::evidence;
use crate::head::{SignedHead, TreeHead};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeRoot};
use crate::sequencer::Appended;
use crate::store::{Database, LogState};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: &'static str,
    /// What is the case instead.
    pub detail: String,
}

pub(crate) type Held = Result<(), Broken>;

macro_rules! broken {
    ($name:expr, $($detail:tt)*) => {
        Err(crate::world::truth::Broken { invariant: $name, detail: format!($($detail)*) })
    };
}
pub(crate) use broken;

/// The signatures of an honest leader, and what it told its callers.
#[derive(Default)]
pub(crate) struct Truth {
    /// The history that the signed heads tell, as far as the largest of them goes.
    leaves: Vec<Leaf>,
    heads: Vec<SignedHead>,
    /// Where an entry was promised to be.
    receipts: BTreeMap<u64, Hash>,
    /// The state of the database under which all of them were found.
    found: Option<(LogState, usize)>,
}

impl Truth {
    /// A head was shown under the key of the honest leader.
    pub(crate) fn signed(&mut self, head: &SignedHead, database: &Database) -> Held {
        if self.heads.contains(head) {
            return Ok(());
        }
        signed_only_what_is_durable(head, database)?;
        self.one_history(head)?;
        self.the_same_entries(head, database)?;
        self.heads.push(head.clone());
        Ok(())
    }

    /// A caller was told that its entries are in the log.
    pub(crate) fn answered(&mut self, appended: &Appended, database: &Database) -> Held {
        let covered = appended.snapshot.head.head().tree_size.get();
        for leaf in &appended.leaves {
            if leaf.id() > covered || !self.heads.contains(&appended.snapshot.head) {
                return broken!(
                    "a_receipt_is_covered_by_a_signed_head",
                    "entry {} under a head of size {covered}",
                    leaf.id()
                );
            }
            self.receipts.insert(leaf.id(), leaf.entry_hash());
        }
        self.receipts_are_durable(database)
    }

    /// Invariant 1: sizes and times of one key never contradict each other.
    fn one_history(&self, head: &SignedHead) -> Held {
        let new = head.head();
        for signed in &self.heads {
            let old = signed.head();
            let (same, other) = ((new.root_hash, new.chain_head), (old.root_hash, old.chain_head));
            if new.tree_size == old.tree_size && same != other {
                return broken!("one_root_and_chain_head_for_each_size", "size {}", new.tree_size);
            }
            let backwards = match new.tree_size.cmp(&old.tree_size) {
                std::cmp::Ordering::Less => new.timestamp > old.timestamp,
                std::cmp::Ordering::Greater => new.timestamp < old.timestamp,
                std::cmp::Ordering::Equal => false,
            };
            if backwards {
                return broken!(
                    "size_and_time_never_go_back",
                    "{} at {} and {} at {}",
                    old.tree_size,
                    old.timestamp,
                    new.tree_size,
                    new.timestamp
                );
            }
        }
        Ok(())
    }

    /// Invariant 1: what one head covers is part of what every larger one covers.
    fn the_same_entries(&mut self, head: &SignedHead, database: &Database) -> Held {
        let covered = &database.leaves[..place(head.head().tree_size.get())];
        let differs = self.leaves.iter().zip(covered).find(|(ours, theirs)| ours != theirs);
        if let Some((ours, _)) = differs {
            return broken!("signed_heads_extend_each_other", "they part at entry {}", ours.id());
        }
        if covered.len() > self.leaves.len() {
            self.leaves = covered.to_vec();
        }
        Ok(())
    }

    /// Invariant 2: what a caller was told is in the log, is there, and stays there.
    pub(crate) fn receipts_are_durable(&mut self, database: &Database) -> Held {
        let state = Some((database.state, self.receipts.len()));
        if self.found == state {
            return Ok(());
        }
        for (id, hash) in &self.receipts {
            let there = database.leaves.get(place(id - 1)).map(Leaf::entry_hash);
            if there != Some(*hash) {
                return broken!("what_was_acknowledged_is_durable", "entry {id} is not there");
            }
        }
        self.found = state;
        Ok(())
    }

    /// Invariant 1, below the heads: the rows of the database say one thing.
    pub(crate) fn the_database_agrees_with_itself(database: &Database) -> Held {
        let tree = database.tree(book::size(database.size()));
        let last = database.leaves.last().map(Leaf::entry_hash);
        if tree != Some(database.state.tree) || last != database.state.chain_head {
            return broken!(
                "the_database_agrees_with_itself",
                "its state is of size {}, its entries are {}",
                database.state.tree.size,
                database.size()
            );
        }
        Ok(())
    }

    /// Invariant 3, of an honest log: a follower has its entries and no others.
    pub(crate) fn a_follower_holds_the_history(&self, follower: &Follower) -> Held {
        let held = follower.durable.book.leaves.last();
        let truth = held.and_then(|last| self.leaves.get(place(last.id() - 1)));
        if held == truth {
            return Ok(());
        }
        broken!("a_follower_stores_only_the_log", "it has {} entries", follower.size())
    }

    /// Invariant 5: an honest log is never called a forger.
    pub(crate) fn an_honest_log_is_never_accused(follower: &Follower) -> Held {
        match &follower.durable.latched {
            None => Ok(()),
            Some(latch) => broken!("an_honest_log_is_never_accused", "{}", latch.kind.as_str()),
        }
    }

    /// Whether a database has everything that was ever signed.
    pub(crate) fn is_in(&self, database: &Database) -> bool {
        database.leaves.starts_with(&self.leaves)
    }

    pub(crate) fn largest(&self) -> u64 {
        self.leaves.len() as u64
    }
}

/// Whether a database has what a head is about.
pub(crate) fn has(database: &Database, head: &TreeHead) -> bool {
    let is_there = database.tree(head.tree_size).map(|tree| tree.hash) == Some(head.root_hash);
    is_there && database.state.timestamp >= head.timestamp
}

/// Invariant 1: no signature exists for what is not durable.
fn signed_only_what_is_durable(head: &SignedHead, database: &Database) -> Held {
    let head = head.head();
    if !has(database, head) {
        return broken!(
            "signed_only_what_is_durable",
            "signed size {} of {}, durable is size {} of {}",
            head.tree_size,
            head.timestamp,
            database.size(),
            database.state.timestamp
        );
    }
    Ok(())
}

/// Invariant 3: what is stored is a chain of leaves under the root that the state row names, and
/// never changes.
pub(crate) fn what_is_stored_holds(follower: &mut Follower) -> Held {
    let (book, looked) = (&follower.durable.book, &mut follower.looked);
    let known = looked.entries.len();
    if book.leaves.len() == known {
        return Ok(());
    }
    if book.leaves.len() < known {
        return broken!("what_is_stored_holds", "it had {known} entries, now {}", book.size());
    }
    for leaf in &book.leaves[known..] {
        let id = looked.entries.len() as u64 + 1;
        if leaf.id() != id || leaf.previous_hash() != looked.entries.last().copied() {
            return broken!("what_is_stored_holds", "entry {id} does not follow the one before");
        }
        looked.entries.push(leaf.entry_hash());
        looked.leaves.push(leaf.leaf_hash());
    }
    let (size, root) = (book.size(), book.state.tree.hash);
    if root == root_at(looked, size) {
        Ok(())
    } else {
        broken!("what_is_stored_holds", "the root of {size} entries")
    }
}

/// Invariant 3: the head that is served is one of the own tree.
pub(crate) fn what_is_served_is_stored(follower: &mut Follower) -> Held {
    let Some(served) = follower.replica.served().cloned() else { return Ok(()) };
    let entries = served.size().get();
    if entries > follower.size() {
        return broken!("what_is_served_is_stored", "{entries} of {}", follower.size());
    }
    agrees("what_is_served_is_stored", &mut follower.looked, &served.signed)
}

/// Invariant 3: a head that was believed once holds when the own tree has grown to it, or the
/// follower stops.
pub(crate) fn a_believed_head_is_held_to(follower: &mut Follower) -> Held {
    if follower.durable.latched.is_some() {
        return Ok(());
    }
    let size = follower.size();
    for head in follower.promised.iter().filter(|head| head.size().get() <= size) {
        agrees("a_believed_head_is_held_to", &mut follower.looked, &head.signed)?;
    }
    Ok(())
}

fn agrees(name: &'static str, looked: &mut Looked, head: &SignedHead) -> Held {
    let signature = head.signature().as_bytes().to_vec();
    if looked.heads.contains(&signature) {
        return Ok(());
    }
    let entries = head.head().tree_size.get();
    let last = looked.entries[place(entries - 1)];
    if head.head().root_hash != root_at(looked, entries) || head.head().chain_head != Some(last) {
        return broken!(name, "another tree or last entry at size {entries}");
    }
    looked.heads.insert(signature);
    Ok(())
}

fn root_at(looked: &mut Looked, entries: u64) -> Hash {
    let leaves = &looked.leaves[..place(entries)];
    *looked.roots.entry(entries).or_insert_with(|| book::plain_root(leaves))
}

/// Invariant 5: what latches is proof that a stranger can check.
pub(crate) fn what_latches_is_proof(follower: &mut Follower) -> Held {
    let Some(latch) = &follower.durable.latched else { return Ok(()) };
    if follower.looked.evidence {
        return Ok(());
    }
    let log = follower.durable.book.leaves.first().map(Leaf::entry_hash);
    match evidence::verify(&latch.evidence, log, Some(book::operator().fingerprint())) {
        Ok(proven) if proven.kind == latch.kind => {
            follower.looked.evidence = true;
            Ok(())
        }
        other => broken!("what_latches_is_proof", "{:?}", other.map(|proven| proven.kind)),
    }
}

/// Nothing newer is stored while it is latched.
pub(crate) fn a_latched_follower_stands_still(follower: &Follower) -> Held {
    match &follower.durable.latched {
        Some(latch) if latch.size != follower.size() => broken!(
            "a_latched_follower_stands_still",
            "latched at {}, now at {}",
            latch.size,
            follower.size()
        ),
        _ => Ok(()),
    }
}
