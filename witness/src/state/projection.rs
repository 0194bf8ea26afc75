//! What the index says altogether: a fold over its lines, and the file that shows it.

use std::collections::BTreeMap;

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::{Hash, TreeRoot};
use diogenes_common::note::Note;
use serde::{Deserialize, Serialize};

use super::line::{Fact, Line};
use super::standing::{Cosigned, LogState};
use crate::log::{LogIdentity, LogName};

/// How far the index was read: how many lines, and the hash of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) lines: u64,
    pub(super) tail: Option<Hash>,
}

impl Mark {
    /// The mark after one more line, whose line feed does not count.
    pub(super) fn after(self, line: &[u8]) -> Self {
        let tail = Hash::of(line.strip_suffix(b"\n").unwrap_or(line));
        Self { lines: self.lines + 1, tail: Some(tail) }
    }
}

/// Why a line cannot follow the lines before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenLine {
    /// It is not a line that this program wrote.
    #[error("it is damaged")]
    Damaged,
    /// It does not name the hash of the line before it.
    #[error("it does not follow the line before it")]
    NotChained,
    /// The first line, and no other, names the key.
    #[error("the first line, and no other, names the key")]
    Key,
    /// It adds a log a second time, or its genesis is another one's.
    #[error("it adds a log that cannot be added")]
    Log,
    /// It is about a log that no line added.
    #[error("it is about a log that no line before it added")]
    UnknownLog,
    /// It does not begin where the log stands, or leads back.
    #[error("it does not continue from where the log stands")]
    Step,
    /// The head or checkpoint is another tree's.
    #[error("its tree head is not the one that it steps to")]
    Head,
    /// It lists a log under other keys than before, or removes one that is not listed.
    #[error("it lists or removes a log against the rules")]
    Listed,
}

/// Everything that the lines of an index say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Projection {
    pub(super) key: Option<OwnKey>,
    pub(super) logs: BTreeMap<LogName, LogState>,
}

/// The key that the index belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnKey {
    pub(super) cosigner: String,
    pub(super) fingerprint: Fingerprint,
}

impl Projection {
    /// What the next line makes of the logs that it is about, and of no others: a witness of
    /// thousands of logs takes a step of one without copying all.
    pub(super) fn change(&self, line: &Line) -> Result<Self, BrokenLine> {
        let names: Vec<&str> = match &line.fact {
            Fact::Listed { logs } => logs.keys().map(LogName::as_str).collect(),
            _ => line.origin().into_iter().collect(),
        };
        let known = names.into_iter().filter_map(|name| self.logs.get_key_value(name));
        let logs = known.map(|(name, state)| (name.clone(), state.clone())).collect();
        let mut change = Self { key: self.key.clone(), logs };
        change.apply(line)?;
        Ok(change)
    }

    /// Takes what a line changed into account.
    pub(super) fn take(&mut self, change: Self) {
        self.key = change.key;
        self.logs.extend(change.logs);
    }

    fn apply(&mut self, line: &Line) -> Result<(), BrokenLine> {
        match (&line.fact, &self.key) {
            (Fact::Key { cosigner, fingerprint }, None) => {
                let own = OwnKey { cosigner: cosigner.clone(), fingerprint: *fingerprint };
                self.key = Some(own);
                return Ok(());
            }
            (Fact::Key { .. }, Some(_)) | (_, None) => return Err(BrokenLine::Key),
            _ => {}
        }
        match &line.fact {
            Fact::Key { .. } => {}
            Fact::Log { genesis, log_id, origin } => {
                let log = LogIdentity::of_genesis(&genesis.0).map_err(|_| BrokenLine::Log)?;
                if log.log_id() != *log_id || log.origin() != origin {
                    return Err(BrokenLine::Log);
                }
                self.log_or_new(&LogName::from(origin)).introduce(&log)?;
            }
            Fact::Listed { logs } => {
                logs.iter().try_for_each(|(name, keys)| self.log_or_new(name).list(keys))?;
            }
            Fact::Delisted { origin } => self.log(origin.as_str())?.delist()?,
            Fact::Advance { head, step, origin } => {
                self.log(origin.as_str())?.advance(*step, line.time, Some(head), None)?;
            }
            Fact::Cosign { checkpoint, origin, step } => {
                if tree_of(checkpoint, origin) != Some(step.new_tree()) {
                    return Err(BrokenLine::Head);
                }
                let (checkpoint, time) = (checkpoint.clone(), line.time);
                let cosigned = Cosigned { checkpoint, time, tree_size: step.new_tree().size };
                self.log(origin.as_str())?.advance(*step, line.time, None, Some(cosigned))?;
            }
            Fact::Recovery { head, step, origin } => {
                self.log(origin.as_str())?.recover(*step, head.as_deref())?;
            }
            // Even the line that added the log may be among what was lost.
            Fact::Forgotten { origin, tree } => self.log_or_new(origin).forget(*tree)?,
            Fact::Halt { origin, reason } => self.log(origin.as_str())?.halt(reason.clone()),
        }
        Ok(())
    }

