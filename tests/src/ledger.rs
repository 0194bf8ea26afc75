//! The judge of a log that was cut off: what it promised, and whether it kept that. Pure.
//!
//! It trusts nothing that the product says of itself: entries that were acknowledged, and trees
//! that anybody was ever shown under a signature, are kept here and compared with each other and
//! with the log as it is read afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use diogenes_common::clock::Timestamp;
use diogenes_common::head::SignedHead;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

use crate::stranger::ReadLog;

/// Who showed a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The leader, in a receipt.
    Receipt,
    /// The leader, as its newest head or checkpoint.
    Leader,
    /// The follower, as its newest head.
    Follower,
    /// A witness, in its index.
    WitnessIndex,
    /// A witness, in what it signed.
    Cosignature,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receipt => "a receipt",
            Self::Leader => "the leader",
            Self::Follower => "the follower",
            Self::WitnessIndex => "a witness's index",
            Self::Cosignature => "a cosignature",
        })
    }
}

/// A tree that somebody was shown under a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its size and root.
    pub tree: TreeRoot,
    /// The last entry's hash, where it is part of what was signed.
    pub chain_head: Option<Hash>,
    /// The head's time, where it is part of what was signed.
    pub time: Option<Timestamp>,
}

impl From<&SignedHead> for Sighting {
    fn from(head: &SignedHead) -> Self {
        let head = head.head();
        Self { tree: head.tree(), chain_head: head.chain_head, time: Some(head.timestamp) }
    }
}

impl From<TreeRoot> for Sighting {
    fn from(tree: TreeRoot) -> Self {
        Self { tree, chain_head: None, time: None }
    }
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Acknowledged, and gone.
    #[error("entry {id} was acknowledged and is lost")]
    LostEntry {
        /// Its place.
        id: u64,
    },
    /// Acknowledged, and something else is there.
    #[error("entry {id} is not the one that was acknowledged")]
    OtherEntry {
        /// Its place.
        id: u64,
    },
    /// One place was given to two entries.
    #[error("two entries were acknowledged as number {id}")]
    AcknowledgedTwice {
        /// The place.
        id: u64,
    },
    /// Two histories were signed.
    #[error("two roots or chain heads for size {size}: the later one from {by}")]
    DoubledRoot {
        /// The size.
        size: u64,
        /// Who showed the second one.
        by: Source,
    },
    /// Somebody stands below where it stood.
    #[error("{who} went back from {from} to {to} entries")]
    Shrunk {
        /// Who.
        who: Source,
        /// Where it stood.
        from: u64,
        /// Where it stands.
        to: u64,
    },
    /// A larger tree with an earlier time.
    #[error("the head of size {size} breaks the order of times")]
    TimeRanBack {
        /// The size.
        size: u64,
    },
    /// A tree that was shown is not on the history that is read.
    #[error("a signed tree of size {size} is not on the history of the log")]
    OffHistory {
        /// Its size.
        size: u64,
    },
}

/// What was promised so far.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Hash>,
    trees: BTreeMap<u64, Known>,
    stands: BTreeMap<Source, u64>,
    /// Pairs of sizes between which a consistency proof was verified.
    proven: BTreeSet<(u64, u64)>,
}

/// What is known of one size.
#[derive(Clone, Copy, Debug)]
struct Known {
    root: Hash,
    chain_head: Option<Hash>,
    /// The earliest and the latest time of a head of this size.
    times: Option<(Timestamp, Timestamp)>,
}

/// A log as it is read, for comparison.
pub trait History {
    /// The hash of an entry.
    fn entry_hash(&self, id: u64) -> Option<Hash>;
    /// The roots at growing sizes; `None` beyond the log.
    fn roots(&self, sizes: Vec<u64>) -> Vec<Option<Hash>>;
}

impl History for ReadLog {
    fn entry_hash(&self, id: u64) -> Option<Hash> {
        self.entry_hash(id)
    }

