//! What becomes of a request to add a checkpoint: everything that waits for a lock or for the disk.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::clock::Clock;
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::files::FileError;
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::note::{Note, SignatureLine};
use diogenes_common::statement::Reason;

use super::memory::Confirmed;
use crate::add_checkpoint::{Refusal, Request, judge, recognise};
use crate::judge::{Answer, Memory, remember};
use crate::log::LogName;
use crate::state::{Home, LogState, OriginLock, StateError, root_at};

/// How long a request waits for a round of another process on the same log.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cosignature that may leave the machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cosignature {
    pub(super) line: SignatureLine,
    pub(super) tree: TreeRoot,
    /// The log's checkpoint with its verified signatures and the cosignature.
    pub(super) note: Option<Note>,
}

/// Why a request gets no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotCosigned {
    /// The request is at fault, or behind.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The checkpoint bears a signature of this key that the state does not know.
    #[error("this key has cosigned size {}, but its state stands at {known}", signed.size)]
    RolledBack {
        /// Where the state stands.
        known: TreeSize,
        /// What was signed.
        signed: TreeRoot,
    },
    /// The checkpoint bears a signature of this key that contradicts the state.
    #[error("this key has cosigned another root at size {} than its state holds", signed.size)]
    Equivocated {
        /// What was signed.
        signed: TreeRoot,
    },
    /// This key never signs this log again.
    #[error("this key has stopped signing this log for ever: {0}")]
    Halted(Reason),
    /// A log of this kind, and no server of it has said since the start what it holds under this key.
    #[error("amnesia_check_incomplete: nobody has confirmed yet that this witness forgot nothing")]
    Unconfirmed,
    /// Another process's round on this log takes longer than a request waits.
    #[error("another round on this log takes its time; ask again")]
    Busy,
    /// The log grew as often as it may in a day.
    #[error("this log was cosigned as often as it may be in a day; ask again later")]
    TooOften {
        /// How many seconds later.
        retry_after: u64,
    },
    /// The state cannot be used.
    #[error(transparent)]
    State(StateError),
}

/// Judges a request under the lock of its log, and cosigns its checkpoint once that is durable.
pub(super) fn cosign(
    home: &Arc<Home>,
    request: Request,
    confirmed: &Confirmed,
    clock: &dyn Clock,
) -> Result<Cosignature, NotCosigned> {
    let log: LogName = request.origin().parse().map_err(|_| Refusal::UnknownLog)?;
    // Who is not known or did not sign waits for no lock of a log.
    let trusted = home.log(log.as_str())?.and_then(|state| state.trusted());
    let own = request.cosigned_by(&home.vkey());
    let signed = recognise(request, trusted.as_deref())?;
    let lock = OriginLock::acquire(home, &log, PATIENCE)?;
    let state = lock.state()?.filter(|state| state.trusted().is_some());
    let state = state.ok_or(Refusal::UnknownLog)?;
    if let Some(own) = own {
        check_memory(&lock, &state, own, clock)?;
    }
    let accepted = judge(signed, state.tree())?;
    if !confirmed.covers(&log, &state) {
        return Err(NotCosigned::Unconfirmed);
    }
    let line = lock.cosign(&accepted, clock.now())?;
    let note = accepted.note().clone().with(line.clone()).ok();
    Ok(Cosignature { line, tree: accepted.checkpoint().tree(), note })
}

/// Compares a tree that the own key has cosigned with where the own state stands.
///
/// A stranger can show only what this key really signed, but may show any of it again and again:
/// a tree that the state has grown beyond is not looked up in the index, which is long, and is
/// refused by [`judge`] in any case.
fn check_memory(
    lock: &OriginLock,
    state: &LogState,
    own: TreeRoot,
    clock: &dyn Clock,
) -> Result<(), NotCosigned> {
    let known = state.tree();
    let stood: Vec<TreeRoot> = [known].into_iter().chain(state.forgotten()).collect();
    let shown = Answer::Signed(vec![own]);
    match remember(known, |size| root_at(&stood, size), &shown, &[]) {
        Memory::Confirmed | Memory::Incomplete => Ok(()),
        Memory::RolledBack { signed } => {
            lock.forget(signed, clock.now())?;
            Err(NotCosigned::RolledBack { known: known.size, signed })
        }
        Memory::Equivocated { signed, .. } => {
            if let (None, Ok(reason)) = (state.halted(), Reason::try_from(SELF_EQUIVOCATED)) {
                lock.halt(reason, clock.now())?;
            }
            Err(NotCosigned::Equivocated { signed })
        }
    }
}

/// Why a log is never signed again.
pub(super) const SELF_EQUIVOCATED: &str = "self_equivocated";

impl NotCosigned {
    /// The reason as metrics read it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(_) => "malformed",
                Refusal::UnknownLog => "unknown_log",
                Refusal::NotSigned(_) => "not_signed",
                Refusal::OldBeyondNew => "old_beyond_new",
                Refusal::Stale { .. } => "stale",
                Refusal::WrongEmptyRoot => "wrong_empty_root",
                Refusal::ProofFromNothing => "proof_from_nothing",
                Refusal::Inconsistent(_) => "inconsistent",
                Refusal::OtherRoot => "other_root",
            },
            Self::RolledBack { .. } => "state_rolled_back",
            Self::Equivocated { .. } => SELF_EQUIVOCATED,
            Self::Halted(_) => "halted",
            Self::Unconfirmed => "amnesia_check_incomplete",
            Self::Busy => "busy",
            Self::TooOften { .. } => "too_often",
            Self::State(_) => "state",
        }
    }

    /// Why the process must end, if it must: going on would be unsafe.
    pub(super) fn fatal(&self) -> Option<Failure> {
        match self {
            Self::RolledBack { .. } => Some(Failure::unsafe_state(
                "state_rolled_back",
                self,
                "stop any other process with this key, and start a new witness with an empty \
                 directory; of a log of this kind, diogenes-witness recover --forward may help",
            )),
            Self::State(error) => {
                let failure = Failure::from(error.clone());
                matches!(failure.exit(), Exit::Disk | Exit::Unsafe).then_some(failure)
            }
            Self::Refused(_)
            | Self::Equivocated { .. }
            | Self::Halted(_)
            | Self::Unconfirmed
            | Self::Busy
            | Self::TooOften { .. } => None,
        }
    }
}

impl From<StateError> for NotCosigned {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Halted { reason, .. } => Self::Halted(reason),
            StateError::Forgotten { known, signed, .. } => Self::RolledBack { known, signed },
            StateError::File(FileError::Locked { .. } | FileError::TooManyOpen { .. })
            | StateError::Stale { .. } => Self::Busy,
            error => Self::State(error),
        }
    }
}

#[cfg(test)]
mod tests;
