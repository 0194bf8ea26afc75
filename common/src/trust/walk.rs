//! Which endorsements to load for an assessment, in rounds.
//!
//! ```text
//! anchors -> given by -> ... meets ... <- received by <- signer
//! ```
//!
//! A path of at most `max_depth` steps is found whole by so many rounds, each of which goes one step
//! on from the anchors or one step back from the signer, whichever has fewer keys. Going back alone
//! would let strangers hide a signer: it can be made to receive more endorsements than fit, but what
//! an anchor gives nobody else decides.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alert, Edge, Graph, MAX_EDGES, MAX_NODES, Policy};
use crate::keys::Fingerprint;

/// Collects the endorsements that matter for one signer.
///
/// The caller loads each [`Walk::next_round`] and hands it to [`Walk::take`] until there is none;
/// then it loads the alerts about [`Walk::endorsers`], hands them to [`Walk::hear`], loads the rounds
/// that follow from those, and takes [`Walk::finish`]. There are at most `2 * max_depth` rounds.
#[derive(Debug)]
pub struct Walk<'p> {
    policy: &'p Policy,
    signer: Fingerprint,
    on: Front,
    back: Front,
    edges: BTreeMap<u64, Edge>,
    alerts: Vec<Alert>,
    nodes: BTreeSet<Fingerprint>,
    /// Loaded, but not regarded by the policy.
    disregarded: usize,
    is_truncated: bool,
}

/// What to load next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Whether the endorsements that the keys gave are needed, or those that they received.
    pub side: Side,
    /// The keys, in their order.
    pub keys: Vec<Fingerprint>,
    /// How many endorsements still fit: to load one more, the oldest first, is enough.
    pub room: usize,
}

/// An end of an endorsement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Its endorser's.
    Given,
    /// Its receiver's.
    Received,
}

/// How far the walk came from one end.
#[derive(Debug, Default)]
struct Front {
    /// The keys that the last step reached for the first time.
    keys: BTreeSet<Fingerprint>,
    reached: BTreeSet<Fingerprint>,
    /// Keys all of whose endorsements on this side are loaded.
    loaded: BTreeSet<Fingerprint>,
    steps: u32,
}

impl<'p> Walk<'p> {
    /// Starts at the anchors of the policy and at the signer.
    pub fn new(policy: &'p Policy, signer: Fingerprint) -> Self {
        let mut walk = Self {
            policy,
            signer,
            on: Front::default(),
            back: Front::default(),
            edges: BTreeMap::new(),
            alerts: Vec::new(),
            nodes: BTreeSet::new(),
            disregarded: 0,
            is_truncated: false,
        };
        if !policy.anchors().contains(&signer) {
            walk.on.start(policy.anchors().iter().copied());
            walk.back.start([signer]);
        }
        walk
    }

    /// The next endorsements to load; none when all are there, or no more fit.
    pub fn next_round(&mut self) -> Option<Round> {
        while !self.is_truncated && self.is_open() {
            let side = self.shorter_side();
            let front = self.front(side);
            let keys: Vec<_> = front.keys.difference(&front.loaded).copied().collect();
            if !keys.is_empty() {
                let room = MAX_EDGES.saturating_sub(self.edges.len() + self.disregarded);
                return Some(Round { side, keys, room });
            }
            self.advance(side);
        }
        None
    }

    /// Takes what was loaded for a round.
    pub fn take(&mut self, round: Round, edges: impl IntoIterator<Item = Edge>) {
        let mut edges: Vec<Edge> = edges.into_iter().collect();
        edges.sort_unstable();
        self.is_truncated |= edges.len() > round.room;
        for edge in edges.into_iter().take(round.room) {
            if !self.policy.regards(&edge) {
                self.disregarded += 1;
                continue;
            }
            self.nodes.extend([edge.endorser, edge.endorsed]);
            self.edges.insert(edge.offer_entry_id, edge);
        }
        self.is_truncated |= self.nodes.len() > MAX_NODES;
        self.front_mut(round.side).loaded.extend(round.keys);
    }

    /// The keys that endorse on a path to the signer: alerts about these matter.
    pub fn endorsers(&self) -> BTreeSet<Fingerprint> {
        self.relevant().map(|edge| edge.endorser).collect()
    }

