//! What a verifier thinks of a signer.
//!
//! ```text
//! score(anchor) = 1
//! score(next)   = floor(score(previous) * floor(decay * weight))     in millionths
//! ```
//!
//! The best path of at most `max_depth` steps counts. The work is at most `2 * max_depth + 3` looks
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
