//! The walk through the endorsements around a key, breadth first. Pure: says what to load, and
//! takes what was loaded.
//!
//! ```text
//! next() -> Some(Step { side, keys, limit }) -> load -> take(step, edges) -> next() -> ... -> None
//! ```
//!
//! Keys are visited in the order in which they were found, so equal endorsements, loaded in equal
//! order, give equal graphs. The walk ends at the first endorsement that does not fit.

use std::collections::{HashMap, HashSet};

use crate::keys::Fingerprint;
use crate::store::EdgeRow;
use crate::trust::Side;

/// How far a walk may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) max_depth: u32,
    pub(super) nodes: usize,
    pub(super) edges: usize,
}

/// Which endorsements of a key lead on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    /// Those that it received, to who endorses it.
    In,
    /// Those that it gave, to whom it endorses.
    Out,
    /// All.
    Both,
}

/// What to load: the endorsements that the keys gave or received, key by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) side: Side,
    pub(super) keys: Vec<Fingerprint>,
    /// So many are enough: they hold one that is new and does not fit, if there is any.
    pub(super) limit: usize,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    bounds: Bounds,
    sides: &'static [Side],
    /// The keys found, in that order, with their depths.
    nodes: Vec<(Fingerprint, u32)>,
    found: HashSet<Fingerprint>,
    edges: Vec<EdgeRow>,
    offers: HashSet<u64>,
    /// How many of the edges each key gave and received: what loading them again finds again.
    degrees: HashMap<(Side, Fingerprint), usize>,
    /// The keys before this one have no steps left.
    done: usize,
    /// Which side comes next of the keys that follow.
    turn: usize,
    is_truncated: bool,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// The keys with their depths, the root first.
    pub(super) nodes: Vec<(Fingerprint, u32)>,
    pub(super) edges: Vec<EdgeRow>,
    /// Whether something was left out.
    pub(super) is_truncated: bool,
}

/// How many keys one step asks for: between steps the deadline is looked at.
const KEYS_PER_STEP: usize = 256;

impl Walk {
    pub(super) fn new(root: Fingerprint, direction: Direction, bounds: Bounds) -> Self {
        let sides: &[Side] = match direction {
            Direction::In => &[Side::Received],
            Direction::Out => &[Side::Given],
            Direction::Both => &[Side::Received, Side::Given],
        };
        Self {
            bounds,
            sides,
            nodes: vec![(root, 0)],
            found: HashSet::from([root]),
            edges: Vec::new(),
            offers: HashSet::new(),
            degrees: HashMap::new(),
            done: 0,
            turn: 0,
            is_truncated: false,
        }
    }

    /// What to load next; nothing if all was found, or no more fits.
    pub(super) fn next(&self) -> Option<Step> {
        let (_, depth) = *self.nodes.get(self.done)?;
        if self.is_truncated || depth >= self.bounds.max_depth {
            return None;
        }
        let side = self.sides[self.turn];
        let level = self.nodes[self.done..].iter().take_while(|(_, of)| *of == depth);
        let keys: Vec<Fingerprint> = level.take(KEYS_PER_STEP).map(|(key, _)| *key).collect();
        let known = keys.iter().filter_map(|key| self.degrees.get(&(side, *key))).sum::<usize>();
        Some(Step { side, keys, limit: self.bounds.edges - self.edges.len() + known + 1 })
    }

    /// Takes what was loaded for a step.
    pub(super) fn take(&mut self, step: &Step, edges: impl IntoIterator<Item = EdgeRow>) {
        let depth = self.nodes[self.done].1 + 1;
        for edge in edges {
            if self.offers.contains(&edge.offer_id) {
                continue;
            }
            let far = match step.side {
                Side::Given => edge.endorsed,
                Side::Received => edge.endorser,
            };
            let is_new = !self.found.contains(&far);
            if self.edges.len() == self.bounds.edges
                || (is_new && self.nodes.len() == self.bounds.nodes)
            {
                self.is_truncated = true;
                return;
            }
            if is_new {
                self.found.insert(far);
                self.nodes.push((far, depth));
            }
            self.offers.insert(edge.offer_id);
            *self.degrees.entry((Side::Given, edge.endorser)).or_default() += 1;
            *self.degrees.entry((Side::Received, edge.endorsed)).or_default() += 1;
            self.edges.push(edge);
        }
        self.turn = (self.turn + 1) % self.sides.len();
        if self.turn == 0 {
            self.done += step.keys.len();
        }
    }

