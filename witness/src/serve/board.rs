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
enum Shown {
    /// The log may ask, and nothing of it was signed yet.
    Nothing,
    Checkpoint {
        size: TreeSize,
        checkpoint: Bytes,
    },
}

impl Board {
    /// The checkpoint of a log, if one was cosigned.
    pub(super) fn checkpoint(&self, log: Hash) -> Option<Bytes> {
        match self.read().get(&log)? {
            Shown::Nothing => None,
            Shown::Checkpoint { checkpoint, .. } => Some(checkpoint.clone()),
        }
    }

    /// Whether this is a log of which nothing was signed yet: its leader may ask that when it has
    /// to know what was. Of a log that is not known nothing is said.
    pub(super) fn has_signed_nothing(&self, log: Hash) -> bool {
        matches!(self.read().get(&log), Some(Shown::Nothing))
    }

    /// Shows that nothing was signed of a log, as long as that is so.
    pub(super) fn show_nothing(&self, log: Hash) {
        self.write().entry(log).or_insert(Shown::Nothing);
    }

    /// Shows a checkpoint, unless a larger one is shown.
    pub(super) fn show(&self, log: Hash, size: TreeSize, note: &Note) {
        let mut board = self.write();
        let larger =
            matches!(board.get(&log), Some(Shown::Checkpoint { size: shown, .. }) if *shown > size);
        if !larger {
            let checkpoint = Bytes::from(note.to_string());
            board.insert(log, Shown::Checkpoint { size, checkpoint });
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
