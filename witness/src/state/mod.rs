//! What a witness remembers, and the one way from there to a signature.
//!
//! `index.jsonl` is the truth: append-only, each line naming the hash of the line before it, made
//! durable before anything else happens. `state.json` shows what the index says and may trail it by
//! one line, which is rolled forward. Every other disagreement between the key, the index and the
//! state means that something was lost or put back, and ends the process: a witness that forgot
//! could sign a second history.
//!
//! Everything here blocks; it is called from threads that may.

mod advance;
mod cosign;
mod line;
mod listing;
mod look;
mod open;
mod projection;
mod refreshed;
mod standing;
#[cfg(test)]
mod tests;
mod written;

use std::path::PathBuf;

pub use advance::{Advanced, OriginLock};
pub use line::{Fact, Forgotten, Line, Step};
pub use listing::{Adoption, Asker, MAX_LOGS, Unlisted};
pub use look::Look;
pub use open::Home;
pub(crate) use open::root_at;
pub use projection::BrokenLine;
pub use standing::{Cosigned, Listing, LogState, Submission, known};

use diogenes_common::exit::Failure;
use diogenes_common::files::FileError;
use diogenes_common::keys::{Fingerprint, KeyError};
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::statement::Reason;

use crate::log::LogName;

/// Moments between two effects of a witness, at each of which it may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// `witness.pem.new` is durable.
    KeyMade,
    /// The index names the key.
    IndexBegun,
    /// The key has its name.
    KeyNamed,
    /// A line of the index is durable, its projection is not.
    LineAppended,
    /// The projection of that line is durable too.
    LineProjected,
    /// A body was signed and is kept nowhere.
    Signed,
    /// The body is durable and was not sent.
    BodyKept,
    /// The body was sent and its answer is not known yet.
    Submitted,
    /// The answer is durable.
    AnswerKept,
    /// The time of a refreshed cosignature is durable, and nothing is signed.
    TimeKept,
    /// A checkpoint was cosigned and nobody has seen it.
    Cosigned,
}

/// Where a witness can be interrupted: tests stop it, in production nothing does.
pub trait Interrupt: Send + Sync {
    /// Says whether to go on after this moment.
    fn after(&self, moment: Moment) -> Result<(), Interrupted>;
}

/// The witness was stopped on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the witness was stopped after {0:?}")]
pub struct Interrupted(pub Moment);

/// What production uses: nothing interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uninterrupted;

impl Interrupt for Uninterrupted {
    fn after(&self, _moment: Moment) -> Result<(), Interrupted> {
        Ok(())
    }
}

