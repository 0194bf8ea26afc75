//! What the answers of all peers mean together. Pure.
//!
//! ```text
//! before          some own head is off   nobody   some   everybody answered
//! signing         self_rolled_back       sign*    sign   sign
//! unconfirmed     self_rolled_back       wait     wait   sign
//! other reasons   as before              as before
//!                                        * `start_unconfirmed` until somebody does
//! ```

use crate::sequencer::NotSigning;

/// How one peer's newest answer stands to the history that is held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It shows a head of our own key that lies on our history.
    Held,
    /// It shows a head of our own key that does not.
    NotHeld,
    /// It says that it has none yet.
    NoneYet,
    /// It shows something that our key did not sign, which is no answer.
    Unusable,
    /// It can't be reached.
    Silent,
}

impl Standing {
    /// Whether the peer answered what it was asked.
    pub(crate) const fn is_answer(self) -> bool {
        matches!(self, Self::Held | Self::NotHeld | Self::NoneYet)
    }
}

/// What a leader does after its peers were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Why nothing is signed; `None` to sign.
    pub(crate) not_signing: Option<NotSigning>,
    /// Whether it signs though not one peer could be heard.
    pub(crate) is_unconfirmed: bool,
    /// Whether every peer answered: nobody has to be asked again.
    pub(crate) is_complete: bool,
}

/// Decides what a leader that stood like `before` does.
///
/// A head of our own key that is not held stops it whatever else is said. Nobody's silence and
/// nobody's invention stops a leader whose guard agrees with its database; without a guard
/// everybody has to answer, and where nobody is configured, nobody can.
pub(crate) fn decide(before: Option<NotSigning>, standings: &[Standing]) -> Verdict {
    let is_complete = standings.iter().all(|standing| standing.is_answer());
    let is_heard = standings.iter().any(|standing| standing.is_answer());
    let not_signing = match before {
        None | Some(NotSigning::Unconfirmed) if standings.contains(&Standing::NotHeld) => {
            Some(NotSigning::SelfRolledBack)
        }
        Some(NotSigning::Unconfirmed) if is_complete && is_heard => None,
        before => before,
    };
    let is_unconfirmed = not_signing.is_none() && !standings.is_empty() && !is_heard;
    Verdict { not_signing, is_unconfirmed, is_complete }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Held, NoneYet, NotHeld, Silent, Unusable};
    use super::*;

    const SIGNING: Option<NotSigning> = None;
    const UNCONFIRMED: Option<NotSigning> = Some(NotSigning::Unconfirmed);
    const ROLLED_BACK: Option<NotSigning> = Some(NotSigning::SelfRolledBack);

    #[test]
    fn every_combination_of_guard_and_answers_has_its_verdict() {
        for (before, standings, after, is_unconfirmed, is_complete) in [
            // The guard agrees.
            (SIGNING, &[][..], SIGNING, false, true),
            (SIGNING, &[Held, NoneYet], SIGNING, false, true),
            (SIGNING, &[Held, Silent], SIGNING, false, false),
            (SIGNING, &[NoneYet, Unusable], SIGNING, false, false),
            (SIGNING, &[Silent, Silent], SIGNING, true, false),
            (SIGNING, &[Unusable], SIGNING, true, false),
            (SIGNING, &[Held, NotHeld], ROLLED_BACK, false, true),
            (SIGNING, &[Silent, NotHeld, Unusable], ROLLED_BACK, false, false),
            // It is missing.
            (UNCONFIRMED, &[], UNCONFIRMED, false, true),
            (UNCONFIRMED, &[Held], SIGNING, false, true),
            (UNCONFIRMED, &[NoneYet, Held], SIGNING, false, true),
            (UNCONFIRMED, &[NoneYet], SIGNING, false, true),
            (UNCONFIRMED, &[Held, Silent], UNCONFIRMED, false, false),
            (UNCONFIRMED, &[Held, Unusable], UNCONFIRMED, false, false),
            (UNCONFIRMED, &[NotHeld, Silent], ROLLED_BACK, false, false),
            // What an operator has to deal with is not lifted by peers.
            (ROLLED_BACK, &[Held, Held], ROLLED_BACK, false, true),
            (ROLLED_BACK, &[], ROLLED_BACK, false, true),
        ] {
            let expected = Verdict { not_signing: after, is_unconfirmed, is_complete };
            assert_eq!(decide(before, standings), expected, "{before:?} {standings:?}");
        }
    }
}
