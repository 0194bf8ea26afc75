//! Tiles: 256 neighbouring hashes of one tree level and everything that hangs between them.
//!
//! The tree is cut into tiles of height 8 (C2SP tlog-tiles): hash `i` of tile `n` at level `l` is
//! the perfect subtree over the leaves `(256 n + i) 256^l ..(256 n + i + 1) 256^l`.

use super::{Hash, TreeSize};

/// How many tree levels a tile spans.
pub(super) const TILE_HEIGHT: u8 = 8;

/// The name of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// The level of tiles: 0 holds leaf hashes, 1 holds the roots of the tiles of level 0.
    pub level: u8,
    /// The place among the tiles of that level, from the left.
    pub index: u64,
}

impl TileId {
    /// How many hashes a complete tile has.
    pub const WIDTH: usize = 1 << TILE_HEIGHT;

    /// The incomplete tiles of a tree of this size with their widths, lowest level first; a level
    /// whose last tile is complete has none.
    pub fn incomplete(size: TreeSize) -> impl Iterator<Item = (Self, usize)> {
        (0..TILE_HEIGHT).filter_map(move |level| {
            let hashes = size.get() >> (level * TILE_HEIGHT);
            let width = (hashes & 0xff) as usize;
            (width > 0).then_some((Self { level, index: hashes >> TILE_HEIGHT }, width))
        })
    }

    /// The node over everything in the tile: one hash of the tile above.
    pub const fn root(self) -> NodeId {
        NodeId { height: (self.level + 1) * TILE_HEIGHT, index: self.index }
    }

    /// The tile that holds this one's root; none above the highest level that a tree reaches.
    pub fn above(self) -> Option<Self> {
        (self.level + 1 < TILE_HEIGHT).then(|| self.root().tile())
    }
}

/// The name of a perfect subtree: the leaves `index << height..(index + 1) << height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Levels above the leaves; at most 63.
    pub height: u8,
    /// The place among the nodes of that height, from the left.
    pub index: u64,
}

impl NodeId {
    /// The tile that holds this node, in its inner levels or as one of its hashes.
    pub const fn tile(self) -> TileId {
        let inner = self.height % TILE_HEIGHT;
        TileId { level: self.height / TILE_HEIGHT, index: self.index >> (TILE_HEIGHT - inner) }
    }
}

/// The hashes of a tile, complete or not, with the inner nodes above them.
///
/// Inner nodes are computed once, when the last hash below them arrives, and kept in that order:
/// looking one up is an array read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileNodes {
    hashes: Vec<Hash>,
    inner: Vec<Hash>,
}

impl TileNodes {
    /// Builds a tile from 1 to 256 hashes.
    pub fn from_hashes(hashes: &[Hash]) -> Option<Self> {
        if hashes.is_empty() || hashes.len() > TileId::WIDTH {
            return None;
        }
        let mut tile = Self {
            hashes: Vec::with_capacity(hashes.len()),
            inner: Vec::with_capacity(hashes.len()),
        };
        for hash in hashes {
            tile.push(*hash);
        }
        Some(tile)
    }

