//! Tiles of the Merkle tree: the cache before the table, and the right edge after a start.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::bulk::{Session as _, Sql, json, rows};
use super::error::StoreError;
use super::pool::on_pool;
use super::{Store, read};
use crate::merkle::{Edge, Hash, NodeId, TileId, TileNodes, TreeSize};

/// How many tiles one half of the cache holds: two halves of tiles of 16 KiB, with their inner
/// nodes, are 32 MiB.
const HALF: usize = 1024;

/// The tiles that were read or written last.
///
/// Two generations stand for an order of use: what is asked for moves to the young one, and when
/// that is full it becomes the old one, whose tiles are forgotten.
#[derive(Debug, Default)]
pub(super) struct TileCache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<TileId, Arc<TileNodes>>,
    old: HashMap<TileId, Arc<TileNodes>>,
}

impl TileCache {
    fn find(&self, id: TileId) -> Option<Arc<TileNodes>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tile) = cache.young.get(&id) {
            return Some(tile.clone());
        }
        let tile = cache.old.remove(&id)?;
        cache.put(id, tile.clone());
        Some(tile)
    }

    fn forget(&self, id: TileId) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.young.remove(&id);
        cache.old.remove(&id);
    }

    pub(super) fn extend(&self, tiles: impl IntoIterator<Item = (TileId, Arc<TileNodes>)>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, tile) in tiles {
            cache.put(id, tile);
        }
    }
}

impl Generations {
    fn put(&mut self, id: TileId, tile: Arc<TileNodes>) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, tile);
    }
}

impl Store {
    /// Complete tiles, in the order asked for; what the cache lacks is one SELECT.
    ///
    /// Each is held against the tile above it, and so on up to the right edge: a tile that the tree
    /// of the edge does not have is damaged, and never handed out.
    pub async fn tiles(
        &self,
        ids: &[TileId],
        edge: &Edge,
    ) -> Result<Vec<Arc<TileNodes>>, StoreError> {
        let wanted = with_tiles_above(ids, edge);
        let mut found: HashMap<TileId, Arc<TileNodes>> =
            wanted.iter().filter_map(|id| Some((*id, self.0.tiles.find(*id)?))).collect();
        let missing: Vec<TileId> =
            wanted.iter().copied().filter(|id| !found.contains_key(id)).collect();
        let fresh =
            if missing.is_empty() { Vec::new() } else { self.stored_tiles(&missing).await? };
        found.extend(fresh.iter().cloned());
        if let Some(id) = unproven(&wanted, &found, edge) {
            self.0.tiles.forget(id);
            return Err(self.0.suspects.noted(damaged(id)));
        }
        self.0.tiles.extend(fresh);
        let tile = |id: &TileId| found.get(id).cloned().ok_or_else(|| damaged(*id));
        ids.iter().map(tile).collect()
    }

    /// Those of the tiles that are stored, as they lie there: nothing is said about their hashes.
    pub async fn stored_tiles(
        &self,
        ids: &[TileId],
    ) -> Result<Vec<(TileId, Arc<TileNodes>)>, StoreError> {
        let tile = |(id, bytes): (TileId, Vec<u8>)| match complete(&bytes) {
            Some(tile) => Ok((id, Arc::new(tile))),
            None => Err(self.0.suspects.noted(damaged(id))),
        };
        self.tile_bytes(ids).await?.into_iter().map(tile).collect()
    }

    /// The hashes of tree nodes, from the right edge if it has them, else from the tiles.
    ///
    /// The edge must be that of a tree which holds all the nodes, at most as large as the stored
    /// one.
    pub async fn nodes(&self, nodes: &[NodeId], edge: &Edge) -> Result<Vec<Hash>, StoreError> {
        let within = nodes.iter().map(|node| edge.node(*node)).collect::<Vec<_>>();
        let outside = nodes.iter().zip(&within).filter(|(_, hash)| hash.is_none());
        let ids: Vec<TileId> = outside.map(|(node, _)| node.tile()).collect();
        let mut tiles = self.tiles(&ids, edge).await?.into_iter();
        let hashes = nodes.iter().zip(within).map(|(node, hash)| match hash {
            Some(hash) => Ok(hash),
            None => tiles.next().and_then(|tile| tile.node(*node)).ok_or(damaged(node.tile())),
        });
        hashes.collect()
    }