    /// Takes the alerts, and goes back from those who gave them: their own scores will be asked for.
    pub fn hear(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        let mut newest: BTreeMap<Fingerprint, u64> = BTreeMap::new();
        for edge in self.relevant() {
            // In the order of the entries, so that the last one stays.
            newest.insert(edge.endorser, edge.offer_entry_id);
        }
        let matters = |alert: &Alert| {
            newest.get(&alert.compromised).is_some_and(|offer| *offer > alert.entry_id)
        };
        self.alerts = alerts.into_iter().filter(matters).collect();
        let alerters: Vec<_> = self.alerts.iter().map(|alert| alert.alerter).collect();
        let anchors = self.policy.anchors();
        self.back.start(alerters.into_iter().filter(|alerter| !anchors.contains(alerter)));
    }

    /// The graph to assess the signer by.
    ///
    /// Of a walk that was cut, what leads to those who gave alerts is left out: all alerts count
    /// then, and nobody can crowd out the signer's own endorsements with alerts.
    pub fn finish(self) -> Graph {
        if self.is_truncated {
            let relevant: Vec<Edge> = self.relevant().cloned().collect();
            return Graph::new(relevant, self.alerts, true);
        }
        Graph::new(self.edges.into_values(), self.alerts, false)
    }

    /// Where one front has no keys left, everything that it can lead to is loaded.
    fn is_open(&self) -> bool {
        let steps = self.on.steps + self.back.steps;
        steps < self.policy.max_depth() && !self.on.keys.is_empty() && !self.back.keys.is_empty()
    }

    fn shorter_side(&self) -> Side {
        if self.on.keys.len() < self.back.keys.len() { Side::Given } else { Side::Received }
    }

    fn front(&self, side: Side) -> &Front {
        match side {
            Side::Given => &self.on,
            Side::Received => &self.back,
        }
    }

    fn front_mut(&mut self, side: Side) -> &mut Front {
        match side {
            Side::Given => &mut self.on,
            Side::Received => &mut self.back,
        }
    }

    /// Goes one step over loaded endorsements; back from an anchor leads to no better path.
    fn advance(&mut self, side: Side) {
        let front = self.front(side);
        let leads = |edge: &Edge| {
            let (near, far) = side.ends(edge);
            front.keys.contains(&near).then_some(far)
        };
        let is_wanted = |key: &Fingerprint| {
            !front.reached.contains(key)
                && (side == Side::Given || !self.policy.anchors().contains(key))
        };
        let next = self.edges.values().filter_map(leads).filter(is_wanted).collect();
        let front = self.front_mut(side);
        front.keys = next;
        front.reached.extend(&front.keys);
        front.steps += 1;
    }

    /// The loaded endorsements from which loaded ones lead on to the signer.
    fn relevant(&self) -> impl Iterator<Item = &Edge> {
        let mut leading = BTreeSet::from([self.signer]);
        for _ in 0..self.policy.max_depth() {
            let more = self.edges.values().filter(|edge| leading.contains(&edge.endorsed));
            let more: Vec<_> = more.map(|edge| edge.endorser).collect();
            leading.extend(more);
        }
        self.edges.values().filter(move |edge| leading.contains(&edge.endorsed))
    }
}

impl Front {
    /// Starts again, from these keys; what is loaded stays so.
    fn start(&mut self, keys: impl IntoIterator<Item = Fingerprint>) {
        self.keys = keys.into_iter().collect();
        self.reached = self.keys.clone();
        self.steps = 0;
    }
}

