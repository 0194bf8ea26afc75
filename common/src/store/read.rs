//! What the log holds: entries, heads and counts.
//!
//! Entries are re-hashed whenever they are read: bytes that do not match are never handed out.
//! The log only grows, so everything up to a size is one snapshot without a transaction.

use futures_util::TryStreamExt as _;

use super::Store;
use super::bulk::{Session as _, Sql, Value, json, rows};
use super::commit::{HeadRow, number};
use super::error::StoreError;
use super::pool::on_pool;
use crate::clock::Timestamp;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeSize};

/// The direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By id, oldest first.
    #[default]
    Ascending,
    /// By id, newest first.
    Descending,
}

/// Which entries a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Only entries of this type.
    pub event_type: Option<&'a str>,
    /// Only entries after this id.
    pub after: u64,
    /// How many of them to pass over.
    pub offset: u64,
    /// How many to show.
    pub limit: u64,
    /// In which direction.
    pub order: Order,
}

impl Store {
    /// The entries `after + 1 ..= upto`, at most `max_bytes` of leaves but at least one, each
    /// parsed and compared with the hash that was stored beside it.
    pub async fn entries(
        &self,
        after: u64,
        upto: u64,
        max_bytes: u64,
    ) -> Result<Vec<Leaf>, StoreError> {
        const SQL: &str = "SELECT id, leaf, entry_hash FROM log_entries
                           WHERE id > $1 AND id <= $2 ORDER BY id";
        let entries = on_pool!(&self.0.readers, db => async {
            let mut rows = sqlx::query_as(SQL).bind(number(after)).bind(number(upto)).fetch(db);
            let mut entries: Vec<StoredEntry> = Vec::new();
            let mut room = max_bytes;
            while let Some(entry) = rows.try_next().await? {
                let entry: StoredEntry = entry;
                match room.checked_sub(entry.1.len() as u64) {
                    Some(rest) => room = rest,
                    None if entries.is_empty() => room = 0,
                    None => break,
                }
                entries.push(entry);
            }
            Ok::<_, sqlx::Error>(entries)
        })?;
        self.checked(entries).await
    }

    /// The leaves of `after + 1 ..= upto`, at most `max_bytes` but at least one: the bytes as
    /// stored, re-hashed but not parsed. This is what followers pull.
    pub async fn leaves(
        &self,
        after: u64,
        upto: u64,
        max_bytes: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT leaf, entry_hash FROM log_entries
                           WHERE id > $1 AND id <= $2 ORDER BY id";
        let leaves: Vec<(Vec<u8>, Vec<u8>)> = on_pool!(&self.0.readers, db => async {
            let mut rows = sqlx::query_as(SQL).bind(number(after)).bind(number(upto)).fetch(db);
            let mut leaves: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut room = max_bytes;
            while let Some(row) = rows.try_next().await? {
                let row: (Vec<u8>, Vec<u8>) = row;
                match room.checked_sub(row.0.len() as u64) {
                    Some(rest) => room = rest,
                    None if leaves.is_empty() => room = 0,
                    None => break,
                }
                leaves.push(row);
            }
            Ok::<_, sqlx::Error>(leaves)
        })?;
        let (mut intact, mut pace) = (Vec::with_capacity(leaves.len()), Pace::default());
        for (id, (leaf, hash)) in (after + 1..).zip(leaves) {
            if Hash::of(&leaf).as_bytes()[..] != hash[..] {
                return Err(self.suspects().noted(StoreError::Corrupt { id }));
            }
            pace.done(leaf.len()).await;
            intact.push(leaf);
        }
        Ok(intact)
    }

    /// One entry.
    pub async fn entry(&self, id: u64) -> Result<Option<Leaf>, StoreError> {
        Ok(self.entries_of(&[id]).await?.pop())
    }

