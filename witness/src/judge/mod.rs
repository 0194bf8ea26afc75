//! What a witness may sign: every rule of a round, as pure functions.
//!
//! A head that arrived becomes [`Seen`] when the log's key signed it, [`judge`] compares it with
//! what the witness knows, and only [`Candidate::prove`] makes the [`Extension`] without which the
//! state does not advance and nothing is signed.

mod amnesia;
mod vantage;

pub use amnesia::{Answer, Memory, remember};
pub use vantage::{Comparison, compare};

use diogenes_common::clock::Timestamp;
use diogenes_common::head::{
    Contradiction, HeadError, HeadJson, Origin, SignedHead, contradiction,
};
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{Hash, ProofError, TreeRoot, TreeSize, verify_consistency};

/// How far a head may lie ahead of the own clock.
pub const MAX_AHEAD_MILLIS: i64 = 120_000;

/// How old a head may be that is still signed.
pub const MAX_AGE_MILLIS: i64 = 2 * 60 * 60 * 1000;

/// A tree head that the log's key signed, beside the JSON that it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    json: HeadJson,
    signed: SignedHead,
}

impl Seen {
    /// Checks that the pinned key signed this head for this log.
    pub fn recognise(json: HeadJson, key: &PublicKey, origin: &Origin) -> Result<Self, HeadError> {
        let signed = json.verify(key, origin)?;
        Ok(Self { json, signed })
    }

    /// The head as it arrived.
    pub fn json(&self) -> &HeadJson {
        &self.json
    }

    /// The head as it was signed.
    pub fn signed(&self) -> &SignedHead {
        &self.signed
    }

    /// Its size and root.
    pub fn tree(&self) -> TreeRoot {
        self.signed.head().tree()
    }

    /// When the log signed it.
    pub fn timestamp(&self) -> Timestamp {
        self.signed.head().timestamp
    }
}

/// Where a witness stands with one log.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The largest tree that it vouches for; the empty one before the first.
    pub tree: TreeRoot,
    /// The head of that tree, where it is kept.
    pub head: Option<&'a SignedHead>,
    /// The leaf hash of entry 1, which names the log.
    pub genesis: Hash,
}

impl Known<'_> {
    /// The tree that a new head must extend.
    ///
    /// Nothing can be shown to extend the empty tree, but every log that was recognised has at
    /// least its genesis.
    pub fn base(&self) -> TreeRoot {
        if self.tree.size == TreeSize::ZERO {
            TreeRoot { size: TreeSize::ZERO.plus(1), hash: self.genesis }
        } else {
            self.tree
        }
    }
}

/// What may happen with a head of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The witness vouches for this tree already.
    Unchanged,
    /// A larger tree, to be signed if it is proven to extend the known one.
    Larger(Box<Candidate>),
}

/// Why a head of the log is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log's key signed two heads that exclude each other: this is proof.
    #[error("the log signed two heads that contradict each other: {0}")]
    Contradicted(Contradiction),
    /// The size is that of the known tree and the root is not.
    #[error("the log shows another root at the size that this witness vouches for")]
    OtherRoot,
    /// An older head than the known one, as a source shows it that lags behind.
    #[error("the head is older and smaller than the one that this witness signed last")]
    Backwards,
    /// More than two minutes ahead of the own clock.
    #[error("the head lies more than 120 s in the future of this machine's clock")]
    FromFuture,
    /// More than two hours old.
    #[error("the newest head is more than two hours old: the log seems to stand still")]
    TooOld,
    /// Nothing shows that the log only grew.
    #[error("nothing shows that the log only grew: {0}")]
    Inconsistent(#[source] ProofError),
}

