//! Does the log show the same history to somebody else?

use diogenes_common::head::{Contradiction, contradiction};
use diogenes_common::merkle::TreeRoot;

use super::Seen;

/// How a head compares with the one that another place was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both are one tree.
    Same,
    /// The larger must be proven to extend the smaller.
    NeedsProof {
        /// The smaller tree.
        old: TreeRoot,
        /// The larger tree.
        new: TreeRoot,
    },
    /// The log's key signed two heads that exclude each other: this is proof.
    Contradicted(Contradiction),
}

/// Compares two heads that the log's key signed.
pub fn compare(here: &Seen, there: &Seen) -> Comparison {
    if let Some(found) = contradiction(here.signed(), there.signed()) {
        return Comparison::Contradicted(found);
    }
    let (here, there) = (here.tree(), there.tree());
    if here == there {
        return Comparison::Same;
    }
    let (old, new) = if here.size <= there.size { (here, there) } else { (there, here) };
    Comparison::NeedsProof { old, new }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{History, at};

    #[test]
    fn one_tree_seen_twice_is_the_same() {
        let history = History::honest();

        assert_eq!(compare(&history.seen(5, at(1)), &history.seen(5, at(9))), Comparison::Same);
    }

    #[test]
    fn trees_of_two_sizes_need_a_proof_whichever_is_larger() {
        let history = History::honest();
        let (small, large) = (history.seen(5, at(10)), history.seen(8, at(20)));

        let needed = Comparison::NeedsProof { old: history.tree(5), new: history.tree(8) };

        assert_eq!(compare(&small, &large), needed);
        assert_eq!(compare(&large, &small), needed);
    }

    #[test]
    fn two_roots_at_one_size_are_proof() {
        let (history, fork) = (History::honest(), History::forked_at(2));

        let found = compare(&history.seen(5, at(10)), &fork.seen(5, at(12)));

        assert!(matches!(found, Comparison::Contradicted(_)), "{found:?}");
    }
}
