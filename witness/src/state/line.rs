//! The lines of `index.jsonl`: what they say and how they hang together.

use std::collections::BTreeMap;

use diogenes_common::canonical;
use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Bytes;
use diogenes_common::head::{HeadJson, Origin};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::statement::Reason;
use serde::{Deserialize, Serialize};

use crate::log::{LogKey, LogName};

/// The longest line; a head with the checkpoint of a log with many witnesses is far shorter.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// One line of the index: a fact, its time, and the hash of the line before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
    /// SHA-256 of the line before, without its line feed; null in the first.
    pub previous: Option<Hash>,
    /// When it happened; what is signed about an advance carries this time.
    pub time: Timestamp,
}

/// What a line records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The first line: whose index this is.
    Key {
        /// The name under which this key cosigns, for ever.
        cosigner: String,
        /// The key.
        fingerprint: Fingerprint,
    },
    /// A log is watched from here on.
    Log {
        /// Its entry 1, which pins everything else.
        genesis: Bytes,
        /// Its id.
        log_id: Hash,
        /// Its name.
        origin: Origin,
    },
    /// The witness vouches for a larger tree; exactly this is signed.
    Advance {
        /// The head, verbatim.
        head: Box<HeadJson>,
        /// The tree after it.
        #[serde(flatten)]
        step: Step,
        /// Which log.
        origin: Origin,
    },
    /// These logs may ask for cosignatures.
    Listed {
        /// Their names, and the keys that may sign their checkpoints.
        logs: BTreeMap<LogName, Vec<LogKey>>,
    },
    /// A log may no longer ask; what is known about it stays.
    Delisted {
        /// Which log.
        origin: LogName,
    },
    /// The witness vouches for a larger tree that the log asked it to cosign.
    Cosign {
        /// The checkpoint, with the log's verified signatures alone.
        checkpoint: String,
        /// Which log.
        origin: LogName,
        /// From where to where.
        #[serde(flatten)]
        step: Step,
    },
    /// A lost state was moved up to what this key had signed already; nothing is signed for it.
    Recovery {
        /// The head, where it is known.
        head: Option<Box<HeadJson>>,
        /// From where to where.
        #[serde(flatten)]
        step: Step,
        /// Which log.
        origin: LogName,
    },
    /// Somebody showed a tree that this key has signed and this index does not know of: nothing is
    /// signed for the log until a recovery reaches it.
    Forgotten {
        /// Which log.
        origin: LogName,
        /// The tree that was signed.
        #[serde(flatten)]
        tree: Forgotten,
    },
    /// This key never signs this log again.
    Halt {
        /// Which log.
        origin: LogName,
        /// Why.
        reason: Reason,
    },
}

/// From one tree of a log to a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    new_root: Hash,
    new_tree_size: TreeSize,
    old_root: Hash,
    old_tree_size: TreeSize,
}

impl Step {
    /// The step between two trees.
    pub fn new(old: TreeRoot, new: TreeRoot) -> Self {
        Self {
            new_root: new.hash,
            new_tree_size: new.size,
            old_root: old.hash,
            old_tree_size: old.size,
        }
    }

    /// The tree before.
    pub fn old(&self) -> TreeRoot {
        TreeRoot { size: self.old_tree_size, hash: self.old_root }
    }

    /// The tree after.
    pub fn new_tree(&self) -> TreeRoot {
        TreeRoot { size: self.new_tree_size, hash: self.new_root }
    }
}

/// A tree beyond the one that a log stands at, which the own key has signed nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    root_hash: Hash,
    tree_size: TreeSize,
}

impl From<TreeRoot> for Forgotten {
    fn from(tree: TreeRoot) -> Self {
        Self { root_hash: tree.hash, tree_size: tree.size }
    }
}

impl Forgotten {
    /// The tree that was signed.
    pub fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root_hash }
    }
}

