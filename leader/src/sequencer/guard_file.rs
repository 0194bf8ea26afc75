//! `signed-guard`: the newest head that this leader signed, kept beside its key.
//!
//! It is what tells a leader that its database is older than what it once signed, so it is
//! replaced durably and never part of a backup. It may trail the newest head by at most a second.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diogenes_common::clock::Timestamp;
use diogenes_common::disk;
use diogenes_common::files::{self, FileError};
use diogenes_common::head::Origin;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::telemetry;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The guard file's name in the data directory.
const FILE_NAME: &str = "signed-guard";
/// How long two replacements are apart at least.
const PAUSE: Duration = Duration::from_millis(400);

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedGuard {
    /// The log's name.
    pub(crate) origin: Origin,
    /// The genesis entry's hash.
    pub(crate) log_id: Hash,
    /// The size of the newest signed head.
    pub(crate) tree_size: TreeSize,
    /// Its root.
    pub(crate) root: Hash,
    /// The newest time that was signed: that head's, or a later one where the database lacks a head
    /// of the same size.
    pub(crate) timestamp: Timestamp,
}

impl SignedGuard {
    /// Reads the guard of a data directory; `None` if there is none.
    pub(crate) fn read(data_dir: &Path) -> std::io::Result<Option<Self>> {
        let text = match disk::read(data_dir.join(FILE_NAME)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).map(Some).map_err(std::io::Error::other)
    }

    /// The tree that it names.
    pub(crate) fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root }
    }

    /// Replaces the guard of a data directory, durably.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), FileError> {
        let text = serde_json::to_vec(self).expect("a guard is plain data");
        files::replace(&data_dir.join(FILE_NAME), &text)
    }
}

/// Keeps the file close behind what is published.
pub(crate) struct GuardKeeper {
    wanted: watch::Sender<Option<SignedGuard>>,
    written: watch::Receiver<Written>,
}

/// The newest guard on disk, or that the disk failed.
#[derive(Clone, Debug)]
enum Written {
    Upto(TreeSize, Timestamp),
    Failed(String),
}

impl GuardKeeper {
    /// Starts the task that writes; it ends, after a last write, when `stop` is cancelled.
    pub(crate) fn start(
        data_dir: PathBuf,
        metrics: telemetry::Metrics,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (wanted, mut wishes) = watch::channel::<Option<SignedGuard>>(None);
        let start =
            Written::Upto(TreeSize::ZERO, Timestamp::from_millis(0).expect("1970 is a time"));
        let (done, written) = watch::channel(start);
        let task = async move {
            loop {
                let last = tokio::select! {
                    biased;
                    changed = wishes.changed() => changed.is_err(),
                    () = stop.cancelled() => true,
                };
                let wish = wishes.borrow_and_update().clone();
                if let Some(guard) = wish {
                    let size = (guard.tree_size, guard.timestamp);
                    let (dir, started) = (data_dir.clone(), Instant::now());
                    let result = tokio::task::spawn_blocking(move || guard.write(&dir)).await;
                    metrics.fsync_took(started.elapsed());
                    done.send_replace(match result {
                        Ok(Ok(())) => Written::Upto(size.0, size.1),
                        Ok(Err(error)) => Written::Failed(error.to_string()),
                        Err(error) => Written::Failed(error.to_string()),
                    });
                }
                if last {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        (Self { wanted, written }, task)
    }

    /// Asks for `guard` to be written soon, and waits if the file trails by more than a second.
    pub(crate) async fn publish(&mut self, guard: SignedGuard) -> Result<(), String> {
        const MAX_TRAIL_MS: i64 = 1_000;
        let now = guard.timestamp;
        let previous = self.wanted.borrow().clone();
        if let Some(previous) = previous {
            let trails = |written: &Written| match written {
                Written::Upto(size, time) => {
                    *size < previous.tree_size && now.millis_since(*time) > MAX_TRAIL_MS
                }
                Written::Failed(_) => false,
            };
            let state = self.written.wait_for(|written| !trails(written)).await;
            match state.as_deref() {
                Ok(Written::Upto(..)) => {}
                Ok(Written::Failed(error)) => return Err(error.clone()),
                Err(_) => return Err("nothing writes it any more".to_owned()),
            }
        }
        self.wanted.send_replace(Some(guard));
        Ok(())
    }
}
