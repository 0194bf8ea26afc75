//! What a verifier thinks of a signer.
//!
//! ```text
//! score(anchor) = 1
//! score(next)   = floor(score(previous) * floor(decay * weight))     in millionths
//! ```
//!
//! The best path of at most `max_depth` steps counts. The work is at most `3 * max_depth + 8` looks
//! at each of [`MAX_EDGES`](super::MAX_EDGES) endorsements, and one bounded matching.

use std::collections::BTreeMap;
use std::fmt;

use super::disjoint::disjoint_paths;
use super::network::{Network, score_of, steps};
use super::{Alert, Graph, Millionths, Policy};
use crate::keys::Fingerprint;

/// What a verifier thinks of a signer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// 1 for an anchor, 0 where no path leads to the signer.
    pub score: Millionths,
    /// A path that gives this score, from the anchor on: of several the shortest, and of those the
    /// one whose offers, read from the signer back, are the oldest. Empty for an anchor.
    pub best_path: Vec<Step>,
    /// Paths that are good enough and share no key between their ends: as many as the policy wants
    /// or, where there are fewer, as many as there are. Empty for an anchor.
    pub disjoint_paths: Vec<Vec<Step>>,
    /// Whether that meets the policy, and what is missing.
    pub reason: Reason,
    /// Whether endorsements were left out, so that the whole graph may say more of the signer.
    pub is_truncated: bool,
}

/// One endorsement of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The entry that offered it.
    pub offer_entry_id: u64,
    /// Who gave it.
    pub endorser: Fingerprint,
    /// Who received it.
    pub endorsed: Fingerprint,
    /// Whether an alert halved its weight.
    pub is_halved: bool,
    /// The score of the path up to here.
    pub score: Millionths,
}

/// Why a signer meets a policy or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is an anchor.
    Anchor,
    /// Its score, and the number of paths to it, are enough.
    Enough,
    /// No path of endorsements leads from an anchor to it.
    NoPath,
    /// The best path gives less than is wanted.
    LowScore {
        /// What it gives.
        score: Millionths,
        /// What is wanted.
        min_score: Millionths,
    },
    /// Too few disjoint paths are good enough.
    FewPaths {
        /// How many there are.
        found: usize,
        /// How many are wanted.
        min_paths: u32,
    },
}

impl Assessment {
    /// Whether the signer meets the policy.
    pub const fn meets(&self) -> bool {
        matches!(self.reason, Reason::Anchor | Reason::Enough)
    }

    const fn without_path(score: Millionths, reason: Reason, graph: &Graph) -> Self {
        let is_truncated = graph.is_truncated();
        Self { score, best_path: Vec::new(), disjoint_paths: Vec::new(), reason, is_truncated }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor => write!(f, "the key is an anchor"),
            Self::Enough => write!(f, "the endorsements meet the policy"),
            Self::NoPath => write!(f, "no path of endorsements leads from an anchor to the key"),
            Self::LowScore { score, min_score } => {
                write!(f, "the best path gives a score of {score}, and {min_score} is wanted")
            }
            Self::FewPaths { found, min_paths } => {
                write!(f, "{found} disjoint paths are good enough, and {min_paths} are wanted")
            }
        }
    }
}

/// Assesses a signer by a policy; equal for equal graphs, on every machine.
///
/// Whether an attestation has one of the forms that the policy requires is for the caller to see.
pub fn assess(policy: &Policy, signer: &Fingerprint, graph: &Graph) -> Assessment {
    if policy.anchors().contains(signer) {
        return Assessment::without_path(Millionths::ONE, Reason::Anchor, graph);
    }
    let warned_since = warned_since(policy, graph);
    let network = Network::new(policy, graph, &warned_since);
    let best = match network.number(signer) {
        Some(number) => network.best_path(number, policy.max_depth()),
        None => Vec::new(),
    };
    let Some(last) = best.last() else {
        return Assessment::without_path(Millionths::ZERO, Reason::NoPath, graph);
    };
    let score = score_of(&best);
    let disjoint: Vec<_> = match policy.min_paths() {
        _ if score < policy.min_score() => Vec::new(),
        1 => vec![best.clone()],
        _ => disjoint_paths(policy, &network, last.to),
    };
    Assessment {
        score,
        best_path: steps(&best),
        disjoint_paths: disjoint.iter().map(|path| steps(path)).collect(),
        reason: judge(policy, score, disjoint.len()),
        is_truncated: graph.is_truncated(),
    }
}

