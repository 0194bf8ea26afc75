//! Looking at a witness's directory: without a lock, without a change, beside a running witness.

use std::collections::BTreeMap;
use std::path::Path;

use diogenes_common::files::{DataDir, Role};

use super::open::{Begun, Files, Home, Reached, read_key};
use super::{LogState, StateError};
use crate::log::LogName;

/// What a directory holds at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// How many lines the index has.
    pub lines: u64,
    /// Whether the state file does not show the last of them yet.
    pub lacks_a_line: bool,
    /// Where the witness stands with every log.
    pub logs: BTreeMap<LogName, LogState>,
}

impl Home {
    /// Looks at a directory; `None` if no witness was made there yet.
    ///
    /// A witness that takes steps meanwhile may leave the two files apart for this moment: what is
    /// wrong is wrong only if it stays so.
    pub fn look(path: &Path) -> Result<Option<Look>, StateError> {
        let directory = DataDir::existing(path, Role::Witness)?;
        let files = Files::of(&directory);
        if !matches!(files.begun()?, Begun::Whole) {
            return Ok(None);
        }
        files.cosigner_of(&read_key(&files.key)?)?;
        let mut reached = Reached::default();
        let lacks_a_line = files.compare(&mut reached)?;
        let (lines, logs) = (reached.mark.lines, reached.projection.logs);
        Ok(Some(Look { lines, lacks_a_line, logs }))
    }
}
