//! How a leader goes about one witness: what it asks next, and when. Pure.

use std::time::Duration;

use diogenes_common::merkle::TreeSize;

use super::answer::{Fault, Verdict};

/// The pauses before a witness that stands at another size is asked again.
const PAUSES_MILLIS: [u64; 3] = [10, 50, 250];

/// What is known of a witness.
#[derive(Debug)]
pub(super) struct Asker {
    /// Where it stands, as far as is known: the size from which it is asked.
    stands_at: TreeSize,
    /// The largest size of which its cosignature is held.
    signed: TreeSize,
    /// How often in a row it stood elsewhere.
    moves: usize,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before the next round.
    Rest,
    /// Ask again after this pause.
    Again(Duration),
    /// Back off, for at least as long as the witness asked.
    Later(Option<Duration>),
    /// Ask again in a while: somebody has to configure something first.
    Slowly,
    /// Ask no more before somebody has looked.
    Stop(Fault),
}

impl Asker {
    /// A witness whose largest cosignature that is held is of this size.
    pub(super) fn new(signed: TreeSize) -> Self {
        Self { stands_at: signed, signed, moves: 0 }
    }

    /// The size from which to ask for a round's; `None` if there is nothing to ask for, because it
    /// cosigned that or stands beyond it.
    pub(super) fn asks_from(&self, round: TreeSize) -> Option<TreeSize> {
        (self.signed < round && self.stands_at <= round).then_some(self.stands_at)
    }

    /// Takes the answer to a question about a round's size.
    pub(super) fn hears(&mut self, round: TreeSize, verdict: &Verdict) -> Step {
        let moves = std::mem::take(&mut self.moves);
        match verdict {
            Verdict::Cosigned(_) => {
                (self.stands_at, self.signed) = (round, round);
                Step::Rest
            }
            Verdict::StandsAt(size) => {
                self.stands_at = *size;
                if *size > round {
                    return Step::Rest;
                }
                let Some(pause) = PAUSES_MILLIS.get(moves) else { return Step::Later(None) };
                self.moves = moves + 1;
                Step::Again(Duration::from_millis(*pause))
            }
            Verdict::Later(_, asked) => Step::Later(*asked),
            Verdict::Refused { .. } => Step::Slowly,
            Verdict::Fault(fault) => Step::Stop(*fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::store::Cosignature;

    use super::super::answer::Trouble;
    use super::*;

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn cosigned(n: u64) -> Verdict {
        Verdict::Cosigned(Cosignature {
            tree_size: size(n),
            fingerprint: SigningKey::from_seed([2; 32]).fingerprint(),
            name: "w.example".to_owned(),
            line: String::new(),
            timestamp: Timestamp::from_millis(0).expect("a time"),
        })
    }

    #[test]
    fn each_round_is_asked_for_from_the_last_cosigned_size() {
        let mut asker = Asker::new(size(5));

        assert_eq!(asker.asks_from(size(5)), None);
        assert_eq!(asker.asks_from(size(8)), Some(size(5)));
        assert_eq!(asker.hears(size(8), &cosigned(8)), Step::Rest);
        assert_eq!(asker.asks_from(size(8)), None);
        assert_eq!(asker.asks_from(size(11)), Some(size(8)));
    }

    #[test]
    fn a_witness_that_stands_elsewhere_is_asked_from_there_three_times() {
        let mut asker = Asker::new(size(0));

        for (stands_at, pause) in [(3, 10), (4, 50), (8, 250)] {
            let step = asker.hears(size(8), &Verdict::StandsAt(size(stands_at)));
            assert_eq!(step, Step::Again(Duration::from_millis(pause)));
            assert_eq!(asker.asks_from(size(8)), Some(size(stands_at)));
        }
        let step = asker.hears(size(8), &Verdict::StandsAt(size(6)));
        assert_eq!(step, Step::Later(None));
        let step = asker.hears(size(8), &Verdict::StandsAt(size(7)));
        assert_eq!(step, Step::Again(Duration::from_millis(10)));
    }

    #[test]
    fn one_that_stands_beyond_the_round_is_left_alone_until_a_larger_one() {
        let mut asker = Asker::new(size(0));

        assert_eq!(asker.hears(size(8), &Verdict::StandsAt(size(9))), Step::Rest);

        assert_eq!(asker.asks_from(size(8)), None);
        assert_eq!(asker.asks_from(size(9)), Some(size(9)));
        assert_eq!(asker.asks_from(size(12)), Some(size(9)));
    }

    #[test]
    fn what_else_happens_says_when_to_ask_again() {
        let mut asker = Asker::new(size(0));
        let patience = Some(Duration::from_secs(7));
        for (verdict, step) in [
            (Verdict::Later(Trouble::Busy(503), patience), Step::Later(patience)),
            (Verdict::Later(Trouble::NotSigned, None), Step::Later(None)),
            (Verdict::Refused { status: 403 }, Step::Slowly),
            (Verdict::Fault(Fault::Conflict), Step::Stop(Fault::Conflict)),
        ] {
            assert_eq!(asker.hears(size(8), &verdict), step);
            assert_eq!(asker.asks_from(size(8)), Some(size(0)));
        }
    }
}
