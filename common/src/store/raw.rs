//! Rows as they lie there, for whoever looks for damage: nothing is parsed, nothing is believed.

use super::Store;
use super::bulk::{Session as _, Sql};
use super::commit::{RUN_BITS, number};
use super::error::StoreError;
use super::pool::on_pool;

/// A row of `log_entries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place.
    pub id: u64,
    /// What should have been hashed.
    pub leaf: Vec<u8>,
    /// The hash beside it.
    pub entry_hash: Vec<u8>,
    /// The type by which it is listed.
    pub event_type: Vec<u8>,
    /// The time by which it is found.
    pub timestamp: i64,
}

/// The two tables of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadTable {
    /// One for each second, thinned with time.
    Recent,
    /// Those that something names.
    Pinned,
}

/// A row of either table of heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHead {
    /// Where it lies: a second, or a size.
    pub place: i64,
    /// Its size.
    pub size: i64,
    /// Its root.
    pub root: Vec<u8>,
    /// Its chain head.
    pub chain_head: Option<Vec<u8>>,
    /// Its epoch.
    pub epoch: i64,
    /// Its time.
    pub timestamp: i64,
    /// The signed head, as text.
    pub json: Option<Vec<u8>>,
}

/// The row of `log_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawState {
    /// The size.
    pub size: i64,
    /// The root.
    pub root: Vec<u8>,
    /// The chain head.
    pub chain_head: Option<Vec<u8>>,
    /// The newest head's time.
    pub timestamp: i64,
    /// The epoch.
    pub epoch: i64,
    /// The newest event.
    pub last_event_id: i64,
}

/// The log's end at one moment: what the state says, and what the tables say that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The state.
    pub state: RawState,
    /// The largest id of an entry.
    pub newest_id: u64,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub newest_event_id: u64,
    /// The size and time of the newest head.
    pub newest_head: Option<(i64, i64)>,
}

type EntryColumns = (i64, Vec<u8>, Vec<u8>, Vec<u8>, i64);
type HeadColumns = (i64, i64, Vec<u8>, Option<Vec<u8>>, i64, i64, Option<Vec<u8>>);
type EndColumns =
    (i64, Vec<u8>, Option<Vec<u8>>, i64, i64, i64, i64, i64, Option<i64>, Option<i64>);

