//! Reading tiles that a stranger serves: every hash that comes out is vouched for by the root.
//!
//! The root of a tree is computed from its incomplete tiles, one per level at most, so a root that
//! is right makes all hashes of those tiles right. Every other tile is complete, and its own root
//! is one hash of the tile above it. A client that leaves out one of these comparisons can be
//! shown another log (CVE-2026-56865): [`TilePlan::authenticate`] makes the first one for all
//! incomplete tiles and the second one for each other tile, by what the tile is and not by how
//! many there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::proof::{Nodes, ProofPlan};
use super::tile::{NodeId, TileId, TileNodes};
use super::tile_path::TilePath;
use super::tree::TreeRoot;
use super::{Hash, TreeSize};

/// Which tiles to fetch to learn the hashes of some nodes, and how each is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TilePlan {
    tree: TreeRoot,
    root: ProofPlan,
    /// The tiles that the root is computed from.
    edge: Vec<TileId>,
    /// The other tiles, highest level first, so that each comes after the one above it.
    inner: Vec<TileId>,
}

/// Why the hashes of some nodes cannot be read, or the tiles that came are not of this tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError {
    /// The tree is too small to have the node.
    #[error("the tree has no node {} of height {}", node.index, node.height)]
    NodeBeyondTree {
        /// What was asked for.
        node: NodeId,
    },
    /// The source does not have a tile.
    #[error("{path} is missing")]
    Missing {
        /// Where it should be.
        path: TilePath,
    },
    /// A tile is not made of 1 to 256 hashes.
    #[error("{path} is not 1 to 256 hashes of 32 bytes")]
    NotATile {
        /// Where it came from.
        path: TilePath,
    },
    /// A tile has fewer hashes than the tree.
    #[error("{path} has only {got} hashes")]
    TooShort {
        /// Where it came from.
        path: TilePath,
        /// How many hashes it has.
        got: usize,
    },
    /// The incomplete tiles lead to another root.
    #[error("the incomplete tiles lead to another root than that of the tree")]
    WrongRoot,
    /// A tile is not the one that the tile above it stands for.
    #[error("{path} is not the tile that the one above it vouches for")]
    WrongTile {
        /// Where it came from.
        path: TilePath,
    },
}

/// Tiles that the root of a tree vouches for; made by [`TilePlan::authenticate`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticTiles {
    tree: TreeRoot,
    tiles: HashMap<TileId, Arc<TileNodes>>,
}

impl TilePlan {
    /// Plans to read these nodes of a tree whose size and root the caller believes.
    ///
    /// The leaves are the nodes of height 0; those that a proof needs are
    /// [`ProofPlan::nodes`].
    pub fn new(tree: TreeRoot, nodes: &[NodeId]) -> Result<Self, TileReadError> {
        let root = ProofPlan::root(tree.size);
        let edge = root.tiles();
        let mut inner = BTreeSet::new();
        for node in nodes {
            if !has(tree.size, *node) {
                return Err(TileReadError::NodeBeyondTree { node: *node });
            }
            let mut tile = node.tile();
            while !edge.contains(&tile) && inner.insert(tile) {
                tile = root_of(tile).tile();
            }
        }
        let inner = inner.into_iter().rev().collect();
        Ok(Self { tree, root, edge, inner })
    }

    /// What to fetch: each tile with all hashes that it has in the tree.
    ///
    /// A log may have dropped an incomplete tile once the complete one exists; the bytes of that
    /// do as well.
    pub fn paths(&self) -> Vec<TilePath> {
        self.tiles().map(|tile| self.path(tile)).collect()
    }

    /// Takes the bytes of each path from a source and checks every tile against the root.
    pub fn authenticate<B: AsRef<[u8]>>(
        &self,
        mut source: impl FnMut(TilePath) -> Option<B>,
    ) -> Result<AuthenticTiles, TileReadError> {
        let mut tiles = HashMap::new();
        for tile in self.tiles() {
            let path = self.path(tile);
            let bytes = source(path).ok_or(TileReadError::Missing { path })?;
            tiles.insert(tile, Arc::new(read_tile(bytes.as_ref(), path)?));
        }
        if self.root.read(&tiles).as_deref() != Some(&[self.tree.hash]) {
            return Err(TileReadError::WrongRoot);
        }
        for tile in &self.inner {
            let own = tiles.get(tile).and_then(|nodes| nodes.root());
            if own.is_none() || own != tiles.node(root_of(*tile)) {
                return Err(TileReadError::WrongTile { path: self.path(*tile) });
            }
        }
        Ok(AuthenticTiles { tree: self.tree, tiles })
    }

    fn tiles(&self) -> impl Iterator<Item = TileId> {
        self.edge.iter().chain(&self.inner).copied()
    }

    fn path(&self, tile: TileId) -> TilePath {
        TilePath::in_tree(tile, self.tree.size).expect("a plan has tiles of its tree alone")
    }
}

