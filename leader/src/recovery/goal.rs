//! How far a recovery has to come: everything that our own key is known to have signed.

use diogenes_common::clock::Timestamp;
use diogenes_common::head::SignedHead;
use diogenes_common::head::contradiction;
use diogenes_common::merkle::{Edge, TreeRoot, TreeSize};
use diogenes_common::store::Store;

use super::RecoverError;
use crate::peers::OwnSigned;
use crate::start;

/// A statement of our own key, and who showed it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Who.
    pub(super) by: String,
    /// What.
    pub(super) own: OwnSigned,
}

/// What a recovery has to hold in the end.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    known: Vec<Known>,
    guard: Option<TreeRoot>,
}

impl Goal {
    /// What is known together; refused where our own key contradicted itself, which nothing heals.
    pub(super) fn of(known: Vec<Known>, guard: Option<TreeRoot>) -> Result<Self, RecoverError> {
        for (at, one) in known.iter().enumerate() {
            for other in &known[at + 1..] {
                if disagree(&one.own, &other.own) {
                    let (size, shown) = (other.own.tree().size, [&one.by, &other.by]);
                    return Err(RecoverError::TwoHistories {
                        what: format!(
                            "{} and {} show two that part by size {size}",
                            shown[0], shown[1]
                        ),
                    });
                }
            }
        }
        Ok(Self { known, guard })
    }

    /// The largest size that was signed.
    pub(super) fn size(&self) -> TreeSize {
        let sizes = self.known.iter().map(|known| known.own.tree().size);
        sizes.chain(self.guard.map(|guard| guard.size)).max().unwrap_or(TreeSize::ZERO)
    }

    /// The statement about the largest tree.
    pub(super) fn furthest(&self) -> Option<&OwnSigned> {
        let known = self.known.iter().map(|known| &known.own);
        known.max_by_key(|own| (own.tree().size, own.timestamp()))
    }

    /// The latest time that was signed.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.known.iter().filter_map(|known| known.own.timestamp()).max()
    }

    /// The heads above a size, against which what is pulled is held.
    pub(super) fn heads_above(&self, size: TreeSize) -> Vec<SignedHead> {
        let heads = self.known.iter().filter_map(|known| known.own.signed_head());
        heads.filter(|head| head.head().tree_size > size).cloned().collect()
    }

    /// Says whether all of it lies on the stored history.
    pub(super) async fn check(&self, store: &Store, edge: &Edge) -> Result<(), RecoverError> {
        let held = edge.size();
        for Known { by, own } in &self.known {
            if own.is_held(store, edge).await? {
                continue;
            }
            let goal = own.tree().size;
            if goal > held {
                return Err(RecoverError::OutOfReach { by: by.clone(), goal, held });
            }
            return Err(RecoverError::OtherHistory { by: by.clone(), at: goal });
        }
        let Some(guard) = self.guard else { return Ok(()) };
        if guard.size > held {
            let by = "signed-guard".to_owned();
            return Err(RecoverError::OutOfReach { by, goal: guard.size, held });
        }
        if start::root_at(store, edge, guard.size).await? == guard.hash {
            return Ok(());
        }
        Err(RecoverError::TwoHistories {
            what: format!("signed-guard names one of size {} that is not held here", guard.size),
        })
    }
}

/// Whether two statements of one key can't both be of one history.
fn disagree(one: &OwnSigned, other: &OwnSigned) -> bool {
    let (tree, seen) = (one.tree(), other.tree());
    if tree.size == seen.size && tree.hash != seen.hash {
        return true;
    }
    match (one.signed_head(), other.signed_head()) {
        (Some(one), Some(other)) => contradiction(one, other).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::head::{EPOCH, Origin, TreeHead};
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::Hash;

    use super::*;

    fn known(size: u64, root: &str, second: i64) -> Known {
        let origin: Origin = "log.example".parse().expect("an origin");
        let head = TreeHead {
            chain_head: Some(Hash::of(b"last")),
            epoch: EPOCH,
            origin,
            root_hash: Hash::of(root.as_bytes()),
            timestamp: Timestamp::from_millis(second * 1_000).expect("a time"),
            tree_size: TreeSize::ZERO.plus(size),
        };
        let own = OwnSigned::head(&head.sign(&SigningKey::from_seed([1; 32])));
        Known { by: format!("peer {size}"), own }
    }

    fn guard(size: u64) -> TreeRoot {
        TreeRoot { size: TreeSize::ZERO.plus(size), hash: Hash::of(b"guard") }
    }

    #[test]
    fn the_goal_is_the_largest_size_that_anybody_shows_or_the_guard_names() {
        let shown = || vec![known(5, "five", 5), known(9, "nine", 9), known(7, "seven", 7)];

        let goal = Goal::of(shown(), Some(guard(6))).expect("one history");
        assert_eq!(goal.size().get(), 9);
        assert_eq!(goal.furthest().map(|own| own.tree().size.get()), Some(9));
        assert_eq!(goal.newest(), Timestamp::from_millis(9_000));
        assert_eq!(goal.heads_above(TreeSize::ZERO.plus(5)).len(), 2);

        let goal = Goal::of(shown(), Some(guard(12))).expect("one history");
        assert_eq!(goal.size().get(), 12);
        assert_eq!(Goal::of(Vec::new(), None).expect("nothing").size(), TreeSize::ZERO);
    }

    #[test]
    fn two_histories_under_one_key_are_never_recovered() {
        for (one, other) in [
            (known(5, "five", 5), known(5, "other", 5)),
            // A later time with a smaller size.
            (known(5, "five", 9), known(7, "seven", 7)),
        ] {
            let refused = Goal::of(vec![one, other], None);
            assert!(matches!(refused, Err(RecoverError::TwoHistories { .. })), "{refused:?}");
        }
    }
}
