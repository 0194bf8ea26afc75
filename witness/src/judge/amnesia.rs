//! Has this witness forgotten something that it signed?

use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

/// What a source says about this witness's own newest signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The trees under signatures that verified under the own key; none is an answer too.
    Signed(Vec<TreeRoot>),
    /// The source could not be asked, or what it answered cannot be used.
    Missing,
}

/// What the answers say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nobody holds a signature that the own state does not account for.
    Confirmed,
    /// Too few answered to know.
    Incomplete,
    /// Somebody holds an own signature ahead of the own state.
    RolledBack {
        /// The largest tree that this key signed, as far as the answers go.
        signed: TreeRoot,
    },
    /// The own key signed another root than the own state holds at that size.
    Equivocated {
        /// The tree that this key signed.
        signed: TreeRoot,
        /// The root that the own state holds.
        ours: Hash,
    },
}

/// Compares the own state with what others hold under the own key.
///
/// The leader must answer, and where vantage points are configured at least one of them.
/// `root_at` knows the roots of all sizes that the own state has stood at.
pub fn remember(
    known: TreeRoot,
    root_at: impl Fn(TreeSize) -> Option<Hash>,
    leader: &Answer,
    vantages: &[Answer],
) -> Memory {
    let signed = || {
        std::iter::once(leader).chain(vantages).flat_map(|answer| match answer {
            Answer::Signed(trees) => trees.as_slice(),
            Answer::Missing => &[],
        })
    };
    let contradicted = signed().find_map(|tree| match root_at(tree.size) {
        Some(ours) if ours != tree.hash => Some(Memory::Equivocated { signed: *tree, ours }),
        _ => None,
    });
    if let Some(equivocated) = contradicted {
        return equivocated;
    }
    match signed().max_by_key(|tree| tree.size) {
        Some(signed) if signed.size > known.size => return Memory::RolledBack { signed: *signed },
        _ => {}
    }
    let answered = |answer: &Answer| *answer != Answer::Missing;
    if answered(leader) && (vantages.is_empty() || vantages.iter().any(answered)) {
        Memory::Confirmed
    } else {
        Memory::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(size: u64, content: &str) -> TreeRoot {
        TreeRoot { size: TreeSize::ZERO.plus(size), hash: Hash::of(content.as_bytes()) }
    }

    fn holds(trees: &[TreeRoot]) -> Answer {
        Answer::Signed(trees.to_vec())
    }

    /// A witness that has stood at 5 and stands at 9.
    fn ask(leader: &Answer, vantages: &[Answer]) -> Memory {
        let stood = [tree(5, "five"), tree(9, "nine")];
        let root_at = |size| stood.iter().find(|tree| tree.size == size).map(|tree| tree.hash);
        remember(tree(9, "nine"), root_at, leader, vantages)
    }

    #[test]
    fn holding_none_is_an_answer_and_silence_is_not() {
        assert_eq!(ask(&holds(&[]), &[]), Memory::Confirmed);
        assert_eq!(ask(&Answer::Missing, &[]), Memory::Incomplete);
    }

    #[test]
    fn one_vantage_point_has_to_answer_where_some_are_configured() {
        let (none, missing) = (holds(&[]), Answer::Missing);

        assert_eq!(ask(&none, &[Answer::Missing, Answer::Missing]), Memory::Incomplete);
        assert_eq!(ask(&none, &[Answer::Missing, none.clone()]), Memory::Confirmed);
        assert_eq!(ask(&missing, std::slice::from_ref(&none)), Memory::Incomplete);
    }

    #[test]
    fn a_signature_ahead_of_the_state_means_that_the_state_was_rolled_back() {
        let ahead = holds(&[tree(12, "twelve"), tree(9, "nine")]);
        let further = holds(&[tree(14, "fourteen")]);

        let told = ask(&holds(&[]), &[ahead.clone(), further]);

        assert_eq!(told, Memory::RolledBack { signed: tree(14, "fourteen") });
        // One witness of it is enough: silence of the others changes nothing.
        let told = ask(&Answer::Missing, &[ahead]);
        assert_eq!(told, Memory::RolledBack { signed: tree(12, "twelve") });
    }

    #[test]
    fn another_root_at_a_size_of_the_past_is_an_own_equivocation() {
        let ours = tree(5, "five").hash;

        let told = ask(&holds(&[tree(12, "twelve")]), &[holds(&[tree(5, "other")])]);

        assert_eq!(told, Memory::Equivocated { signed: tree(5, "other"), ours });
    }

    #[test]
    fn what_the_state_accounts_for_confirms_it() {
        assert_eq!(ask(&holds(&[tree(9, "nine"), tree(5, "five")]), &[]), Memory::Confirmed);
        assert_eq!(ask(&holds(&[tree(7, "between")]), &[]), Memory::Confirmed);
    }
}