    fn roots(&self, sizes: Vec<u64>) -> Vec<Option<Hash>> {
        self.roots_at(sizes).collect()
    }
}

impl Ledger {
    /// Notes an entry that was acknowledged.
    pub fn acknowledge(&mut self, id: u64, entry_hash: Hash) -> Result<(), Violation> {
        match self.entries.insert(id, entry_hash) {
            Some(before) if before != entry_hash => Err(Violation::AcknowledgedTwice { id }),
            _ => Ok(()),
        }
    }

    /// How many entries were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.entries.len()
    }

    /// How many different sizes were shown.
    pub fn sizes(&self) -> usize {
        self.trees.len()
    }

    /// The tree of a size that was shown.
    pub fn tree(&self, size: u64) -> Option<TreeRoot> {
        let known = self.trees.get(&size)?;
        Some(TreeRoot { size: TreeSize::new(size)?, hash: known.root })
    }

    /// Notes a tree that somebody showed, in whatever order they come.
    pub fn see(&mut self, by: Source, seen: impl Into<Sighting>) -> Result<(), Violation> {
        let Sighting { tree, chain_head, time } = seen.into();
        let size = tree.size.get();
        let known = self.trees.get(&size).copied();
        if known.is_some_and(|known| known.forks(tree.hash, chain_head)) {
            return Err(Violation::DoubledRoot { size, by });
        }
        let mut known = known.unwrap_or(Known { root: tree.hash, chain_head: None, times: None });
        known.chain_head = known.chain_head.or(chain_head);
        if let Some(time) = time {
            self.fits(size, time)?;
            let (first, last) = known.times.unwrap_or((time, time));
            known.times = Some((first.min(time), last.max(time)));
        }
        self.trees.insert(size, known);
        Ok(())
    }

    /// Notes where somebody stands now, asked after its last stand was noted.
    ///
    /// The leader must also have reached every tree that anybody was shown.
    pub fn stands_at(&mut self, who: Source, size: u64) -> Result<(), Violation> {
        let shown = self.trees.last_key_value().map_or(0, |(size, _)| *size);
        let stand = self.stands.entry(who).or_default();
        let from = if who == Source::Leader { shown.max(*stand) } else { *stand };
        if size < from {
            return Err(Violation::Shrunk { who, from, to: size });
        }
        *stand = size;
        Ok(())
    }

    /// Compares everything up to `size` with the log as somebody serves it who may not have all.
    pub fn is_kept_upto(&self, size: u64, log: &impl History) -> Result<(), Violation> {
        for (&id, entry_hash) in self.entries.range(..=size) {
            match log.entry_hash(id) {
                None => return Err(Violation::LostEntry { id }),
                Some(held) if held != *entry_hash => return Err(Violation::OtherEntry { id }),
                Some(_) => {}
            }
        }
        let trees = || self.trees.range(..=size);
        let roots = log.roots(trees().map(|(size, _)| *size).collect());
        for ((&size, known), root) in trees().zip(roots) {
            let chain_head = log.entry_hash(size);
            if root != Some(known.root) || known.chain_head.is_some_and(|of| chain_head != Some(of))
            {
                return Err(Violation::OffHistory { size });
            }
        }
        Ok(())
    }

    /// Compares everything with the log as it is read.
    pub fn is_kept_by(&self, log: &impl History) -> Result<(), Violation> {
        self.is_kept_upto(u64::MAX, log)
    }

    /// Neighbouring sizes between which no consistency proof was verified yet.
    pub fn unproven(&self) -> Vec<(u64, u64)> {
        let sizes: Vec<u64> = self.trees.keys().copied().filter(|size| *size > 0).collect();
        let pairs = sizes.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|pair| !self.proven.contains(pair)).collect()
    }

    /// Notes that a proof between two sizes was verified.
    pub fn proven(&mut self, pair: (u64, u64)) {
        self.proven.insert(pair);
    }

    /// A head is not older than any of a smaller size, nor younger than any of a larger one.
    fn fits(&self, size: u64, time: Timestamp) -> Result<(), Violation> {
        let before = self.trees.range(..size).rev().find_map(|(_, known)| known.times);
        let after = self.trees.range(size + 1..).find_map(|(_, known)| known.times);
        let fits = before.is_none_or(|(_, last)| last <= time)
            && after.is_none_or(|(first, _)| time <= first);
        if fits { Ok(()) } else { Err(Violation::TimeRanBack { size }) }
    }
}

