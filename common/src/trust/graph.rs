//! The endorsements and alerts that a verifier looks at: bounded, and in the log's order.

use std::collections::{BTreeMap, BTreeSet};

use super::Millionths;
use crate::keys::Fingerprint;
use crate::statement::Category;

/// The most endorsements of one graph.
pub const MAX_EDGES: usize = 20_000;

/// The most keys of one graph.
pub const MAX_NODES: usize = 5_000;

/// An active endorsement, operator endorsements included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The entry that offered it; no two endorsements have the same one.
    pub offer_entry_id: u64,
    /// Who gives it.
    pub endorser: Fingerprint,
    /// Who received it.
    pub endorsed: Fingerprint,
    /// What it is given as.
    pub category: Category,
    /// The institution that it names, as `event::text::folded` spells it.
    pub institution: Option<String>,
    /// What it weighs before any alert.
    pub weight: Millionths,
}

/// A standing warning of one key about another that it endorsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// The key that is said to be in wrong hands.
    pub compromised: Fingerprint,
    /// The entry of the alert: what the compromised key offered later weighs less.
    pub entry_id: u64,
    /// Who warns.
    pub alerter: Fingerprint,
}

/// Endorsements and alerts within the bounds, however many were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    edges: Vec<Edge>,
    alerts: Vec<Alert>,
    is_truncated: bool,
}

impl Graph {
    /// Takes the oldest endorsements that fit, and notes whether any did not.
    ///
    /// `is_truncated` says that the caller itself left some out. All that is computed from a graph
    /// is the same in whatever order its parts are given.
    pub fn new(
        edges: impl IntoIterator<Item = Edge>,
        alerts: impl IntoIterator<Item = Alert>,
        is_truncated: bool,
    ) -> Self {
        let sorted: BTreeSet<Edge> = edges.into_iter().collect();
        let given = sorted.len();
        let mut nodes = BTreeSet::new();
        let mut kept = Vec::new();
        for edge in sorted {
            let ends = [edge.endorser, edge.endorsed];
            let new = ends.iter().filter(|key| !nodes.contains(*key)).count();
            if kept.len() < MAX_EDGES && nodes.len() + new <= MAX_NODES {
                nodes.extend(ends);
                kept.push(edge);
            }
        }
        let mut graph =
            Self { is_truncated: is_truncated || kept.len() < given, ..Self::default() };
        graph.edges = kept;
        graph.keep(alerts.into_iter().filter(|alert| nodes.contains(&alert.compromised)));
        graph
    }

    /// The endorsements, the oldest first.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The alerts about its keys, ordered by those and then by age.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Whether some endorsements were left out.
    ///
    /// Then every alert counts, so that a graph which was cut never makes anybody look better.
    pub const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Keeps the alerts, or of too many those that alone matter once every alert counts.
    fn keep(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        let mut alerts: BTreeSet<Alert> = alerts.into_iter().collect();
        if alerts.len() > MAX_EDGES {
            self.is_truncated = true;
            let mut seen = None;
            alerts.retain(|alert| seen.replace(alert.compromised) != Some(alert.compromised));
        }
        self.alerts = alerts.into_iter().collect();
    }

    /// From which entry on each compromised key's endorsements weigh half, if `counts` says which
    /// alerts count.
    pub(super) fn warned_since(
        &self,
        counts: impl Fn(&Alert) -> bool,
    ) -> BTreeMap<Fingerprint, u64> {
        let mut since = BTreeMap::new();
        for alert in self.alerts.iter().filter(|alert| self.is_truncated || counts(alert)) {
            since.entry(alert.compromised).or_insert(alert.entry_id);
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Fingerprint {
        Fingerprint::of_der(&number.to_be_bytes())
    }

    fn edge(id: u64, from: usize, to: usize) -> Edge {
        Edge {
            offer_entry_id: id,
            endorser: key(from),
            endorsed: key(to),
            category: Category::HumanAttestation,
            institution: None,
            weight: Millionths::ONE,
        }
    }

    #[test]
    fn the_order_of_what_is_given_does_not_matter() {
        let edges = [edge(3, 1, 2), edge(1, 2, 3), edge(2, 3, 1)];
        let alert = |entry_id| Alert { compromised: key(1), entry_id, alerter: key(2) };

        let one = Graph::new(edges.clone(), [alert(9), alert(4)], false);
        let other = Graph::new(edges.into_iter().rev(), [alert(4), alert(9)], false);

        assert_eq!(one, other);
        assert_eq!(one.edges()[0].offer_entry_id, 1);
        assert!(!one.is_truncated());
    }

    #[test]
    fn the_oldest_endorsements_are_kept_where_they_are_too_many() {
        let many = (0..=MAX_EDGES as u64).rev().map(|id| edge(id, 1, 2));
        let graph = Graph::new(many, [], false);

        assert_eq!(graph.edges().len(), MAX_EDGES);
        assert_eq!(graph.edges()[0].offer_entry_id, 0);
        assert!(graph.is_truncated());
    }

    #[test]
    fn a_star_of_too_many_keys_is_cut() {
        let star = (1..=MAX_NODES).map(|other| edge(other as u64, 0, other));
        let graph = Graph::new(star, [], false);

        assert_eq!(graph.edges().len(), MAX_NODES - 1);
        assert!(graph.is_truncated());
    }

    #[test]
    fn of_too_many_alerts_the_first_about_each_key_is_kept() {
        let alerts = (0..=MAX_EDGES as u64).flat_map(|entry_id| {
            [key(1), key(2)].map(|compromised| Alert { compromised, entry_id, alerter: key(9) })
        });
        let graph = Graph::new([edge(1, 1, 2)], alerts, false);

        assert!(graph.is_truncated());
        assert_eq!(graph.alerts().len(), 2);
        assert_eq!(graph.warned_since(|_| false), BTreeMap::from([(key(1), 0), (key(2), 0)]));
    }
}
