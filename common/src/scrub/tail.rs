//! Stored heads, and the end of the log with the state that stands for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::heads::{Authority, HeadVerdict, claimed_size, judge_head};
use super::judge::judge_state;
use super::scrubber::{Reference, Scrubber};
use super::{Damage, Outcome, Place};
use crate::head::HeadJson;
use crate::leaf::Leaf;
use crate::merkle::{Edge, Hash, ProofPlan, TileId, TileNodes, TreeRoot, TreeSize};
use crate::store::{HeadTable, RawEntry, RawHead, StoreError};

/// How many heads are read at once.
const HEADS: u32 = 256;

/// How many entries beyond the signed head are read at once.
const STEP: u64 = 256;

impl Scrubber {
    /// Looks at every stored head that is not beyond the verified tree.
    pub(super) fn check_heads<'a>(
        &'a mut self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for table in [HeadTable::Recent, HeadTable::Pinned] {
                let mut after = (i64::MIN, i64::MIN);
                loop {
                    let rows = self.store.raw_heads(table, after, HEADS).await?;
                    let Some(last) = rows.last() else { break };
                    after = (last.place, last.timestamp);
                    for row in rows {
                        self.rest(reference).await?;
                        self.check_head(table, &row, reference).await?;
                    }
                }
            }
            self.check_kept(reference).await
        })
    }

    async fn check_head(
        &mut self,
        table: HeadTable,
        row: &RawHead,
        reference: &Reference,
    ) -> Result<(), StoreError> {
        self.spend(row.json.as_ref().map_or(0, |json| json.len() as u64));
        let verdict = match claimed_size(row) {
            Some(size) if size > reference.edge.size() => return Ok(()),
            Some(size) => {
                let Some((tree, chain_head)) = self.own_tree(size, reference).await? else {
                    return Ok(());
                };
                judge_head(row, table, &reference.authority(), tree, chain_head)
            }
            None => HeadVerdict::Drop,
        };
        let place = Place::Head;
        let at = |size: u64| Damage { place, first: size, last: size };
        match verdict {
            HeadVerdict::Sound => Ok(()),
            HeadVerdict::Rewrite(right) => {
                self.store.mend_head(table, row, Some(&right)).await?;
                let outcome = Outcome::Repaired("written anew from what was signed".to_owned());
                self.note(at(right.tree.size.get()), "beside", outcome).await
            }
            HeadVerdict::Drop => {
                self.store.mend_head(table, row, None).await?;
                let detail = "dropped: nothing says what was signed, and newer heads cover it";
                let damage = at(row.size.cast_unsigned());
                self.note(damage, "signature", Outcome::Repaired(detail.to_owned())).await
            }
        }
    }

    /// The own root and chain head at a size; `None` where something below them is damaged.
    async fn own_tree(
        &mut self,
        size: TreeSize,
        reference: &Reference,
    ) -> Result<Option<(TreeRoot, Option<Hash>)>, StoreError> {
        if size == TreeSize::ZERO {
            return Ok(Some((TreeRoot::EMPTY, None)));
        }
        let hash = if size == reference.edge.size() {
            reference.edge.root().hash
        } else {
            let plan = ProofPlan::root(size);
            match self.store.nodes(plan.nodes(), &reference.edge).await {
                Ok(hashes) => plan.assemble(&hashes).first().copied().unwrap_or(Hash::EMPTY_TREE),
                Err(StoreError::CorruptTile { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let rows = self.store.raw_entries(size.get() - 1, size.get()).await?;
        let last = rows.first().and_then(sound_leaf);
        Ok(last.map(|leaf| (TreeRoot { size, hash }, Some(leaf.entry_hash()))))
    }

    /// Looks at the heads that a follower keeps until its own tree passes them.
    async fn check_kept(&mut self, reference: &Reference) -> Result<(), StoreError> {
        for row in self.store.kept_heads().await? {
            let json = serde_json::from_str::<HeadJson>(&row.head_json).ok();
            let is_signed = json.is_some_and(|json| {
                json.tree_size == row.tree_size
                    && json.timestamp == row.timestamp
                    && json.verify(&reference.operator, &reference.origin).is_ok()
            });
            if !is_signed {
                self.store.forget_head(row.tree_size, row.timestamp).await?;
                let size = row.tree_size.get();
                let damage = Damage { place: Place::Head, first: size, last: size };
                let detail = "dropped: its signature does not hold";
                self.note(damage, "signature", Outcome::Repaired(detail.to_owned())).await?;
            }
        }
        Ok(())
    }

    /// Looks at the entries beyond the verified tree, which only their chain vouches for yet, and
    /// holds the state against the end that they give.
    pub(super) fn check_end<'a>(
        &'a mut self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(end) = self.store.log_end().await? else { return Ok(()) };
            let Some((edge, last)) = self.follow(reference, end.newest_id).await? else {
                return Ok(());
            };
            let (tree, time) = (edge.root(), last.timestamp());
            let judged = judge_state(&end, tree, last.entry_hash(), time, self.is_leader);
            let Some((right, last_event_id)) = judged else { return Ok(()) };
            let is_mended = self.store.mend_state(&end.state, &right, last_event_id).await?;
            // A commit that came in between wrote the whole row anew.
            if !is_mended {
                return Ok(());
            }
            let damage = Damage { place: Place::LogState, first: 1, last: 1 };
            let detail = format!("computed anew from {} verified entries", tree.size);
            self.note(damage, "state", Outcome::Repaired(detail)).await
        })
    }

    /// Goes on from the verified tree to the newest entry; `None` where that can't be.
    async fn follow(
        &mut self,
        reference: &Reference,
        newest: u64,
    ) -> Result<Option<(Edge, Leaf)>, StoreError> {
        let size = reference.edge.size().get();
        let first = self.store.raw_entries(size.saturating_sub(1), size).await?;
        let Some(mut last) = first.first().and_then(sound_leaf) else { return Ok(None) };
        let mut edge = reference.edge.clone();
        let mut completed = Vec::new();
        while edge.size().get() < newest {
            let after = edge.size().get();
            let rows = self.store.raw_entries(after, newest.min(after + STEP)).await?;
            self.spend(rows.iter().map(|row| row.leaf.len() as u64).sum());
            let mut rows = rows.iter();
            for id in after + 1..=newest.min(after + STEP) {
                let leaf = rows.next().and_then(sound_leaf).filter(|leaf| {
                    leaf.id() == id && leaf.previous_hash() == Some(last.entry_hash())
                });
                let Some(leaf) = leaf else {
                    let damage = Damage { place: Place::Edge, first: id, last: id };
                    let detail = "no signed head that this node knows covers it yet";
                    self.note(damage, "chain", Outcome::Left(detail.to_owned())).await?;
                    return Ok(None);
                };
                edge.push(leaf.leaf_hash(), &mut completed);
                last = leaf;
            }
            self.check_completed(&mut completed).await?;
        }
        Ok((edge.size().get() == newest).then_some((edge, last)))
    }

    /// Looks at tiles that lie beyond the verified tree.
    async fn check_completed(
        &mut self,
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) -> Result<(), StoreError> {
        for (id, tile) in completed.drain(..) {
            let stored = self.store.tile_bytes(&[id]).await?.pop();
            if stored.is_some_and(|(_, bytes)| bytes == tile.to_bytes()) {
                continue;
            }
            self.store.mend_tiles(&[(id, tile)]).await?;
            let damage = Damage { place: Place::Tile(id.level), first: id.index, last: id.index };
            let detail = "made anew from the entries below it".to_owned();
            self.note(damage, "bytes", Outcome::Repaired(detail)).await?;
        }
        Ok(())
    }
}

impl Reference {
    pub(super) fn authority(&self) -> Authority {
        Authority { operator: self.operator.clone(), origin: self.origin.clone() }
    }
}

/// A row whose bytes are a leaf with the hash beside it.
pub(super) fn sound_leaf(row: &RawEntry) -> Option<Leaf> {
    let leaf = Leaf::parse(row.leaf.as_slice()).ok()?;
    let is_whole = leaf.id() == row.id && leaf.entry_hash().as_bytes()[..] == row.entry_hash[..];
    is_whole.then_some(leaf)
}
