//! What the index says altogether: a fold over its lines, and the file that shows it.

use std::collections::BTreeMap;

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Bytes;
use diogenes_common::head::{HeadJson, Origin, SignedHead};
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::statement::{Reason, WitnessProof};
use serde::{Deserialize, Serialize};

use super::line::{Fact, Line, Step};
use crate::judge::Known;
use crate::log::LogIdentity;

/// How far the index was read: how many lines, and the hash of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) lines: u64,
    pub(super) tail: Option<Hash>,
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
    /// The head is another tree's.
    #[error("its tree head is not the one that it steps to")]
    Head,
}

/// Everything that the lines of an index say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Projection {
    pub(super) key: Option<OwnKey>,
    pub(super) logs: BTreeMap<Origin, LogState>,
}

/// The key that the index belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnKey {
    pub(super) cosigner: String,
    pub(super) fingerprint: Fingerprint,
}

/// Where the witness stands with one log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    genesis: Bytes,
    halted: Option<Reason>,
    head: Option<HeadJson>,
    last_signed: Option<Signed>,
    log_id: Option<Hash>,
    operator_key: PublicKey,
    root_hash: Hash,
    submission: Option<Submission>,
    tree_size: TreeSize,
}

/// The newest step that was made to be signed, and the time in its signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signed {
    #[serde(flatten)]
    pub(super) step: Step,
    pub(super) time: Timestamp,
}

/// The last body that was made for submission, and whether it still has to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Whether a log answered it, whatever the answer was.
    pub answered: bool,
    /// What is sent, byte for byte the same each time.
    pub body: WitnessProof,
}

impl LogState {
    fn new(log: &LogIdentity) -> Self {
        Self {
            genesis: Bytes(log.genesis().bytes().to_vec()),
            halted: None,
            head: None,
            last_signed: None,
            log_id: Some(log.log_id()),
            operator_key: log.operator().clone(),
            root_hash: Hash::EMPTY_TREE,
            submission: None,
            tree_size: TreeSize::ZERO,
        }
    }

    /// The largest tree that this witness vouches for.
    pub fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root_hash }
    }

    /// The head of that tree, where it is known.
    pub fn head(&self) -> Option<&HeadJson> {
        self.head.as_ref()
    }

    /// The log's pinned key.
    pub fn operator_key(&self) -> &PublicKey {
        &self.operator_key
    }

    /// The log's entry 1.
    pub fn genesis(&self) -> &[u8] {
        &self.genesis.0
    }

    /// Why this key never signs this log again, if it does not.
    pub fn halted(&self) -> Option<&Reason> {
        self.halted.as_ref()
    }

    /// The time in the newest signature.
    pub fn last_signed_at(&self) -> Option<Timestamp> {
        self.last_signed.map(|signed| signed.time)
    }

    /// The last body that was made, if it is that of the newest signed step.
    pub fn submission(&self) -> Option<&Submission> {
        let newest = self.last_signed?.step.new_tree().size;
        self.submission.as_ref().filter(|kept| kept.body.new_tree_size == newest)
    }

    pub(super) fn last_signed(&self) -> Option<Signed> {
        self.last_signed
    }

    pub(super) fn keep(&mut self, submission: Submission) {
        self.submission = Some(submission);
    }

    /// The same without what only the state file knows.
    fn of_index(&self) -> Self {
        Self { submission: None, ..self.clone() }
    }

    /// Moves on. Signatures are not looked at again for every line of the past: the chain of
    /// hashes covers them, and the newest head is verified whenever it is used.
    fn take(&mut self, step: Step, head: Option<&HeadJson>) -> Result<(), BrokenLine> {
        if head.is_some_and(|head| head.claim().tree() != step.new_tree()) {
            return Err(BrokenLine::Head);
        }
        if step.old() != self.tree() || step.new_tree().size <= self.tree_size {
            return Err(BrokenLine::Step);
        }
        self.tree_size = step.new_tree().size;
        self.root_hash = step.new_tree().hash;
        self.head = head.cloned();
        Ok(())
    }
}

/// What [`crate::judge::judge`] compares a new head with.
pub fn known<'a>(tree: TreeRoot, head: Option<&'a SignedHead>, log: &LogIdentity) -> Known<'a> {
    Known { tree, head, genesis: log.genesis().leaf_hash() }
}

impl Projection {
    /// Takes the next line into account.
    pub(super) fn apply(&mut self, line: &Line) -> Result<(), BrokenLine> {
        match (&line.fact, &self.key) {
            (Fact::Key { cosigner, fingerprint }, None) => {
                let own = OwnKey { cosigner: cosigner.clone(), fingerprint: *fingerprint };
                self.key = Some(own);
                return Ok(());
            }
            (Fact::Key { .. }, Some(_)) | (_, None) => return Err(BrokenLine::Key),
            _ => {}
        }
        if let Fact::Log { genesis, log_id, origin } = &line.fact {
            let log = LogIdentity::of_genesis(&genesis.0).map_err(|_| BrokenLine::Log)?;
            if log.log_id() != *log_id || log.origin() != origin || self.logs.contains_key(origin) {
                return Err(BrokenLine::Log);
            }
            self.logs.insert(origin.clone(), LogState::new(&log));
            return Ok(());
        }
        let origin = line.origin().ok_or(BrokenLine::Key)?;
        let state = self.logs.get_mut(origin).ok_or(BrokenLine::UnknownLog)?;
        match &line.fact {
            Fact::Advance { head, step, .. } => {
                if state.halted.is_some() || state.last_signed_at() > Some(line.time) {
                    return Err(BrokenLine::Step);
                }
                state.take(*step, Some(head))?;
                state.last_signed = Some(Signed { step: *step, time: line.time });
            }
            Fact::Recovery { head, step, .. } => state.take(*step, head.as_deref())?,
            Fact::Halt { reason, .. } => state.halted = Some(reason.clone()),
            Fact::Key { .. } | Fact::Log { .. } => {}
        }
        Ok(())
    }

    /// Says whether a state file, read at the same line, shows the same.
    pub(super) fn is_shown_by(&self, file: &StateFile) -> bool {
        self.logs.len() == file.logs.len()
            && self.logs.iter().zip(&file.logs).all(|((origin, state), (shown, theirs))| {
                origin == shown && *state == theirs.of_index()
            })
    }
}

/// `state.json`: the projection, how far it goes, and what was submitted last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    pub(super) index: Mark,
    pub(super) logs: BTreeMap<Origin, LogState>,
}

impl StateFile {
    /// The file for a later mark: the submissions stay with their logs.
    pub(super) fn moved_to(&self, mark: Mark, projection: &Projection) -> Self {
        let mut logs = projection.logs.clone();
        for (origin, state) in &mut logs {
            state.submission = self.logs.get(origin).and_then(|kept| kept.submission.clone());
        }
        Self { index: mark, logs }
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Never: states are texts, integers and nulls.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a state is a JSON object");
        bytes.push(b'\n');
        bytes
    }
}
