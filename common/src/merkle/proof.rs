//! Proofs that a leaf is in a tree and that a tree extends an older one (RFC 9162 section 2.1).
//!
//! Both are cases of one statement: *this subtree is part of that tree*. A leaf is the subtree
//! `[i, i + 1)`, an older tree is the subtree `[0, m)`. [`walk`] says which sibling hashes lie on
//! the way from the subtree to the root; the prover reads them and the verifier joins them.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use super::tile::{NodeId, TileId, TileNodes};
use super::tree::TreeRoot;
use super::{Hash, TreeSize};

/// No proof in a tree of at most [`TreeSize::MAX`] leaves has more hashes than this.
pub const MAX_PROOF_LEN: usize = 64;

/// Checks that the leaf with this hash stands at `index` of the tree (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    index: u64,
    leaf: &Hash,
    tree: &TreeRoot,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if index >= tree.size.get() {
        return Err(ProofError::IndexBeyondTree);
    }
    let subtree = Subtree { start: index, end: index + 1 };
    let (_, root) = join(subtree, leaf, tree.size, proof)?;
    if root == tree.hash { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Checks that `new` has the leaves of `old` and perhaps more (RFC 9162 section 2.1.4.2).
///
/// The empty tree is part of every tree and nothing can prove it, so an empty `old` is refused:
/// callers for whom that is legal must ask for an empty proof themselves.
pub fn verify_consistency(
    old: &TreeRoot,
    new: &TreeRoot,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old.size == TreeSize::ZERO {
        return Err(ProofError::OldTreeEmpty);
    }
    if old.size > new.size {
        return Err(ProofError::OldTreeLarger);
    }
    let subtree = Subtree { start: 0, end: old.size.get() };
    let (old_hash, new_hash) = join(subtree, &old.hash, new.size, proof)?;
    if old.size == new.size && old.hash != new.hash {
        return Err(ProofError::RootsDiffer);
    }
    if old_hash != old.hash {
        return Err(ProofError::WrongOldRoot);
    }
    if new_hash == new.hash { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Checks that the leaf with this hash stands at `index` of the tree, inside a subtree whose hash
/// is `root`.
pub fn verify_subtree_inclusion(
    index: u64,
    leaf: &Hash,
    subtree: Subtree,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let index = index.checked_sub(subtree.start).ok_or(ProofError::IndexBeyondTree)?;
    verify_inclusion(index, leaf, &TreeRoot { size: subtree.size(), hash: *root }, proof)
}

/// Checks that a subtree with this hash is part of the tree.
///
/// An empty subtree is part of every tree that reaches it; its hash is that of the empty tree and
/// its proof is empty.
pub fn verify_subtree_consistency(
    subtree: Subtree,
    hash: &Hash,
    tree: &TreeRoot,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if subtree.end > tree.size.get() {
        return Err(ProofError::SubtreeBeyondTree);
    }
    if subtree.start == subtree.end {
        check_length(0, proof)?;
        return if *hash == Hash::EMPTY_TREE { Ok(()) } else { Err(ProofError::WrongOldRoot) };
    }
    let (subtree_hash, root) = join(subtree, hash, tree.size, proof)?;
    if subtree_hash != *hash {
        return Err(ProofError::WrongOldRoot);
    }
    if root == tree.hash { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Why a proof does not hold, or why there can be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf's index is not below the size.
    #[error("the tree has no leaf at that index")]
    IndexBeyondTree,
    /// Consistency was asked for from size 0.
    #[error("nothing proves that a tree extends the empty one")]
    OldTreeEmpty,
    /// The tree that should be the older one has more leaves.
    #[error("the old tree is larger than the new one")]
    OldTreeLarger,
    /// The range is no node of any tree.
    #[error("the range is not a subtree")]
    NotASubtree,
    /// The subtree ends after the tree.
    #[error("the subtree reaches beyond the tree")]
    SubtreeBeyondTree,
    /// The sizes alone say how many hashes a proof has.
    #[error("the proof has {got} hashes where {expected} belong")]
    WrongLength {
        /// How many hashes the proof must have.
        expected: usize,
        /// How many it has.
        got: usize,
    },
    /// Two trees of one size have different roots.
    #[error("two trees of the same size have different roots")]
    RootsDiffer,
    /// The proof leads to another hash of the old tree or subtree.
    #[error("the proof leads to another root of the old tree")]
    WrongOldRoot,
    /// The proof leads to another root of the tree.
    #[error("the proof leads to another root")]
    WrongRoot,
}

/// A range of leaves under one node of a tree: it starts at a multiple of the power of two that it
/// fits into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subtree {
    start: u64,
    end: u64,
}

impl Subtree {
    /// The leaves `start..end`, if they can be a subtree; an empty range is one.
    pub fn new(start: u64, end: u64) -> Result<Self, ProofError> {
        if start > end || end > TreeSize::MAX.get() {
            return Err(ProofError::NotASubtree);
        }
        let aligned = (end - start).next_power_of_two() - 1;
        if start != end && start & aligned != 0 {
            return Err(ProofError::NotASubtree);
        }
        Ok(Self { start, end })
    }

    /// How many leaves it has.
    pub const fn size(self) -> TreeSize {
        TreeSize(self.end - self.start)
    }
}

/// Where the hashes of nodes come from.
pub trait Nodes {
    /// The hash of a perfect subtree, if it is at hand.
    fn node(&self, id: NodeId) -> Option<Hash>;
}

impl<T: Nodes + ?Sized> Nodes for &T {
    fn node(&self, id: NodeId) -> Option<Hash> {
        (**self).node(id)
    }
}

/// The first source that has the node answers.
impl<A: Nodes, B: Nodes> Nodes for (A, B) {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.0.node(id).or_else(|| self.1.node(id))
    }
}

impl<S: BuildHasher> Nodes for HashMap<TileId, Arc<TileNodes>, S> {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.get(&id.tile())?.node(id)
    }
}

/// Few tiles, such as those that a batch completed; they are searched one by one.
impl Nodes for [(TileId, Arc<TileNodes>)] {
    fn node(&self, id: NodeId) -> Option<Hash> {
        let wanted = id.tile();
        self.iter().find(|(tile, _)| *tile == wanted)?.1.node(id)
    }
}

/// Which nodes a proof needs and how they fold into it.
///
/// Every node lies in the tree of the named size, so the tiles of any later tree hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    nodes: Vec<NodeId>,
    /// How many of the nodes, in order, make each hash of the proof: one, but for the ragged
    /// right end of the tree.
    runs: Vec<usize>,
}

