//! The newest cosigned checkpoint of each log, as anybody may fetch it.
//!
//! Kept in memory, so that a reader never waits for the disk. What another process cosigns, and
//! which logs are removed, is read again now and then.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::note::Note;

/// What is shown, by the hash of the log's name.
#[derive(Debug, Default)]
pub(super) struct Board(RwLock<HashMap<Hash, Shown>>);

#[derive(Clone, Debug)]
struct Shown {
    size: TreeSize,
    checkpoint: Bytes,
}

impl Board {
    /// The checkpoint of a log, if one was cosigned.
    pub(super) fn checkpoint(&self, log: Hash) -> Option<Bytes> {
        self.read().get(&log).map(|shown| shown.checkpoint.clone())
    }

    /// Shows a checkpoint, unless a larger one is shown.
    pub(super) fn show(&self, log: Hash, size: TreeSize, note: &Note) {
        let mut board = self.write();
        if board.get(&log).is_none_or(|shown| shown.size <= size) {
            board.insert(log, Shown { size, checkpoint: Bytes::from(note.to_string()) });
        }
    }

    /// Shows the logs that `is_served` names and no others.
    pub(super) fn keep(&self, is_served: impl Fn(&Hash) -> bool) {
        self.write().retain(|log, _| is_served(log));
    }

    // A panic while the lock was held leaves at worst one checkpoint out.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Hash, Shown>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Hash, Shown>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
