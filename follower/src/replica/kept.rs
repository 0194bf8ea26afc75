//! Heads that were accepted before the own tree reached their size.

use std::collections::BTreeMap;
use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::merkle::TreeSize;

/// How many heads are kept at most.
pub(crate) const MAX_KEPT: usize = 64;

/// A head whose signature, origin, epoch and time were checked, with the JSON that it came in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    /// The head.
    pub(crate) signed: SignedHead,
    /// The same head verbatim.
    pub(crate) json: HeadJson,
}

impl Accepted {
    /// How many entries the head covers.
    pub(crate) fn size(&self) -> TreeSize {
        self.signed.head().tree_size
    }

    /// When the log signed it.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.signed.head().timestamp
    }

    /// Whether it says more than the other: heads of one history are ordered by size and time.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        (self.size(), self.timestamp()) > (other.size(), other.timestamp())
    }
}

/// The accepted heads above the verified size: what the log promised to grow into.
///
/// One head for each size, at most [`MAX_KEPT`]; beyond that the crowded ones go, never the
/// smallest or the largest.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptHeads(BTreeMap<TreeSize, Kept>);

#[derive(Clone, Debug)]
struct Kept {
    head: Arc<Accepted>,
    learned: Timestamp,
}

impl KeptHeads {
    /// Keeps a head that was learned at that moment. Of two heads of one size, whose roots the
    /// caller has compared, the newer one stays.
    pub(crate) fn keep(&mut self, head: Arc<Accepted>, learned: Timestamp) {
        match self.0.get_mut(&head.size()) {
            Some(kept) if head.is_newer_than(&kept.head) => kept.head = head,
            Some(_) => {}
            None => {
                self.0.insert(head.size(), Kept { head, learned });
                if self.0.len() > MAX_KEPT {
                    self.thin();
                }
            }
        }
    }

    /// Lets go of the heads that the own tree has reached, in the order of their sizes.
    pub(crate) fn reached(&mut self, size: TreeSize) -> Vec<Arc<Accepted>> {
        let above = self.0.split_off(&size.plus(1));
        std::mem::replace(&mut self.0, above).into_values().map(|kept| kept.head).collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The heads, smallest first.
    pub(crate) fn heads(&self) -> impl DoubleEndedIterator<Item = &Arc<Accepted>> {
        self.0.values().map(|kept| &kept.head)
    }

    /// When the first of the heads that are still kept was learned.
    pub(crate) fn behind_since(&self) -> Option<Timestamp> {
        self.0.values().map(|kept| kept.learned).min()
    }

    /// Drops the head whose neighbours are nearest to each other. The newcomer may be it.
    fn thin(&mut self) {
        let sizes: Vec<u64> = self.0.keys().map(|size| size.get()).collect();
        let crowded = sizes.windows(3).min_by_key(|near| near[2] - near[0]).map(|near| near[1]);
        if let Some(size) = crowded.and_then(TreeSize::new) {
            self.0.remove(&size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, head};
    use super::*;

    fn sizes(kept: &KeptHeads) -> Vec<u64> {
        kept.heads().map(|head| head.size().get()).collect()
    }

    #[test]
    fn at_most_64_heads_are_kept_and_they_stay_spread_over_the_whole_range() {
        let mut kept = KeptHeads::default();

        for size in 1..=10_000 {
            kept.keep(head(size, size), at(size));
        }

        let sizes = sizes(&kept);
        assert_eq!(sizes.len(), MAX_KEPT);
        assert_eq!((sizes[0], sizes[MAX_KEPT - 1]), (1, 10_000));
        let widest = sizes.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(1000), "{sizes:?}");
        assert_eq!(kept.behind_since(), Some(at(1)));
    }

    #[test]
    fn a_size_that_is_reached_lets_go_of_the_heads_up_to_it() {
        let mut kept = KeptHeads::default();
        for size in [10, 20, 30] {
            kept.keep(head(size, size), at(size));
        }

        let reached = kept.reached(TreeSize::ZERO.plus(20));

        assert_eq!(reached.iter().map(|head| head.size().get()).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(sizes(&kept), [30]);
        assert_eq!(kept.behind_since(), Some(at(30)));
        assert!(kept.reached(TreeSize::ZERO.plus(20)).is_empty());
    }

    #[test]
    fn a_heartbeat_of_the_same_size_replaces_the_head_but_not_the_moment() {
        let mut kept = KeptHeads::default();
        kept.keep(head(10, 5), at(5));
        kept.keep(head(10, 9), at(9));
        kept.keep(head(10, 7), at(10));

        let heads: Vec<_> = kept.heads().map(|head| head.timestamp()).collect();

        assert_eq!(heads, [at(9)]);
        assert_eq!(kept.behind_since(), Some(at(5)));
    }
}