impl Side {
    /// The end that an endorsement is loaded by, and the one that it leads to.
    fn ends(self, edge: &Edge) -> (Fingerprint, Fingerprint) {
        match self {
            Self::Given => (edge.endorser, edge.endorsed),
            Self::Received => (edge.endorsed, edge.endorser),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Category;
    use crate::trust::{Millionths, assess};

    const ANCHOR: u64 = 1;
    const FRIEND: u64 = 2;
    const POPULAR: u64 = 3;
    const SIGNER: u64 = 4;
    const STRANGERS: u64 = 1_000_000;

    fn key(number: u64) -> Fingerprint {
        Fingerprint::of_der(&number.to_be_bytes())
    }

    fn edge(offer_entry_id: u64, from: u64, to: u64) -> Edge {
        Edge {
            offer_entry_id,
            endorser: key(from),
            endorsed: key(to),
            category: Category::HumanAttestation,
            institution: None,
            weight: Millionths::ONE,
        }
    }

    /// The signer and the popular key received 1,000 endorsements each, all but one of strangers.
    fn crowd() -> Vec<Edge> {
        let strangers = (0..999).flat_map(|at| {
            let stranger = STRANGERS + at;
            [edge(100 + 2 * at, stranger, SIGNER), edge(101 + 2 * at, stranger, POPULAR)]
        });
        let path = [edge(1, ANCHOR, FRIEND), edge(2, FRIEND, POPULAR), edge(3, POPULAR, SIGNER)];
        strangers.chain(path).collect()
    }

    fn load<'e>(round: &Round, edges: impl IntoIterator<Item = &'e Edge>) -> Vec<Edge> {
        let fits = |edge: &&Edge| round.keys.contains(&round.side.ends(edge).0);
        edges.into_iter().filter(fits).take(round.room + 1).cloned().collect()
    }

    #[test]
    fn strangers_cannot_hide_a_signer_by_endorsing_it() {
        let policy = Policy::of_anchor(key(ANCHOR));
        let edges = crowd();
        let mut walk = Walk::new(&policy, key(SIGNER));
        let mut sides = Vec::new();
        while let Some(round) = walk.next_round() {
            sides.push((round.side, round.keys.len()));
            // Nobody asks who endorsed the strangers.
            assert!(round.keys.len() < 10);
            let loaded = load(&round, &edges);
            walk.take(round, loaded);
        }
        walk.hear([]);
        assert_eq!(walk.next_round(), None);

        assert_eq!(sides, [(Side::Received, 1), (Side::Given, 1), (Side::Given, 1)]);
        let verdict = assess(&policy, &key(SIGNER), &walk.finish());
        assert_eq!(verdict.score.get(), 125_000);
        assert!(!verdict.is_truncated);
    }

    #[test]
    fn an_anchor_needs_no_walk() {
        let policy = Policy::of_anchor(key(ANCHOR));
        assert_eq!(Walk::new(&policy, key(ANCHOR)).next_round(), None);
    }

    #[test]
    fn a_walk_ends_where_no_more_fits_and_says_so() {
        let policy = Policy::of_anchor(key(ANCHOR));
        let mut walk = Walk::new(&policy, key(SIGNER));
        let round = walk.next_round().unwrap();
        assert_eq!(round.room, MAX_EDGES);

        let many = (0..=round.room as u64).map(|at| edge(10 + at, STRANGERS, SIGNER));
        walk.take(round, many);

        assert_eq!(walk.next_round(), None);
        assert!(walk.finish().is_truncated());
    }

    #[test]
    fn those_who_warn_are_looked_for_and_only_if_it_matters() {
        let policy = Policy::of_anchor(key(ANCHOR));
        let edges = [edge(10, ANCHOR, FRIEND), edge(20, FRIEND, SIGNER), edge(30, ANCHOR, POPULAR)];
        let asked_for = |alerts: &[Alert]| {
            let mut walk = Walk::new(&policy, key(SIGNER));
            while let Some(round) = walk.next_round() {
                let loaded = load(&round, &edges[..2]);
                walk.take(round, loaded);
            }
            assert_eq!(walk.endorsers(), BTreeSet::from([key(ANCHOR), key(FRIEND)]));
            walk.hear(alerts.iter().copied());
            walk.next_round().map(|round| round.keys)
        };
        let alert =
            |entry_id, alerter| Alert { compromised: key(FRIEND), entry_id, alerter: key(alerter) };

        assert_eq!(asked_for(&[alert(15, POPULAR)]), Some(vec![key(POPULAR)]));
        assert_eq!(asked_for(&[alert(25, POPULAR), alert(15, ANCHOR)]), None);
        assert_eq!(asked_for(&[]), None);
    }
}
