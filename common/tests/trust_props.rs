//! Scores and disjoint paths agree with a search that tries every path, and loading in rounds finds
//! what loading everything finds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use diogenes_common::event::text::folded;
use diogenes_common::keys::Fingerprint;
use diogenes_common::statement::Category;
use diogenes_common::trust::{
    Alert, Assessment, Edge, Graph, Millionths, Policy, Reason, Side, Step, Walk, assess,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

const INSTITUTIONS: [&str; 2] = ["Haus A", "Straße B"];

/// A verifier, a signer and the whole log's endorsements.
#[derive(Clone, Debug)]
struct World {
    anchors: BTreeSet<usize>,
    decay: u32,
    max_depth: u32,
    min_score: u32,
    min_paths: u32,
    category: Option<Category>,
    institution: Option<&'static str>,
    signer: usize,
    edges: Vec<Given>,
    /// Who warns, of whom, and after how many of the offers.
    alerts: Vec<(usize, usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    from: usize,
    to: usize,
    weight: u32,
    category: Category,
    institution: Option<&'static str>,
}

fn key(number: usize) -> Fingerprint {
    Fingerprint::of_der(&number.to_be_bytes())
}

fn category() -> impl Strategy<Value = Category> {
    select(vec![Category::HumanAttestation, Category::InstitutionalEndorsement])
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(1_000_000), 2 => 100_000..1_000_000_u32, 1 => 0..10_u32]
}

fn edge(keys: usize) -> impl Strategy<Value = Given> {
    let institution = option::weighted(0.7, select(INSTITUTIONS.to_vec()));
    (0..keys, 0..keys, weight(), category(), institution).prop_map(
        |(from, to, weight, category, institution)| Given {
            from,
            to,
            weight,
            category,
            institution,
        },
    )
}

fn world(keys: usize, edges: usize, depth: u32, paths: u32) -> impl Strategy<Value = World> {
    let numbers = (
        select(vec![500_000, 1_000_000, 700_000, 333_333]),
        1..=depth,
        select(vec![1, 100_000, 250_000, 400_000, 900_000]),
        1..=paths,
    );
    let filters =
        (option::weighted(0.2, category()), option::weighted(0.2, select(INSTITUTIONS.to_vec())));
    let alerts = vec((0..keys, 0..keys, 0..edges as u64), 0..4);
    (vec(0..keys, 1..4), numbers, filters, 0..keys, vec(edge(keys), 0..edges), alerts).prop_map(
        |(anchors, numbers, filters, signer, edges, alerts)| World {
            anchors: anchors.into_iter().collect(),
            decay: numbers.0,
            max_depth: numbers.1,
            min_score: numbers.2,
            min_paths: numbers.3,
            category: filters.0,
            institution: filters.1,
            signer,
            edges,
            alerts,
        },
    )
}

impl World {
    fn policy(&self) -> Policy {
        let decimal = |millionths| Millionths::new(millionths).expect("0 to 1");
        let anchors: Vec<_> = self.anchors.iter().copied().map(key).collect();
        Policy::read(&json!({
            "anchors": anchors,
            "decay": decimal(self.decay),
            "max_depth": self.max_depth,
            "min_score": decimal(self.min_score),
            "min_paths": self.min_paths,
            "categories": self.category.map(|category| [category]),
            "institutions": self.institution.map(|name| [name.to_uppercase()]),
        }))
        .expect("a policy")
    }

    /// Offers have even ids, alerts odd ones.
    fn edges(&self) -> Vec<Edge> {
        let edge = |(given, id): (&Given, u64)| Edge {
            offer_entry_id: 2 * id,
            endorser: key(given.from),
            endorsed: key(given.to),
            category: given.category,
            institution: given.institution.map(folded),
            weight: Millionths::new(given.weight).expect("0 to 1"),
        };
        self.edges.iter().zip(0..).map(edge).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        let alert = |(alerter, compromised, after): &(usize, usize, u64)| Alert {
            compromised: key(*compromised),
            entry_id: 2 * after + 1,
            alerter: key(*alerter),
        };
        self.alerts.iter().map(alert).collect()
    }

    fn assess(&self) -> Assessment {
        let graph = Graph::new(self.edges(), self.alerts(), false);
        assess(&self.policy(), &key(self.signer), &graph)
    }

    /// The endorsements that count, each with its id and what is left of a score after it.
    fn factors(&self, warned: &BTreeMap<usize, u64>) -> Vec<(Given, u64, u64)> {
        let counts = |given: &Given| {
            self.category.is_none_or(|category| given.category == category)
                && self.institution.is_none_or(|name| given.institution == Some(name))
        };
        let factor = |(given, id): (&Given, u64)| {
            let is_halved = warned.get(&given.from).is_some_and(|after| id > *after);
            let weight = if is_halved { given.weight / 2 } else { given.weight };
            (*given, 2 * id, u64::from(self.decay) * u64::from(weight) / 1_000_000)
        };
        self.edges.iter().zip(0..).filter(|(given, _)| counts(given)).map(factor).collect()
    }

    /// Every path without a repeated key from an anchor: the keys, the ids and the score.
    fn paths(&self, warned: &BTreeMap<usize, u64>, to: usize) -> Vec<(Vec<usize>, Vec<u64>, u64)> {
        let factors = self.factors(warned);
        let mut found = Vec::new();
        let mut open: Vec<_> = self
            .anchors
            .iter()
            .map(|anchor| (vec![*anchor], Vec::<u64>::new(), 1_000_000_u64))
            .collect();
        while let Some((keys, ids, score)) = open.pop() {
            let last = *keys.last().expect("it starts at an anchor");
            if last == to {
                found.push((keys, ids, score));
                continue;
            }
            if ids.len() == self.max_depth as usize {
                continue;
            }
            for (given, id, factor) in &factors {
                if given.from == last && !keys.contains(&given.to) {
                    let (mut keys, mut ids) = (keys.clone(), ids.clone());
                    keys.push(given.to);
                    ids.push(*id);
                    open.push((keys, ids, score * factor / 1_000_000));
                }
            }
        }
        found
    }

    fn warned(&self) -> BTreeMap<usize, u64> {
        let mut warned = BTreeMap::new();
        for (alerter, compromised, after) in &self.alerts {
            let own = self.paths(&BTreeMap::new(), *alerter);
            let score = own.iter().map(|(_, _, score)| *score).max().unwrap_or(0);
            if score >= u64::from(self.min_score) {
                let since = warned.entry(*compromised).or_insert(*after);
                *since = (*since).min(*after);
            }
        }
        warned
    }

    /// The best path's score and ids; none where the score is nothing.
    fn best(&self) -> Option<(u64, Vec<u64>)> {
        let paths = self.paths(&self.warned(), self.signer);
        paths
            .into_iter()
            .filter(|(_, _, score)| *score > 0)
            .min_by_key(|(_, ids, score)| {
                let back: Vec<u64> = ids.iter().rev().copied().collect();
                (Reverse(*score), ids.len(), back)
            })
            .map(|(_, ids, score)| (score, ids))
    }

    /// The most paths that share no key between their ends, by trying all choices.
    fn most_disjoint(&self) -> usize {
        let (mut direct, mut between) = (BTreeSet::new(), BTreeSet::new());
        for (keys, _, score) in self.paths(&self.warned(), self.signer) {
            let inner = &keys[1..keys.len() - 1];
            let is_pure = inner.iter().all(|key| !self.anchors.contains(key));
            if score < u64::from(self.min_score) || !is_pure {
                continue;
            }
            if inner.is_empty() {
                direct.insert(keys[0]);
            } else {
                between.insert(inner.iter().fold(0_u64, |mask, key| mask | 1 << key));
            }
        }
        let between: Vec<u64> = between.into_iter().collect();
        direct.len() + packing(&between, 0)
    }
}

fn packing(sets: &[u64], taken: u64) -> usize {
    let Some((set, rest)) = sets.split_first() else { return 0 };
    let without = packing(rest, taken);
    if set & taken == 0 { without.max(1 + packing(rest, taken | set)) } else { without }
}

fn ids(path: &[Step]) -> Vec<u64> {
    path.iter().map(|step| step.offer_entry_id).collect()
}

/// A path is one: it starts at an anchor, hangs together, ends at the signer and has its score.
fn check_path(world: &World, path: &[Step]) -> Result<(), TestCaseError> {
    let anchors: Vec<_> = world.anchors.iter().copied().map(key).collect();
    prop_assert!(anchors.contains(&path[0].endorser));
    prop_assert!(path.windows(2).all(|pair| pair[0].endorsed == pair[1].endorser));
    prop_assert_eq!(path[path.len() - 1].endorsed, key(world.signer));
    prop_assert!(path[path.len() - 1].score.get() >= world.min_score);
    Ok(())
}

/// Answers the rounds of a walk from the whole log.
fn walked(world: &World, policy: &Policy) -> (Graph, u32) {
    let (edges, alerts) = (world.edges(), world.alerts());
    let mut walk = Walk::new(policy, key(world.signer));
    let mut rounds = 0;
    let mut load = |walk: &mut Walk<'_>| {
        while let Some(round) = walk.next_round() {
            rounds += 1;
            let end = |edge: &Edge| match round.side {
                Side::Given => edge.endorser,
                Side::Received => edge.endorsed,
            };
            let loaded: Vec<_> =
                edges.iter().filter(|edge| round.keys.contains(&end(edge))).cloned().collect();
            walk.take(round, loaded);
        }
    };
    load(&mut walk);
    let endorsers = walk.endorsers();
    walk.hear(alerts.into_iter().filter(|alert| endorsers.contains(&alert.compromised)));
    load(&mut walk);
    (walk.finish(), rounds)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_best_path_is_the_best_of_all(world in world(60, 150, 6, 1)) {
        let found = world.assess();

        if world.anchors.contains(&world.signer) {
            prop_assert_eq!(found.score, Millionths::ONE);
            prop_assert_eq!(found.reason, Reason::Anchor);
            return Ok(());
        }
        let best = world.best();
        prop_assert_eq!(u64::from(found.score.get()), best.as_ref().map_or(0, |best| best.0));
        prop_assert_eq!(found.meets(), found.score.get() >= world.min_score);
        prop_assert_eq!(ids(&found.best_path), best.map(|best| best.1).unwrap_or_default());
        let path_score = found.best_path.last().map_or(Millionths::ZERO, |step| step.score);
        prop_assert_eq!(path_score, found.score);
    }

    #[test]
    fn the_best_path_is_the_best_of_all_in_a_dense_graph(world in world(8, 30, 4, 1)) {
        if world.anchors.contains(&world.signer) {
            return Ok(());
        }
        let found = world.assess();

        let best = world.best();
        prop_assert_eq!(u64::from(found.score.get()), best.as_ref().map_or(0, |best| best.0));
        prop_assert_eq!(ids(&found.best_path), best.map(|best| best.1).unwrap_or_default());
    }

    #[test]
    fn disjoint_paths_are_as_many_as_any_choice_has(world in world(10, 50, 3, 8)) {
        if world.anchors.contains(&world.signer) {
            return Ok(());
        }
        let found = world.assess();

        let most = world.most_disjoint();
        let wanted = world.min_paths as usize;
        prop_assert_eq!(found.disjoint_paths.len(), most.min(wanted));
        prop_assert_eq!(found.meets(), most >= wanted);
        let mut between = BTreeSet::new();
        for path in &found.disjoint_paths {
            check_path(&world, path)?;
            for step in &path[..path.len() - 1] {
                prop_assert!(between.insert(step.endorsed), "twice on the way");
            }
        }
    }

    #[test]
    fn the_order_of_endorsements_and_alerts_does_not_matter(
        world in world(10, 40, 3, 3),
        swaps in vec((any::<Index>(), any::<Index>()), 40),
    ) {
        let (mut edges, mut alerts) = (world.edges(), world.alerts());
        for (one, other) in swaps {
            if !edges.is_empty() {
                let length = edges.len();
                edges.swap(one.index(length), other.index(length));
            }
        }
        alerts.reverse();

        let graph = Graph::new(edges, alerts, false);
        prop_assert_eq!(assess(&world.policy(), &key(world.signer), &graph), world.assess());
    }

    #[test]
    fn loading_in_rounds_finds_what_loading_everything_finds(world in world(30, 90, 6, 1)) {
        let policy = world.policy();
        let (graph, rounds) = walked(&world, &policy);

        prop_assert!(rounds <= 2 * world.max_depth);
        prop_assert_eq!(assess(&policy, &key(world.signer), &graph), world.assess());
    }

    #[test]
    fn loading_in_rounds_finds_all_disjoint_paths(world in world(10, 50, 3, 4)) {
        let policy = world.policy();
        let (graph, _) = walked(&world, &policy);

        prop_assert_eq!(assess(&policy, &key(world.signer), &graph), world.assess());
    }

    #[test]
    fn a_graph_that_was_cut_never_makes_anybody_look_better(
        world in world(10, 50, 3, 3),
        kept in vec(any::<bool>(), 50),
    ) {
        let edges = world.edges().into_iter().zip(kept).filter(|(_, kept)| *kept);
        let cut = Graph::new(edges.map(|(edge, _)| edge), world.alerts(), true);
        let found = assess(&world.policy(), &key(world.signer), &cut);

        let whole = world.assess();
        prop_assert!(found.is_truncated);
        prop_assert!(found.score <= whole.score);
        prop_assert!(whole.meets() || !found.meets());
    }
}