impl ProofPlan {
    /// Plans the proof that leaf `index` is in the tree of this size.
    pub fn inclusion(index: u64, size: TreeSize) -> Result<Self, ProofError> {
        if index >= size.get() {
            return Err(ProofError::IndexBeyondTree);
        }
        Ok(Self::of_subtree(Subtree { start: index, end: index + 1 }, size))
    }

    /// Plans the proof that the tree of size `new` extends the one of size `old`; it is empty for
    /// equal sizes.
    pub fn consistency(old: TreeSize, new: TreeSize) -> Result<Self, ProofError> {
        if old == TreeSize::ZERO {
            return Err(ProofError::OldTreeEmpty);
        }
        if old > new {
            return Err(ProofError::OldTreeLarger);
        }
        Ok(Self::of_subtree(Subtree { start: 0, end: old.get() }, new))
    }

    /// Plans the proof that a subtree is part of the tree of this size; it is empty for an empty
    /// subtree.
    pub fn subtree_consistency(subtree: Subtree, size: TreeSize) -> Result<Self, ProofError> {
        if subtree.end > size.get() {
            return Err(ProofError::SubtreeBeyondTree);
        }
        if subtree.start == subtree.end {
            return Ok(Self { nodes: Vec::new(), runs: Vec::new() });
        }
        Ok(Self::of_subtree(subtree, size))
    }

    /// Plans the root of the tree of this size: one hash.
    pub fn root(size: TreeSize) -> Self {
        let mut plan = Self { nodes: Vec::new(), runs: Vec::new() };
        plan.add(0..size.get());
        plan
    }

    /// The nodes to read, in the order in which [`ProofPlan::assemble`] takes their hashes.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The tiles that hold those nodes, each once, in order.
    pub fn tiles(&self) -> Vec<TileId> {
        let mut tiles: Vec<TileId> = self.nodes.iter().map(|node| node.tile()).collect();
        tiles.sort_unstable();
        tiles.dedup();
        tiles
    }

    /// Reads the nodes and assembles the proof; `None` if one of them is not at hand.
    pub fn read(&self, nodes: &(impl Nodes + ?Sized)) -> Option<Vec<Hash>> {
        let hashes = self.nodes.iter().map(|id| nodes.node(*id)).collect::<Option<Vec<Hash>>>()?;
        Some(self.assemble(&hashes))
    }