/// Why the state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a key and no index.
    #[error("{} is there, but index.jsonl is missing or empty", .0.display())]
    KeyWithoutIndex(PathBuf),
    /// There is an index and no key.
    #[error("{} is there, but witness.pem is missing", .0.display())]
    IndexWithoutKey(PathBuf),
    /// There is a state and nothing that it could be the state of.
    #[error("{} is there, but witness.pem and index.jsonl are missing", .0.display())]
    StateAlone(PathBuf),
    /// There are two keys.
    #[error("witness.pem and {} are both there", .0.display())]
    TwoKeys(PathBuf),
    /// The key is not one.
    #[error("{} holds no usable key: {error}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The index belongs to another key.
    #[error("the index belongs to key {index}, but witness.pem is key {key}")]
    OtherKey {
        /// The key in `witness.pem`.
        key: Fingerprint,
        /// The key in the index.
        index: Fingerprint,
    },
    /// A line of the index is wrong.
    #[error("line {line} of index.jsonl cannot be trusted: {broken}")]
    BrokenLine {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        broken: BrokenLine,
    },
    /// A line would not be read back as it is.
    #[error("this cannot be kept in index.jsonl: a number or a text is too large")]
    Unwritable,
    /// `state.json` is not one.
    #[error("state.json is damaged")]
    StateDamaged,
    /// The time of the newest refreshed cosignature of a log cannot be read.
    #[error("{} is damaged", .0.display())]
    RefreshedDamaged(PathBuf),
    /// `state.json` would become longer than what is read of it.
    #[error("state.json would become too long to be read again: nothing was written")]
    Full,
    /// `state.json` shows more than the index holds.
    #[error("state.json knows line {state}, but index.jsonl ends at line {index}")]
    StateAhead {
        /// The line that the state knows.
        state: u64,
        /// The last line of the index.
        index: u64,
    },
    /// The index goes on for more than one line after what `state.json` shows.
    #[error("state.json stops at line {state}, but index.jsonl goes on to line {index}")]
    StateBehind {
        /// The line that the state knows.
        state: u64,
        /// The last line of the index.
        index: u64,
    },
    /// Both files are older than what this process wrote or read before.
    #[error("index.jsonl and state.json were put back: line {line}, read before, is gone")]
    WentBack {
        /// The last line that was there.
        line: u64,
    },
    /// `state.json` shows something else than the index at the same line.
    #[error("state.json and index.jsonl disagree at line {line}")]
    StateDiffers {
        /// At which line.
        line: u64,
    },
    /// The name that this key cosigns under was set and differs from the one that is fixed.
    #[error("this key cosigns as `{fixed}` for ever, but DIOGENES_WITNESS_NAME is `{asked}`")]
    NameFixed {
        /// The name in the index.
        fixed: String,
        /// The name that was asked for.
        asked: String,
    },
    /// The head that the state keeps is not signed by the log's key.
    #[error("the kept head of {origin} does not verify")]
    KeptHead {
        /// Which log.
        origin: LogName,
    },
    /// The log is one of a list, which names another key than the server's operator has.
    #[error("{origin} is listed under another key than this operator's")]
    OtherKeyListed {
        /// Which log.
        origin: LogName,
    },
    /// The log does not stand where the caller thought.
    #[error("the state has moved on: it stands at size {known}")]
    Stale {
        /// Where it stands.
        known: TreeSize,
    },
    /// Somebody showed a signature of this key that the state does not know.
    #[error("this key has signed size {} of {origin}, but its state stands at {known}", signed.size)]
    Forgotten {
        /// Which log.
        origin: LogName,
        /// Where it stands.
        known: TreeSize,
        /// What was signed.
        signed: TreeRoot,
    },
    /// This key never signs this log again.
    #[error("this key has stopped signing {origin} for ever: {reason}")]
    Halted {
        /// Which log.
        origin: LogName,
        /// Why.
        reason: Reason,
    },
    /// A test stopped the witness.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let restore = "restore the whole directory from the same backup, or start a new witness \
                       with an empty directory and a new key";
        match error {
            StateError::File(error) => error.into(),
            StateError::Key { .. } => Self::unsafe_state("key_unusable", &error, restore),
            StateError::NameFixed { .. } => Self::unsafe_state(
                "name_fixed",
                &error,
                "unset DIOGENES_WITNESS_NAME, or use the fixed name",
            ),
            StateError::OtherKeyListed { .. } => Self::refused(
                "unauthorized_key",
                &error,
                "nothing was signed; see which key is right: diogenes-witness log-list list; a \
                 listing under which nothing was signed gives way once it is removed: \
                 diogenes-witness log-list remove ORIGIN",
            ),
            StateError::Unwritable => Self::refused(
                "state_unwritable",
                &error,
                "nothing was written and nothing was signed; tell the log's operator",
            ),
            StateError::Full => Self::refused(
                "state_full",
                &error,
                "give the logs of one of the lists to another witness, with a directory of its own",
            ),
            StateError::Stale { .. } => {
                Self::refused("witness_stale", &error, "run the same command again")
            }
            StateError::Forgotten { .. } => Self::unsafe_state(
                "state_rolled_back",
                &error,
                "of a log of this kind: diogenes-witness recover --forward --server URL; otherwise \
                 start a new witness with an empty directory, which is safest",
            ),
            StateError::Halted { .. } => Self::unsafe_state(
                "self_equivocated",
                &error,
                "somebody else used this key: start a new witness with an empty directory, and \
                 tell the operator to revoke this one",
            ),
            StateError::Interrupted(_) => {
                Self::refused("interrupted", &error, "run the same command again")
            }
            _ => Self::unsafe_state("state_inconsistent", &error, restore),
        }
    }
}
