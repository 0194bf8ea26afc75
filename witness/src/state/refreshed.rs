//! The newest refreshed cosignature of each log: one small file for each.
//!
//! ```text
//! refreshed/<hex of the SHA-256 of the origin>     {"checkpoint":...,"time":...,"tree_size":...}
//! ```
//!
//! A refresh moves no tree, so it is no line of the index. It is durable before it is signed,
//! because emitted times never run back, and it is not in the state file, which is written whole:
//! most of what logs ask for are refreshes. Written under the lock of its log.

use std::io::{self, Read as _};
use std::path::PathBuf;

use diogenes_common::disk::{self, File};
use diogenes_common::files::{self, private_dir};

use super::open::io_error;
use super::standing::{Cosigned, LogState};
use super::{Home, StateError};
use crate::log::LogName;

/// The longest file; a request, whose checkpoint it holds, is shorter.
const MAX_BYTES: u64 = 256 * 1024;

impl Home {
    /// Keeps the time of another cosignature over the tree that the log stands at, durably.
    pub(super) fn keep_refreshed(
        &self,
        log: &LogName,
        refreshed: &Cosigned,
    ) -> Result<(), StateError> {
        let path = self.refreshed_file(log);
        let directory = self.path().join(DIRECTORY);
        if !disk::exists(&directory) {
            private_dir(&directory)?;
        }
        let bytes = serde_json::to_vec(refreshed).map_err(|_| damaged(&path))?;
        Ok(files::replace(&path, &bytes)?)
    }

    /// Adds the newest refreshed cosignature to what the state file says.
    pub(super) fn add_refreshed(
        &self,
        log: &LogName,
        state: &mut LogState,
    ) -> Result<(), StateError> {
        let path = self.refreshed_file(log);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io_error("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        state.refresh(serde_json::from_slice(&bytes).map_err(|_| damaged(&path))?);
        Ok(())
    }

    fn refreshed_file(&self, log: &LogName) -> PathBuf {
        self.path().join(DIRECTORY).join(log.hash().to_hex())
    }
}

const DIRECTORY: &str = "refreshed";

fn damaged(path: &std::path::Path) -> StateError {
    StateError::RefreshedDamaged(path.to_owned())
}