fn judge(policy: &Policy, score: Millionths, found: usize) -> Reason {
    let (min_score, min_paths) = (policy.min_score(), policy.min_paths());
    if score < min_score {
        Reason::LowScore { score, min_score }
    } else if found < min_paths as usize {
        Reason::FewPaths { found, min_paths }
    } else {
        Reason::Enough
    }
}

/// From which entry on the endorsements of a compromised key weigh half.
///
/// An alert counts if the one who gives it has a score of its own that is enough, alerts left
/// aside: otherwise two keys could silence each other, and the order of things would decide.
fn warned_since(policy: &Policy, graph: &Graph) -> BTreeMap<Fingerprint, u64> {
    if graph.alerts().is_empty() {
        return BTreeMap::new();
    }
    let network = Network::new(policy, graph, &BTreeMap::new());
    let scores = network.scores(policy.max_depth());
    graph.warned_since(|alert: &Alert| {
        policy.anchors().contains(&alert.alerter)
            || network
                .number(&alert.alerter)
                .is_some_and(|number| scores[number] >= policy.min_score())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::statement::Category;
    use crate::trust::{Edge, weight};

    const VERA: u8 = 1;
    const ADA: u8 = 2;
    const BEN: u8 = 3;
    const CLEO: u8 = 4;
    const DAN: u8 = 5;

    fn key(name: u8) -> Fingerprint {
        Fingerprint::of_der(&[name])
    }

    fn edge(offer_entry_id: u64, from: u8, to: u8, weight: u32) -> Edge {
        Edge {
            offer_entry_id,
            endorser: key(from),
            endorsed: key(to),
            category: Category::HumanAttestation,
            institution: None,
            weight: Millionths::new(weight).expect("0 to 1"),
        }
    }

    fn policy(more: &Value) -> Policy {
        let mut policy = json!({"anchors": [key(VERA)]});
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Policy::read(&policy).unwrap()
    }

    fn alert(entry_id: u64, alerter: u8, compromised: u8) -> Alert {
        Alert { compromised: key(compromised), entry_id, alerter: key(alerter) }
    }

    /// The example of the page: Vera trusts herself, and endorses Ada and Ben.
    fn example() -> Vec<Edge> {
        vec![
            edge(10, VERA, ADA, 1_000_000),
            edge(20, ADA, CLEO, weight(13, 20).get()),
            edge(30, VERA, BEN, 1_000_000),
            edge(40, BEN, CLEO, 1_000_000),
        ]
    }

    #[test]
    fn the_page_s_example_of_a_score() {
        let verdict = assess(&policy(&json!({})), &key(CLEO), &Graph::new(example(), [], false));

        assert_eq!(verdict.score.to_string(), "0.25");
        assert_eq!(verdict.reason, Reason::Enough);
        let path: Vec<_> =
            verdict.best_path.iter().map(|step| (step.offer_entry_id, step.score.get())).collect();
        assert_eq!(path, [(30, 500_000), (40, 250_000)]);

        let without_ben: Vec<_> = example().into_iter().take(2).collect();
        let verdict = assess(&policy(&json!({})), &key(CLEO), &Graph::new(without_ben, [], false));
        assert_eq!(verdict.score.to_string(), "0.1625");
        assert_eq!(
            verdict.reason.to_string(),
            "the best path gives a score of 0.1625, and 0.25 is wanted"
        );
    }

    #[test]
    fn the_page_s_example_of_disjoint_paths() {
        let graph = Graph::new(example(), [], false);
        let two = |min_score: f64| policy(&json!({"min_paths": 2, "min_score": min_score}));

        let verdict = assess(&two(0.15), &key(CLEO), &graph);
        assert!(verdict.meets());
        assert_eq!(verdict.disjoint_paths.len(), 2);

        let verdict = assess(&two(0.25), &key(CLEO), &graph);
        assert_eq!(verdict.reason, Reason::FewPaths { found: 1, min_paths: 2 });
    }

    #[test]
    fn the_page_s_example_of_an_alert() {
        let halved = |alerts: &[Alert]| {
            let graph = Graph::new(example(), alerts.iter().copied(), false);
            assess(&policy(&json!({})), &key(CLEO), &graph)
        };

        // Vera warns of Ben before he endorses Cleo: once or twice, it is half.
        for alerts in [&[alert(35, VERA, BEN)][..], &[alert(35, VERA, BEN), alert(36, ADA, BEN)]] {
            let verdict = halved(alerts);
            assert_eq!(verdict.score.to_string(), "0.1625");
            assert_eq!(verdict.best_path[1].endorser, key(ADA));
        }
        // After he did it changes nothing; neither does somebody whom Vera does not trust.
        assert_eq!(halved(&[alert(45, VERA, BEN)]).score.to_string(), "0.25");
        assert_eq!(halved(&[alert(35, DAN, BEN)]).score.to_string(), "0.25");
        // Without Ada the half is all there is.
        let graph = Graph::new(example().split_off(2), [alert(35, VERA, BEN)], false);
        let verdict = assess(&policy(&json!({})), &key(CLEO), &graph);
        assert_eq!(verdict.score.to_string(), "0.125");
        assert!(verdict.best_path[1].is_halved);
    }

    #[test]
    fn an_anchor_needs_no_endorsement_and_a_stranger_has_no_path() {
        let graph = Graph::new(example(), [], false);

        let verdict = assess(&policy(&json!({"min_paths": 8})), &key(VERA), &graph);
        assert_eq!((verdict.score, verdict.reason), (Millionths::ONE, Reason::Anchor));
        for nobody in [DAN, 99] {
            let graph = Graph::new([edge(1, DAN, CLEO, 1_000_000)], [], false);
            let verdict = assess(&policy(&json!({})), &key(nobody), &graph);
            assert_eq!((verdict.score, verdict.reason), (Millionths::ZERO, Reason::NoPath));
            assert!(!verdict.meets());
        }
    }

    #[test]
    fn an_alert_counts_by_the_score_that_its_author_has_without_alerts() {
        // Ada and Ben warn of each other before Cleo was endorsed: both count.
        let mutual = [alert(11, ADA, BEN), alert(12, BEN, ADA)];
        let verdict = assess(
            &policy(&json!({"min_score": 0.000_001})),
            &key(CLEO),
            &Graph::new(example(), mutual, false),
        );

        assert_eq!(verdict.score.to_string(), "0.125");
        assert!(verdict.best_path[1].is_halved);
    }

    #[test]
    fn of_equal_paths_the_shortest_and_then_the_oldest_is_shown() {
        let policy = policy(&json!({"decay": 1}));
        let full = |id, from, to| edge(id, from, to, 1_000_000);
        let ids = |edges: Vec<Edge>| -> Vec<u64> {
            let verdict = assess(&policy, &key(CLEO), &Graph::new(edges, [], false));
            verdict.best_path.iter().map(|step| step.offer_entry_id).collect()
        };
        let long = vec![full(1, VERA, ADA), full(2, ADA, BEN), full(3, BEN, CLEO)];
        let with = |mut edges: Vec<Edge>, more: Edge| {
            edges.push(more);
            edges
        };

        assert_eq!(ids(long.clone()), [1, 2, 3]);
        let short = with(long, full(9, ADA, CLEO));
        assert_eq!(ids(short.clone()), [1, 9]);
        assert_eq!(ids(with(with(short, full(8, DAN, CLEO)), full(10, VERA, DAN))), [10, 8]);
    }
}
