//! Checking an export from its bytes alone.
//!
//! What a file that verifies proves: the named key signed the head, and every entry stands in the
//! log under that head as the file shows it, in the order of ids, and fits the file's scope and
//! period. What it does not prove: that nothing was left out (only where ids follow each other
//! without a gap can that be seen), when it was made, and what else its header says.

use std::fmt;

use serde_json::Value;

use crate::batch::recover_leaf;
use crate::canonical::{self, JsonError};
use crate::clock::Timestamp;
use crate::head::{HeadError, Origin};
use crate::keys::Fingerprint;
use crate::leaf::{Leaf, LeafError, MAX_PAYLOAD_DEPTH};
use crate::merkle::{Hash, MAX_PROOF_LEN, ProofError, TreeRoot, verify_inclusion};
use crate::shape::{self, Misfit};
use crate::wire::export::{ExportFilters, ExportHeader};

/// The longest file that is looked at.
pub const MAX_EXPORT_BYTES: usize = 64 * 1024 * 1024;

/// Whose log an export must be of; whatever is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The operator's key.
    pub operator: Option<Fingerprint>,
    /// The log's name.
    pub origin: Option<Origin>,
}

/// What an export proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The log's name.
    pub origin: Origin,
    /// The key that signed the head.
    pub operator: Fingerprint,
    /// The tree under the head.
    pub tree: TreeRoot,
    /// When the head was made.
    pub head_time: Timestamp,
    /// How many entries are shown.
    pub entries: usize,
    /// The ids of the first and the last of them.
    pub ids: Option<(u64, u64)>,
    /// Whether the ids between them are all there.
    pub is_gapless: bool,
}

/// Why a file is not an export that can be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// More than [`MAX_EXPORT_BYTES`].
    #[error("the file has more than 64 MiB")]
    TooLong,
    /// A table: it has no place for a head and proofs.
    #[error("this is CSV, which carries neither a head nor proofs")]
    Csv,
    /// Not I-JSON.
    #[error("{place}: {error}")]
    Json {
        /// Where.
        place: Place,
        /// What is wrong with it.
        error: JsonError,
    },
    /// The header is none.
    #[error("the header of the export cannot be read: {0}")]
    Header(Misfit),
    /// The entries are no list.
    #[error("the entries are not a list")]
    Entries,
    /// It was exported without proofs.
    #[error("the file carries no proofs")]
    NoProofs,
}