impl AuthenticTiles {
    /// The tree that they are of.
    pub fn tree(&self) -> TreeRoot {
        self.tree
    }

    /// The hashes of a tile, as many as the tree has; `None` if it was not read.
    pub fn hashes(&self, tile: TileId) -> Option<&[Hash]> {
        self.tiles.get(&tile).map(|nodes| nodes.hashes())
    }
}

impl Nodes for AuthenticTiles {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.tiles.node(id)
    }
}

/// Whether the node has all its leaves in a tree of this size.
fn has(size: TreeSize, node: NodeId) -> bool {
    let nodes = size.get().checked_shr(node.height.into()).unwrap_or(0);
    node.index < nodes
}

/// The node over a complete tile: a hash of the tile above it.
fn root_of(tile: TileId) -> NodeId {
    NodeId { height: (tile.level + 1) * super::tile::TILE_HEIGHT, index: tile.index }
}

/// Takes as many hashes as belong to the path; a complete tile in place of an incomplete one has
/// more.
fn read_tile(bytes: &[u8], path: TilePath) -> Result<TileNodes, TileReadError> {
    let nodes = TileNodes::from_bytes(bytes).ok_or(TileReadError::NotATile { path })?;
    let (got, width) = (nodes.width(), usize::from(path.width()));
    match got {
        got if got == width => Ok(nodes),
        got if got < width => Err(TileReadError::TooShort { path, got }),
        _ => {
            TileNodes::from_hashes(&nodes.hashes()[..width]).ok_or(TileReadError::NotATile { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Edge;
    use super::super::verify_inclusion;
    use super::*;

    /// Each size has several nodes of its root in one tile.
    const SIZES: [u64; 8] = [300, 511, 768, 1000, 1792, 255, 256, 512];

    fn leaf(n: u64) -> Hash {
        Hash::of_leaf(format!("leaf {n}").as_bytes())
    }

    /// A log that serves all its tiles, the incomplete ones included.
    struct Log {
        tree: TreeRoot,
        tiles: HashMap<TileId, Vec<u8>>,
    }

    impl Log {
        fn of(leaves: u64) -> Self {
            let mut edge = Edge::empty();
            let mut completed = Vec::new();
            (0..leaves).for_each(|n| edge.push(leaf(n), &mut completed));
            let tiles = completed.into_iter().map(|(id, nodes)| (id, nodes.to_bytes()));
            let mut log = Self { tree: edge.root(), tiles: tiles.collect() };
            for (tile, width) in TileId::incomplete(log.tree.size) {
                let height = tile.level * super::super::tile::TILE_HEIGHT;
                let first = tile.index << 8;
                let hashes = (first..first + width as u64)
                    .map(|index| edge.node(NodeId { height, index }).unwrap());
                let bytes = hashes.flat_map(|hash| *hash.as_bytes()).collect();
                log.tiles.insert(tile, bytes);
            }
            log
        }

        fn read(&self, nodes: &[NodeId]) -> Result<AuthenticTiles, TileReadError> {
            TilePlan::new(self.tree, nodes)?.authenticate(|path| self.tiles.get(&path.tile()))
        }
    }

    fn at(index: u64) -> NodeId {
        NodeId { height: 0, index }
    }

    #[test]
    fn a_forged_first_tile_is_refused_at_every_size() {
        for size in SIZES {
            let mut log = Log::of(size);
            assert_eq!(log.read(&[at(0)]).unwrap().node(at(0)), Some(leaf(0)), "size {size}");

            log.tiles.get_mut(&TileId { level: 0, index: 0 }).unwrap()[0] ^= 1;

            let path = "tile/0/000".parse().unwrap();
            let expected = match size {
                255 => TileReadError::WrongRoot,
                _ => TileReadError::WrongTile { path },
            };
            assert_eq!(log.read(&[at(0)]), Err(expected), "size {size}");
        }
    }

    #[test]
    fn no_bit_of_any_tile_can_be_forged() {
        for size in SIZES.into_iter().chain([1, 2, 257, 1793]) {
            let log = Log::of(size);
            let everything: Vec<NodeId> = (0..size).map(at).collect();
            let plan = TilePlan::new(log.tree, &everything).unwrap();
            assert_eq!(plan.paths().len(), log.tiles.len());
            for (forged, bytes) in &log.tiles {
                for place in [0, 31, bytes.len() / 2, bytes.len() - 1] {
                    let mut bytes = bytes.clone();
                    bytes[place] ^= 0x80;
                    let read = plan.authenticate(|path| {
                        let honest = &log.tiles[&path.tile()];
                        Some(if path.tile() == *forged { &bytes } else { honest })
                    });
                    assert!(read.is_err(), "size {size}, {forged:?}, byte {place}");
                }
            }
        }
    }

    #[test]
    fn tiles_of_the_right_hashes_at_the_wrong_place_are_refused() {
        let log = Log::of(1000);
        let plan = TilePlan::new(log.tree, &[at(0), at(300)]).unwrap();
        let swapped = plan.authenticate(|path| {
            let index = if path.tile().level == 0 { path.tile().index ^ 1 } else { 0 };
            log.tiles.get(&TileId { index, ..path.tile() }).or(log.tiles.get(&path.tile()))
        });

        assert!(swapped.is_err());
    }

    #[test]
    fn every_node_of_the_tree_is_read_as_it_is() {
        for size in [1, 255, 256, 300, 70_000] {
            let log = Log::of(size);
            let nodes: Vec<NodeId> = (0..17)
                .map(|height| NodeId { height, index: (size >> height).saturating_sub(1) })
                .filter(|node| has(log.tree.size, *node))
                .chain([at(0), at(size / 2)])
                .collect();
            let tiles = log.read(&nodes).unwrap();
            for node in nodes {
                let hash = tiles.node(node).expect("what was asked for was read");
                if node.height == 0 {
                    assert_eq!(hash, leaf(node.index));
                }
            }
            assert_eq!(tiles.tree(), log.tree);
        }
    }

    #[test]
    fn a_proof_is_made_from_the_tiles_of_a_stranger() {
        let log = Log::of(70_000);
        for index in [0, 255, 256, 65_535, 65_536, 69_999] {
            let plan = ProofPlan::inclusion(index, log.tree.size).unwrap();
            let tiles = log.read(plan.nodes()).unwrap();

            let proof = plan.read(&tiles).unwrap();

            assert_eq!(verify_inclusion(index, &leaf(index), &log.tree, &proof), Ok(()));
        }
    }

    #[test]
    fn only_tiles_of_the_tree_are_asked_for() {
        let paths = |size, nodes: &[u64]| -> Vec<String> {
            let tree = TreeRoot { size: TreeSize::new(size).unwrap(), hash: Hash::EMPTY_TREE };
            let nodes: Vec<NodeId> = nodes.iter().copied().map(at).collect();
            let paths = TilePlan::new(tree, &nodes).unwrap().paths();
            paths.iter().map(ToString::to_string).collect()
        };

        assert_eq!(paths(0, &[]), [""; 0]);
        assert_eq!(paths(300, &[]), ["tile/0/001.p/44", "tile/1/000.p/1"]);
        assert_eq!(paths(300, &[0, 1]), ["tile/0/001.p/44", "tile/1/000.p/1", "tile/0/000"]);
        assert_eq!(
            paths(70_000, &[0, 69_999]),
            ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/1/000", "tile/0/000"]
        );
        assert_eq!(paths(65_536, &[9]), ["tile/2/000.p/1", "tile/1/000", "tile/0/000"]);
    }

    #[test]
    fn a_complete_tile_does_for_an_incomplete_one() {
        let (small, large) = (Log::of(300), Log::of(600));
        let plan = TilePlan::new(small.tree, &[at(299)]).unwrap();

        let tiles = plan.authenticate(|path| large.tiles.get(&path.tile())).unwrap();

        assert_eq!(tiles.hashes(TileId { level: 0, index: 1 }).unwrap().len(), 44);
        assert_eq!(tiles.node(at(299)), Some(leaf(299)));
        assert_eq!(tiles.node(at(300)), None);
    }

    #[test]
    fn each_reason_has_its_error() {
        let log = Log::of(300);
        let plan = TilePlan::new(log.tree, &[at(0)]).unwrap();
        let path: TilePath = "tile/0/001.p/44".parse().unwrap();
        let with = |bytes: Option<Vec<u8>>| {
            let source = |asked: TilePath| {
                if asked == path { bytes.clone() } else { log.tiles.get(&asked.tile()).cloned() }
            };
            plan.authenticate(source).map(|tiles| tiles.tree()).unwrap_err()
        };
        let good = log.tiles[&path.tile()].clone();

        assert_eq!(with(None), TileReadError::Missing { path });
        assert_eq!(with(Some(Vec::new())), TileReadError::NotATile { path });
        assert_eq!(with(Some(good[1..].to_vec())), TileReadError::NotATile { path });
        assert_eq!(with(Some(vec![0; 257 * 32])), TileReadError::NotATile { path });
        let short = with(Some(good[32..].to_vec()));
        assert_eq!(short, TileReadError::TooShort { path, got: 43 });
        assert_eq!(with(Some(vec![0; 44 * 32])), TileReadError::WrongRoot);
        for node in [at(300), NodeId { height: 9, index: 0 }, NodeId { height: 64, index: 0 }] {
            let refused = TilePlan::new(log.tree, &[node]);
            assert_eq!(refused, Err(TileReadError::NodeBeyondTree { node }));
        }
        let other = TreeRoot { hash: leaf(0), ..TreeRoot::EMPTY };
        let nothing = |_| None::<Vec<u8>>;
        let refused = TilePlan::new(other, &[]).unwrap().authenticate(nothing);
        assert_eq!(refused, Err(TileReadError::WrongRoot));
        assert!(TilePlan::new(TreeRoot::EMPTY, &[]).unwrap().authenticate(nothing).is_ok());
    }
}
