//! Tiles, from the top, and the entries below them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::judge::{EntryFault, judge_entries, judge_tile, ranges, tile_of};
use super::scrubber::{Reference, Scrubber};
use super::{Damage, Outcome, Place};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TileId, TileNodes};
use crate::store::StoreError;

const WIDTH: u64 = TileId::WIDTH as u64;

impl Scrubber {
    /// Looks at 256 entries, or those after the last complete tile, and the tiles above them.
    pub(super) fn check_range<'a>(
        &'a mut self,
        index: u64,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let id = TileId { level: 0, index };
            let (tile, place) = match reference.edge.tile(id) {
                Some(tile) => (Arc::new(tile.clone()), Place::Edge),
                None => match self.sound_tile(id, reference).await? {
                    Some(tile) => (tile, Place::Entry),
                    None => return Ok(()),
                },
            };
            let after = index * WIDTH;
            let faults = self.entry_faults(after, tile.hashes()).await?;
            let ids = |is_wanted: fn(&EntryFault) -> bool| {
                let wanted = faults.iter().filter(move |(_, fault)| is_wanted(fault));
                ranges(wanted.map(|(id, _)| *id))
            };
            for (first, last) in ids(|fault| matches!(fault, EntryFault::Beside(_))) {
                let within = faults.iter().filter(|(id, _)| (first..=last).contains(id));
                let leaves: Vec<Leaf> = within
                    .filter_map(|(_, fault)| match fault {
                        EntryFault::Beside(leaf) => Some(leaf.clone()),
                        EntryFault::Bytes => None,
                    })
                    .collect();
                self.store.mend_entries(&leaves).await?;
                let outcome = Outcome::Repaired("written anew from its own bytes".to_owned());
                self.note(Damage { place, first, last }, "beside", outcome).await?;
            }
            for (first, last) in ids(|fault| matches!(fault, EntryFault::Bytes)) {
                let hashes = &tile.hashes()[offset(first - 1 - after)..offset(last - after)];
                let outcome = self.fetch_entries(first - 1, hashes).await?;
                self.note(Damage { place, first, last }, "bytes", outcome).await?;
            }
            Ok(())
        })
    }

    async fn entry_faults(
        &mut self,
        after: u64,
        hashes: &[Hash],
    ) -> Result<Vec<(u64, EntryFault)>, StoreError> {
        let rows = self.store.raw_entries(after, after + hashes.len() as u64).await?;
        self.spend(rows.iter().map(|row| row.leaf.len() as u64).sum());
        Ok(judge_entries(after, hashes, &rows))
    }

    /// Fetches the entries with these leaf hashes, and reads them again after they were written.
    async fn fetch_entries(&mut self, after: u64, hashes: &[Hash]) -> Result<Outcome, StoreError> {
        let Some((leaves, url)) = self.peers.entries(after, hashes).await else {
            return Ok(Outcome::Left(self.nobody()));
        };
        self.store.mend_entries(&leaves).await?;
        Ok(if self.entry_faults(after, hashes).await?.is_empty() {
            Outcome::Repaired(format!("fetched from {url}: the bytes under the signed root"))
        } else {
            Outcome::Left("the disk does not keep what is written to it".to_owned())
        })
    }

    fn nobody(&self) -> String {
        if self.peers.is_empty() {
            "no other node is configured that could have it".to_owned()
        } else {
            "no node that was asked sent what the signed root covers".to_owned()
        }
    }

    /// The tile as the signed tree has it; `None` if it is damaged and can't be made anew.
    pub(super) async fn sound_tile(
        &mut self,
        id: TileId,
        reference: &Reference,
    ) -> Result<Option<Arc<TileNodes>>, StoreError> {
        let mut path = vec![id];
        while let Some(id) = path.last().copied()
            && reference.edge.node(id.root()).is_none()
        {
            match id.above() {
                Some(above) => path.push(above),
                None => return Ok(None),
            }
        }
        let mut over: Option<Arc<TileNodes>> = None;
        for id in path.into_iter().rev() {
            let node = id.root();
            let root = over.and_then(|tile| tile.node(node)).or_else(|| reference.edge.node(node));
            let Some(root) = root else { return Ok(None) };
            let Some(tile) = self.tile_with(id, root).await? else { return Ok(None) };
            over = Some(tile);
        }
        Ok(over)
    }

    async fn tile_with(
        &mut self,
        id: TileId,
        root: Hash,
    ) -> Result<Option<Arc<TileNodes>>, StoreError> {
        if let Some((known, tile)) = self.above.get(&id.level)
            && *known == id
            && tile.root() == Some(root)
        {
            return Ok(Some(tile.clone()));
        }
        let stored = self.store.tile_bytes(&[id]).await?.pop();
        self.spend(stored.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64));
        let sound = stored.as_ref().and_then(|(_, bytes)| judge_tile(bytes, root));
        let tile = match sound {
            Some(tile) => Arc::new(tile),
            None => match self.mend_tile(id, root, stored.is_none()).await? {
                Some(tile) => tile,
                None => return Ok(None),
            },
        };
        if id.level > 0 {
            self.above.insert(id.level, (id, tile.clone()));
        }
        Ok(Some(tile))
    }

    /// Makes a tile anew from what lies below it, or else from another node.
    async fn mend_tile(
        &mut self,
        id: TileId,
        root: Hash,
        is_missing: bool,
    ) -> Result<Option<Arc<TileNodes>>, StoreError> {
        let damage = Damage { place: Place::Tile(id.level), first: id.index, last: id.index };
        let reason = if is_missing { "missing" } else { "bytes" };
        let below = tile_of(&self.hashes_below(id).await?, root);
        let made = if let Some(tile) = below {
            Some((tile, "made anew from what lies below it".to_owned()))
        } else {
            let fetched = self.peers.tile(id, root).await;
            fetched
                .map(|(tile, url)| (tile, format!("fetched from {url}: it has the root above it")))
        };
        let Some((tile, detail)) = made else {
            let outcome = Outcome::Left(self.nobody());
            self.note(damage, reason, outcome).await?;
            return Ok(None);
        };
        let tile = Arc::new(tile);
        self.store.mend_tiles(&[(id, tile.clone())]).await?;
        self.note(damage, reason, Outcome::Repaired(detail)).await?;
        Ok(Some(tile))
    }

    /// The hashes that a tile should hold, as what lies below it says.
    async fn hashes_below(&mut self, id: TileId) -> Result<Vec<Hash>, StoreError> {
        let first = id.index * WIDTH;
        let Some(level) = id.level.checked_sub(1) else {
            let rows = self.store.raw_entries(first, first + WIDTH).await?;
            self.spend(rows.iter().map(|row| row.leaf.len() as u64).sum());
            return Ok(rows.iter().map(|row| Hash::of_leaf(&row.leaf)).collect());
        };
        let ids: Vec<TileId> =
            (first..first + WIDTH).map(|index| TileId { level, index }).collect();
        let mut tiles = self.store.tile_bytes(&ids).await?;
        self.spend(tiles.len() as u64 * WIDTH * 32);
        tiles.sort_unstable_by_key(|(id, _)| *id);
        let root = |bytes: &Vec<u8>| TileNodes::from_bytes(bytes)?.root();
        Ok(tiles.iter().filter_map(|(_, bytes)| root(bytes)).collect())
    }
}

/// A place among at most 256.
fn offset(of: u64) -> usize {
    usize::try_from(of).unwrap_or(usize::MAX)
}