impl Line {
    /// The bytes of the line, with its line feed.
    ///
    /// # Panics
    /// Never: facts are texts, integers and nulls.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("a line is a JSON object");
        let mut bytes = canonical::to_vec(&value);
        bytes.push(b'\n');
        bytes
    }

    /// The same, if exactly this line is read back from them; whatever cannot be read again would
    /// make the whole index unreadable, and is never written.
    ///
    /// Canonical JSON holds no integer beyond 2^53 - 1, and the reader no line that is longer than
    /// [`MAX_LINE_BYTES`].
    pub(super) fn to_readable_bytes(&self) -> Option<Vec<u8>> {
        let bytes = self.to_bytes();
        let content = bytes.strip_suffix(b"\n")?;
        let is_readable =
            content.len() < MAX_LINE_BYTES && Self::parse(content).as_ref() == Some(self);
        is_readable.then_some(bytes)
    }

    /// Reads a line, without its line feed; `None` if it is not exactly what this code writes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(bytes).ok()?;
        (line.to_bytes().strip_suffix(b"\n") == Some(bytes)).then_some(line)
    }

    /// Which log the line is about, if it is about one alone.
    pub fn origin(&self) -> Option<&str> {
        match &self.fact {
            Fact::Key { .. } | Fact::Listed { .. } => None,
            Fact::Log { origin, .. } | Fact::Advance { origin, .. } => Some(origin.as_str()),
            Fact::Cosign { origin, .. }
            | Fact::Delisted { origin }
            | Fact::Recovery { origin, .. }
            | Fact::Forgotten { origin, .. }
            | Fact::Halt { origin, .. } => Some(origin.as_str()),
        }
    }

    /// The step that the line records, if it records one.
    pub fn step(&self) -> Option<Step> {
        match self.fact {
            Fact::Advance { step, .. }
            | Fact::Cosign { step, .. }
            | Fact::Recovery { step, .. } => Some(step),
            Fact::Key { .. }
            | Fact::Log { .. }
            | Fact::Listed { .. }
            | Fact::Delisted { .. }
            | Fact::Forgotten { .. }
            | Fact::Halt { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{History, at};

    #[test]
    fn a_line_is_read_only_as_it_was_written() {
        let history = History::honest();
        let facts = [
            Fact::Key { cosigner: "w".into(), fingerprint: history.operator().fingerprint() },
            Fact::Advance {
                head: Box::new(history.seen(4, at(1)).json().clone()),
                step: Step::new(TreeRoot::EMPTY, history.tree(4)),
                origin: history.origin(),
            },
            Fact::Recovery {
                head: None,
                step: Step::new(TreeRoot::EMPTY, history.tree(4)),
                origin: history.name(),
            },
            Fact::Forgotten { origin: history.name(), tree: history.tree(9).into() },
            Fact::Listed {
                logs: BTreeMap::from([("a log".parse().unwrap(), vec![history.log_key()])]),
            },
            Fact::Cosign {
                checkpoint: history.checkpoint(4),
                origin: history.name(),
                step: Step::new(TreeRoot::EMPTY, history.tree(4)),
            },
        ];
        for fact in facts {
            let line = Line { fact, previous: Some(Hash::of(b"x")), time: at(3) };
            let bytes = line.to_bytes();

            assert_eq!(Line::parse(bytes.trim_ascii_end()), Some(line));
            let spaced = [b" ", bytes.trim_ascii_end()].concat();
            assert_eq!(Line::parse(&spaced), None);
        }
    }

    #[test]
    fn a_line_that_could_not_be_read_back_is_not_written() {
        let history = History::honest();
        let cosign = |size, checkpoint| {
            let tree = TreeRoot { size: TreeSize::new(size).unwrap(), hash: Hash::of(b"x") };
            let step = Step::new(TreeRoot::EMPTY, tree);
            Fact::Cosign { checkpoint, origin: history.name(), step }
        };
        let is_written = |fact| {
            let line = Line { fact, previous: None, time: at(3) };
            line.to_readable_bytes().is_some()
        };
        let largest = canonical::MAX_SAFE_INTEGER;

        assert!(is_written(cosign(largest, String::new())));
        for size in [largest + 2, TreeSize::MAX.get()] {
            assert!(!is_written(cosign(size, String::new())), "{size}");
        }
        assert!(!is_written(cosign(5, "x".repeat(MAX_LINE_BYTES))));
    }
}