/// Why an export proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The file is none, or not one that can be checked.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The head is of another log than was asked for.
    #[error("the log is {found}, not the one that was named")]
    OtherLog {
        /// Its name.
        found: Origin,
    },
    /// The head was signed by another key than was asked for.
    #[error("the key in the file is {found}, not the one that was named")]
    OtherKey {
        /// Its fingerprint.
        found: Fingerprint,
    },
    /// The head is not what its key signed.
    #[error("the head: {0}")]
    Head(#[from] HeadError),
    /// The header says another number of entries.
    #[error("the file has {found} entries, not the {stated} that its header states")]
    Count {
        /// How many there are.
        found: usize,
        /// How many there should be.
        stated: u64,
    },
    /// One of the entries.
    #[error("entry {position} of the file: {fault}")]
    Entry {
        /// Its place, from 1.
        position: usize,
        /// What is wrong.
        fault: EntryFault,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Its members are not what its `entry_hash` was made from.
    #[error("what it shows does not have the entry_hash that it shows")]
    OtherHash,
    /// Its members are no entry of a log.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// Without a usable proof.
    #[error("inclusion_proof is missing or not a list of at most 64 hashes in base64")]
    NoProof,
    /// It does not stand under the head.
    #[error("it is not shown to be in the log: {0}")]
    Inclusion(#[from] ProofError),
    /// Its id is not above that of the entry before.
    #[error("its id is not above that of the entry before it")]
    Order,
    /// The header says that such entries are left out.
    #[error("it does not fit the scope or the period that the header states")]
    Filtered,
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of it, from 1.
    Line(usize),
}

/// Checks an export in its JSON or NDJSON form.
pub fn verify(bytes: &[u8], expected: &Expected) -> Result<Proven, NotProven> {
    let File { header, entries } = File::read(bytes)?;
    let operator = header.operator_public_key.fingerprint();
    if expected.operator.is_some_and(|named| named != operator) {
        return Err(NotProven::OtherKey { found: operator });
    }
    let origin = header.tree_head.origin.clone();
    if expected.origin.as_ref().is_some_and(|named| *named != origin) {
        return Err(NotProven::OtherLog { found: origin });
    }
    let head = header.tree_head.verify(&header.operator_public_key, &origin)?;
    if header.count != entries.len() as u64 {
        return Err(NotProven::Count { found: entries.len(), stated: header.count });
    }
    if !header.proofs {
        return Err(Unreadable::NoProofs.into());
    }
    let tree = TreeRoot { size: head.head().tree_size, hash: head.head().root_hash };
    let ids = verify_entries(entries, &tree, &header.filters)?;
    Ok(Proven {
        origin,
        operator,
        tree,
        head_time: head.head().timestamp,
        entries: ids.len(),
        is_gapless: ids.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        ids: ids.first().copied().zip(ids.last().copied()),
    })
}

/// Checks every entry against the tree and the header; answers their ids.
fn verify_entries(
    entries: Vec<Value>,
    tree: &TreeRoot,
    filters: &ExportFilters,
) -> Result<Vec<u64>, NotProven> {
    let mut ids: Vec<u64> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let at = |fault| NotProven::Entry { position: index + 1, fault };
        let leaf = proven_entry(entry, tree).map_err(at)?;
        if ids.last().is_some_and(|before| *before >= leaf.id()) {
            return Err(at(EntryFault::Order));
        }
        if !fits(&leaf, filters) {
            return Err(at(EntryFault::Filtered));
        }
        ids.push(leaf.id());
    }
    Ok(ids)
}

/// The entry that stands in the tree as the file shows it.
fn proven_entry(mut entry: Value, tree: &TreeRoot) -> Result<Leaf, EntryFault> {
    let members = entry.as_object_mut().ok_or(EntryFault::OtherHash)?;
    let proof =
        members.remove("inclusion_proof").as_ref().and_then(proof).ok_or(EntryFault::NoProof)?;
    // All that is left is the leaf, and the hash that it is shown with.
    let view = String::from_utf8(canonical::to_vec(&entry)).map_err(|_| EntryFault::OtherHash)?;
    let leaf = Leaf::parse(recover_leaf(&view).map_err(|_| EntryFault::OtherHash)?)?;
    verify_inclusion(leaf.id() - 1, &leaf.leaf_hash(), tree, &proof)?;
    Ok(leaf)
}

fn proof(value: &Value) -> Option<Vec<Hash>> {
    let hashes = value.as_array().filter(|hashes| hashes.len() <= MAX_PROOF_LEN)?;
    hashes.iter().map(|hash| Hash::from_base64(hash.as_str()?)).collect()
}

/// Whether an entry is one of those that the header says are shown, as far as the entry tells.
fn fits(leaf: &Leaf, filters: &ExportFilters) -> bool {
    let ExportFilters { scope, start_date, end_date, after, .. } = filters;
    scope.has(leaf.event_type())
        && leaf.id() > *after
        && start_date.is_none_or(|start| start <= leaf.timestamp())
        && end_date.is_none_or(|end| leaf.timestamp() <= end)
}

/// A file cut into its parts; nothing in it is checked but its shape.
struct File {
    header: ExportHeader,
    entries: Vec<Value>,
}

impl File {
    fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > MAX_EXPORT_BYTES {
            return Err(Unreadable::TooLong);
        }
        if bytes.starts_with(b"\"id\",") {
            return Err(Unreadable::Csv);
        }
        match canonical::parse(bytes, MAX_PAYLOAD_DEPTH + 3) {
            Ok(value) => Self::of_object(value),
            Err(_) if first_line_is_whole(bytes) => Self::of_lines(bytes),
            Err(error) => Err(Unreadable::Json { place: Place::File, error }),
        }
    }

    /// The JSON form; or NDJSON without an entry, which is the header alone.
    fn of_object(mut value: Value) -> Result<Self, Unreadable> {
        let entries = match value.as_object_mut().and_then(|members| members.remove("entries")) {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(Unreadable::Entries),
        };
        Ok(Self { header: shape::read(&value).map_err(Unreadable::Header)?, entries })
    }

    fn of_lines(bytes: &[u8]) -> Result<Self, Unreadable> {
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let mut values =
            lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(index, line)| {
                canonical::parse(line, MAX_PAYLOAD_DEPTH + 1)
                    .map_err(|error| Unreadable::Json { place: Place::Line(index + 1), error })
            });
        let header = values.next().transpose()?.unwrap_or_default();
        let header = shape::read(&header).map_err(Unreadable::Header)?;
        Ok(Self { header, entries: values.collect::<Result<_, _>>()? })
    }
}

/// Whether the first line is JSON by itself, as it is in NDJSON alone.
fn first_line_is_whole(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.len() < bytes.len() && canonical::parse(first, MAX_PAYLOAD_DEPTH).is_ok()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file is not JSON"),
            Self::Line(line) => write!(f, "line {line} is not JSON"),
        }
    }
}

#[cfg(test)]
mod tests;
