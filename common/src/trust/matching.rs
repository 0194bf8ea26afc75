//! A maximum matching, up to a small size.

use std::collections::{BTreeMap, BTreeSet};

/// Chooses as many pairs without a common member as there are, `wanted` at most; always the same
/// ones of the same pairs.
///
/// A matching is as large as any if no path between two free vertices alternates between pairs
/// outside and inside of it (Berge). While it is smaller than `wanted` such a path has few vertices
/// but its ends that are not free, so all of them are tried, each set of used pairs once: at most
/// `2m * 2^m * 2m` states for `m < wanted` pairs, 25,088 for a `wanted` of 8.
pub(super) fn matching(pairs: &BTreeSet<(usize, usize)>, wanted: usize) -> Vec<(usize, usize)> {
    let mut chosen = greedy(pairs, wanted);
    while chosen.len() < wanted {
        let Some(path) = Search::new(pairs, &chosen).augmenting_path() else { break };
        chosen.retain(|(one, _)| !path.contains(one));
        chosen.extend(path.chunks_exact(2).map(|ends| (ends[0], ends[1])));
    }
    chosen
}

fn greedy(pairs: &BTreeSet<(usize, usize)>, wanted: usize) -> Vec<(usize, usize)> {
    let mut taken = BTreeSet::new();
    let mut chosen = Vec::new();
    for (one, other) in pairs {
        if chosen.len() < wanted && !taken.contains(one) && !taken.contains(other) {
            taken.extend([*one, *other]);
            chosen.push((*one, *other));
        }
    }
    chosen
}

/// The search for a path that makes a maximal matching larger by one.
struct Search<'c> {
    chosen: &'c [(usize, usize)],
    /// The neighbours of each vertex of the matching that are in it as well.
    inner: BTreeMap<usize, BTreeSet<usize>>,
    /// Its lowest two neighbours that are free: one may be the path's start, never both.
    free: BTreeMap<usize, Vec<usize>>,
}

impl<'c> Search<'c> {
    fn new(pairs: &BTreeSet<(usize, usize)>, chosen: &'c [(usize, usize)]) -> Self {
        let matched: BTreeSet<usize> = chosen.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let mut search = Self { chosen, inner: BTreeMap::new(), free: BTreeMap::new() };
        for (from, to) in pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
            if !matched.contains(&from) {
                continue;
            }
            if matched.contains(&to) {
                search.inner.entry(from).or_default().insert(to);
            } else {
                let free = search.free.entry(from).or_default();
                free.push(to);
                free.sort_unstable();
                free.truncate(2);
            }
        }
        search
    }

    /// The vertices of a path from a free one to another, the pairs to be added first.
    fn augmenting_path(&self) -> Option<Vec<usize>> {
        // The lowest start is enough: where it is the only end as well, the path is found from there.
        let starts = self.entries().filter_map(|(pair, near, far)| {
            let start = self.free.get(&near)?.first()?;
            Some((pair, vec![*start, near, far]))
        });
        starts.into_iter().find_map(|(pair, mut path)| {
            self.extends(&mut path, 1 << pair, &mut BTreeSet::new()).then_some(path)
        })
    }

    /// Completes a path that came out of a chosen pair, if that can be done.
    fn extends(
        &self,
        path: &mut Vec<usize>,
        used: u32,
        failed: &mut BTreeSet<(u32, usize)>,
    ) -> bool {
        let (start, end) = (path[0], path[path.len() - 1]);
        let ends = self.free.get(&end).into_iter().flatten();
        if let Some(free) = ends.copied().find(|free| *free != start) {
            path.push(free);
            return true;
        }
        if !failed.insert((used, end)) {
            return false;
        }
        for (pair, near, far) in self.entries() {
            let is_next = self.inner.get(&end).is_some_and(|inner| inner.contains(&near));
            if used & (1 << pair) == 0 && is_next {
                path.extend([near, far]);
                if self.extends(path, used | 1 << pair, failed) {
                    return true;
                }
                path.truncate(path.len() - 2);
            }
        }
        false
    }

    /// The chosen pairs, each in both directions, with their numbers.
    fn entries(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let directions =
            |(pair, (a, b)): (usize, &(usize, usize))| [(pair, *a, *b), (pair, *b, *a)];
        self.chosen.iter().enumerate().flat_map(directions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    /// By trying both answers to "is this pair in it?".
    fn largest(pairs: &[(usize, usize)], taken: u32) -> usize {
        let Some(((a, b), rest)) = pairs.split_first() else { return 0 };
        let without = largest(rest, taken);
        let bits = 1 << a | 1 << b;
        if taken & bits == 0 { without.max(1 + largest(rest, taken | bits)) } else { without }
    }

    fn pairs(vertices: usize, most: usize) -> impl Strategy<Value = BTreeSet<(usize, usize)>> {
        let pair = (0..vertices, 0..vertices)
            .prop_filter("two of them", |(a, b)| a != b)
            .prop_map(|(a, b)| (a.min(b), a.max(b)));
        btree_set(pair, 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_matching_is_as_large_as_any(pairs in pairs(18, 18), wanted in 1_usize..=8) {
            let found = matching(&pairs, wanted);

            let members: BTreeSet<_> = found.iter().flat_map(|(a, b)| [*a, *b]).collect();
            prop_assert_eq!(members.len(), 2 * found.len());
            prop_assert!(found.iter().all(|(a, b)| pairs.contains(&(*a.min(b), *a.max(b)))));
            let all: Vec<_> = pairs.into_iter().collect();
            prop_assert_eq!(found.len(), largest(&all, 0).min(wanted));
        }
    }

    #[test]
    fn odd_cycles_are_seen_through() {
        // Two triangles and the one pair between them: only that way three pairs are found.
        let pairs = BTreeSet::from([(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]);
        assert_eq!(matching(&pairs, 8).len(), 3);
        // A long path, of which the greedy choice takes every other inner pair.
        let path = BTreeSet::from([(0, 8), (0, 1), (1, 9), (9, 2), (2, 3), (3, 10)]);
        assert_eq!(matching(&path, 8).len(), 3);
        assert_eq!(matching(&path, 2).len(), 2);
    }

    #[test]
    fn a_path_that_must_end_at_another_vertex_than_it_began_is_found() {
        // 0-1 is taken first; 1 can only leave it for 2, and so 0 must take 3.
        let pairs = BTreeSet::from([(0, 1), (0, 2), (0, 3), (1, 2)]);
        assert_eq!(matching(&pairs, 8).len(), 2);
        let star = (1..100).map(|leaf| (0, leaf)).collect();
        assert_eq!(matching(&star, 8).len(), 1);
    }
}