    fn log(&mut self, name: &str) -> Result<&mut LogState, BrokenLine> {
        self.logs.get_mut(name).ok_or(BrokenLine::UnknownLog)
    }

    fn log_or_new(&mut self, name: &LogName) -> &mut LogState {
        self.logs.entry(name.clone()).or_insert_with(LogState::unknown)
    }

    /// Says whether a state file, read at the same line, shows the same.
    pub(super) fn is_shown_by(&self, file: &StateFile) -> bool {
        self.logs.len() == file.logs.len()
            && self.logs.iter().zip(&file.logs).all(|((origin, state), (shown, theirs))| {
                origin == shown && *state == theirs.of_index()
            })
    }
}

/// The tree of a checkpoint, if it is of that log.
fn tree_of(checkpoint: &str, origin: &LogName) -> Option<TreeRoot> {
    let note = Note::parse(checkpoint.as_bytes()).ok()?;
    let said: Checkpoint = note.text().parse().ok()?;
    (said.origin() == origin.as_str()).then(|| said.tree())
}

/// `state.json`: the projection, how far it goes, and what was submitted last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    pub(super) index: Mark,
    pub(super) logs: BTreeMap<LogName, LogState>,
    /// The logs as they were written last: at each step one of thousands has changed.
    #[serde(skip)]
    rendered: BTreeMap<LogName, String>,
}

impl StateFile {
    /// Changes what only the file knows about a log.
    pub(super) fn amend(&mut self, name: &LogName, change: impl FnOnce(&mut LogState)) {
        if let Some(log) = self.logs.get_mut(name) {
            self.rendered.remove(name);
            change(log);
        }
    }

    /// Shows one more line: what only the file knows stays with its logs.
    pub(super) fn step_to(&mut self, mark: Mark, change: &Projection) {
        self.index = mark;
        for (origin, state) in &change.logs {
            let mut state = state.clone();
            if let Some(kept) = self.logs.get(origin) {
                state.keep_of_file(kept);
            }
            self.rendered.remove(origin);
            self.logs.insert(origin.clone(), state);
        }
    }

    /// The file for a later mark: the submissions stay with their logs.
    pub(super) fn moved_to(&self, mark: Mark, projection: &Projection) -> Self {
        let mut logs = projection.logs.clone();
        for (origin, state) in &mut logs {
            if let Some(kept) = self.logs.get(origin) {
                state.keep_of_file(kept);
            }
        }
        Self { index: mark, logs, rendered: BTreeMap::new() }
    }

    /// The file's bytes: JSON, indented.
    pub(super) fn render(&mut self) -> Vec<u8> {
        for (name, log) in &self.logs {
            if !self.rendered.contains_key(name) {
                let text = format!("{}: {}", json(name, 0), json(log, 4));
                self.rendered.insert(name.clone(), text);
            }
        }
        let mut text = format!("{{\n  \"index\": {},\n  \"logs\": {{", json(&self.index, 2));
        for (place, log) in self.rendered.values().enumerate() {
            text += if place == 0 { "\n    " } else { ",\n    " };
            text += log;
        }
        text += if self.rendered.is_empty() { "}\n}\n" } else { "\n  }\n}\n" };
        text.into_bytes()
    }
}

/// A value as it stands in an object of the file, with its lines that far to the right.
///
/// # Panics
/// Never: states are texts, integers and nulls.
fn json(value: &impl Serialize, indent: usize) -> String {
    let text = serde_json::to_string_pretty(value).expect("a state is a JSON value");
    text.replace('\n', &format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_indented_json_however_little_of_it_changed() {
        let mut state = StateFile::default();
        let mut logs = BTreeMap::new();
        for name in ["a log", "with \"quotes\"", "z"] {
            let expected = format!("{}\n", serde_json::to_string_pretty(&state).unwrap());
            assert_eq!(String::from_utf8(state.render()).unwrap(), expected);

            let mut log = LogState::unknown();
            log.halt("self_equivocated".to_owned().try_into().unwrap());
            logs.insert(name.parse().unwrap(), log);
            let change = Projection { key: None, logs: logs.clone() };
            state.step_to(state.index.after(b"line\n"), &change);
        }
        let name = "z".parse().unwrap();
        state.render();
        state.amend(&name, |log| *log = LogState::unknown());

        let expected = format!("{}\n", serde_json::to_string_pretty(&state).unwrap());
        assert_eq!(String::from_utf8(state.render()).unwrap(), expected);
    }
}