    /// The entries with these ids, ascending; what is not there is left out.
    pub async fn entries_of(&self, ids: &[u64]) -> Result<Vec<Leaf>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT id, leaf, entry_hash FROM log_entries
             WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM",
            ") ORDER BY id"
        );
        let ids = text(json(&ids.iter().map(|id| [number(*id)]).collect::<Vec<_>>()));
        let entries = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&ids).fetch_all(db)
        })?;
        self.checked(entries).await
    }

    /// A page of the log up to a size.
    pub async fn list(&self, filter: Filter<'_>, upto: u64) -> Result<Vec<Leaf>, StoreError> {
        match filter.event_type {
            None => self.list_all(filter, upto).await,
            Some(event_type) => self.list_of_type(event_type, filter, upto).await,
        }
    }

    /// Ids have no gaps, so a page is arithmetic however deep it lies.
    async fn list_all(&self, filter: Filter<'_>, upto: u64) -> Result<Vec<Leaf>, StoreError> {
        if filter.order == Order::Ascending {
            let after = filter.after.saturating_add(filter.offset);
            return self
                .entries(after, upto.min(after.saturating_add(filter.limit)), u64::MAX)
                .await;
        }
        let last = upto.saturating_sub(filter.offset);
        let after = filter.after.max(last.saturating_sub(filter.limit));
        let mut entries = self.entries(after, last, u64::MAX).await?;
        entries.reverse();
        Ok(entries)
    }

    async fn list_of_type(
        &self,
        event_type: &str,
        filter: Filter<'_>,
        upto: u64,
    ) -> Result<Vec<Leaf>, StoreError> {
        const ASCENDING: &str = "SELECT id, leaf, entry_hash FROM log_entries
            WHERE event_type = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4 OFFSET $5";
        const DESCENDING: &str = "SELECT id, leaf, entry_hash FROM log_entries
            WHERE event_type = $1 AND id > $2 AND id <= $3 ORDER BY id DESC LIMIT $4 OFFSET $5";
        let sql = match filter.order {
            Order::Ascending => ASCENDING,
            Order::Descending => DESCENDING,
        };
        let entries = on_pool!(&self.0.readers, db => sqlx::query_as(sql)
            .bind(event_type)
            .bind(number(filter.after))
            .bind(number(upto))
            .bind(number(filter.limit))
            .bind(number(filter.offset))
            .fetch_all(db))?;
        let entries = self.checked(entries).await?;
        match entries.iter().find(|leaf| leaf.event_type() != event_type) {
            // The column beside the leaf says something else than the leaf.
            Some(leaf) => Err(self.suspects().noted(StoreError::Corrupt { id: leaf.id() })),
            None => Ok(entries),
        }
    }

    /// Parses entries and compares each with the hash stored beside it.
    async fn checked(&self, entries: Vec<StoredEntry>) -> Result<Vec<Leaf>, StoreError> {
        let (mut checked, mut pace) = (Vec::with_capacity(entries.len()), Pace::default());
        for (id, leaf, hash) in entries {
            let (id, length) = (id.cast_unsigned(), leaf.len());
            let leaf = Leaf::parse(leaf)
                .ok()
                .filter(|leaf| leaf.id() == id && leaf.entry_hash().as_bytes()[..] == hash[..])
                .ok_or_else(|| self.suspects().noted(StoreError::Corrupt { id }))?;
            pace.done(length).await;
            checked.push(leaf);
        }
        Ok(checked)
    }

    /// When an entry was appended.
    pub async fn time_of(&self, id: u64) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT timestamp FROM log_entries WHERE id = $1";
        let millis: Option<i64> = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(number(id)).fetch_optional(db)
        })?;
        let time = millis.map(|millis| {
            Timestamp::from_millis(millis).ok_or(StoreError::Malformed { table: "log_entries" })
        });
        time.transpose()
    }

    /// How many entries of a type the log has.
    pub async fn count(&self, event_type: &str) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT count FROM view_event_counts WHERE event_type = $1";
        let count: Option<i64> = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(event_type).fetch_optional(db)
        })?;
        Ok(count.unwrap_or(0).cast_unsigned())
    }

    /// How many entries of each type the log has.
    pub async fn counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        const SQL: &str = "SELECT event_type, count FROM view_event_counts ORDER BY event_type";
        let counts: Vec<(String, i64)> =
            on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        Ok(counts.into_iter().map(|(name, count)| (name, count.cast_unsigned())).collect())
    }

    /// The newest signed head of at most this size.
    pub async fn head_at_most(&self, size: TreeSize) -> Result<Option<HeadRow>, StoreError> {
        let row: Option<StoredHead> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(HEAD_AT_MOST).bind(size.to_sql()).fetch_optional(db)
        })?;
        row.map(head).transpose()
    }

    /// The newest head that has its signature.
    pub async fn newest_signed_head(&self) -> Result<Option<HeadRow>, StoreError> {
        self.head_at_most(TreeSize::MAX).await
    }

    /// The heads that are stored for one size, oldest first; a proof's root is looked up here.
    pub async fn heads_of(&self, size: TreeSize) -> Result<Vec<HeadRow>, StoreError> {
        const SQL: &str = "SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
                FROM log_heads WHERE tree_size = $1
            UNION SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
                FROM log_pinned_heads WHERE tree_size = $1
            ORDER BY timestamp LIMIT 1000";
        let rows: Vec<StoredHead> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(size.to_sql()).fetch_all(db)
        })?;
        rows.into_iter().map(head).collect()
    }
}

/// Lets others have the thread now and then, while many bytes are checked.
#[derive(Default)]
struct Pace {
    bytes: usize,
}

impl Pace {
    /// What takes well under a millisecond.
    const STEP: usize = 64 * 1024;

    async fn done(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= Self::STEP {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Reads the columns of [`StoredHead`].
pub(super) const HEAD_AT_MOST: &str = "SELECT * FROM (
        SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json FROM log_heads
        WHERE tree_size <= $1 AND head_json IS NOT NULL
        ORDER BY tree_size DESC, second DESC LIMIT 1) AS recent
    UNION ALL SELECT * FROM (
        SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
        FROM log_pinned_heads WHERE tree_size <= $1 AND head_json IS NOT NULL
        ORDER BY tree_size DESC, timestamp DESC LIMIT 1) AS pinned
    ORDER BY tree_size DESC, timestamp DESC LIMIT 1";

type StoredEntry = (i64, Vec<u8>, Vec<u8>);
pub(super) type StoredHead = (i64, Vec<u8>, Option<Vec<u8>>, i64, i64, Option<String>);

pub(super) fn head(row: StoredHead) -> Result<HeadRow, StoreError> {
    let (size, root, chain_head, epoch, timestamp, head_json) = row;
    HeadRow::from_columns(size, &root, chain_head.as_deref(), epoch, timestamp)
        .map(|head| HeadRow { head_json, ..head })
        .ok_or(StoreError::Malformed { table: "log_heads" })
}

/// The text of a JSON parameter.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::Text(Some(text)) => text,
        Value::Text(None) | Value::Int(_) | Value::Bytes(_) => String::new(),
    }
}