    /// Folds the hashes of [`ProofPlan::nodes`] into the proof.
    ///
    /// # Panics
    /// When there are fewer hashes than nodes.
    pub fn assemble(&self, hashes: &[Hash]) -> Vec<Hash> {
        let mut rest = hashes;
        let mut proof = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let (nodes, after) = rest.split_at(*run);
            rest = after;
            let folded =
                nodes.iter().rev().copied().reduce(|right, left| Hash::of_node(&left, &right));
            proof.push(folded.unwrap_or(Hash::EMPTY_TREE));
        }
        proof
    }

    fn of_subtree(subtree: Subtree, size: TreeSize) -> Self {
        let way = walk(subtree, size);
        let mut plan = Self { nodes: Vec::new(), runs: Vec::new() };
        if let Some(seed) = way.seed {
            plan.add(seed);
        }
        for sibling in way.siblings {
            plan.add(sibling.leaves);
        }
        plan
    }

    /// Adds one hash: cuts the leaves under a node of the tree into perfect subtrees, which get
    /// smaller to the right.
    fn add(&mut self, leaves: Range<u64>) {
        let before = self.nodes.len();
        let mut start = leaves.start;
        while start < leaves.end {
            let height = (leaves.end - start).ilog2();
            let below_64 = u8::try_from(height).expect("a logarithm of 64 bits");
            self.nodes.push(NodeId { height: below_64, index: start >> height });
            start += 1 << height;
        }
        self.runs.push(self.nodes.len() - before);
    }
}

/// The way from a subtree up to the root.
struct Way {
    /// Where the subtree is no node of the tree itself, its last perfect part, which is: the proof
    /// then begins with the hash of these leaves.
    seed: Option<Range<u64>>,
    /// The siblings on the way, lowest first.
    siblings: Vec<Sibling>,
}

struct Sibling {
    leaves: Range<u64>,
    side: Side,
}

#[derive(Clone, Copy)]
enum Side {
    /// It stands to the left and is part of the subtree too.
    LeftInside,
    /// It stands to the left of the subtree.
    Left,
    /// It stands to the right.
    Right,
}

/// Goes down from the root of a tree to a subtree of at least one leaf and at most the whole tree.
fn walk(subtree: Subtree, size: TreeSize) -> Way {
    let (mut start, mut end) = (0, size.get());
    let mut wanted = subtree.start..subtree.end;
    let mut siblings = Vec::with_capacity(MAX_PROOF_LEN);
    while wanted != (start..end) {
        let middle = start + (end - start).div_ceil(2).next_power_of_two();
        if wanted.end <= middle {
            siblings.push(Sibling { leaves: middle..end, side: Side::Right });
            end = middle;
        } else {
            let shared = wanted.start < middle;
            let leaves = start..middle;
            siblings
                .push(Sibling { leaves, side: if shared { Side::LeftInside } else { Side::Left } });
            start = middle;
            wanted.start = wanted.start.max(middle);
        }
    }
    siblings.reverse();
    let split = wanted.start != subtree.start;
    Way { seed: split.then_some(wanted), siblings }
}

/// Joins a proof into the hash of the subtree and the root of the tree that it leads to.
fn join(
    subtree: Subtree,
    hash: &Hash,
    size: TreeSize,
    proof: &[Hash],
) -> Result<(Hash, Hash), ProofError> {
    let way = walk(subtree, size);
    let seeds = usize::from(way.seed.is_some());
    check_length(seeds + way.siblings.len(), proof)?;
    let (seed, proof) = proof.split_at(seeds);
    let seed = seed.first().unwrap_or(hash);
    let (mut inner, mut outer) = (*seed, *seed);
    for (sibling, hash) in way.siblings.iter().zip(proof) {
        match sibling.side {
            Side::LeftInside => {
                inner = Hash::of_node(hash, &inner);
                outer = Hash::of_node(hash, &outer);
            }
            Side::Left => outer = Hash::of_node(hash, &outer),
            Side::Right => outer = Hash::of_node(&outer, hash),
        }
    }
    Ok((inner, outer))
}

fn check_length(expected: usize, proof: &[Hash]) -> Result<(), ProofError> {
    let got = proof.len();
    if got == expected { Ok(()) } else { Err(ProofError::WrongLength { expected, got }) }
}