impl Store {
    /// The rows of the entries `after + 1 ..= upto`; of some there may be none.
    pub async fn raw_entries(&self, after: u64, upto: u64) -> Result<Vec<RawEntry>, StoreError> {
        // Text that is none any more is read as well.
        const SQL: Sql = Sql {
            sqlite: "SELECT id, leaf, entry_hash, CAST(event_type AS BLOB), timestamp
                     FROM log_entries WHERE id > $1 AND id <= $2 ORDER BY id",
            postgres: "SELECT id, leaf, entry_hash, convert_to(event_type, 'UTF8'), timestamp
                       FROM log_entries WHERE id > $1 AND id <= $2 ORDER BY id",
        };
        let rows: Vec<EntryColumns> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(number(after)).bind(number(upto)).fetch_all(db)
        })?;
        let entry = |(id, leaf, entry_hash, event_type, timestamp): EntryColumns| RawEntry {
            id: id.cast_unsigned(),
            leaf,
            entry_hash,
            event_type,
            timestamp,
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Up to `limit` rows of a table of heads, after the given place and time.
    pub async fn raw_heads(
        &self,
        table: HeadTable,
        after: (i64, i64),
        limit: u32,
    ) -> Result<Vec<RawHead>, StoreError> {
        const RECENT: Sql = Sql {
            sqlite: "SELECT second, tree_size, root_hash, chain_head, epoch, timestamp,
                            CAST(head_json AS BLOB)
                     FROM log_heads WHERE (second, timestamp) > ($1, $2)
                     ORDER BY second, timestamp LIMIT $3",
            postgres: "SELECT second, tree_size, root_hash, chain_head, epoch, timestamp,
                              convert_to(head_json, 'UTF8')
                       FROM log_heads WHERE (second, timestamp) > ($1, $2)
                       ORDER BY second, timestamp LIMIT $3",
        };
        const PINNED: Sql = Sql {
            sqlite: "SELECT tree_size, tree_size, root_hash, chain_head, epoch, timestamp,
                            CAST(head_json AS BLOB)
                     FROM log_pinned_heads WHERE (tree_size, timestamp) > ($1, $2)
                     ORDER BY tree_size, timestamp LIMIT $3",
            postgres: "SELECT tree_size, tree_size, root_hash, chain_head, epoch, timestamp,
                              convert_to(head_json, 'UTF8')
                       FROM log_pinned_heads WHERE (tree_size, timestamp) > ($1, $2)
                       ORDER BY tree_size, timestamp LIMIT $3",
        };
        let sql = match table {
            HeadTable::Recent => RECENT,
            HeadTable::Pinned => PINNED,
        };
        let (place, time) = after;
        let rows: Vec<HeadColumns> = on_pool!(&self.0.readers, db => sqlx::query_as(db.text(sql))
            .bind(place)
            .bind(time)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        let head = |row: HeadColumns| {
            let (place, size, root, chain_head, epoch, timestamp, json) = row;
            RawHead { place, size, root, chain_head, epoch, timestamp, json }
        };
        Ok(rows.into_iter().map(head).collect())
    }

    /// The log's end, all of one moment; `None` before the log was initialised.
    pub async fn log_end(&self) -> Result<Option<LogEnd>, StoreError> {
        const SQL: &str = "SELECT tree_size, root_hash, chain_head, head_timestamp, epoch,
                last_event_id,
                COALESCE((SELECT MAX(id) FROM log_entries), 0),
                COALESCE((SELECT id FROM log_entries WHERE event_type NOT IN ('witness_proof', 'anchor')
                          ORDER BY id DESC LIMIT 1), 0),
                (SELECT tree_size FROM log_heads ORDER BY second DESC LIMIT 1),
                (SELECT timestamp FROM log_heads ORDER BY second DESC LIMIT 1)
            FROM log_state WHERE id = 1";
        // Read where commits are written: a reader's snapshot may be older than the last commit.
        let row: Option<EndColumns> = on_pool!(&self.0.writers, db => {
            sqlx::query_as(SQL).fetch_optional(db)
        })?;
        Ok(row.map(|row| {
            let (size, root, chain_head, timestamp, epoch, last_event_id, id, event, head, time) =
                row;
            LogEnd {
                state: RawState { size, root, chain_head, timestamp, epoch, last_event_id },
                newest_id: id.cast_unsigned(),
                newest_event_id: event.cast_unsigned(),
                newest_head: head.zip(time),
            }
        }))
    }

    /// Which of the runs of hash prefixes `from..to` are not what the entries say.
    pub async fn damaged_runs(&self, from: u64, to: u64) -> Result<Vec<u64>, StoreError> {
        const SQL: &str = "SELECT DISTINCT run FROM (
                SELECT * FROM (
                    SELECT run, prefix, id FROM view_entry_hashes WHERE run >= $1 AND run < $2
                    EXCEPT
                    SELECT (id - 1) >> 12, substr(entry_hash, 1, 8), id FROM log_entries
                    WHERE id > $3 AND id <= $4) AS strange
                UNION ALL
                SELECT * FROM (
                    SELECT (id - 1) >> 12, substr(entry_hash, 1, 8), id FROM log_entries
                    WHERE id > $3 AND id <= $4
                    EXCEPT
                    SELECT run, prefix, id FROM view_entry_hashes WHERE run >= $1 AND run < $2
                ) AS missing) AS differ ORDER BY run";
        let runs: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(number(from))
            .bind(number(to))
            .bind(number(from << RUN_BITS))
            .bind(number(to << RUN_BITS))
            .fetch_all(db))?;
        Ok(runs.into_iter().map(i64::cast_unsigned).collect())
    }
}
