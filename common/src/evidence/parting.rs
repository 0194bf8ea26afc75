//! Where the history that evidence shows parts from the one that a node holds.
//!
//! A consistency proof of another history carries the hashes of some of its subtrees. Those that are
//! the same here hold the same entries; the first entry that differs is in none of them.

use std::collections::BTreeMap;

use super::verify::establish;
use super::{Evidence, Kind, Proof};
use crate::merkle::{Hash, NodeId, TreeRoot, TreeSize};

/// What a proven file says about the contents of histories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Trees that were vouched for.
    pub trees: Vec<TreeRoot>,
    /// What consistency proofs show of the trees that they lead from.
    pub steps: Vec<Step>,
    /// Entries by number, with the hash that they were said to have or have.
    pub entries: Vec<(u64, Hash)>,
    /// The entry that breaks a rule, where that is what was proven.
    pub bad_entry: Option<u64>,
}

/// A consistency proof: the tree that it leads from, and its complete subtrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The smaller tree.
    pub from: TreeRoot,
    /// The subtrees whose hashes the proof carries.
    pub nodes: Vec<(NodeId, Hash)>,
}

/// The same places in the history that a node holds; those beyond its end are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its roots by size.
    pub trees: BTreeMap<TreeSize, Hash>,
    /// Its subtrees.
    pub nodes: BTreeMap<NodeId, Hash>,
    /// Its entry hashes by number.
    pub entries: BTreeMap<u64, Hash>,
}

/// The first entry that differs is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The first that it can be.
    pub first: u64,
    /// The last that it can be.
    pub last: u64,
}

/// Reads the traces of a file; `None` if it proves nothing.
pub fn traces(file: &[u8]) -> Option<Traces> {
    let file = Evidence::read(file).ok()?;
    let established = establish(&file, None, None).ok()?;
    let mut traces = Traces::default();
    for signed in &established.signed {
        traces.trees.extend(signed.trees.iter().copied());
        if let (Some((_, Some(chain_head))), Some(tree)) = (signed.head, signed.trees.last()) {
            traces.entries.push((tree.size.get(), chain_head));
        }
    }
    for proof in &file.proofs {
        match proof {
            Proof::Consistency { first, first_root, hashes, second, .. } => {
                let from = TreeRoot { size: *first, hash: *first_root };
                let parts = parts(first.get(), 0, second.get(), true).into_iter().zip(hashes);
                let nodes = parts.filter_map(|(part, hash)| Some((complete(part)?, *hash)));
                traces.trees.push(from);
                traces.steps.push(Step { from, nodes: nodes.collect() });
            }
            Proof::Inclusion { leaf, leaf_index, .. } => {
                traces.entries.push((leaf_index + 1, Hash::of(&leaf.0)));
                if file.kind == Kind::BadEntry && traces.bad_entry.is_none() {
                    traces.bad_entry = Some(leaf_index + 1);
                }
            }
        }
    }
    Some(traces)
}

/// Narrows down where the first entry that differs is; `None` if nothing in the file differs from
/// what is held.
pub fn parting(traces: &Traces, own: &Own) -> Option<Parting> {
    let differs = |tree: &TreeRoot| own.trees.get(&tree.size).is_some_and(|own| *own != tree.hash);
    let trees = traces.trees.iter().filter(|tree| differs(tree)).map(|tree| tree.size.get());
    let entries = traces.entries.iter();
    let entries = entries
        .filter(|(id, hash)| own.entries.get(id).is_some_and(|own| own != hash))
        .map(|(id, _)| *id);
    let mut last = trees.chain(entries).min()?;
    let mut same: Vec<(u64, u64)> = Vec::new();
    // Only subtrees of the other history say where it leaves this one.
    for step in traces.steps.iter().filter(|step| differs(&step.from)) {
        for (id, hash) in &step.nodes {
            let (from, until) = (id.index << id.height, (id.index + 1) << id.height);
            match own.nodes.get(id) {
                Some(own) if own == hash => same.push((from, until)),
                Some(_) => last = last.min(until),
                None => {}
            }
        }
    }
    same.sort_unstable();
    let reached = |upto: u64, (from, until): &(u64, u64)| {
        if *from <= upto { upto.max(*until) } else { upto }
    };
    let first = same.iter().fold(0, reached) + 1;
    Some(Parting { first: first.min(last), last })
}

/// The range of entries of each hash of a consistency proof, in the proof's order (RFC 9162,
/// 2.1.4.1).
fn parts(old: u64, from: u64, until: u64, is_known: bool) -> Vec<(u64, u64)> {
    let size = until - from;
    if old >= size || old == 0 {
        return if is_known { Vec::new() } else { vec![(from, until)] };
    }
    let split = (size - 1).checked_ilog2().map_or(0, |log| 1_u64 << log);
    let middle = from + split;
    if old <= split {
        let mut all = parts(old, from, middle, is_known);
        all.push((middle, until));
        all
    } else {
        let mut all = parts(old - split, middle, until, false);
        all.push((from, middle));
        all
    }
}

/// The node that covers exactly this range, if one does: a power of two of entries, in its place.
fn complete((from, until): (u64, u64)) -> Option<NodeId> {
    let size = until.checked_sub(from)?;
    let fits = size.is_power_of_two() && from.is_multiple_of(size);
    let height = u8::try_from(size.checked_ilog2()?).ok()?;
    fits.then_some(NodeId { height, index: from >> height })
}
