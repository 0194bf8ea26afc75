//! Damaged rows, written anew from what was verified: one transaction each.
//!
//! A row that a commit may have changed meanwhile is only replaced while it still is the damaged
//! one.

use std::sync::Arc;

use super::Store;
use super::bulk::{Session as _, Sql, Value, json, rows, values};
use super::commit::{
    HeadRow, NewState, RUN_BITS, insert_entries, insert_heads, insert_pinned, insert_runs,
    insert_tiles, number,
};
use super::error::{CommitError, StoreError};
use super::pool::in_transaction;
use super::portable::{Cell, Rows as _, Table};
use super::raw::{HeadTable, RawHead, RawState};
use crate::leaf::Leaf;
use crate::merkle::{TileId, TileNodes, TreeSize};

/// A row of a view that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// The row that is there, if any.
    pub found: Option<Vec<Cell>>,
    /// The row that belongs there, if any.
    pub right: Option<Vec<Cell>>,
}

impl Store {
    /// Writes entries anew, with everything that stands beside their leaves.
    pub async fn mend_entries(&self, leaves: &[Leaf]) -> Result<(), StoreError> {
        const SQL: Sql = rows!(
            "DELETE FROM log_entries
             WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM",
            ")"
        );
        let ids: Vec<_> = leaves.iter().map(|leaf| [number(leaf.id())]).collect();
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            db.run(SQL, vec![json(&ids)]).await?;
            insert_entries(db, leaves).await?;
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Writes tiles anew.
    pub async fn mend_tiles(&self, tiles: &[(TileId, Arc<TileNodes>)]) -> Result<(), StoreError> {
        const SQL: Sql = Sql::same("DELETE FROM log_tiles WHERE level = $1 AND idx = $2");
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            for (id, _) in tiles {
                db.run(SQL, values![i64::from(id.level), number(id.index)]).await?;
            }
            insert_tiles(db, tiles).await?;
            Ok::<_, CommitError>(())
        });
        done?;
        self.0.tiles.extend(tiles.iter().cloned());
        Ok(())
    }

    /// Replaces a stored head, or drops it.
    pub async fn mend_head(
        &self,
        table: HeadTable,
        found: &RawHead,
        right: Option<&HeadRow>,
    ) -> Result<(), StoreError> {
        const RECENT: Sql = Sql::same("DELETE FROM log_heads WHERE second = $1 AND timestamp = $2");
        const PINNED: Sql =
            Sql::same("DELETE FROM log_pinned_heads WHERE tree_size = $1 AND timestamp = $2");
        let sql = match table {
            HeadTable::Recent => RECENT,
            HeadTable::Pinned => PINNED,
        };
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            db.run(sql, values![found.place, found.timestamp]).await?;
            match (right, table) {
                (None, _) => {}
                (Some(head), HeadTable::Recent) => {
                    insert_heads(db, std::slice::from_ref(head)).await?;
                }
                (Some(head), HeadTable::Pinned) => {
                    insert_pinned(db, &[head]).await?;
                }
            }
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Replaces the log's state; false if it is no longer the one that was found.
    pub async fn mend_state(
        &self,
        found: &RawState,
        right: &NewState,
        last_event_id: u64,
    ) -> Result<bool, StoreError> {
        const SQL: Sql = Sql::same(
            "UPDATE log_state
             SET tree_size = $1, root_hash = $2, chain_head = $3, head_timestamp = $4, epoch = $5,
                 last_event_id = $6
             WHERE id = 1 AND tree_size = $7 AND root_hash = $8
               AND chain_head IS NOT DISTINCT FROM $9 AND head_timestamp = $10 AND epoch = $11
               AND last_event_id = $12",
        );
        let changed = self.write(
            SQL,
            values![
                right.tree.size.to_sql(),
                &right.tree.hash.as_bytes()[..],
                Value::Bytes(right.chain_head.map(|hash| hash.as_bytes().to_vec())),
                right.timestamp.millis(),
                number(right.epoch),
                number(last_event_id),
                found.size,
                &found.root[..],
                Value::Bytes(found.chain_head.clone()),
                found.timestamp,
                found.epoch,
                found.last_event_id,
            ],
        );
        Ok(changed.await? == 1)
    }

    /// Makes one run of hash prefixes anew from the entries.
    pub async fn mend_run(&self, run: u64) -> Result<(), StoreError> {
        const RUN: Sql = Sql::same("DELETE FROM view_entry_hashes WHERE run = $1");
        let [from, to] = [run, run + 1].map(|run| TreeSize::ZERO.plus(run << RUN_BITS));
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            db.run(RUN, values![number(run)]).await?;
            insert_runs(db, from, to).await?;
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Replaces rows of a view that are still what was found.
    pub async fn mend_rows(&self, table: &Table, changes: &[RowChange]) -> Result<(), StoreError> {
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            for change in changes {
                if let Some(found) = &change.found {
                    db.put(table.delete_exactly(), found).await?;
                }
                if let Some(right) = &change.right {
                    db.put(table.insert_if_absent(), right).await?;
                }
            }
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Closes the open incidents of this kind and subject, and says what ended the trouble.
    pub async fn settle_incidents(
        &self,
        kind: &str,
        subject: &str,
        detail: &str,
        now: crate::clock::Timestamp,
    ) -> Result<u64, StoreError> {
        const SQL: Sql = Sql::same(
            "UPDATE local_incidents SET acked_at = $4, detail = $3
             WHERE kind = $1 AND subject = $2 AND acked_at IS NULL",
        );
        self.write(SQL, values![kind, subject, detail, now.millis()]).await
    }
}
