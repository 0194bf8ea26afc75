//! The errors of the store, as far as the leader tells them apart.

use crate::batch::ResumeError;

/// Why the store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("entry {id} is damaged")]
    Corrupt { id: u64 },
    #[error("tile {index} of level {level} is damaged or missing")]
    CorruptTile { level: u8, index: u64 },
    #[error("another process writes to this database")]
    Locked,
}

/// Why a commit did not happen, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CommitError {
    #[error("the log moved under this writer")]
    NotLeader,
    #[error("whether the last batch was committed is unknown: {0}")]
    OutcomeUnknown(String),
    #[error("the database cannot be reached, nothing was written: {0}")]
    Unreachable(String),
    #[error("the disk failed under the database: {0}")]
    Disk(String),
    #[error("nothing was written: {0}")]
    Conflict(String),
    #[error("nothing was written: the batch does not continue the log")]
    Gap,
    #[error("nothing was written, the database refused a statement: {0}")]
    Refused(String),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(cause) => Self::Unreachable(cause),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Why a stored chain can't be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds is no chain of this operator.
    #[error(transparent)]
    Resume(#[from] ResumeError),
}
