//! The endorsements that a policy regards, as numbered keys and the factors between them.

use std::collections::BTreeMap;

use super::{Edge, Graph, Millionths, Policy, Step};
use crate::keys::Fingerprint;

/// What one policy makes of a graph.
pub(super) struct Network<'g> {
    keys: BTreeMap<Fingerprint, usize>,
    is_anchor: Vec<bool>,
    links: Vec<Link<'g>>,
}

/// An endorsement between two numbered keys.
#[derive(Clone, Copy)]
pub(super) struct Link<'g> {
    pub(super) edge: &'g Edge,
    pub(super) from: usize,
    pub(super) to: usize,
    /// What is left of a score after this step.
    pub(super) factor: Millionths,
    is_halved: bool,
}

/// The best score that each key can have after exactly so many steps.
struct Layers(Vec<Vec<Millionths>>);

impl<'g> Network<'g> {
    /// Halves what a key of `warned_since` gave after the entry that stands there.
    pub(super) fn new(
        policy: &Policy,
        graph: &'g Graph,
        warned_since: &BTreeMap<Fingerprint, u64>,
    ) -> Self {
        let regarded = || graph.edges().iter().filter(|edge| policy.regards(edge));
        let ends = regarded().flat_map(|edge| [edge.endorser, edge.endorsed]);
        let mut keys: BTreeMap<Fingerprint, usize> = ends.map(|key| (key, 0)).collect();
        keys.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let link = |edge: &'g Edge| {
            let since = warned_since.get(&edge.endorser);
            let is_halved = since.is_some_and(|since| edge.offer_entry_id > *since);
            let weight = if is_halved { edge.weight.half() } else { edge.weight };
            let (from, to) = (keys[&edge.endorser], keys[&edge.endorsed]);
            Link { edge, from, to, factor: policy.step(weight), is_halved }
        };
        let links = regarded().map(link).collect();
        let mut is_anchor = vec![false; keys.len()];
        for number in policy.anchors().iter().filter_map(|anchor| keys.get(anchor)) {
            is_anchor[*number] = true;
        }
        Self { keys, is_anchor, links }
    }

    /// The number of a key; none where no endorsement touches it.
    pub(super) fn number(&self, key: &Fingerprint) -> Option<usize> {
        self.keys.get(key).copied()
    }

    /// Whether the key is an anchor.
    pub(super) fn is_anchor(&self, number: usize) -> bool {
        self.is_anchor[number]
    }

    /// The endorsements, the oldest first.
    pub(super) fn links(&self) -> &[Link<'g>] {
        &self.links
    }

    /// The score of every key.
    pub(super) fn scores(&self, max_depth: u32) -> Vec<Millionths> {
        let Layers(layers) = self.layers(max_depth);
        let best = |number: usize| layers.iter().map(|layer| layer[number]).max();
        (0..self.keys.len()).map(|number| best(number).unwrap_or(Millionths::ZERO)).collect()
    }

    /// The best path to a key, as [`Assessment::best_path`](super::Assessment::best_path) says.
    ///
    /// It visits no key twice and no anchor but the first: without the detour it were as good, as
    /// no factor is above 1, and shorter.
    pub(super) fn best_path(&self, to: usize, max_depth: u32) -> Vec<Link<'g>> {
        let Layers(layers) = self.layers(max_depth);
        let reached = layers.iter().map(|layer| layer[to]);
        let score = reached.clone().max().unwrap_or(Millionths::ZERO);
        if score == Millionths::ZERO {
            return Vec::new();
        }
        let length = reached.take_while(|reached| *reached < score).count();
        let (mut path, mut at, mut needed) = (Vec::with_capacity(length), to, score);
        for layer in layers[..length].iter().rev() {
            let leads_there =
                |link: &&Link<'g>| link.to == at && layer[link.from].times(link.factor) >= needed;
            let link = *self.links.iter().find(leads_there).expect("the layer above was made so");
            needed = needed.least_with(link.factor).expect("the product was as large");
            at = link.from;
            path.push(link);
        }
        path.reverse();
        path
    }

    /// Rounding down keeps the order of numbers, so the best way to a key goes on from the best way
    /// to the key before it.
    fn layers(&self, max_depth: u32) -> Layers {
        let start = |is_anchor: &bool| if *is_anchor { Millionths::ONE } else { Millionths::ZERO };
        let mut layers: Vec<Vec<_>> = vec![self.is_anchor.iter().map(start).collect()];
        for _ in 0..max_depth {
            let last = layers.last().expect("the anchors are the first layer");
            let mut next = vec![Millionths::ZERO; self.keys.len()];
            for link in &self.links {
                next[link.to] = next[link.to].max(last[link.from].times(link.factor));
            }
            layers.push(next);
        }
        Layers(layers)
    }
}

/// The score at the end of a path that starts at an anchor.
pub(super) fn score_of(path: &[Link<'_>]) -> Millionths {
    path.iter().fold(Millionths::ONE, |score, link| score.times(link.factor))
}

/// The steps of a path that starts at an anchor, for whoever is to understand it.
pub(super) fn steps(path: &[Link<'_>]) -> Vec<Step> {
    let mut score = Millionths::ONE;
    let step = |link: &Link<'_>| {
        score = score.times(link.factor);
        Step {
            offer_entry_id: link.edge.offer_entry_id,
            endorser: link.edge.endorser,
            endorsed: link.edge.endorsed,
            is_halved: link.is_halved,
            score,
        }
    };
    path.iter().map(step).collect()
}