    /// What was found, or was found up to now.
    pub(super) fn finish(self) -> Walked {
        let is_truncated = self.is_truncated || self.next().is_some();
        Walked { nodes: self.nodes, edges: self.edges, is_truncated }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::statement::Category;
    use crate::view::EndorsementState;

    const WIDE: Bounds = Bounds { max_depth: 8, nodes: 1_000, edges: 1_000 };

    fn key(number: u8) -> Fingerprint {
        Fingerprint::of_der(&[number])
    }

    /// Endorsements between numbered keys, in the order of their offers.
    fn graph(pairs: &[(u8, u8)]) -> Vec<EdgeRow> {
        (1..)
            .zip(pairs)
            .map(|(offer_id, (from, to))| EdgeRow {
                offer_id,
                endorser: key(*from),
                endorsed: key(*to),
                category: Category::HumanAttestation,
                state: EndorsementState::Active,
                active_from: None,
                valid_until: None,
            })
            .collect()
    }

    fn near(side: Side, edge: &EdgeRow) -> Fingerprint {
        match side {
            Side::Given => edge.endorser,
            Side::Received => edge.endorsed,
        }
    }

    /// What a store answers: key by key, by age, up to the limit.
    fn load(graph: &[EdgeRow], step: &Step) -> Vec<EdgeRow> {
        let of = |key: &Fingerprint| {
            let key = *key;
            graph.iter().filter(move |edge| near(step.side, edge) == key).cloned()
        };
        step.keys.iter().flat_map(of).take(step.limit).collect()
    }

    fn walk(graph: &[EdgeRow], root: Fingerprint, direction: Direction, bounds: Bounds) -> Walked {
        let mut walk = Walk::new(root, direction, bounds);
        while let Some(step) = walk.next() {
            let loaded = load(graph, &step);
            assert!(loaded.len() <= 2 * bounds.edges + 1, "what is loaded is bounded");
            walk.take(&step, loaded);
        }
        walk.finish()
    }

    /// The same by the book: a queue, and no bounds but the depth.
    fn naive(
        graph: &[EdgeRow],
        root: Fingerprint,
        direction: Direction,
        max_depth: u32,
    ) -> (HashMap<Fingerprint, u32>, BTreeSet<u64>) {
        let (mut depths, mut offers) = (HashMap::from([(root, 0)]), BTreeSet::new());
        let mut queue = VecDeque::from([root]);
        while let Some(key) = queue.pop_front() {
            let depth = depths[&key];
            if depth == max_depth {
                continue;
            }
            for edge in graph {
                let gave = edge.endorser == key && direction != Direction::In;
                let received = edge.endorsed == key && direction != Direction::Out;
                if !gave && !received {
                    continue;
                }
                offers.insert(edge.offer_id);
                let far = if edge.endorser == key { edge.endorsed } else { edge.endorser };
                depths.entry(far).or_insert_with(|| {
                    queue.push_back(far);
                    depth + 1
                });
            }
        }
        (depths, offers)
    }

    fn directions() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Direction::In), Just(Direction::Out), Just(Direction::Both)]
    }

    proptest! {
        #[test]
        fn it_finds_what_a_queue_finds(
            pairs in prop::collection::vec((0u8..24, 0u8..24), 0..80),
            direction in directions(),
            max_depth in 0u32..6,
        ) {
            let pairs: Vec<_> = pairs.into_iter().filter(|(from, to)| from != to).collect();
            let graph = graph(&pairs);
            let walked = walk(&graph, key(0), direction, Bounds { max_depth, ..WIDE });
            let (depths, offers) = naive(&graph, key(0), direction, max_depth);
            prop_assert!(!walked.is_truncated);
            prop_assert!(walked.nodes.is_sorted_by_key(|(_, depth)| *depth));
            prop_assert_eq!(walked.nodes.len(), depths.len());
            prop_assert_eq!(walked.nodes.into_iter().collect::<HashMap<_, _>>(), depths);
            let found: BTreeSet<u64> = walked.edges.iter().map(|edge| edge.offer_id).collect();
            prop_assert_eq!(found.len(), walked.edges.len(), "none twice");
            prop_assert_eq!(found, offers);
        }

        #[test]
        fn a_walk_that_is_cut_is_the_beginning_of_the_whole_one_and_says_so(
            pairs in prop::collection::vec((0u8..16, 0u8..16), 0..60),
            direction in directions(),
            nodes in 1usize..20,
            edges in 1usize..70,
        ) {
            let pairs: Vec<_> = pairs.into_iter().filter(|(from, to)| from != to).collect();
            let graph = graph(&pairs);
            let whole = walk(&graph, key(0), direction, WIDE);
            let cut = walk(&graph, key(0), direction, Bounds { nodes, edges, ..WIDE });
            prop_assert!(cut.nodes.len() <= nodes && cut.edges.len() <= edges);
            prop_assert!(whole.nodes.starts_with(&cut.nodes));
            prop_assert!(whole.edges.starts_with(&cut.edges));
            prop_assert_eq!(cut.is_truncated, cut.edges.len() < whole.edges.len());
        }
    }

    #[test]
    fn each_direction_leads_to_its_own_keys() {
        let graph = graph(&[(1, 2), (2, 3), (4, 2)]);
        let found = |direction| -> BTreeSet<Fingerprint> {
            walk(&graph, key(2), direction, WIDE).nodes.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(found(Direction::In), [1, 2, 4].map(key).into());
        assert_eq!(found(Direction::Out), [2, 3].map(key).into());
        assert_eq!(found(Direction::Both), [1, 2, 3, 4].map(key).into());
    }

    #[test]
    fn many_keys_of_one_depth_are_asked_for_in_parts() {
        let star: Vec<EdgeRow> = (1..=600u64)
            .map(|offer_id| {
                let endorsed = Fingerprint::of_der(&offer_id.to_be_bytes());
                EdgeRow { offer_id, endorsed, ..graph(&[(0, 1)]).remove(0) }
            })
            .collect();
        let mut walk = Walk::new(key(0), Direction::Out, Bounds { max_depth: 2, ..WIDE });
        let mut asked = Vec::new();
        while let Some(step) = walk.next() {
            asked.push(step.keys.len());
            walk.take(&step, load(&star, &step));
        }
        assert_eq!(asked, [1, 256, 256, 88]);
        assert!(!walk.finish().is_truncated);
    }

    #[test]
    fn who_stops_in_the_middle_says_that_there_may_be_more() {
        let graph = graph(&[(0, 1), (1, 2)]);
        let mut walk = Walk::new(key(0), Direction::Out, WIDE);
        let step = walk.next().unwrap();
        walk.take(&step, load(&graph, &step));
        let walked = walk.finish();
        assert_eq!((walked.nodes.len(), walked.edges.len(), walked.is_truncated), (2, 1, true));
    }
}