    /// Reads what [`TileNodes::to_bytes`] wrote: 1 to 256 hashes of 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks();
        if !rest.is_empty() || hashes.len() > TileId::WIDTH {
            return None;
        }
        let hashes: Vec<Hash> = hashes.iter().copied().map(Hash::new).collect();
        Self::from_hashes(&hashes)
    }

    /// The hashes one after another, as C2SP serves a tile; inner nodes are not written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.hashes.len() * 32);
        for hash in &self.hashes {
            bytes.extend_from_slice(hash.as_bytes());
        }
        bytes
    }

    /// Adds a hash at the right and computes the inner nodes that it completes; false, and nothing
    /// changed, if the tile is complete already.
    pub fn push(&mut self, hash: Hash) -> bool {
        if self.hashes.len() == TileId::WIDTH {
            return false;
        }
        self.hashes.push(hash);
        let width = self.hashes.len();
        let mut right = hash;
        for height in 0..width.trailing_zeros() {
            let left = if height == 0 {
                self.hashes[width - 2]
            } else {
                self.inner[inner_place(height, (width >> height) - 2)]
            };
            right = Hash::of_node(&left, &right);
            self.inner.push(right);
        }
        true
    }

    /// How many hashes the tile has.
    pub fn width(&self) -> usize {
        self.hashes.len()
    }

    /// The hashes from the left, without the inner nodes.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The hash of a node of this tile; `None` if leaves are missing below it.
    ///
    /// The tile must be the one that [`NodeId::tile`] names: another answers for the node at the
    /// same place in itself.
    pub fn node(&self, id: NodeId) -> Option<Hash> {
        let height = id.height % TILE_HEIGHT;
        let index = (id.index & 0xff) as usize & (0xff >> height);
        match u32::from(height) {
            0 => self.hashes.get(index),
            height => self.inner.get(inner_place(height, index)),
        }
        .copied()
    }

    /// The hash that stands for the whole tile in the level above; `None` while it is incomplete.
    pub fn root(&self) -> Option<Hash> {
        self.inner.get(inner_place(TILE_HEIGHT.into(), 0)).copied()
    }
}

/// Where an inner node stands in the order of completion.
///
/// `n` hashes complete `n - popcount(n)` inner nodes; the hash that completes the node adds the
/// lower ones above it first.
const fn inner_place(height: u32, index: usize) -> usize {
    let before = ((index + 1) << height) - 1;
    before - before.count_ones() as usize + height as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> Hash {
        Hash::of_leaf(&n.to_be_bytes())
    }

    fn perfect(height: u32, index: usize) -> Hash {
        match height {
            0 => hash(index),
            _ => {
                Hash::of_node(&perfect(height - 1, index * 2), &perfect(height - 1, index * 2 + 1))
            }
        }
    }

    #[test]
    fn every_node_is_known_as_soon_as_its_last_hash_is() {
        for width in [1, 2, 3, 4, 7, 8, 100, 255, 256] {
            let hashes: Vec<Hash> = (0..width).map(hash).collect();
            let tile = TileNodes::from_hashes(&hashes).expect("a legal width");
            for height in 0..8_u8 {
                for index in 0..256_usize >> height {
                    let id =
                        NodeId { height: 16 + height, index: (5 << (8 - height)) + index as u64 };
                    assert_eq!(id.tile(), TileId { level: 2, index: 5 });
                    let complete = (index + 1) << height <= width;
                    let expected = complete.then(|| perfect(height.into(), index));
                    assert_eq!(tile.node(id), expected, "width {width}, {id:?}");
                }
            }
            assert_eq!(tile.root(), (width == 256).then(|| perfect(8, 0)));
        }
    }

    #[test]
    fn bytes_round_trip_and_odd_lengths_are_refused() {
        let hashes: Vec<Hash> = (0..256).map(hash).collect();
        let tile = TileNodes::from_hashes(&hashes).expect("256 hashes");
        let bytes = tile.to_bytes();

        assert_eq!(TileNodes::from_bytes(&bytes), Some(tile));
        assert_eq!(TileNodes::from_bytes(&bytes[..64]).map(|t| t.width()), Some(2));
        assert_eq!(TileNodes::from_bytes(&bytes[..63]), None);
        assert_eq!(TileNodes::from_bytes(&[]), None);
        assert_eq!(TileNodes::from_bytes(&[bytes, vec![0; 32]].concat()), None);
    }

    #[test]
    fn a_complete_tile_takes_no_more() {
        let mut tile = TileNodes::from_hashes(&[hash(0); 256]).expect("256 hashes");
        let before = tile.clone();

        assert!(!tile.push(hash(1)));

        assert_eq!(tile, before);
    }
}