    /// Recomputes the right edge of the tree of this size from the entries after its last
    /// complete tile and from the roots of complete tiles: at most 255 hashes for each level.
    ///
    /// The caller compares its root with the one that is known.
    pub async fn load_edge(&self, size: TreeSize) -> Result<Edge, StoreError> {
        let mut levels: Vec<Vec<Hash>> = Vec::new();
        for (id, width) in TileId::incomplete(size) {
            levels.resize(usize::from(id.level), Vec::new());
            let first = id.index * TileId::WIDTH as u64;
            levels.push(match id.level.checked_sub(1) {
                None => self.leaf_hashes(first, first + width as u64).await?,
                Some(level) => self.tile_roots(level, first, first + width as u64).await?,
            });
        }
        Edge::from_partial_tiles(size, levels).ok_or(StoreError::Malformed { table: "log_tiles" })
    }

    /// The leaf hashes of the entries `after + 1 ..= upto`.
    async fn leaf_hashes(&self, after: u64, upto: u64) -> Result<Vec<Hash>, StoreError> {
        let leaves = self.leaves(after, upto, u64::MAX).await?;
        if leaves.len() as u64 != upto - after {
            return Err(StoreError::Corrupt { id: after + leaves.len() as u64 + 1 });
        }
        Ok(leaves.iter().map(|leaf| Hash::of_leaf(leaf)).collect())
    }

    /// The roots of the complete tiles `from..to` of a level.
    async fn tile_roots(&self, level: u8, from: u64, to: u64) -> Result<Vec<Hash>, StoreError> {
        let ids: Vec<_> = (from..to).map(|index| TileId { level, index }).collect();
        let stored: HashMap<TileId, Arc<TileNodes>> =
            self.stored_tiles(&ids).await?.into_iter().collect();
        let root = |id: &TileId| stored.get(id).and_then(|tile| tile.root()).ok_or(damaged(*id));
        ids.iter().map(root).collect()
    }

    /// The bytes of those of the tiles that are stored.
    pub async fn tile_bytes(&self, ids: &[TileId]) -> Result<Vec<(TileId, Vec<u8>)>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT tile.level, tile.idx, tile.hashes FROM",
            "AS asked CROSS JOIN log_tiles AS tile
             WHERE tile.level = CAST(asked.value->>0 AS BIGINT)
               AND tile.idx = CAST(asked.value->>1 AS BIGINT)"
        );
        let asked: Vec<_> = ids.iter().map(|id| (id.level, id.index)).collect();
        let asked = read::text(json(&asked));
        let stored: Vec<(i64, i64, Vec<u8>)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        let tile = |(level, index, hashes): (i64, i64, Vec<u8>)| {
            let id = u8::try_from(level).ok().zip(u64::try_from(index).ok());
            let (level, index) = id.ok_or(StoreError::Malformed { table: "log_tiles" })?;
            Ok((TileId { level, index }, hashes))
        };
        stored.into_iter().map(tile).collect()
    }
}

/// The tiles with those above them, up to the ones whose roots the edge holds.
fn with_tiles_above(ids: &[TileId], edge: &Edge) -> BTreeSet<TileId> {
    let mut wanted = BTreeSet::new();
    for id in ids {
        let mut next = Some(*id);
        while let Some(id) = next.filter(|id| wanted.insert(*id)) {
            next = if edge.node(id.root()).is_some() { None } else { id.above() };
        }
    }
    wanted
}

/// The first tile, from the top, that is not what the edge or the tile above it says. One that is
/// missing is not.
fn unproven(
    wanted: &BTreeSet<TileId>,
    found: &HashMap<TileId, Arc<TileNodes>>,
    edge: &Edge,
) -> Option<TileId> {
    let is_proven = |id: &TileId| {
        let above = || found.get(&id.above()?)?.node(id.root());
        let expected = edge.node(id.root()).or_else(above);
        expected.is_some() && found.get(id).and_then(|tile| tile.root()) == expected
    };
    wanted.iter().rev().copied().find(|id| !is_proven(id))
}

/// A stored tile: complete ones only are stored.
fn complete(bytes: &[u8]) -> Option<TileNodes> {
    TileNodes::from_bytes(bytes).filter(|tile| tile.width() == TileId::WIDTH)
}

fn damaged(id: TileId) -> StoreError {
    StoreError::CorruptTile { level: id.level, index: id.index }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(index: u64) -> (TileId, Arc<TileNodes>) {
        (TileId { level: 0, index }, Arc::default())
    }

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_asked_for() {
        let cache = TileCache::default();
        cache.extend([tile(0)]);

        for index in 1..10 * HALF as u64 {
            cache.extend([tile(index)]);
            if index % 100 == 0 {
                assert!(cache.find(TileId { level: 0, index: 0 }).is_some(), "{index}");
            }
        }

        let held = cache.0.lock().unwrap();
        assert!(held.young.len() <= HALF && held.old.len() <= HALF);
        assert!(!held.old.contains_key(&tile(1).0) && !held.young.contains_key(&tile(1).0));
    }
}