impl Refusal {
    /// The reason that a signed refusal names.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Contradicted(found) => found.as_str(),
            Self::OtherRoot => "other_root",
            Self::Backwards => "backwards",
            Self::FromFuture => "head_in_future",
            Self::TooOld => "leader_stale",
            Self::Inconsistent(_) => "inconsistent_unproven",
        }
    }

    /// Says whether the witness signs and keeps this refusal.
    ///
    /// A source that lags behind is nobody's fault.
    pub fn is_kept(&self) -> bool {
        *self != Self::Backwards
    }
}

/// Judges a head against what the witness knows.
///
/// Contradictions come first: they stay proof however old the heads are.
pub fn judge(known: &Known<'_>, seen: Seen, now: Timestamp) -> Result<Verdict, Refusal> {
    if let Some(found) = known.head.and_then(|head| contradiction(head, seen.signed())) {
        return Err(Refusal::Contradicted(found));
    }
    let tree = seen.tree();
    if tree.size == known.tree.size {
        let same = tree.hash == known.tree.hash;
        return if same { Ok(Verdict::Unchanged) } else { Err(Refusal::OtherRoot) };
    }
    if tree.size < known.tree.size {
        return Err(Refusal::Backwards);
    }
    let age = now.millis_since(seen.timestamp());
    if age < -MAX_AHEAD_MILLIS {
        return Err(Refusal::FromFuture);
    }
    if age > MAX_AGE_MILLIS {
        return Err(Refusal::TooOld);
    }
    let base = known.base();
    Ok(Verdict::Larger(Box::new(Candidate { old: known.tree, base, seen })))
}

/// A larger head whose consistency is still to be proven.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    old: TreeRoot,
    base: TreeRoot,
    seen: Seen,
}

impl Candidate {
    /// The tree from which the proof must lead to the new one.
    pub fn base(&self) -> TreeRoot {
        self.base
    }

    /// The head that would be signed.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Checks the consistency proof (RFC 9162) and makes what may be signed.
    pub fn prove(self, proof: &[Hash]) -> Result<Extension, Refusal> {
        verify_consistency(&self.base, &self.seen.tree(), proof).map_err(Refusal::Inconsistent)?;
        Ok(Extension { old: self.old, seen: self.seen })
    }
}

/// A head that was proven to extend what the witness knew; only [`Candidate::prove`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    old: TreeRoot,
    seen: Seen,
}

impl Extension {
    /// The tree that the witness knew.
    pub fn old(&self) -> TreeRoot {
        self.old
    }

    /// The head that extends it.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{History, at};

    fn known(head: &Seen, history: &History) -> (TreeRoot, SignedHead, Hash) {
        (head.tree(), head.signed().clone(), history.leaf(0))
    }

    fn decide(known_size: u64, seen: Seen, now: Timestamp) -> Result<Verdict, Refusal> {
        let history = History::honest();
        let head = history.seen(known_size, at(100));
        let (tree, head, genesis) = known(&head, &history);
        judge(&Known { tree, head: Some(&head), genesis }, seen, now)
    }

