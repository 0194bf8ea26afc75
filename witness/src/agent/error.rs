//! Why a round ended without a new proof, and what its operator can do.

use std::path::PathBuf;

use diogenes_common::exit::{Exit, Failure};
use diogenes_common::head::HeadError;
use diogenes_common::keys::{Fingerprint, ShortFingerprint};
use diogenes_common::merkle::{TreeRoot, TreeSize};

use crate::judge::Refusal;
use crate::source::SourceError;
use crate::state::StateError;

/// Why a round ended without a new proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// The own state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A server did not give what was asked for.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the server says about its log is not what its first entry says.
    #[error("{server} does not show the log that it describes")]
    NotThatLog {
        /// Which server.
        server: String,
    },
    /// The log has another operator than the pinned one.
    #[error("the log's operator key is {found}, not the pinned {pinned}")]
    OtherOperator {
        /// The key that was pinned.
        pinned: Fingerprint,
        /// The key that the log has.
        found: Fingerprint,
    },
    /// The server showed something that the log's key did not sign for this log.
    #[error("{server} shows a tree head that cannot be used: {error}")]
    NotItsHead {
        /// Which server.
        server: String,
        /// What is wrong with it.
        error: HeadError,
    },
    /// The head is not signed.
    #[error("not signed: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The evidence that proves it, if it is proven.
        evidence: Option<PathBuf>,
    },
    /// Too few servers said what they hold under the own key.
    #[error("nobody could confirm that this witness has not forgotten a signature: {reason}")]
    MemoryUnconfirmed {
        /// What the last server said that did not answer.
        reason: String,
    },
    /// Somebody holds a signature of this key that the state does not know.
    #[error("this key has signed size {}, but its state stands at {known}", signed.size)]
    RolledBack {
        /// Where the state stands.
        known: TreeSize,
        /// What was signed.
        signed: TreeRoot,
    },
    /// Somebody holds a signature of this key that contradicts the state.
    #[error("this key has signed another root at size {} than its state holds", signed.size)]
    Equivocated {
        /// What was signed.
        signed: TreeRoot,
    },
    /// The operator has not authorised this witness. The proof is kept and sent again.
    #[error("{old} -> {new} is signed, but the operator has not authorized this witness")]
    NotAuthorized {
        /// This witness.
        witness: ShortFingerprint,
        /// The size that it knew.
        old: TreeSize,
        /// The size that it signed.
        new: TreeSize,
    },
    /// The server will never take this proof.
    #[error("the server rejected the proof ({code}): {detail}")]
    Rejected {
        /// The error's code.
        code: String,
        /// What the server says about it.
        detail: String,
    },
}

impl RoundError {
    /// Says whether the process must end: going on would be unsafe or of no use.
    pub fn is_fatal(&self) -> bool {
        let ends = |exit| matches!(exit, Exit::Disk | Exit::Unsafe);
        match self {
            // Another process's round took longer than this one waited.
            Self::State(StateError::File(diogenes_common::files::FileError::Locked { .. })) => {
                false
            }
            other => ends(Failure::from(other.clone()).exit()),
        }
    }

    /// The reason as metrics and machines read it.
    pub fn reason(&self) -> &'static str {
        Failure::from(self.clone()).reason()
    }
}

impl From<diogenes_common::files::FileError> for RoundError {
    fn from(error: diogenes_common::files::FileError) -> Self {
        Self::State(error.into())
    }
}

impl From<RoundError> for Failure {
    fn from(error: RoundError) -> Self {
        match &error {
            RoundError::State(inner) => inner.clone().into(),
            RoundError::Source(_) => Self::refused(
                "source_unavailable",
                &error,
                "check the URL and the server; nothing was lost, the same command goes on",
            ),
            RoundError::NotThatLog { .. } => Self::refused(
                "not_that_log",
                &error,
                "nothing was signed; ask the operator which log this is",
            ),
            RoundError::OtherOperator { .. } => Self::refused(
                "unauthorized_key",
                &error,
                "check --operator and the URL; a log's operator key never changes",
            ),
            RoundError::NotItsHead { .. } => Self::refused(
                "head_unusable",
                &error,
                "nothing was signed; if it stays so, tell the operator",
            ),
            RoundError::Refused { refusal, evidence } => {
                let what_to_do = match (evidence, refusal) {
                    (Some(file), _) => format!(
                        "this is proof: publish {}, and check it with: diogenes-witness evidence \
                         verify {}",
                        file.display(),
                        file.display()
                    ),
                    (None, Refusal::Backwards) => "the server lags behind; try again later".into(),
                    (None, Refusal::FromFuture) => "check this machine's clock (NTP)".into(),
                    (None, Refusal::TooOld) => "ask the operator whether the leader runs".into(),
                    (None, _) => "the refusal is kept in refusals.jsonl; tell the operator, and \
                                  compare with other witnesses"
                        .into(),
                };
                Self::refused(refusal.reason(), &error, what_to_do)
            }
            RoundError::MemoryUnconfirmed { .. } => Self::refused(
                "amnesia_check_incomplete",
                &error,
                "nothing was signed; try again when the server and a vantage point answer",
            ),
            RoundError::RolledBack { .. } => Self::unsafe_state(
                "state_rolled_back",
                &error,
                "stop any other process with this key; then: diogenes-witness recover --forward \
                 --server URL, or start a new witness with an empty directory, which is safest",
            ),
            RoundError::Equivocated { .. } => Self::unsafe_state(
                "self_equivocated",
                &error,
                "somebody else used this key: start a new witness with an empty directory, and \
                 tell the operator to revoke this one",
            ),
            RoundError::NotAuthorized { witness, .. } => Self::refused(
                "witness_not_authorized",
                &error,
                format!(
                    "the operator must type: diogenes operator authorize-witness {witness} - then \
                     run the same command again"
                ),
            ),
            RoundError::Rejected { .. } => Self::refused(
                "proof_rejected",
                &error,
                "nothing is sent again; tell the operator, and compare with other witnesses",
            ),
        }
    }
}
