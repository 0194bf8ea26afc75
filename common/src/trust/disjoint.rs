//! Paths that share no key but the signer and perhaps the anchor.
//!
//! At most three steps long: anchor -> signer, anchor -> x -> signer, anchor -> x -> y -> signer.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::matching;
use super::network::{Link, Network, score_of};
use super::{Millionths, Policy};

type Path<'g> = Vec<Link<'g>>;

/// Finds as many disjoint paths that are good enough as the policy wants, or all that there are.
///
/// Each key between the ends stands in one path at most, and no anchor stands there; the direct
/// paths of different anchors are different ones. First every x is taken that makes a path of its
/// own, then a maximum matching of the others.
///
/// That is as many as any choice has: in a choice where such an x makes no path of its own it stands
/// in at most one path, which the path over x alone can replace (or be added, if there is none). After
/// all these exchanges, none of which makes the choice smaller, only pairs of other keys are left, and
/// disjoint pairs are a matching.
pub(super) fn disjoint_paths<'g>(
    policy: &Policy,
    network: &Network<'g>,
    signer: usize,
) -> Vec<Path<'g>> {
    let wanted = policy.min_paths() as usize;
    let search = Search::new(policy.min_score(), network, signer);
    let mut found = search.direct();
    if policy.max_depth() >= 2 {
        found.extend(search.over_one().into_values());
    }
    if policy.max_depth() >= 3 && found.len() < wanted {
        let mut over_two = search.over_two();
        let pairs: BTreeSet<(usize, usize)> = over_two.keys().copied().collect();
        let chosen = matching(&pairs, wanted - found.len());
        found.extend(chosen.iter().filter_map(|pair| over_two.remove(&in_order(*pair))));
    }
    found.truncate(wanted);
    found
}

struct Search<'n, 'g> {
    min_score: Millionths,
    network: &'n Network<'g>,
    signer: usize,
    /// The strongest endorsement of each key by an anchor.
    first: BTreeMap<usize, Link<'g>>,
    /// The strongest endorsement of the signer by each key.
    last: BTreeMap<usize, Link<'g>>,
}

impl<'n, 'g> Search<'n, 'g> {
    fn new(min_score: Millionths, network: &'n Network<'g>, signer: usize) -> Self {
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for link in network.links() {
            if network.is_anchor(link.from) && !network.is_anchor(link.to) {
                keep_strongest(&mut first, link.to, *link);
            }
            if link.to == signer {
                keep_strongest(&mut last, link.from, *link);
            }
        }
        Self { min_score, network, signer, first, last }
    }

    fn direct(&self) -> Vec<Path<'g>> {
        let from_anchors = self.last.values().filter(|link| self.network.is_anchor(link.from));
        from_anchors.map(|link| vec![*link]).filter(|path| self.is_enough(path)).collect()
    }

    /// The paths over one key, by it.
    fn over_one(&self) -> BTreeMap<usize, Path<'g>> {
        let path = |(over, last): (&usize, &Link<'g>)| {
            let path = vec![*self.first.get(over)?, *last];
            (self.is_between(*over) && self.is_enough(&path)).then_some((*over, path))
        };
        self.last.iter().filter_map(path).collect()
    }

    /// The best paths over two keys of which neither makes a path of its own, by both.
    fn over_two(&self) -> BTreeMap<(usize, usize), Path<'g>> {
        let single = self.over_one();
        let is_open = |number| self.is_between(number) && !single.contains_key(&number);
        let mut found: BTreeMap<_, Path<'g>> = BTreeMap::new();
        for link in self.network.links() {
            let (Some(first), Some(last)) = (self.first.get(&link.from), self.last.get(&link.to))
            else {
                continue;
            };
            let path = vec![*first, *link, *last];
            if link.from == link.to
                || !is_open(link.from)
                || !is_open(link.to)
                || !self.is_enough(&path)
            {
                continue;
            }
            let best = found.entry(in_order((link.from, link.to))).or_insert_with(|| path.clone());
            if score_of(&path) > score_of(best) {
                *best = path;
            }
        }
        found
    }

    fn is_between(&self, number: usize) -> bool {
        number != self.signer && !self.network.is_anchor(number)
    }

    fn is_enough(&self, path: &[Link<'g>]) -> bool {
        score_of(path) >= self.min_score
    }
}

/// Links come oldest first, so that of equally strong ones the oldest stays.
fn keep_strongest<'g>(links: &mut BTreeMap<usize, Link<'g>>, key: usize, link: Link<'g>) {
    let strongest = links.entry(key).or_insert(link);
    if link.factor > strongest.factor {
        *strongest = link;
    }
}

fn in_order((one, other): (usize, usize)) -> (usize, usize) {
    (one.min(other), one.max(other))
}