    #[test]
    fn a_larger_head_is_signed_only_with_its_own_proof() {
        let history = History::honest();

        let verdict = decide(5, history.seen(9, at(200)), at(201));

        let Ok(Verdict::Larger(candidate)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(candidate.base(), history.tree(5));
        let extension = candidate.clone().prove(&history.consistency(5, 9)).expect("a proof");
        assert_eq!((extension.old(), extension.seen().tree()), (history.tree(5), history.tree(9)));
        for wrong in [Vec::new(), history.consistency(4, 9), history.consistency(5, 8)] {
            let refused = candidate.clone().prove(&wrong);
            assert!(matches!(refused, Err(Refusal::Inconsistent(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_first_head_must_extend_the_genesis() {
        let history = History::honest();
        let nothing = Known { tree: TreeRoot::EMPTY, head: None, genesis: history.leaf(0) };

        let verdict = judge(&nothing, history.seen(6, at(200)), at(200));

        let Ok(Verdict::Larger(candidate)) = verdict else { panic!("{verdict:?}") };
        let foreign = History::forked_at(0).consistency(1, 6);
        assert!(candidate.clone().prove(&foreign).is_err());
        let extension = candidate.prove(&history.consistency(1, 6)).expect("a proof");
        assert_eq!(extension.old(), TreeRoot::EMPTY);
    }

    #[test]
    fn a_log_that_is_only_its_genesis_needs_an_empty_proof() {
        let history = History::honest();
        let nothing = Known { tree: TreeRoot::EMPTY, head: None, genesis: history.leaf(0) };

        let Ok(Verdict::Larger(candidate)) = judge(&nothing, history.seen(1, at(9)), at(9)) else {
            panic!("a first head is larger than nothing");
        };

        assert!(candidate.prove(&[]).is_ok());
    }

    #[test]
    fn the_same_tree_is_unchanged_even_when_its_head_is_old() {
        let head = History::honest().seen(5, at(100));

        assert_eq!(decide(5, head, at(100_000)), Ok(Verdict::Unchanged));
    }

    #[test]
    fn heads_from_the_future_and_old_ones_are_not_signed() {
        let history = History::honest();
        let head = |seconds| history.seen(9, at(seconds));

        assert!(decide(5, head(320), at(200)).is_ok());
        assert_eq!(decide(5, head(321), at(200)), Err(Refusal::FromFuture));
        assert!(decide(5, head(200), at(200 + 7200)).is_ok());
        assert_eq!(decide(5, head(200), at(201 + 7200)), Err(Refusal::TooOld));
    }

    #[test]
    fn a_smaller_head_is_backwards_when_old_and_proof_when_new() {
        let history = History::honest();

        assert_eq!(decide(5, history.seen(4, at(90)), at(200)), Err(Refusal::Backwards));
        let truncated = decide(5, history.seen(4, at(150)), at(200));
        assert!(matches!(truncated, Err(Refusal::Contradicted(_))), "{truncated:?}");
        assert_eq!(truncated.map_err(|refusal| refusal.reason()), Err("truncated"));
    }

    #[test]
    fn a_larger_head_with_an_earlier_time_is_proof() {
        let regressed = decide(5, History::honest().seen(9, at(50)), at(200));

        assert_eq!(regressed.map_err(|refusal| refusal.reason()), Err("timestamp_regressed"));
    }

    #[test]
    fn another_root_at_the_known_size_is_proof_with_the_kept_head_and_refused_without() {
        let (history, fork) = (History::honest(), History::forked_at(3));

        let proven = decide(5, fork.seen(5, at(150)), at(200));
        assert_eq!(proven.map_err(|refusal| refusal.reason()), Err("fork_same_size"));

        let known = Known { tree: history.tree(5), head: None, genesis: history.leaf(0) };
        let refused = judge(&known, fork.seen(5, at(150)), at(200));
        assert_eq!(refused, Err(Refusal::OtherRoot));
    }

    #[test]
    fn a_fork_further_on_has_no_proof() {
        let (history, fork) = (History::honest(), History::forked_at(3));

        let Ok(Verdict::Larger(candidate)) = decide(5, fork.seen(9, at(200)), at(200)) else {
            panic!("sizes and times alone do not give a fork away");
        };

        for proof in [fork.consistency(5, 9), history.consistency(5, 9)] {
            assert!(candidate.clone().prove(&proof).is_err());
        }
    }

    #[test]
    fn only_the_pinned_key_speaks_for_the_log() {
        let history = History::honest();
        let json = history.seen(5, at(100)).json().clone();
        let origin = history.origin();

        assert!(Seen::recognise(json.clone(), history.operator().public(), &origin).is_ok());
        let other = diogenes_common::keys::SigningKey::from_seed([77; 32]);
        assert!(Seen::recognise(json.clone(), other.public(), &origin).is_err());
        let elsewhere = "other.example/log".parse().expect("an origin");
        assert!(Seen::recognise(json, history.operator().public(), &elsewhere).is_err());
    }
}