impl Known {
    fn forks(&self, root: Hash, chain_head: Option<Hash>) -> bool {
        self.root != root
            || self.chain_head.zip(chain_head).is_some_and(|(known, seen)| known != seen)
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Edge;

    use super::*;

    /// A history of so many entries, whose leaves are their hashes.
    struct Entries(Vec<Hash>);

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| Hash::of(name.as_bytes())).collect())
    }

    impl History for Entries {
        fn entry_hash(&self, id: u64) -> Option<Hash> {
            self.0.get(usize::try_from(id.checked_sub(1)?).ok()?).copied()
        }

        fn roots(&self, sizes: Vec<u64>) -> Vec<Option<Hash>> {
            sizes.into_iter().map(|size| self.root(usize::try_from(size).unwrap())).collect()
        }
    }

    impl Entries {
        fn root(&self, size: usize) -> Option<Hash> {
            let mut edge = Edge::empty();
            for leaf in self.0.get(..size)? {
                edge.push(*leaf, &mut Vec::new());
            }
            Some(edge.root().hash)
        }

        fn sighting(&self, size: usize, second: i64) -> Sighting {
            let hash = self.root(size).unwrap();
            let size = u64::try_from(size).unwrap();
            Sighting {
                tree: TreeRoot { size: TreeSize::new(size).unwrap(), hash },
                chain_head: self.entry_hash(size),
                time: Timestamp::from_millis(second * 1000),
            }
        }
    }

    fn acknowledged(log: &Entries) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, hash) in (1..).zip(&log.0) {
            ledger.acknowledge(id, *hash).unwrap();
        }
        ledger
    }

    #[test]
    fn a_log_that_keeps_everything_is_accepted() {
        let log = entries(&["a", "b", "c"]);
        let mut ledger = acknowledged(&log);
        for size in [3, 1, 2] {
            ledger.see(Source::Receipt, log.sighting(size, 1)).unwrap();
        }

        assert_eq!(ledger.is_kept_by(&log), Ok(()));
        assert_eq!(ledger.stands_at(Source::Leader, 3), Ok(()));
        assert_eq!((ledger.acknowledged(), ledger.sizes()), (3, 3));
    }

    #[test]
    fn a_lost_entry_is_noticed() {
        let ledger = acknowledged(&entries(&["a", "b", "c"]));

        let kept = ledger.is_kept_by(&entries(&["a", "b"]));

        assert_eq!(kept, Err(Violation::LostEntry { id: 3 }));
        assert_eq!(ledger.is_kept_upto(2, &entries(&["a", "b"])), Ok(()));
    }

    #[test]
    fn an_entry_that_was_replaced_is_noticed() {
        let mut ledger = acknowledged(&entries(&["a", "b", "c"]));

        let kept = ledger.is_kept_by(&entries(&["a", "x", "c"]));

        assert_eq!(kept, Err(Violation::OtherEntry { id: 2 }));
        let again = ledger.acknowledge(2, Hash::of(b"x"));
        assert_eq!(again, Err(Violation::AcknowledgedTwice { id: 2 }));
    }

    #[test]
    fn a_doubled_root_is_noticed_whoever_shows_it() {
        for by in [Source::Leader, Source::WitnessIndex, Source::Cosignature] {
            let mut ledger = Ledger::default();
            ledger.see(Source::Receipt, entries(&["a", "b"]).sighting(2, 1)).unwrap();

            let seen = ledger.see(by, entries(&["a", "x"]).sighting(2, 1).tree);

            assert_eq!(seen, Err(Violation::DoubledRoot { size: 2, by }));
        }
    }

    #[test]
    fn a_doubled_chain_head_is_noticed_under_one_root() {
        let log = entries(&["a", "b"]);
        let mut ledger = Ledger::default();
        ledger.see(Source::Cosignature, log.sighting(2, 1).tree).unwrap();
        ledger.see(Source::Receipt, log.sighting(2, 1)).unwrap();

        let other = Sighting { chain_head: Some(Hash::of(b"x")), ..log.sighting(2, 1) };

        let by = Source::Follower;
        assert_eq!(ledger.see(by, other), Err(Violation::DoubledRoot { size: 2, by }));
    }

    #[test]
    fn a_shrunken_size_is_noticed() {
        let mut ledger = Ledger::default();
        ledger.stands_at(Source::Follower, 7).unwrap();
        ledger.stands_at(Source::Follower, 7).unwrap();

        let (who, from, to) = (Source::Follower, 7, 6);
        assert_eq!(ledger.stands_at(who, to), Err(Violation::Shrunk { who, from, to }));
    }

    #[test]
    fn a_leader_below_what_it_showed_anybody_is_noticed() {
        let log = entries(&["a", "b", "c"]);
        let mut ledger = Ledger::default();
        ledger.stands_at(Source::Leader, 1).unwrap();
        ledger.see(Source::WitnessIndex, log.sighting(3, 1)).unwrap();

        let (who, from, to) = (Source::Leader, 3, 2);
        assert_eq!(ledger.stands_at(who, to), Err(Violation::Shrunk { who, from, to }));
        assert_eq!(ledger.stands_at(Source::Follower, 2), Ok(()));
    }

    #[test]
    fn a_time_that_ran_back_is_noticed_between_any_two_sizes() {
        let log = entries(&["a", "b", "c", "d"]);
        for (size, second) in [(4, 19), (2, 21), (1, 11)] {
            let mut ledger = Ledger::default();
            ledger.see(Source::Receipt, log.sighting(3, 20)).unwrap();
            ledger.see(Source::Receipt, log.sighting(2, 10)).unwrap();
            ledger.see(Source::Cosignature, log.sighting(4, 0).tree).unwrap();

            let seen = ledger.see(Source::Leader, log.sighting(size, second));

            let size = u64::try_from(size).unwrap();
            assert_eq!(seen, Err(Violation::TimeRanBack { size }));
        }
    }

    #[test]
    fn a_tree_that_is_not_on_the_history_is_noticed() {
        let log = entries(&["a", "b", "c"]);
        let mut ledger = Ledger::default();
        ledger.see(Source::Cosignature, log.sighting(2, 1).tree).unwrap();

        let other = ledger.is_kept_by(&entries(&["a", "x", "c"]));
        let shorter = ledger.is_kept_by(&entries(&["a"]));

        assert_eq!(other, Err(Violation::OffHistory { size: 2 }));
        assert_eq!(shorter, Err(Violation::OffHistory { size: 2 }));
    }

    #[test]
    fn a_size_between_two_that_were_proven_is_proven_to_both() {
        let log = entries(&["a", "b", "c"]);
        let mut ledger = Ledger::default();
        ledger.see(Source::Receipt, log.sighting(1, 1)).unwrap();
        ledger.see(Source::Receipt, log.sighting(3, 1)).unwrap();
        assert_eq!(ledger.unproven(), [(1, 3)]);
        ledger.proven((1, 3));

        ledger.see(Source::Receipt, log.sighting(2, 1)).unwrap();

        assert_eq!(ledger.unproven(), [(1, 2), (2, 3)]);
    }
}
