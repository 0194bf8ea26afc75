//! The growing tree: its right edge is all that an append needs.

use std::sync::Arc;

use super::proof::Nodes;
use super::tile::{NodeId, TileId, TileNodes};
use super::{Hash, TreeSize};

/// The size and the root of a tree: what a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeRoot {
    /// The number of leaves.
    pub size: TreeSize,
    /// The hash over all of them.
    pub hash: Hash,
}

impl TreeRoot {
    /// The tree without leaves.
    pub const EMPTY: Self = Self { size: TreeSize::ZERO, hash: Hash::EMPTY_TREE };
}

/// The right edge of a growing tree: the incomplete tile of each level.
///
/// A clone is a snapshot and costs one reference count per level; the first push after it copies
/// the tiles that it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: TreeSize,
    /// By level; a tile without hashes where the last one is complete.
    levels: Vec<Arc<TileNodes>>,
}

impl Edge {
    /// The edge of the empty tree.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Takes up a tree of `size` leaves from the hashes of its incomplete tiles, lowest level
    /// first, those of complete levels empty or, at the end, left out.
    ///
    /// `None` if a level has another number of hashes than [`TileId::incomplete`] says. The hashes
    /// themselves are believed: compare [`Edge::root`] with a root that is known.
    pub fn from_partial_tiles(size: TreeSize, levels: Vec<Vec<Hash>>) -> Option<Self> {
        let mut edge = Self { size, levels: Vec::new() };
        let mut given = levels.into_iter();
        for (tile, width) in TileId::incomplete(size) {
            while edge.levels.len() < usize::from(tile.level) {
                edge.levels.push(Arc::default());
                given.next().filter(Vec::is_empty)?;
            }
            let hashes = given.next().filter(|hashes| hashes.len() == width)?;
            edge.levels.push(Arc::new(TileNodes::from_hashes(&hashes)?));
        }
        given.all(|hashes| hashes.is_empty()).then_some(edge)
    }

    /// Appends a leaf hash; tiles that it completes are added to `completed`, the lower level
    /// first.
    ///
    /// Costs one node hash on average and as many as the tree is high at worst.
    pub fn push(&mut self, leaf: Hash, completed: &mut Vec<(TileId, Arc<TileNodes>)>) {
        let mut carry = leaf;
        let mut index = self.size.get();
        for level in 0.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Arc::default());
            }
            let slot = &mut self.levels[usize::from(level)];
            let tile = Arc::make_mut(slot);
            tile.push(carry);
            let Some(root) = tile.root() else { break };
            index /= TileId::WIDTH as u64;
            completed.push((TileId { level, index }, std::mem::take(slot)));
            carry = root;
        }
        self.size = self.size.plus(1);
    }

    /// The number of leaves.
    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// The size and root of the tree; hashes O(log n) nodes.
    pub fn root(&self) -> TreeRoot {
        let mut root = None;
        for (tile, width) in TileId::incomplete(self.size) {
            for bit in (0..8).filter(|bit| width >> bit & 1 == 1) {
                let index = (tile.index << (8 - bit)) + (width >> bit) as u64 - 1;
                let left = self
                    .node(NodeId { height: tile.level * 8 + bit, index })
                    .expect("an incomplete tile knows the nodes over the hashes it has");
                root = Some(root.map_or(left, |right| Hash::of_node(&left, &right)));
            }
        }
        TreeRoot { size: self.size, hash: root.unwrap_or(Hash::EMPTY_TREE) }
    }

    /// An incomplete tile.
    pub fn tile(&self, id: TileId) -> Option<&TileNodes> {
        let hashes = self.size.get().checked_shr(u32::from(id.level) * 8)?;
        let tile = self.levels.get(usize::from(id.level))?;
        (id.index == hashes >> 8 && tile.width() > 0).then_some(tile)
    }

    /// The hash of a node that lies in one of the incomplete tiles.
    pub fn node(&self, id: NodeId) -> Option<Hash> {
        self.tile(id.tile())?.node(id)
    }
}

impl Nodes for Edge {
    fn node(&self, id: NodeId) -> Option<Hash> {
        Self::node(self, id)
    }
}
