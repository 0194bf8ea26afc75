//! Why a recovery did not come to its end, and what its operator does.

use diogenes_common::client::FetchError;
use diogenes_common::exit::Failure;
use diogenes_common::merkle::TreeSize;
use diogenes_common::store::{CommitError, StoreError};

use crate::boot::store_failure;

/// Why a recovery did not come to its end. Nothing was signed, and what was stored before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// There is neither a log nor a guard.
    #[error("this data directory never signed anything: there is nothing to recover")]
    NothingSigned,
    /// The source can't be reached.
    #[error("{url} does not answer: {why}")]
    SourceSilent { url: String, why: String },
    /// The source has no entries.
    #[error("{url} holds nothing of this log")]
    SourceEmpty { url: String },
    /// The source serves something else than this log.
    #[error("{url} does not serve this log: {what}")]
    BadSource { url: String, what: String },
    /// What the source serves does not continue what is held.
    #[error("{url} serves another history than the one held here: {what}")]
    SourceForks { url: String, what: String },
    /// A peer might know more, and does not say.
    #[error("{url} does not say what it knows: {why}")]
    PeerSilent { url: String, why: String },
    /// Somebody shows more than anybody has.
    #[error(
        "{by} shows that {goal} entries were signed, but nobody who was asked has more than {held}"
    )]
    OutOfReach { by: String, goal: TreeSize, held: TreeSize },
    /// What was signed is not what the database holds at that size.
    #[error("{by} shows that another root was signed at size {at} than the one held here")]
    OtherHistory { by: String, at: TreeSize },
    /// Our own key signed what can't be one log.
    #[error("this key signed two histories: {what}")]
    TwoHistories { what: String },
    /// The database, the disk or the settings.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<StoreError> for RecoverError {
    fn from(error: StoreError) -> Self {
        Self::Failed(store_failure(error))
    }
}

impl From<CommitError> for RecoverError {
    fn from(error: CommitError) -> Self {
        StoreError::from(error).into()
    }
}

impl RecoverError {
    /// What it means that a source gave no answer to use.
    pub(super) fn of_source(url: &str, error: &FetchError) -> Self {
        let (url, what) = (url.to_owned(), error.to_string());
        match error {
            FetchError::Network { .. } | FetchError::Status(_) => {
                Self::SourceSilent { url, why: what }
            }
            FetchError::TooLarge { .. } | FetchError::BadBody(_) => Self::BadSource { url, what },
        }
    }
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match &error {
            RecoverError::Failed(failure) => failure.clone(),
            RecoverError::NothingSigned => Self::refused(
                "nothing_signed",
                &error,
                "start the leader, or check --data-dir and DATABASE_URL",
            ),
            RecoverError::SourceSilent { .. } => Self::refused(
                "source_unavailable",
                &error,
                "check the URL and the node there; then the same command goes on where it stopped",
            ),
            RecoverError::SourceEmpty { .. } | RecoverError::BadSource { .. } => Self::refused(
                "bad_source",
                &error,
                "name a follower of this log: --from URL; nothing of what it sent was stored",
            ),
            RecoverError::SourceForks { .. } => Self::refused(
                "source_forks",
                &error,
                "nothing of it was stored; try another follower, and compare: if all of them say \
                 the same, this database parted from what was signed: move it away, and recover \
                 the whole log",
            ),
            RecoverError::PeerSilent { .. } => Self::refused(
                "peers_silent",
                &error,
                "it may know of more: bring it up, or take it out of DIOGENES_PEERS, and run the \
                 same command again",
            ),
            RecoverError::OutOfReach { .. } => Self::refused(
                "not_recovered",
                &error,
                "what could be fetched is stored; find the node that has the rest and run recover \
                 --from there: to go on without it would be a second history",
            ),
            RecoverError::OtherHistory { .. } => Self::unsafe_state(
                "self_rolled_back",
                &error,
                "this database parted from what was signed: move it away, and run the same command \
                 again, which fetches the whole log; what only the leader knew is in its backups",
            ),
            RecoverError::TwoHistories { .. } => Self::unsafe_state(
                "self_equivocated",
                &error,
                "nothing is signed; somebody used this key beside this leader: publish what \
                 followers hold as evidence, and begin a new log with a new key",
            ),
        }
    }
}
